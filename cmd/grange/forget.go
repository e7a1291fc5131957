package main

import (
	"context"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

type rmCommand struct {
	Name    string        `arg:"" name:"NAME" placeholder:"NAME" help:"What to forget."`
	Version versionNumber `placeholder:"V" help:"This version alone; else all of them."`
}

func (rmCommand) detail() string {
	return `The files that were stored are left alone, and nothing is deleted at once: holders set aside what no other version uses, for 14 days in which they run, unless the pacts say otherwise. Until then 'grange undo' brings it back.`
}

type undoCommand struct {
	Name string `arg:"" name:"NAME" optional:"" placeholder:"NAME" help:"Of this name; else of all."`
}

func (undoCommand) detail() string {
	return `Brings back what the newest 'grange rm' removed; given again, what the one before did, and then what 'grange keep' has thinned out.`
}

func (c *rmCommand) run(ctx context.Context, a *app) error {
	if strings.Contains(c.Name, "/") {
		return usage("rm is for a whole NAME", "what was stored in a version stays in it")
	}
	return a.with(ctx, func(s *session) error {
		gone, err := s.Remove(ctx, api.RemoveRequest{Name: c.Name, Version: uint64(c.Version)})
		if len(gone) == 0 {
			return err
		}
		a.value(gone)
		a.tell("%s. This brings it back: grange undo %s", moved(c.Name, gone, "removed"), api.Word(c.Name))
		kept, failed := s.Kept(ctx)
		for _, k := range kept.Kept {
			if k.Name == c.Name && c.Version == 0 {
				a.note("%s is stored again when it is due; to stop that: grange keep --stop %s", clean(c.Name), api.Word(string(k.Path)))
			}
		}
		if err == nil {
			err = failed
		}
		return err
	})
}

func (c *undoCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		out, err := s.Undo(ctx, c.Name)
		if out.Name == "" {
			return err
		}
		a.value(out)
		if len(out.Versions) > 0 {
			a.tell("%s.", moved(out.Name, out.Versions, "back"))
		}
		for _, l := range out.Lost {
			a.warn("%s, version %d: %s", clean(l.Name), l.Number, clean(l.Err))
		}
		return err
	})
}

// moved says "docs, version 2, is back" or "docs, 3 versions, are back".
func moved(name string, versions []grange.Version, where string) string {
	if len(versions) == 1 {
		return clean(name) + ", version " + number(int64(versions[0].Number)) + ", is " + where
	}
	return clean(name) + ", " + number(int64(len(versions))) + " versions, are " + where
}
