package main

import (
	"context"

	"github.com/grange-grid/grange"
)

// gridCommand is the commands that begin with grid.
type gridCommand struct {
	New  gridNewCommand  `cmd:"" help:"found a club, whose agent this machine hosts"`
	Show gridShowCommand `cmd:"" help:"the clubs that this machine hosts"`
}

type gridNewCommand struct {
	Name       string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called, of a to z, 0 to 9 and -."`
	PhraseFile string `placeholder:"F" help:"Write the words to this file, which must not exist, with mode 0600, and do not show them."`
}

func (gridNewCommand) detail() string {
	return `A club is a grid like your household, with words, a key, pacts and books of its own; its machine is in DIR/grids/NAME, and runs while this one does. It can neither read nor command your household, which joins like any other: by a code of 'grange invite --grid NAME'.

Lost with the disk, it comes back as a household does: 'grange recover --dir DIR/grids/NAME'.`
}

type gridShowCommand struct{}

func (c *gridNewCommand) run(ctx context.Context, a *app) error {
	words := initCommand{PhraseFile: c.PhraseFile}
	phrase, written := "", false
	save, err := words.saver(a, &phrase, &written)
	if err != nil {
		return err
	}
	return a.with(ctx, func(s *session) error {
		if err := grange.CreateClub(ctx, a.config(), c.Name, save); err != nil {
			return words.undo(err, phrase, written)
		}
		out, err := s.Host(ctx, c.Name)
		if err != nil {
			return err
		}
		made := founded{Household: out.Household, Grid: out.Grid, Machine: out.Machine}
		if c.PhraseFile == "" {
			made.Phrase = phrase
		}
		a.value(made)
		if c.PhraseFile != "" {
			a.tell("The 24 words are in %s. Without them a lost club stays lost.", clean(c.PhraseFile))
		}
		a.tell("Ready. Next: grange invite --grid %s --uses 50", c.Name)
		return nil
	})
}

func (c *gridShowCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		names, err := s.Grids(ctx)
		if err != nil {
			return err
		}
		a.value(names)
		if len(names) == 0 {
			a.say("No club is on this machine. Next: grange grid new NAME")
		}
		for _, name := range names {
			a.say("%s", name)
		}
		return nil
	})
}
