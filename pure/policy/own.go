package policy

import (
	"fmt"

	"github.com/grange-grid/grange/core"
)

// own grants always: the policy for another machine of one's own household. No rule names it.
type own struct{}

func (own) Name() string    { return "own" }
func (own) Options() string { return "" }
func (own) Words() string   { return "whatever there is room for" }

func (own) Decide(ask core.Ask, facts Facts, unit Unit) Decision {
	return Decision{
		Grant:  true,
		Reason: fmt.Sprintf("a machine of this household; %s left of what this one gives after this", unit.atMost(max(facts.Room, 0)-ask.Amount)),
		Policy: "own",
	}
}
