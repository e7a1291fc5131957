package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

type keepCommand struct {
	Path          string   `arg:"" name:"PATH" optional:"" placeholder:"PATH" help:"A file or directory. Without it, what is kept, and how that goes."`
	Every         span     `placeholder:"1h" default:"1h" help:"How long after one version the next is made: 30m, 12h, 7d."`
	Last          int      `placeholder:"7" default:"7" help:"So many of the newest versions stay,"`
	Daily         int      `placeholder:"30" default:"30" help:"and the last of so many days that have one,"`
	Monthly       int      `placeholder:"12" default:"12" help:"and of so many months."`
	Stop          bool     `help:"Keep PATH no more; its versions stay."`
	Name          string   `aside:"" placeholder:"N" help:"What it is stored under; else the last part of the path."`
	Exclude       []string `aside:"" placeholder:"GLOB" sep:"none" help:"Leave out what matches, as in .gitignore."`
	OneFileSystem bool     `aside:"" help:"Leave out what is mounted below PATH."`
}

func (keepCommand) detail() string {
	return `A running agent stores PATH now and again and again; files that have not changed are not read, and where nothing has, no version is made. Without a partner it waits for the first one. Given again, it changes how.

A PATH that has vanished, or is empty all of a sudden, as when its disk is not mounted, is an alarm and never a version; 'grange put' stores an empty directory all the same.`
}

func (c *keepCommand) run(ctx context.Context, a *app) error {
	if c.Path == "" {
		if c.asks() {
			return usage("PATH is missing", "grange keep --help")
		}
		return a.with(ctx, func(s *session) error { return listKept(ctx, a, s) })
	}
	abs, err := filepath.Abs(c.Path)
	if err != nil {
		return err
	}
	if !c.Stop && c.Last == 0 && c.Daily == 0 && c.Monthly == 0 {
		return usage("--last, --daily and --monthly are all 0: no version would stay", "")
	}
	in := api.KeepRequest{Keeping: grange.Keeping{Path: grange.Path(abs)}, Stop: c.Stop}
	if !c.Stop {
		in.Keeping = grange.Keeping{
			Path: grange.Path(abs), Name: c.Name, EverySeconds: int64(time.Duration(c.Every) / time.Second),
			Last: c.Last, Daily: c.Daily, Monthly: c.Monthly, OneFileSystem: c.OneFileSystem,
		}
		for _, pattern := range c.Exclude {
			in.Exclude = append(in.Exclude, grange.Path(pattern))
		}
	}
	return a.with(ctx, func(s *session) error {
		out, err := s.Keep(ctx, in)
		if err != nil {
			return err
		}
		a.value(out)
		if c.Stop {
			a.tell("%s is kept no more; its versions stay.", clean(out.Name))
			return nil
		}
		return a.begun(ctx, s, out)
	})
}

// asks tells whether anything is said that needs a PATH.
func (c *keepCommand) asks() bool {
	return c.Stop || c.Name != "" || len(c.Exclude) > 0 || c.OneFileSystem || c.Every != span(time.Hour) ||
		c.Last != 7 || c.Daily != 30 || c.Monthly != 12
}

// begun says what comes next of what is kept from now on.
func (a *app) begun(ctx context.Context, s *session, k grange.Kept) error {
	pacts, err := s.Pacts(ctx)
	if err != nil {
		return err
	}
	const waits = "It will start by itself. Next: "
	switch {
	case len(pacts) == 0 && !s.running:
		a.tell("Not stored yet: no partner. %sgrange service install, then grange invite", waits)
	case len(pacts) == 0:
		a.tell("Not stored yet: no partner. %sgrange invite", waits)
	case !s.running:
		a.tell("Not stored yet: no agent is running. %sgrange service install", waits)
	default:
		a.tell("%s is kept: it is stored now, and then every %s. grange keep shows how it goes.", clean(k.Name), every(k.EverySeconds))
	}
	return nil
}

// every returns a number of seconds in its largest whole unit: "1 h", "90 min", "7 days".
func every(seconds int64) string {
	for _, unit := range []struct {
		seconds   int64
		one, many string
	}{{24 * 3600, "day", "days"}, {3600, "h", "h"}, {60, "min", "min"}} {
		if seconds%unit.seconds == 0 {
			return count(seconds/unit.seconds, unit.one, unit.many)
		}
	}
	return number(seconds) + " s"
}

func listKept(ctx context.Context, a *app, s *session) error {
	out, err := s.Kept(ctx)
	if err != nil {
		return err
	}
	a.value(out)
	kept := out.Kept
	if len(kept) == 0 {
		a.say("Nothing is kept yet. Next: grange keep PATH")
		return nil
	}
	rows := [][]string{{"NAME", "PATH", "EVERY", "STORED", "VERSION", "NEXT"}}
	for _, k := range kept {
		rows = append(rows, a.keptRow(k, s.running))
	}
	a.table(rows...)
	a.keptTroubles(kept)
	switch {
	case !s.running:
		a.say("This machine is not running, so nothing is stored. Next: grange run")
	case out.Waits != "":
		a.say("Nothing is stored just now: %s.", clean(out.Waits))
	}
	return nil
}

func (a *app) keptRow(k grange.Kept, running bool) []string {
	stored, version, next := "never", "-", "-"
	if !k.Stored.IsZero() {
		stored = age(a.now().Sub(k.Stored)) + " ago"
	}
	switch {
	case k.Unchanged:
		version = fmt.Sprintf("%d, unchanged", k.Version)
	case k.Version > 0:
		version = fmt.Sprint(k.Version)
	}
	switch wait := k.Next.Sub(a.now()); {
	case !running:
	case k.Busy || wait <= 0:
		next = "now"
	default:
		next = "in " + age(wait)
	}
	return []string{clean(k.Name), clean(string(k.Path)), every(k.EverySeconds), stored, version, next}
}

// keptTroubles says what is not stored as it should be, alarms first.
func (a *app) keptTroubles(kept []grange.Kept) {
	kept = slices.Clone(kept)
	slices.SortStableFunc(kept, func(x, y grange.Kept) int {
		switch {
		case x.Alarm == y.Alarm:
			return 0
		case x.Alarm:
			return -1
		}
		return 1
	})
	for _, k := range kept {
		switch {
		case k.Trouble == "":
		case k.Alarm:
			a.say("%s", a.paint(red, fmt.Sprintf("ALARM: %s is not stored since %s: %s.", clean(k.Name), moment(k.Since, a.now()), clean(k.Trouble))))
		default:
			a.say("%s is not stored since %s: %s.", clean(k.Name), moment(k.Since, a.now()), clean(k.Trouble))
		}
		if len(k.Full) > 0 {
			a.tell("hint: %s", clean(api.MoreRoom(k.Full)))
		}
	}
}
