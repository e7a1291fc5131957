package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/face/api"
)

func (c *putCommand) run(ctx context.Context, a *app) error {
	if c.Name != "" && len(c.Paths) > 1 {
		return usage("--name is for one PATH", "without it each is stored under the last part of its path")
	}
	if slices.Contains(c.Paths, "") {
		return usage("a PATH is empty", "")
	}
	return a.with(ctx, func(s *session) error {
		done, worst := []grange.PutResult{}, error(nil)
		for _, path := range c.Paths {
			out, err := c.put(ctx, a, s, path)
			if out.Number > 0 || c.Seed != "" && out.Name != "" {
				done = append(done, out)
			}
			if err == nil {
				continue
			}
			if len(c.Paths) == 1 || ctx.Err() != nil {
				a.results(done)
				return err
			}
			code := a.report(err) // each at its place among the results
			if worst == nil {
				worst = reported(code)
			}
			if !goesOn(err) {
				break
			}
		}
		a.results(done)
		if worst != nil && len(done) > 0 {
			return reported(exitPartly)
		}
		return worst
	})
}

// goesOn tells whether the next path may fare better.
func goesOn(err error) bool {
	return errors.Is(err, grange.ErrPartly) || errors.Is(err, grange.ErrRefused) || api.ErrorOf(err).Code == api.CodeNotFound
}

// results writes all puts as one JSON value.
func (a *app) results(done []grange.PutResult) { a.value(done) }

func (c *putCommand) put(ctx context.Context, a *app, s *session, path string) (grange.PutResult, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return grange.PutResult{}, err
	}
	in := api.PutRequest{
		Path: grange.Path(abs), Name: c.Name, Data: c.Spread.data, Parity: c.Spread.parity, Quality: core.Quality(c.Quality), OneFileSystem: c.OneFileSystem,
	}
	for _, pattern := range c.Exclude {
		in.Exclude = append(in.Exclude, grange.Path(pattern))
	}
	if c.Seed != "" {
		seed, err := filepath.Abs(c.Seed)
		if err != nil {
			return grange.PutResult{}, err
		}
		in.Seed = grange.Path(seed)
	}
	bar := a.progress()
	out, err := s.Put(ctx, in, bar.tell)
	bar.end()
	if c.Seed != "" && err == nil {
		a.tell("Nothing to write: what is not stored is on a disk already. Next: grange put %s", api.Word(path))
	}
	c.carried(a, out)
	if out.Number > 0 {
		a.tell("%s, version %d: %s, %s. Stored %s new.", clean(out.Name), out.Number,
			count(out.Files, "file", "files"), amount(out.Bytes), amount(out.Stored))
	}
	if c.Spread.data > 0 && out.Same > 0 {
		a.tell("--spread is for what is new: %s were stored already, and stay as they are.", amount(out.Same))
	}
	a.problems(out.Special, a.note)
	say := a.warn
	if err == nil {
		say = a.note
	}
	a.problems(out.Problems, say)
	troubles(out.Refused, say)
	if out.Number > 0 {
		a.tell("%s", a.worth(out.Worth))
	}
	if err != nil && ctx.Err() != nil {
		return out, &api.Error{Code: api.CodeInterrupted, Message: "interrupted", Hint: "the next put of the same goes on from there"}
	}
	return out, err
}

// problemsShown bounds how many problems are listed.
const problemsShown = 20

// problems lists files and what is the matter with them.
func (a *app) problems(problems []grange.Problem, say func(string, ...any)) {
	for i, p := range problems {
		if i == problemsShown {
			say("and %d more", len(problems)-i)
			return
		}
		say("%s: %s", clean(strconv.Quote(string(p.Path))), clean(p.Err))
	}
}

// troubles says of each partner that was of no help why: the words follow its name.
func troubles(byName map[string]string, say func(string, ...any)) {
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		say("%s %s.", clean(name), clean(byName[name]))
	}
}

// worth says what a version is worth, apart from the original.
func (a *app) worth(w grange.Worth) string {
	safe := a.paint(green, "Safe now: "+w.Text+".")
	switch {
	case !w.Readable:
		return a.paint(red, "NOT SAFE: "+w.Text+".")
	case w.Survives <= 0 && len(w.At) < 2:
		return safe + " One copy, at " + clean(list(w.Vital)) + "."
	case w.Survives <= 0:
		return a.paint(red, "NO SPARE: "+w.Text+", but lose "+clean(either(w.Vital))+" and it is lost.")
	case w.Pieces < w.Wanted:
		return fmt.Sprintf("%s %s of %s pieces.", safe, number(int64(w.Pieces)), number(int64(w.Wanted)))
	}
	return safe
}
