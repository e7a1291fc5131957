package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

type takeInCommand struct {
	Disk string `arg:"" name:"DISK" placeholder:"DISK" help:"The directory to which your partner has written, as it is mounted here."`
}

func (takeInCommand) detail() string {
	return `Looks for what 'grange put --seed' of a partner has written for this machine, says whose it is and how much, and takes it in when you agree: as much as your offer and the pact allow, each piece checked. What is for other machines is passed over. It goes on where it was cut short.

It is kept for 30 days, or for as long as your partner's next 'grange put' asks for. A place that cannot be read is named, the rest is taken in, and the exit code is 5: what is missing your partner's put sends.`
}

func (c *takeInCommand) run(ctx context.Context, a *app) error {
	abs, err := filepath.Abs(c.Disk)
	if err != nil {
		return err
	}
	dir := grange.Path(abs)
	return a.with(ctx, func(s *session) error {
		there, err := s.Carried(ctx, dir)
		if err != nil {
			return err
		}
		if len(there.From) == 0 {
			a.problems(there.Problems, a.warn)
			return c.nothing(ctx, s, there)
		}
		for _, from := range there.From {
			a.tell("%s brings %s for you to keep.", clean(from.Partner), amount(from.Bytes))
		}
		if n := len(there.Others); n > 0 {
			a.tell("What is for %s is passed over.", count(int64(n), "other machine", "other machines"))
		}
		yes, err := a.confirm(ctx, "Take it in?", "a disk is taken in on a terminal")
		if err != nil {
			return err
		}
		if !yes {
			return &api.Error{Code: api.CodeFailed, Message: "not agreed; nothing was done"}
		}
		bar := a.progress()
		out, err := s.TakeIn(ctx, dir, bar.tell)
		bar.end()
		if len(out.From)+out.ProblemCount > 0 {
			a.value(out)
			c.show(a, out)
		}
		if err != nil && ctx.Err() != nil {
			return &api.Error{Code: api.CodeInterrupted, Message: "interrupted", Hint: "the same command goes on from there"}
		}
		return err
	})
}

// nothing is the error of a disk with nothing for this machine.
func (c *takeInCommand) nothing(ctx context.Context, s *session, there grange.TakeInResult) error {
	e := &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("nothing for this machine on %s", clean(c.Disk)), Hint: "a partner writes it: grange put PATH --seed DIR"}
	if len(there.Problems) > 0 {
		e.Message, e.Hint = fmt.Sprintf("what %s has for this machine cannot be taken in", clean(c.Disk)), "your partner writes it again: grange put PATH --seed DIR; or sends it: grange put PATH"
		return e
	}
	if len(there.Others) == 0 {
		return e
	}
	e.Hint = "it has something for " + count(int64(len(there.Others)), "other machine", "other machines")
	ours, err := s.Machines(ctx)
	if err != nil {
		return err
	}
	for _, m := range ours.Machines {
		if slices.Contains(there.Others, grange.Path(strings.TrimPrefix(m.ID.String(), "did:key:"))) {
			e.Hint = fmt.Sprintf("it is for another of your machines, %s: take it there", clean(cmp.Or(m.Name, m.Short)))
		}
	}
	return e
}

func (c *takeInCommand) show(a *app, out grange.TakeInResult) {
	for _, from := range out.From {
		known := ""
		if from.Known > 0 {
			known = fmt.Sprintf(" %s there already.", count(int64(from.Known), "was", "were"))
		}
		until := ""
		if from.Pieces > 0 {
			until = fmt.Sprintf(" Kept until %s; the next put of %s makes it longer.", date(from.Until, a.now()), clean(from.Partner))
		}
		a.tell("Taken in of %s: %s, %s.%s%s", clean(from.Partner), count(int64(from.Pieces), "piece", "pieces"), amount(from.Stored), known, until)
	}
	a.problems(out.Problems, a.warn)
	if more := out.ProblemCount - len(out.Problems); more > 0 {
		a.warn("and %s more", number(int64(more)))
	}
}

// carried says what is on disks for whom.
func (c *putCommand) carried(a *app, out grange.PutResult) {
	if len(out.Carried) == 0 {
		return
	}
	a.tell("Written to %s: %s.", clean(c.Seed), portions(out.Carried))
}

// portions returns "38 GB for bo, 38 GB for cleo".
func portions(of map[string]int64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s for %s", amount(of[name]), clean(name)))
	}
	return strings.Join(parts, ", ")
}
