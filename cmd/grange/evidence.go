package main

import (
	"fmt"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// evidence says when either proved something last, and what speaks against the partner.
func (a *app) evidence(l grange.Ledger) {
	name := clean(l.Name)
	if len(l.Had) > 0 {
		a.say("Last proof that %s has yours: %s.", name, a.momentOrNever(lastProven(l.Had)))
	}
	if len(l.Gave) > 0 {
		a.say("Last proof that you have %s's: %s.", name, a.momentOrNever(lastProven(l.Gave)))
	}
	warn := func(format string, args ...any) { a.say("%s", a.paint(red, fmt.Sprintf(format, args...))) }
	for _, u := range l.Uncounted {
		warn("Not counted here: %s, %s, by a lease of %s until %s.", count(u.Pieces, "piece", "pieces"), amount(u.Bytes), moment(u.From, a.now()), moment(u.Until, a.now()))
	}
	for _, line := range l.Had {
		if line.Forged {
			warn("%s takes no receipt, and shows as your last one that this machine has never signed.", name)
			break
		}
	}
	for _, c := range l.Contradictions {
		warn("%s has signed two receipts with the number %d: one says %s, the other %s. Both are kept: see --json.", name, c.Seq, a.receipt(c, c.Kept), a.receipt(c, c.Other))
	}
	if l.Missing > 0 {
		warn("%s of what %s kept for you counts as lost; less of it each day, for 30 days.", amount(l.Missing), name)
	}
}

func lastProven(lines []grange.LedgerLine) (last time.Time) {
	for _, l := range lines {
		if l.Proven.After(last) {
			last = l.Proven
		}
	}
	return last
}

func (a *app) momentOrNever(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return moment(t, a.now())
}

// receipt says what one is over.
func (a *app) receipt(c grange.Contradiction, r grange.SignedReceipt) string {
	total := byteDays(r.Total)
	if c.Resource != core.Storage {
		total = fmt.Sprintf("%d %s", r.Total, clean(string(c.Resource)))
	}
	return total + " up to " + moment(r.Until, a.now())
}
