package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
)

// ReasonOverdue is the denial that a receipt answers; SPEC.md §7.
const ReasonOverdue = "receipt overdue"

// Decide answers an ask: first whether the books stand against it, then whether it is well-formed, whether there is
// time and room for it, and then what the first rule that fits it says. What no rule fits is refused.
func (r Rules) Decide(ask core.Ask, facts Facts) Decision {
	if d, stands := inBooks(ask, facts); stands {
		return d
	}
	unit, reason := r.malformed(ask)
	if reason != "" {
		return Decision{Reason: reason, Policy: "form"}
	}
	if facts.Busy > 0 && ask.Quality != core.Prompt {
		return busy("busy", facts)
	}
	p := r.policyFor(ask, facts)
	if d, short := capacity(ask, facts, unit); short {
		less := ask
		less.Amount, less.Seconds = d.Counter.Amount, cmp.Or(min(ask.Seconds, d.Counter.Seconds), ask.Seconds)
		if p != nil && less.Amount > 0 { // what is offered in its place, the policy must grant
			if q := p.Decide(less, facts, unit); !q.Grant {
				d.Counter = q.Counter
			}
		}
		return d
	}
	if p == nil {
		return Decision{Reason: r.whyUnknown(ask), Policy: "why"}
	}
	return p.Decide(ask, facts, unit)
}

// Weigh returns the facts with a Crowd for the others where these are many. The decision is
// the same from both; it is the smaller that goes to the books.
func (r Rules) Weigh(ask core.Ask, facts Facts) Facts {
	if len(facts.Others) <= OthersMax {
		return facts
	}
	crowd := Crowd{}
	if p, ok := r.policyFor(ask, facts).(sharer); ok {
		unit, _ := r.malformed(ask)
		crowd = p.crowd(facts, unit)
		crowd.By = textOf(p)
	}
	crowd.Of = len(facts.Others)
	facts.Crowd, facts.Others = &crowd, nil
	return facts
}

// Tells tells whether the facts are enough for these rules: not where a Crowd stands in them which is another policy's.
func (r Rules) Tells(ask core.Ask, facts Facts) bool {
	p, shares := r.policyFor(ask, facts).(sharer)
	return !shares || facts.Crowd == nil || facts.Crowd.By == textOf(p)
}

// policyFor returns what decides an ask; nil if nothing does.
func (r Rules) policyFor(ask core.Ask, facts Facts) Policy {
	if facts.Home {
		return own{}
	}
	if rule, ok := r.Rule(ask, facts); ok {
		return rule.Policy
	}
	return nil
}

// ReasonLapsed is the denial to a guest whose voucher has ended.
const ReasonLapsed = "your voucher has ended; show a newer one"

// names tells whether a reference is to a voucher that was shown.
func (v *Via) names(ref []byte) bool {
	return slices.ContainsFunc(v.Refs, func(shown core.Score) bool { return string(shown[:]) == string(ref) })
}

// inBooks refuses what the books stand against.
func inBooks(ask core.Ask, facts Facts) (Decision, bool) {
	switch via := facts.Via; {
	case facts.Ends != 0:
		return Decision{Policy: "pact", Reason: "the pact ends on " + date(facts.Ends)}, true
	case via == nil && ask.Why.Kind == core.WhyVoucher && !facts.Pact.IsZero():
		return Decision{Policy: "voucher", Reason: "you need no voucher here, for you have a pact"}, true
	case via != nil && via.Until <= facts.Now:
		return Decision{Policy: "voucher", Reason: ReasonLapsed}, true
	case via != nil && len(via.Refs) > 0 && (ask.Why.Kind != core.WhyVoucher || !via.names(ask.Why.Ref)):
		return Decision{Policy: "voucher", Reason: "you are a guest here, and the ask does not name a voucher that you have shown"}, true
	case ask.Why.Kind == core.WhyPact && !facts.Pact.IsZero() && string(ask.Why.Ref) != string(facts.Pact[:]):
		return Decision{Policy: "pact", Reason: "the pact that the ask names is not ours"}, true
	case facts.Overdue:
		return Decision{Policy: "receipt", Reason: ReasonOverdue}, true
	case facts.Account != nil:
		return facts.Account.refuse(ask, facts.Now)
	}
	return Decision{}, false
}

