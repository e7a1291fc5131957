package policy

import (
	"fmt"

	"github.com/grange-grid/grange/core"
)

// NameOwn is the policy's name in decisions. No pact has it.
const NameOwn = "own"

// Own grants always: the policy for another machine of one's own household.
func Own(ask core.Ask, facts Facts) Decision {
	return Decision{
		Grant:  true,
		Reason: fmt.Sprintf("a machine of this household; %s left of what this one gives after this", bytesDown(max(facts.Room, 0)-ask.Amount)),
		Policy: NameOwn,
	}
}
