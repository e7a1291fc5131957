package main

import (
	"fmt"
	"strings"

	"github.com/grange-grid/grange"
)

// errands shows where this machine is a guest.
func (a *app) errands(errands []grange.Errand) {
	if len(errands) == 0 {
		return
	}
	rows := [][]string{{"A GUEST AT", "BY", "KEEPS FOR YOU", "UNTIL", "SEEN"}}
	for _, e := range errands {
		until := date(e.Until, a.now())
		if !e.Until.After(a.now()) {
			until = "ended"
		}
		rows = append(rows, []string{
			clean(e.Name), clean(e.By.String()), fmt.Sprintf("%s of %s", amount(e.Has), amount(e.Gives)), until, a.seen(e.Here, e.Away, e.Seen),
		})
	}
	a.say("")
	a.table(rows...)
	for _, e := range errands {
		if e.Leaving {
			a.say("%s", a.paint(red, fmt.Sprintf("What %s has of you has to go: %s lets you in no longer.", clean(e.Name), clean(e.By.String()))))
		}
	}
}

// guests shows who is a guest here.
func (a *app) guests(guests []grange.Guest) {
	if len(guests) == 0 {
		return
	}
	rows := [][]string{{"YOUR GUEST", "BY", "YOU KEEP", "UNTIL"}}
	for _, g := range guests {
		until := "ended"
		if g.Until.After(a.now()) {
			until = date(g.Until, a.now())
		}
		rows = append(rows, []string{clean(g.Name), clean(g.By.String()), fmt.Sprintf("%s of %s", amount(g.Keeps), amount(g.Share)), until})
	}
	a.say("")
	a.table(rows...)
}

// behalf says on whose behalf a guest has what it has, and where we are one.
func (a *app) behalf(l grange.Ledger) {
	name := clean(l.Name)
	if e := l.Errand; e != nil {
		a.say("You are a guest there, by %s: up to %s, until %s.", clean(e.By.String()), amount(e.Gives), date(e.Until, a.now()))
	}
	switch v := l.Via; {
	case v == nil:
	case v.Account != nil:
		a.say("A guest by account %s, plan %s: %s of %s used, at all storage servers together.", clean(v.Name), clean(v.Account.Plan), amount(v.Account.Used), amount(v.Account.Quota))
		if reason := v.Account.Objection(a.now().Unix()); reason != "" {
			a.say("Nothing is granted now: %s.", reason)
		}
	default:
		a.say("A guest: what you keep for %s counts for %s, to whom you give %s.", name, clean(v.Name), amount(v.Offered))
		if len(v.Issuers) == 0 {
			a.say("Its voucher has ended: nothing new is kept for it.")
			break
		}
		a.say("Its voucher, until %s: %s.", date(v.Until, a.now()), strings.Join(append(cleaned(v.Issuers), name), " > "))
	}
}

func cleaned(names []string) (out []string) {
	for _, name := range names {
		out = append(out, clean(name))
	}
	return out
}
