package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"rsc.io/qr"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/face/api"
	"github.com/grange-grid/grange/pure/pact"
)

func (c *offerCommand) run(ctx context.Context, a *app) error {
	if c.On != "" {
		if err := c.move(ctx, a); err != nil {
			return err
		}
	}
	return a.with(ctx, func(s *session) error {
		if !c.Amount.set {
			out, err := s.Offer(ctx)
			if err != nil {
				return err
			}
			a.value(out)
			a.say("Giving %s in all; %s of it used.", amount(out.Total), amount(out.Used))
			a.say("%s of %s are free; %s stay in reserve.", amount(out.Free), amount(out.Disk), amount(out.Reserve))
			return nil
		}
		in := api.OfferRequest{Bytes: &c.Amount.bytes}
		if c.Amount.percent >= 0 {
			in.Percent = &c.Amount.percent
			if c.Amount.bytes == 0 {
				in.Bytes = nil
			}
		}
		out, err := s.SetOffer(ctx, in)
		if err != nil {
			return err
		}
		a.value(out)
		a.tell("Giving up to %s of %s free.", amount(out.Total), amount(out.Free))
		if out.Used > out.Total {
			a.tell("%s are used already: nothing is dropped, and nothing more taken.", amount(out.Used))
		}
		return nil
	})
}

// move has pieces kept on another disk, in a session of its own: it counts from the
// next one on.
func (c *offerCommand) move(ctx context.Context, a *app) error {
	abs, err := filepath.Abs(c.On)
	if err != nil {
		return err
	}
	return a.with(ctx, func(s *session) error {
		if s.running {
			return &api.Error{Code: api.CodeLocked, Message: "an agent is running on " + a.dir, Hint: "stop it, and start it again afterwards"}
		}
		if _, err := s.SetOffer(ctx, api.OfferRequest{On: grange.Path(abs)}); err != nil {
			return err
		}
		a.tell("Partners' pieces are kept on %s.", clean(c.On))
		return nil
	})
}

// invited is what invite prints with --json: the invitation, and who joined, if that was waited for.
type invited struct {
	grange.Invitation
	// Warnings say that more is promised than is given.
	Warnings []string     `json:"warnings,omitempty"`
	Joined   *grange.Pact `json:"joined,omitempty"`
}

func (c *inviteCommand) run(ctx context.Context, a *app) error {
	give, err := amountsOf("--give", c.Give)
	if err != nil {
		return err
	}
	want, err := amountsOf("--want", c.Want)
	if err != nil {
		return err
	}
	if c.Uses < 1 {
		return usage("--uses is 1 or more", "")
	}
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		if !s.running {
			return &api.Error{Code: api.CodeNotRunning, Message: "no agent is running", Hint: "grange run"}
		}
		inv, err := s.Invite(ctx, api.InviteRequest{
			Give: give, Want: want, Uses: c.Uses, ExpiresSeconds: int64(time.Duration(c.Expires) / time.Second),
			Days: uint(c.For), NoticeDays: uint(c.Notice),
		})
		if err != nil {
			return err
		}
		wait := c.Wait || a.outTerminal && !a.json && c.Uses == 1
		warnings, err := promises(ctx, s)
		if err != nil {
			return err
		}
		out := invited{Invitation: inv, Warnings: warnings}
		if err := c.show(a, out, wait); err != nil {
			return err
		}
		if whole := time.Duration(c.For) * day; whole > 0 && whole < soonEnds && !a.quiet {
			a.warn("A pact for %s is short: after %s of it nothing new goes there, and what lies there is made again elsewhere.",
				count(int64(c.For), "day", "days"), age(whole-min(whole/4, time.Duration(cmp.Or(c.Notice, pact.NoticeDays))*day)))
		}
		if a.notes(warnings); !wait {
			return nil
		}
		return waitJoined(ctx, a, s, out)
	})
}

