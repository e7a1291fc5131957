package policy

import (
	"cmp"

	"github.com/grange-grid/grange/core"
)

const denyReason = "nothing is given here at present"

type deny struct{ reason string }

// Deny makes the policy "deny": no, with the option reason, a text for the asker.
func Deny(o *Options) Policy { return deny{o.Text("reason")} }

func (deny) Name() string      { return "deny" }
func (d deny) Options() string { return optionText("reason", d.reason) }
func (d deny) Words() string   { return "nothing, and are told: " + cmp.Or(d.reason, denyReason) }

func (d deny) Decide(core.Ask, Facts, Unit) Decision {
	return Decision{Reason: cmp.Or(d.reason, denyReason), Policy: "deny"}
}
