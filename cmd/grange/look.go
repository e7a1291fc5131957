package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

// nameAndPath reads NAME[/PATH]: no name has a slash.
func nameAndPath(text string) (name, at string, err error) {
	name, at, _ = strings.Cut(text, "/")
	at = strings.Trim(at, "/")
	if name == "" {
		return "", "", usage(fmt.Sprintf("%.80q begins with no name", text), "it is NAME or NAME/PATH; grange ls lists the names")
	}
	return name, at, nil
}

func (c *lsCommand) run(ctx context.Context, a *app) error {
	name, at, err := "", "", error(nil)
	if c.What != "" {
		if name, at, err = nameAndPath(c.What); err != nil {
			return err
		}
	}
	switch {
	case c.Versions && (at != "" || c.Version > 0):
		return usage("--versions is for a whole NAME", "")
	case c.Version > 0 && name == "":
		return usage("--version needs a NAME", "")
	}
	return a.with(ctx, func(s *session) error {
		if name == "" || c.Versions {
			return c.versions(ctx, a, s, name)
		}
		return list1(ctx, a, s, grange.Ref{Name: name, Version: uint64(c.Version), Path: at})
	})
}

// versions lists the newest version of each name, or every one.
func (c *lsCommand) versions(ctx context.Context, a *app, s *session, name string) error {
	versions, err := s.Versions(ctx, name)
	if err != nil {
		return err
	}
	if !c.Versions {
		versions = slices.CompactFunc(versions, func(x, y grange.Version) bool { return x.Name == y.Name })
	}
	a.value(versions)
	if len(versions) == 0 {
		a.tell("Nothing is stored yet. Next: grange keep PATH")
		return nil
	}
	a.versions(versions, c.Versions)
	return nil
}

func (a *app) versions(versions []grange.Version, machines bool) {
	head := []string{"NAME", "VERSION", "FILES", "SIZE", "STORED"}
	if machines {
		head = append(head, "BY")
	}
	rows := [][]string{head}
	for _, v := range versions {
		row := []string{clean(v.Name), fmt.Sprint(v.Number), number(v.Files), amount(v.Bytes), moment(v.Time, a.now())}
		if machines {
			row = append(row, v.Machine.Short())
		}
		rows = append(rows, row)
	}
	a.table(rows...)
}

// list1 lists one directory, or one file, as it comes in.
func list1(ctx context.Context, a *app, s *session, r grange.Ref) error {
	entries := []api.Entry{}
	out, err := s.List(ctx, r, func(e api.Entry) error {
		if a.json {
			entries = append(entries, e)
			return nil
		}
		kind, size, after := "-", amount(e.Size), ""
		switch e.Kind {
		case api.KindDir:
			kind, size, after = "d", "-", "/"
		case api.KindLink:
			kind, size, after = "l", "-", " -> "+clean(string(e.Target))
		}
		a.say("%s%s  %8s  %12s  %s%s", kind, e.Mode, size, moment(e.Time, a.now()), clean(string(e.Name)), after)
		return a.out.err
	})
	if err != nil {
		return err
	}
	out.Entries = entries
	a.value(out)
	return nil
}

func (c *getCommand) run(ctx context.Context, a *app) error {
	switch {
	case c.Ticket != "":
		return c.byTicket(ctx, a)
	case c.What == "":
		return usage("NAME is missing", "grange get --help")
	}
	name, at, err := nameAndPath(c.What)
	if err != nil {
		return err
	}
	dest := c.Dest
	if dest == "" {
		if dest = name; at != "" {
			dest = path.Base(at)
		}
		dest = "." + string(os.PathSeparator) + dest
	}
	abs, err := filepath.Abs(dest)
	if err != nil {
		return err
	}
	return a.with(ctx, func(s *session) error {
		bar := a.progress()
		out, err := s.Get(ctx, api.GetRequest{Name: name, Version: uint64(c.Version), Path: grange.Path(at), Dest: grange.Path(abs)}, bar.tell)
		bar.end()
		if out.Dest != "" {
			a.restored(out, path.Join(out.Version.Name, at), dest)
		}
		a.problems(out.Problems, a.warn)
		return err
	})
}

// restored says what was restored.
func (a *app) restored(out grange.RestoreResult, what, dest string) {
	a.value(out)
	a.tell("%s, version %d, restored to %s: %s, %s.", clean(what), out.Version.Number, clean(dest),
		count(out.Files, "file", "files"), amount(out.Bytes))
}