// show prints the code; what is around it is for people only.
func (c *inviteCommand) show(a *app, inv invited, wait bool) error {
	switch {
	case a.json && wait:
		_, _ = a.err.Write(encode(map[string]grange.Invitation{"invitation": inv.Invitation}))
	case a.json:
		a.value(inv)
	}
	if !a.quiet {
		whom := "one friend (once"
		if c.Uses > 1 {
			whom = fmt.Sprintf("friends (good for %d of them", c.Uses)
		}
		a.warn("Send this to %s, within %s, while this machine is on):", whom, every(int64(time.Duration(c.Expires)/time.Second)))
	}
	indent := ""
	if a.outTerminal {
		indent = "    "
	}
	a.say("%s%s", indent, inv.Code)
	if c.QR && !a.json {
		code, err := qr.Encode(inv.Code, qr.L)
		if err != nil {
			return fmt.Errorf("draw the code: %w", err)
		}
		fmt.Fprint(a.out, drawQR(code.Size, code.Black, a.color))
	}
	return nil
}

// waitJoined waits to say who joined. Whoever has waited enough has an invitation still.
func waitJoined(ctx context.Context, a *app, s *session, inv invited) error {
	if !a.quiet {
		a.warn("Waiting... (Ctrl-C: the code stays good)")
	}
	begun := a.now()
	p, err := s.Joined(ctx, inv.ID)
	if errors.Is(err, context.Canceled) {
		a.value(inv)
		if !a.quiet {
			a.warn("The code is good until %s.", moment(inv.Expires, a.now()))
		}
		return reported(exitDone)
	}
	if err != nil {
		return err
	}
	inv.Joined = &p
	a.value(inv)
	a.tell("%s joined, direct, %s. %s", clean(p.Name), waited(a.now().Sub(begun)), bargain(p.Name, dealOf(p)))
	a.checkWords(p)
	return nil
}

// waited returns a time that somebody sat through: "1.2 s", "12 min".
func waited(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return age(d)
}

// checkWords shows what the two are to read to each other.
func (a *app) checkWords(p grange.Pact) {
	a.tell("Read to each other; both sides show the same four words: %s", strings.Join(p.Words, " "))
}

// amountsOf reads what a flag that can be given several times says.
func amountsOf(flag string, words []string) (out grange.Amounts, err error) {
	if err := out.UnmarshalText([]byte(strings.Join(words, " "))); err != nil {
		return "", usage(flag+": "+err.Error(), "")
	}
	return out, nil
}

// bargain says what two households give each other.
func bargain(name string, c grange.Change) string {
	more := others(name, c)
	switch {
	case c.Given == 0 && c.Gives == 0 && more != "":
		return more
	case more != "":
		more = " " + more
	}
	if c.Given == c.Gives {
		return fmt.Sprintf("Each keeps %s for the other.%s", amount(c.Given), more)
	}
	return fmt.Sprintf("You keep %s for %s, who keeps %s for you.%s", amount(c.Given), clean(name), amount(c.Gives), more)
}

// others says what two households give each other but storage; "" for nothing.
func others(name string, c grange.Change) string {
	list := func(of map[string]int64) string {
		var all []string
		for _, r := range slices.Sorted(maps.Keys(of)) {
			all = append(all, quantity(r, c.Units[r], of[r]))
		}
		return strings.Join(all, ", ")
	}
	name = clean(name)
	switch ours, theirs := list(c.GivenOf), list(c.GivesOf); {
	case ours == "" && theirs == "":
		return ""
	case theirs == "":
		return fmt.Sprintf("In 30 days you give %s %s.", name, ours)
	case ours == "":
		return fmt.Sprintf("In 30 days %s gives you %s.", name, theirs)
	default:
		return fmt.Sprintf("In 30 days you give %s %s, and %s gives you %s.", name, ours, name, theirs)
	}
}

// quantity says how much of a resource: "5 kg of potatoes", "10 GB of network".
func quantity(resource, unit string, n int64) string {
	text := amountIn(core.Resource(resource), unit, n)
	if unit == "" {
		text += " of " + resource
	}
	return clean(text)
}

