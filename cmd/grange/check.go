package main

import (
	"context"
	"fmt"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

func (c *checkCommand) run(ctx context.Context, a *app) error {
	if c.Now && !c.Mend {
		return usage("--now is for --mend: it counts what is away as lost", "grange check --mend --now")
	}
	return a.with(ctx, func(s *session) error {
		bar := a.progress()
		out, err := s.Check(ctx, api.CheckRequest{Name: c.Name, Mend: c.Mend, Now: c.Now}, bar.tell)
		bar.end()
		if out.Findings != nil {
			a.value(out)
			a.findings(out)
		}
		return err
	})
}

func (a *app) findings(out grange.CheckResult) {
	if out.Segments == 0 {
		a.say("Nothing is stored yet. Next: grange keep PATH")
		return
	}
	rows := [][]string{{"PARTNER", "PROVEN", "MISSING", "ROTTEN", "AWAY"}}
	for _, f := range out.Findings {
		rows = append(rows, []string{
			clean(f.Partner), number(int64(f.OK)), number(int64(f.Missing + f.Gone)), number(int64(f.Corrupt)), number(int64(f.Away)),
		})
	}
	a.table(rows...)
	for _, f := range out.Findings {
		again := out.Mended != nil && out.Mended.Refused[f.Partner] == f.Err // told below
		if f.Err != "" && !again && !a.quiet {
			a.warn("%s %s.", clean(f.Partner), clean(f.Err))
		}
	}
	if out.Unheld > 0 {
		a.say("%s no holder.", count(int64(out.Unheld), "piece has", "pieces have"))
	}
	if m := out.Mended; m != nil {
		a.say("%s", mended(*m))
		troubles(m.Refused, a.note)
	}
	a.say("%s", a.worth(out.Worth))
	if m, w := out.Mended, out.Worth; m != nil && m.Segments == 0 && w.Readable && w.Survives <= 0 {
		a.tell("Spare comes with one partner more: grange invite")
	}
}

// mended says what a mending came to.
func mended(m grange.MendResult) string {
	if m.Segments == 0 {
		return "Nothing to mend."
	}
	return fmt.Sprintf("Mended: %s made anew; %d of %s whole.", count(int64(m.Pieces), "piece", "pieces"),
		m.Whole, count(int64(m.Segments), "segment is", "segments are"))
}