// malformed returns the unit of what is asked for, and why the ask makes no sense, or "".
func (r Rules) malformed(ask core.Ask) (Unit, string) {
	unit, known := r.table.unit(ask.Resource)
	switch {
	case !known:
		return unit, fmt.Sprintf("%.16q is not given here; %s", ask.Resource, areIs(r.table.resources()))
	case ask.Amount <= 0:
		return unit, fmt.Sprintf("an ask for %d %s; it must be for 1 at least", ask.Amount, unit.name())
	case ask.Seconds <= 0:
		return unit, fmt.Sprintf("an ask for %d seconds; it must be for 1 at least", ask.Seconds)
	}
	if !slices.Contains(qualities, ask.Quality) {
		return unit, fmt.Sprintf("quality %.16q is not understood here; %s are", ask.Quality, list(qualities))
	}
	return unit, ""
}

// busy refuses for now.
func busy(policy string, facts Facts) Decision {
	return Decision{Policy: policy, Reason: fmt.Sprintf("busy; ask again in %s", span(facts.Busy, up)), Retry: facts.Busy}
}

// capacity refuses what there is no room for, by whichever bound is nearer.
func capacity(ask core.Ask, facts Facts, unit Unit) (Decision, bool) {
	promised, room := left(facts), max(facts.Room, 0)
	d := Decision{Policy: "capacity", Counter: &core.Counter{Amount: min(promised, room), Seconds: max(facts.SecondsMax, 0)}}
	switch {
	case facts.Account != nil && ask.Amount > promised && promised <= room:
		d.Reason = fmt.Sprintf("%s left of your plan's %s; %s needed", unit.atMost(promised), unit.Text(max(facts.Account.Quota, 0)), unit.atLeast(ask.Amount))
	case facts.Via != nil && promised == 0 && (facts.Offered > 0 || facts.Via.Offered > 0 && facts.Via.Used >= facts.Via.Offered):
		d.Reason = "nothing is left of your share, or of what the pact gives to all for whom it is"
	case ask.Amount > promised && facts.Offered <= 0:
		d.Reason = fmt.Sprintf("%s gives you nothing; %s needed", source(facts), unit.atLeast(ask.Amount))
	case ask.Amount > promised && promised <= room:
		d.Reason = fmt.Sprintf("%s left of your %s; %s needed", unit.atMost(promised), unit.Text(facts.Offered), unit.atLeast(ask.Amount))
	case ask.Amount > room && room == 0:
		d.Reason = fmt.Sprintf("no room here now; %s needed", unit.atLeast(ask.Amount))
	case ask.Amount > room:
		d.Reason = fmt.Sprintf("%s free; ask for at most %s", unit.atMost(room), unit.atMost(room))
	case facts.SecondsMax > 0 && ask.Seconds > facts.SecondsMax:
		d.Counter.Amount = ask.Amount
		d.Reason = fmt.Sprintf("%s is the longest now; %s asked for", span(facts.SecondsMax, down), span(ask.Seconds, up))
	default:
		return Decision{}, false
	}
	return d, true
}

// source is what promises the asker what is offered to it.
func source(facts Facts) string {
	switch {
	case facts.Via != nil:
		return "the voucher"
	}
	return "the pact"
}

func (r Rules) whyUnknown(ask core.Ask) string {
	var known []string
	for _, kind := range r.table.whys() {
		if slices.ContainsFunc(r.rules, func(rule Rule) bool { return rule.Why == kind || rule.Why == "" }) {
			known = append(known, string(kind))
		}
	}
	kind := ask.Why.Kind
	switch {
	case len(known) == 0:
		return "no reason is good enough here at present"
	case slices.Contains(known, string(kind)):
		return fmt.Sprintf("nothing is said here of asks for %s of quality %s, reason %s", ask.Resource, ask.Quality, kind)
	case kind == core.WhyNone || kind == "":
		return "no reason was given; one is needed: " + strings.Join(known, ", ")
	}
	return fmt.Sprintf("reason %.16q is not accepted here; accepted: %s", kind, strings.Join(known, ", "))
}

// list returns "a, b and c".
func list[T ~string](all []T) string {
	var out strings.Builder
	for i, s := range all {
		switch i {
		case 0:
		case len(all) - 1:
			out.WriteString(" and ")
		default:
			out.WriteString(", ")
		}
		out.WriteString(string(s))
	}
	return out.String()
}

// areIs says what is given.
func areIs(all []core.Resource) string {
	switch len(all) {
	case 0:
		return "nothing is"
	case 1:
		return "only " + list(all) + " is"
	}
	return list(all) + " are"
}
