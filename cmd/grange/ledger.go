package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

type ledgerCommand struct {
	gridFlag
	Who string     `arg:"" name:"WHO" optional:"" placeholder:"WHO" help:"A partner, with the newest decisions; else all in short."`
	Why decisionID `placeholder:"ID" help:"Why that decision was as it was."`
}

func (ledgerCommand) detail() string {
	return `What each keeps for the other, and what that has come to, in bytes kept for a day; receipts are what the side that had it has signed. A decision is the answer to what a partner's machine has asked for, with the facts that it was made from.`
}

// decisionID is the number of a decision.
type decisionID uint64

// UnmarshalText reads a number.
func (d *decisionID) UnmarshalText(text []byte) error {
	var v versionNumber
	if err := v.UnmarshalText(text); err != nil {
		return fmt.Errorf("%.40q is no decision; decisions have numbers from 1 on", text)
	}
	*d = decisionID(v)
	return nil
}

func (c *ledgerCommand) run(ctx context.Context, a *app) error {
	if c.Why > 0 && c.Who != "" {
		return usage("--why needs no WHO", "")
	}
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		if c.Why > 0 {
			d, err := s.Decision(ctx, uint64(c.Why))
			if err != nil {
				return err
			}
			a.value(d)
			a.why(d)
			return nil
		}
		all, err := s.Ledger(ctx, c.Who)
		if err != nil {
			return err
		}
		a.value(all)
		if len(all) == 0 {
			a.say("No partner yet. Next: grange invite")
			return nil
		}
		for i, l := range all {
			if i > 0 {
				a.say("")
			}
			a.ledger(l)
			if c.Who != "" {
				a.decisions(l.Decisions)
			}
		}
		return nil
	})
}

func (a *app) ledger(l grange.Ledger) {
	name := clean(l.Name)
	text := fmt.Sprintf("%s keeps %s for you, you %s for %s", name, amount(l.Has), amount(l.Keeps), name)
	if more := l.Gives - l.Has; more > 0 {
		text += fmt.Sprintf("; you could have %s more", amount(more))
	}
	a.say("%s.", text)
	a.behalf(l)
	wide := max(len(name), len("you"))
	a.say("  %-*s  %s  %s of %s", wide, name, shareBar(l.Has, l.Gives), amount(l.Has), amount(l.Gives))
	a.say("  %-*s  %s  %s of %s", wide, "you", shareBar(l.Keeps, l.Given), amount(l.Keeps), amount(l.Given))
	if l.Returns > 0 {
		a.say("%s there are needed no more: given back over the next days.", amount(l.Returns))
	}
	if l.Aside > 0 {
		a.say("%s of theirs are released, and set aside for a while.", amount(l.Aside))
	}
	a.lines(l.Had, "Had of "+name, name+" counts")
	a.lines(l.Gave, "Given to "+name, "you count")
	a.evidence(l)
	a.flows(name, l.Flows)
	for _, line := range l.Gave {
		if line.Overdue {
			a.say("%s", a.paint(red, fmt.Sprintf("%s's receipt is overdue: nothing new is granted until it comes.", name)))
			break
		}
	}
}

// lines says what one direction has come to, by all machines together.
func (a *app) lines(lines []grange.LedgerLine, what, others string) {
	var hours, receipts int64
	var pending uint64
	var waiting bool
	var until time.Time
	for _, l := range lines {
		pending, waiting = pending+l.Pending, waiting || l.Waiting
		hours += int64(min(l.ByteHours, 1<<61))
		receipts += l.Receipts
		if l.Until.After(until) {
			until = l.Until
		}
	}
	if hours == 0 && receipts == 0 {
		return
	}
	text := fmt.Sprintf("%s so far: %s", what, byteDays(uint64(hours)))
	if receipts > 0 {
		text += fmt.Sprintf("; %s up to %s", count(receipts, "receipt", "receipts"), moment(until, a.now()))
	}
	if pending/24 > 0 {
		text += fmt.Sprintf("; %s not signed for yet", byteDays(pending))
	}
	if waiting {
		text += "; the last receipt is not known to have arrived"
	}
	a.say("%s.", text)
	for _, l := range lines {
		if l.Differs {
			a.say("%s", a.paint(red, fmt.Sprintf("The two do not agree: %s %s, where the receipt up to %s says %s. They have not agreed since receipt %d, up to %s.",
				others, byteDays(l.Other), moment(l.Until, a.now()), byteDays(l.Signed), l.Parted, moment(l.PartedAt, a.now()))))
		}
	}
}

