package grange

import (
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// forWork is a policy of its own, as a file in pure/policy would have it: so much for each unit of work that the asker has done for us.
type forWork struct{ each int64 }

func (forWork) Name() string      { return "earned" }
func (w forWork) Options() string { return fmt.Sprintf("each=%d", w.each) }
func (forWork) Words() string     { return "what they have worked for" }

func (w forWork) Decide(ask core.Ask, facts policy.Facts, unit policy.Unit) policy.Decision {
	most := facts.Gives * w.each
	return policy.Decision{Grant: ask.Amount <= most, Reason: "worked for " + unit.Text(most), Policy: "earned"}
}

// A new kind of why is an entry of the table, and a policy of its own another: each why reaches its policy, and who names one that
// nobody knows is told those that are.
func TestANewKindOfWhy(t *testing.T) {
	table := policyTable(map[string]unitName{"potatoes": "kg"})
	table.Whys["work"] = "Those who work for us"
	table.Policies["earned"] = func(o *policy.Options) policy.Policy { return forWork{o.Amount("each", 1)} }
	rules, err := table.Parse("work potatoes earned each=3\n" + defaultPolicy)
	if err != nil {
		t.Fatal(err)
	}
	pact := core.Score{1}
	facts := policy.Facts{Partner: "anna", Pact: pact, Room: 50, Offered: 50, Total: 50, Gives: 4}
	ask := func(kind core.WhyKind, amount int64) core.Ask {
		out := core.Ask{Resource: "potatoes", Amount: amount, Seconds: 1, Quality: core.Normal, Why: core.Why{Kind: kind}}
		if kind == core.WhyPact {
			out.Why.Ref = pact[:]
		}
		return out
	}
	guest := facts
	guest.Pact, guest.Via = core.Score{}, &policy.Via{Name: "club", Offered: 50, Share: 50, Until: 1}
	for _, c := range []struct {
		ask    core.Ask
		facts  policy.Facts
		grant  bool
		policy string
	}{
		{ask(core.WhyPact, 20), facts, true, "open"},
		{ask("work", 12), facts, true, "earned"},
		{ask("work", 13), facts, false, "earned"},
		{ask(core.WhyNone, 1), facts, false, "deny"},
		{ask(core.WhyAccount, 1), facts, false, "account"},
		{ask(core.WhyVoucher, 1), guest, true, "voucher"},
		{ask("friendship", 1), facts, false, "why"},
	} {
		d := rules.Decide(c.ask, c.facts)
		if d.Grant != c.grant || d.Policy != c.policy {
			t.Errorf("%s for %d: %+v, want %v by %s", c.ask.Why.Kind, c.ask.Amount, d, c.grant, c.policy)
		}
	}
	if d := rules.Decide(ask("friendship", 1), facts); d.Reason != `reason "friendship" is not accepted here; accepted: account, none, pact, voucher, work` {
		t.Errorf("%q", d.Reason)
	}
	again, err := table.Parse(rules.String())
	if err != nil || again.String() != rules.String() {
		t.Errorf("%q, %v", rules, err)
	}
}
