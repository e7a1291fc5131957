package policy

import (
	"fmt"

	"github.com/grange-grid/grange/core"
)

type open struct{}

// Open makes the policy "open": yes while there is room, for a friend.
func Open(*Options) Policy { return open{} }

func (open) Name() string    { return "open" }
func (open) Options() string { return "" }
func (open) Words() string   { return "whatever there is room for, within what was promised to them" }

func (open) Decide(ask core.Ask, facts Facts, unit Unit) Decision {
	after := left(facts) - ask.Amount
	return Decision{
		Grant:  true,
		Reason: fmt.Sprintf("%s is a friend; %s left of %s after this", facts.Partner, unit.atMost(after), unit.Text(facts.Offered)),
		Policy: "open",
	}
}