// promises returns what to say when pacts, and the codes that are out, come to more than this machine gives: then a partner
// would be refused what it was promised.
func promises(ctx context.Context, s *session) (warnings []string, err error) {
	offer, err := s.Offer(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range slices.Sorted(maps.Keys(offer.Promised)) {
		n, unit := offer.Promised[r], offer.Units[r]
		switch {
		case core.Resource(r) == core.Storage && n > offer.Total:
			warnings = append(warnings, fmt.Sprintf("With it %s are promised, and this machine gives %s in all. More is given by: grange offer", amount(n), amount(offer.Total)))
		case core.Resource(r) != core.Storage && n > offer.Of[r]:
			warnings = append(warnings, fmt.Sprintf("With it %s are promised, and this machine gives %s. More is given by config.toml, read when the agent starts: [offer] %s = %d", quantity(r, unit, n), quantity(r, unit, offer.Of[r]), r, n))
		}
	}
	return warnings, nil
}

// notes writes warnings, a line each, unless nobody wants words.
func (a *app) notes(warnings []string) {
	for _, text := range warnings {
		if !a.quiet {
			a.warn("%s", text)
		}
	}
}

// quiet zone around a QR code, in modules.
const qrMargin = 4

// drawQR draws a code with two modules a character. Without colours it is right on
// a dark terminal.
func drawQR(size int, black func(x, y int) bool, color bool) string {
	light := func(x, y int) bool {
		return x < 0 || y < 0 || x >= size || y >= size || !black(x, y)
	}
	var b strings.Builder
	for y := -qrMargin; y < size+qrMargin; y += 2 {
		if color {
			b.WriteString("\x1b[97;40m") // bright white on black, whatever the terminal's own colours
		}
		for x := -qrMargin; x < size+qrMargin; x++ {
			switch up, down := light(x, y), light(x, y+1); {
			case up && down:
				b.WriteRune('█')
			case up:
				b.WriteRune('▀')
			case down:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		if color {
			b.WriteString("\x1b[0m")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (c *acceptCommand) run(ctx context.Context, a *app) error {
	code := c.Code
	if code == "-" {
		var err error
		if code, err = readAll(ctx, a.in, lineSizeMax); err != nil {
			return fmt.Errorf("read the code: %w", err)
		}
	}
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		t, err := s.Terms(ctx, code)
		if err != nil {
			return err
		}
		a.tell("%s invites you. %s", clean(t.From), bargain(t.From, grange.Change{Gives: t.Want, Given: t.Give, GivesOf: t.WantOf, GivenOf: t.GiveOf, Units: t.Units}))
		for _, r := range slices.Sorted(maps.Keys(t.OwnUnits)) {
			a.warn("In this pact %s is counted in %s; here it is counted in %s, by config.toml.", clean(r), clean(t.Units[r]), clean(t.OwnUnits[r]))
		}
		if t.Days > 0 {
			a.tell("The pact is for %s, and ends by itself then.", count(int64(t.Days), "day", "days"))
		}
		a.tell("Promises are for %s; either side may end it with %s' notice.",
			count(int64(t.LeaseDays), "day", "days"), count(int64(t.NoticeDays), "day", "days"))
		yes, err := a.confirm(ctx, "Agree?", "an invitation is agreed to on a terminal")
		if err != nil {
			return err
		}
		if !yes {
			return &api.Error{Code: api.CodeFailed, Message: "not agreed; nothing was done"}
		}
		p, err := s.Accept(ctx, code)
		if err != nil {
			return err
		}
		a.value(p)
		a.tell("You and %s are partners.", clean(p.Name))
		a.checkWords(p)
		warnings, err := promises(ctx, s)
		if err != nil {
			return err
		}
		a.notes(warnings)
		a.tell("Next: grange keep PATH")
		return nil
	})
}

// pacts shows what there is with each partner.
func (a *app) pacts(pacts []grange.Pact, since bool) {
	head := []string{"PARTNER", "KEEPS FOR YOU", "YOU KEEP"}
	if since {
		head = append(head, "SINCE")
	}
	rows := [][]string{append(head, "SEEN")}
	for _, p := range pacts {
		row := []string{
			clean(p.Name), fmt.Sprintf("%s of %s", amount(p.Has), amount(p.Gives)), fmt.Sprintf("%s of %s", amount(p.Keeps), amount(p.Given)),
		}
		if since {
			row = append(row, date(p.Since, a.now()))
		}
		rows = append(rows, append(row, a.seen(p.Here, p.Away, p.Seen)))
	}
	a.table(rows...)
	for _, line := range a.changes(pacts, since) {
		a.say("%s", line)
	}
}

// seen says whether a partner or a machine is within reach, and when it was.
func (a *app) seen(here, away bool, at time.Time) string {
	switch {
	case here:
		return "here"
	case at.IsZero() && away:
		return "away"
	case at.IsZero():
		return "never"
	case away:
		return "away (seen " + age(a.now().Sub(at)) + " ago)"
	}
	return age(a.now().Sub(at)) + " ago"
}
