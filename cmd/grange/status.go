package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/grange-grid/grange"
)

func (c *statusCommand) run(ctx context.Context, a *app) error {
	if c.Watch {
		return c.watch(ctx, a)
	}
	return c.once(ctx, a)
}

// watchEvery is how long after one look the next is.
const watchEvery = time.Second

// watch shows it whenever it has changed. Between two looks it lets go of the directory, which
// another command may want where no agent runs.
func (c *statusCommand) watch(ctx context.Context, a *app) error {
	last := ""
	for {
		var screen strings.Builder
		shown := *a
		shown.out = &checked{w: &screen}
		err := c.once(ctx, &shown)
		if err == nil && screen.String() != last {
			last = screen.String()
			text := last
			if a.outTerminal && !a.json { // from the top, and away with what was longer
				text = "\x1b[H" + strings.ReplaceAll(last, "\n", "\x1b[K\n") + "\x1b[J"
			}
			_, err = a.out.Write([]byte(text))
		}
		if ctx.Err() == nil && err == nil {
			err = pause(ctx, watchEvery)
		}
		switch {
		case ctx.Err() != nil:
			return reported(exitDone) // whoever watches has seen enough
		case a.out.err != nil:
			return nil
		case err != nil:
			return err
		}
	}
}

func (c *statusCommand) once(ctx context.Context, a *app) error {
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		out, err := s.Status(ctx, c.Name)
		if err != nil {
			return err
		}
		a.value(out)
		if !a.json {
			a.status(out)
		}
		return nil
	})
}

func (a *app) status(s grange.Status) {
	kind := "Household"
	if s.Club {
		kind = "Club"
	}
	a.say("%s %s. Giving %s, %s of it used; %s free.", kind, clean(s.Household), amount(s.Offer), amount(s.Used), amount(s.Free))
	switch {
	case s.Revoked != "":
		a.say("%s", a.paint(red, "This machine is no longer of the household: "+clean(s.Revoked)+"."))
	case !s.Running:
		a.say("This machine is not running, so nobody can reach it. Next: grange run")
	case len(s.Addrs) == 0:
		a.say("This machine is in no network, so nobody can reach it.")
	}
	if s.Policy != "" {
		a.say("%s", a.paint(red, clean(s.Policy)+". The rules from before stay in force: grange policy show"))
	}
	if len(s.Pacts)+len(s.Errands) == 0 {
		a.say("No partner yet. Next: grange invite")
	}
	if len(s.Pacts) > 0 {
		a.say("")
		a.pacts(s.Pacts, false)
	}
	a.errands(s.Errands)
	a.guests(s.Guests)
	a.restores(s.Work)
	blocks := blocksOf(s)
	switch {
	case len(blocks) > 0:
		a.blocks(blocks, s)
	case len(s.Carried) == 0:
		a.say("Nothing is stored yet. Next: grange keep PATH")
	}
	for _, name := range slices.Sorted(maps.Keys(s.Carried)) {
		a.say("Of %s a disk has %s. When they have taken it in: grange put PATH", clean(name), portions(s.Carried[name]))
	}
	a.keptTroubles(s.Kept)
	a.sum(s.Versions)
}

// sum says what it is worth in the end. What is worth too little was said of each.
func (a *app) sum(versions []grange.Version) {
	total := len(versions)
	versions = slices.DeleteFunc(slices.Clone(versions), func(v grange.Version) bool { return verdictBad(v.Worth) })
	if len(versions) > 0 {
		a.say("")
	}
	for _, same := range a.byWorth(versions) {
		if total == 1 {
			a.say("%s", a.worth(same[0].Worth))
			continue
		}
		var names []string
		for _, v := range same {
			names = append(names, clean(v.Name))
		}
		all := list(names) + ":"
		if len(all) <= a.width {
			a.say("%s %s", all, a.worth(same[0].Worth))
			continue
		}
		a.say("%s\n  %s", wrap(all, a.width, "  "), a.worth(same[0].Worth))
	}
}

// restores shows those under way.
func (a *app) restores(works []grange.Work) {
	begun := false
	for _, w := range works {
		if w.What != "get" {
			continue
		}
		if !begun {
			a.say("")
			begun = true
		}
		a.say("Restoring %s  %s", clean(w.Name), bar(w.Progress, a.now().Sub(w.Since)))
	}
}

// byWorth groups versions that are worth the same, those worth least first.
func (a *app) byWorth(versions []grange.Version) (groups [][]grange.Version) {
	sorted := slices.SortedStableFunc(slices.Values(versions), func(x, y grange.Version) int { return x.Worth.Survives - y.Worth.Survives })
	for _, v := range sorted {
		at := slices.IndexFunc(groups, func(g []grange.Version) bool { return a.worth(g[0].Worth) == a.worth(v.Worth) })
		if at < 0 {
			groups = append(groups, []grange.Version{v})
			continue
		}
		groups[at] = append(groups[at], v)
	}
	return groups
}
