package main

import (
	"context"
	"errors"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

// machineCommand is the commands that begin with machine.
type machineCommand struct {
	Add    machineAddCommand    `cmd:"" help:"this machine becomes one more of your household"`
	Revoke machineRevokeCommand `cmd:"" help:"shut a machine out: it was sold, lost or stolen"`
	List   machineListCommand   `cmd:"" help:"your household's machines"`
}

type machineAddCommand struct {
	phraseFlag
	Name string `placeholder:"N" help:"What this machine is called within your household. Else the host's name."`
	From string `required:"" placeholder:"CODE|ADDRESS" help:"A machine of your household, or of one partner: its address, as its 'grange run' shows it, or a code of a partner's 'grange invite'."`
}

func (machineAddCommand) detail() string {
	return `Run it on the new machine, on a new directory. All that your household has stored is there at once, and what either machine stores both have. If it is cut short, the same command goes on.

Where a machine was lost, 'grange recover' is right: it shuts the lost one out.`
}

type machineRevokeCommand struct {
	Which string `arg:"" name:"WHICH" placeholder:"WHICH" help:"Its name or its ID, as 'grange machine list' shows them."`
	phraseFlag
	gridFlag
}

func (machineRevokeCommand) detail() string {
	return `Run it on another machine of your household. What the machine has stored stays; it reads nothing that is stored from now on, and no partner who has heard of it lets it in. Partners who are away hear of it from your other machines' 'grange run', or when the same command is given again.`
}

type machineListCommand struct{ gridFlag }

func (c *machineAddCommand) run(ctx context.Context, a *app) error {
	if err := checkFrom(c.From); err != nil {
		return err
	}
	phrase, err := c.read(ctx, a)
	if err != nil {
		return err
	}
	config := a.config()
	config.Machine = c.Name
	bar := a.progress()
	out, err := grange.AddMachine(ctx, config, phrase, grange.AddOptions{From: c.From, Progress: bar.tell})
	bar.end()
	if err != nil {
		return a.unrecovered(ctx, err)
	}
	a.value(out)
	a.say("This machine is one of household %s.%s", clean(out.Household), a.agreed(out))
	troubles(out.Failed, a.note)
	a.found(out)
	a.tell("Next: grange run")
	return nil
}

func (c *machineRevokeCommand) run(ctx context.Context, a *app) error {
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		known, err := s.Machines(ctx)
		if err != nil {
			return err
		}
		phrase, err := c.read(ctx, a)
		if err != nil {
			return err
		}
		out, err := s.Revoke(ctx, api.RevokeRequest{Machine: c.Which, Phrase: phrase})
		if err != nil && !errors.Is(err, grange.ErrPartly) {
			return err
		}
		a.value(out)
		name := c.Which
		for _, m := range append(known.Machines, known.Removed...) {
			if m.ID == out.Machine && m.Name != "" {
				name = m.Name
			}
		}
		if out.Already {
			a.say("%s had been removed before.", clean(name))
		} else {
			a.say("%s is removed from the household.", clean(name))
		}
		if len(out.Told) > 0 {
			a.tell("%s no longer let it in.", clean(list(out.Told)))
		}
		troubles(out.Failed, a.warn)
		return err
	})
}

func (c *machineListCommand) run(ctx context.Context, a *app) error {
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		out, err := s.Machines(ctx)
		if err != nil {
			return err
		}
		a.value(out)
		rows := [][]string{{"MACHINE", "ID", "SEEN"}}
		for _, m := range out.Machines {
			seen := "this one"
			if !m.Self {
				seen = a.seen(m.Here, m.Away, m.Seen)
			}
			rows = append(rows, []string{clean(m.Name), m.Short, seen})
		}
		for _, m := range out.Removed {
			rows = append(rows, []string{clean(m.Name), m.Short, "removed"})
		}
		a.table(rows...)
		return nil
	})
}
