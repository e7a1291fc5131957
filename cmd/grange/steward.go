package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

// stewards is how many people have a line, and how many of these suffice: "2/3".
type stewards struct{ need, of uint }

// UnmarshalText reads "2/3".
func (s *stewards) UnmarshalText(text []byte) error {
	k, n, _ := strings.Cut(string(text), "/")
	need, err := strconv.ParseUint(k, 10, 8)
	of, err2 := strconv.ParseUint(n, 10, 8)
	if err := errors.Join(err, err2); err != nil || grange.CheckStewards(uint(need), uint(of)) != nil {
		return fmt.Errorf("%.40q are no stewards; 2/3 is three people, of whom any two suffice; there are at most 32", text)
	}
	*s = stewards{uint(need), uint(of)}
	return nil
}

// foundedClub is what grid new prints with --json.
type foundedClub struct {
	founded
	Shares []string `json:"shares,omitempty"`
}

// splitting is what became of the words of a club that has stewards.
type splitting struct {
	lines []string
	// written are the files that have one each.
	written []string
}

// saver returns what shows or writes the stewards' lines in the place of the words.
func (p *splitting) saver(a *app, c *gridNewCommand) (func(string) error, error) {
	switch {
	case c.Stewards.of == 0:
		return nil, usage("--shares-dir is for the lines of --stewards", "")
	case c.PhraseFile != "":
		return nil, usage("--phrase-file and --stewards say two things: the words are for nobody", "")
	case inside(a.dir, c.SharesDir):
		return nil, usage("--shares-dir is in the directory that the lines are to outlive", "name one elsewhere")
	}
	return func(words string) error {
		var err error
		if p.lines, err = grange.SplitPhrase(words, c.Stewards.need, c.Stewards.of); err != nil {
			return err
		}
		if c.SharesDir != "" {
			return p.write(c.SharesDir, c.Name)
		}
		if a.json {
			return nil // they are in the value at the end
		}
		fmt.Fprintf(a.out, "Give each steward one of these lines, on paper; without %d of them a lost club stays lost:\n", c.Stewards.need)
		for _, line := range p.lines {
			fmt.Fprintln(a.out, line)
		}
		return a.out.err
	}, nil
}

// write puts each line into a file of its own.
func (p *splitting) write(dir, name string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for i, line := range p.lines {
		file := filepath.Join(dir, fmt.Sprintf("%s-%d.share", name, i+1))
		if err := writeSecret(file, line+"\n"); err != nil {
			return err
		}
		p.written = append(p.written, file)
	}
	return nil
}

// undo says what the lines of a club that was not founded are worth, and takes them away where they were written.
func (p *splitting) undo(err error) error {
	e := api.ErrorOf(err)
	for _, file := range p.written {
		_ = os.Remove(file) // the line opens nothing
	}
	if len(p.lines) > 0 && len(p.written) == 0 && e.Hint == "" {
		e.Hint = "nothing was made: the lines open nothing"
	}
	return e
}
