package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

type ticketCommand struct {
	Name    string        `arg:"" name:"NAME" optional:"" placeholder:"NAME" help:"What it lets read."`
	Version versionNumber `placeholder:"V" help:"This version; else the newest."`
	Days    int           `placeholder:"30" default:"30" help:"For how many days it is good, 366 at most."`
	Stop    bool          `help:"Stop all tickets of NAME."`
	List    bool          `help:"Those that have not lapsed, of NAME or of all; their lines are kept nowhere."`
}

func (ticketCommand) detail() string {
	return `Prints one line. Whoever has it restores that version by 'grange get --ticket FILE', without a pact or a household and while this machine is off, from those who hold it. It is a secret like the files: hand it on as you would hand on them.

Until it lapses its holders keep what it reads, also after 'grange rm'. Stopping works at each holder from when it has heard of it, which takes this machine, or another of yours, and until then a date is what ends it; what was read was read. A machine that is removed from your household ends the tickets that it has made. A holder that gets pieces later than the ticket was made is not asked.`
}

const ticketDaysMax = 366

func (c *ticketCommand) run(ctx context.Context, a *app) error {
	switch {
	case c.List && (c.Stop || c.Version > 0):
		return usage("--list is for itself, or with a NAME", "")
	case c.Name == "" && !c.List:
		return usage("NAME is missing", "grange ls lists the names")
	case c.Stop && c.Version > 0:
		return usage("--stop is for a whole NAME", "")
	case c.Days < 1 || c.Days > ticketDaysMax:
		return usage(fmt.Sprintf("--days is 1 to %d", ticketDaysMax), "")
	}
	return a.with(ctx, func(s *session) error {
		switch {
		case c.List:
			return c.list(ctx, a, s)
		case c.Stop:
			return c.stop(ctx, a, s)
		}
		out, err := s.Ticket(ctx, api.TicketRequest{Name: c.Name, Version: uint64(c.Version), Seconds: int64(c.Days) * 24 * 60 * 60})
		if err != nil {
			return err
		}
		a.value(out)
		a.note("Whoever has this line reads %s, version %d, until %s: grange get --ticket FILE", clean(out.Name), out.Number, moment(out.Until, a.now()))
		a.say("%s", out.Line)
		return nil
	})
}

func (c *ticketCommand) list(ctx context.Context, a *app, s *session) error {
	tickets, err := s.Tickets(ctx, c.Name)
	if err != nil {
		return err
	}
	a.value(tickets)
	if len(tickets) == 0 {
		a.tell("There is no ticket. Next: grange ticket NAME")
		return nil
	}
	rows := [][]string{{"NAME", "VERSION", "MADE", "UNTIL", ""}}
	for _, t := range tickets {
		stopped := ""
		if t.Stopped {
			stopped = "stopped"
		}
		rows = append(rows, []string{clean(t.Name), fmt.Sprint(t.Number), moment(t.Time, a.now()), moment(t.Until, a.now()), stopped})
	}
	a.table(rows...)
	return nil
}

func (c *ticketCommand) stop(ctx context.Context, a *app, s *session) error {
	stopped, err := s.StopTickets(ctx, c.Name)
	if len(stopped) > 0 {
		a.value(stopped)
		a.tell("%s of %s stopped.", count(int64(len(stopped)), "ticket", "tickets"), clean(c.Name))
	}
	return err
}

// byTicket restores what a ticket is for: it needs no agent.
func (c *getCommand) byTicket(ctx context.Context, a *app) error {
	if c.Dest != "" || c.Version > 0 {
		return usage("a ticket is for one version, all of it", "grange get --ticket FILE [DEST]")
	}
	line, err := readTicket(ctx, a, c.Ticket)
	if err != nil {
		return err
	}
	if err := grange.CheckTicket(line); err != nil && !errors.Is(err, grange.ErrVersion) {
		return usage(api.ErrorOf(err).Message, "copy the whole line again, from GRANGE-TICKET: to its end")
	}
	dest := c.What
	if dest != "" {
		if dest, err = filepath.Abs(dest); err != nil {
			return err
		}
	}
	bar := a.progress()
	out, err := grange.RestoreTicket(ctx, grange.Config{}, line, dest, &grange.RestoreOptions{Progress: bar.tell})
	bar.end()
	if out.Version.Number > 0 && (err == nil || errors.Is(err, grange.ErrPartly)) {
		a.restored(out, out.Version.Name, cmp.Or(c.What, "."+string(os.PathSeparator)+out.Version.Name))
	}
	a.problems(out.Problems, a.warn)
	return notRestored(out, err)
}

// readTicket reads a ticket from a file, or from stdin: on a command line others would see it.
func readTicket(ctx context.Context, a *app, name string) (string, error) {
	from := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", fmt.Errorf("--ticket: %s: %w", clean(name), cause(err))
		}
		defer f.Close()
		from = io.Reader(f)
	}
	line, err := readAll(ctx, from, grange.TicketLineSizeMax)
	if err != nil {
		return "", fmt.Errorf("read the ticket: %w", err)
	}
	return line, nil
}

// notRestored says why a ticket did not give all that it is for.
func notRestored(out grange.RestoreResult, err error) error {
	if err == nil {
		return nil
	}
	e := api.ErrorOf(err)
	d, refused := errors.AsType[*grange.Denial](err)
	_, few := errors.AsType[*grange.TooFew](err)
	switch {
	case e.Code == api.CodePartly:
		return api.Partly(out, "try again when whoever is away is back")
	case e.Code == api.CodeExists:
		return api.Exists(string(out.Dest))
	case e.Code == api.CodeFull:
		return api.NoRoom(string(out.Dest))
	case refused:
		e.Message, e.Hint = d.Reason, "ask whoever gave it for a new one"
	case e.Code == api.CodeUnreachable && !few:
		e.Message, e.Hint = "nobody who has it can be reached", "try again when any of them is back; the ticket names no others"
	case e.Code == api.CodeUnreachable:
		e.Hint = "try again when whoever is away is back"
	}
	return e
}