// byteDays says what byte-hours come to: "12 GB for a day".
func byteDays(hours uint64) string { return amount(int64(min(hours, 1<<62)/24)) + " for a day" }

// shareBar draws a part of a whole.
func shareBar(part, whole int64) string {
	cells := 0
	if whole > 0 {
		cells = int(float64(min(max(part, 0), whole)) / float64(whole) * barCells)
	}
	return "[" + strings.Repeat("#", cells) + strings.Repeat("-", barCells-cells) + "]"
}

// decisionsShown bounds how many decisions are listed.
const decisionsShown = 20

func (a *app) decisions(all []grange.Decision) {
	if len(all) == 0 {
		return
	}
	a.say("")
	rows := [][]string{{"ID", "TIME", "ASKED", "ANSWER", "REASON"}}
	for _, d := range all[:min(len(all), decisionsShown)] {
		rows = append(rows, []string{fmt.Sprint(d.ID), moment(d.Time, a.now()), asked(d), answered(d), clean(d.Reason)})
	}
	a.table(rows...)
}

func answered(d grange.Decision) string { return yesNo(d.Granted) }

func yesNo(granted bool) string {
	if granted {
		return "yes"
	}
	return "no"
}

// why says what a decision was made from.
func (a *app) why(d grange.Decision) {
	f, text := d.Facts, unitOf(d).Text
	a.say("%s: %s asked for %s, and was told %s.", moment(d.Time, a.now()), clean(d.Partner), asked(d), answered(d))
	a.say("Because: %s (%s).", clean(d.Reason), clean(d.Policy))
	if d.Counter != nil {
		a.say("It was offered %s instead.", text(d.Counter.Amount))
	}
	could, all := "kept here", "given to all"
	if d.Resource != core.Storage {
		could, all = "given", "for all in 30 days"
	}
	a.say("What was known: the pact promises %s, and %s of it were used; %s in all could be %s, of %s %s.",
		text(f.Offered), text(f.Used), text(f.Room), could, text(f.Total), all)
	if f.Gives > 0 || f.Missing > 0 {
		a.say("  It gives %s, and has lost %s of that.", text(f.Gives), text(f.Missing))
	}
	for _, o := range f.Others {
		lately := ""
		if o.Asks {
			lately = ", and it has asked lately"
		}
		a.say("  Another partner: %s promised, %s of it used%s.", text(o.Offered), text(o.Used), lately)
	}
	if c := f.Crowd; c != nil {
		a.say("  %s other partners, for whom %s are kept.", number(int64(c.Of)), text(c.Kept))
	}
	a.replay(d.Replay)
}

// replay says what comes out when it is decided again.
func (a *app) replay(r *grange.Replay) {
	switch {
	case r == nil:
	case !r.Kept:
		a.say("The rules of then are not kept, so it cannot be decided again.")
	case r.Same && r.Rule != "":
		a.say("Decided again from that, by the rule of then, the answer is the same: %s", clean(r.Rule))
	case r.Same:
		a.say("Decided again from that, the answer is the same.")
	default:
		a.say("%s", a.paint(red, fmt.Sprintf("Decided again from that, it would be %s: %s (%s).", yesNo(r.Granted), clean(r.Reason), clean(r.Policy))))
	}
}
