package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/face/api"
)

// founded is what init prints with --json.
type founded struct {
	Household string   `json:"household"`
	Grid      core.DID `json:"grid"`
	Machine   core.DID `json:"machine"`
	Phrase    string   `json:"phrase,omitempty"`
}

func (c *initCommand) run(ctx context.Context, a *app) error {
	name := c.Name
	if name == "" {
		name = userName()
	}
	phrase, written := "", false
	save, err := c.saver(a, &phrase, &written)
	if err != nil {
		return err
	}
	conf := a.config()
	if err := a.vacant(ctx, conf); err != nil {
		return err
	}
	if err := grange.Create(ctx, conf, name, save); err != nil {
		return c.undo(err, phrase, written)
	}
	agent, err := grange.Open(ctx, conf)
	if err != nil {
		return a.explain(ctx, err)
	}
	err = c.welcome(ctx, a, agent, phrase)
	return errors.Join(err, agent.Close())
}

// saver returns what shows or writes the words of something new, and tells what became of them.
func (c *initCommand) saver(a *app, phrase *string, written *bool) (func(string) error, error) {
	if c.PhraseFile == "-" {
		return nil, usage("--phrase-file is a file to write, and - is none", "without it the words are shown, on stdout")
	}
	if inside(a.dir, c.PhraseFile) {
		return nil, usage("--phrase-file is in the directory that the words are to outlive", "name a file elsewhere")
	}
	return func(words string) error {
		*phrase = words
		switch {
		case c.PhraseFile != "":
			err := writeSecret(c.PhraseFile, words+"\n")
			*written = !errors.Is(err, fs.ErrExist)
			return err
		case a.json:
			return nil // it is in the value at the end
		}
		fmt.Fprintln(a.out, "Write these 24 words on paper; without them a lost machine stays lost:")
		fmt.Fprint(a.out, columns(strings.Fields(words)))
		return a.out.err
	}, nil
}

// vacant refuses a directory that has a household.
func (a *app) vacant(ctx context.Context, conf grange.Config) error {
	agent, err := grange.Open(ctx, conf)
	if errors.Is(err, grange.ErrNoHousehold) {
		return nil
	}
	if err == nil {
		err = agent.Close()
	}
	if err == nil || errors.Is(err, grange.ErrLocked) {
		return &api.Error{Code: api.CodeExists, Message: a.dir + " has a household already", Hint: "grange status shows it; --dir names another directory"}
	}
	return err
}

// inside tells whether words would be written into a directory: it would not be empty any more, and be
// lost with them.
func inside(dir, file string) bool {
	if file == "" {
		return false
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return false // writing it will say so
	}
	rel, err := filepath.Rel(dir, file)
	return err == nil && filepath.IsLocal(rel)
}

// undo says what words are worth that a household was not made with, and takes them away where they were written.
func (c *initCommand) undo(err error, phrase string, written bool) error {
	e := api.ErrorOf(err)
	if e.Code == api.CodeExists && e.Hint == "" {
		e.Hint = "--dir names another directory, one that is new or empty"
	}
	if phrase == "" {
		return e
	}
	if c.PhraseFile == "" {
		e.Hint = "nothing was made: cross out the words"
	} else if written {
		_ = os.Remove(c.PhraseFile) // the words open nothing
	}
	return e
}

func (c *initCommand) welcome(ctx context.Context, a *app, agent *grange.Agent, phrase string) error {
	s, err := agent.Status(ctx, "")
	if err != nil {
		return err
	}
	out := founded{Household: s.Household, Grid: s.Grid, Machine: s.Machine}
	if c.PhraseFile == "" {
		out.Phrase = phrase
	}
	a.value(out)
	if c.PhraseFile != "" {
		a.tell("The 24 words are in %s. Without them a lost machine stays lost.", clean(c.PhraseFile))
	}
	a.tell("Ready. Giving up to %s of %s free.", amount(s.Offer), amount(s.Free))
	a.tell("Next: grange service install, then grange invite")
	return nil
}

// columns numbers words, in four columns.
func columns(words []string) string {
	const across = 4
	var b strings.Builder
	for i, w := range words {
		end := ""
		if i%across == across-1 || i == len(words)-1 {
			end = "\n"
			fmt.Fprintf(&b, "  %2d %s%s", i+1, w, end)
			continue
		}
		fmt.Fprintf(&b, "  %2d %-10s", i+1, w)
	}
	return b.String()
}

// writeSecret writes a file that only this user can read, and that did not exist.
func writeSecret(name, text string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &api.Error{Code: api.CodeExists, Message: clean(name) + " exists: nothing was written", Hint: "name a file that does not exist"}
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(name) // what is left of it is no use
		return err
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes the name of a new file last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	// Some systems cannot sync a directory; then the file was synced at least.
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrInvalid) {
		return errors.Join(err, d.Close())
	}
	return d.Close()
}

// userName is what a household is called unless told otherwise.
func userName() string {
	name := os.Getenv("USER")
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	name = name[strings.LastIndexByte(name, '\\')+1:] // Windows has the domain before it
	if strings.TrimSpace(name) == "" {
		return "household"
	}
	return name
}
