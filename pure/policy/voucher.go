package policy

import (
	"fmt"

	"github.com/grange-grid/grange/core"
)

type voucher struct{}

// Voucher makes the policy "voucher": the pact of the grid that issued it first, then its member's share within that.
func Voucher(*Options) Policy { return voucher{} }

func (voucher) Name() string    { return "voucher" }
func (voucher) Options() string { return "" }
func (voucher) Words() string {
	return "what their grid has left of its pact, within the share that their voucher gives them"
}

func (voucher) Decide(ask core.Ask, facts Facts, unit Unit) Decision {
	d := Decision{Policy: "voucher"}
	v := facts.Via
	if v == nil {
		d.Reason = "no voucher was shown"
		return d
	}
	group, mine := over(v.Offered, v.Used), over(v.Share, facts.Used)
	switch {
	case ask.Amount <= min(group, mine):
		d.Grant = true
		d.Reason = fmt.Sprintf("%s; %s left of its share of %s after this, and %s of the grid's %s",
			facts.Partner, unit.atMost(mine-ask.Amount), unit.Text(v.Share), unit.atMost(group-ask.Amount), unit.Text(v.Offered))
		return d
	case mine <= group:
		d.Reason = fmt.Sprintf("%s left of your share of %s; %s needed", unit.atMost(mine), unit.Text(v.Share), unit.atLeast(ask.Amount))
	default:
		d.Reason = fmt.Sprintf("%s left for all members of your grid, of its %s; %s needed", unit.atMost(group), unit.Text(v.Offered), unit.atLeast(ask.Amount))
	}
	d.Counter = &core.Counter{Amount: min(group, mine), Seconds: max(facts.SecondsMax, 0)}
	return d
}
