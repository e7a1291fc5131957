package main

import (
	"context"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

type tableJoinCommand struct {
	Address string `arg:"" name:"ADDRESS|DID" placeholder:"ADDRESS|DID" help:"As 'grange table show' says it on a machine that has it; a DID alone, if a partner's machine has it."`
	As      string `placeholder:"NAME" help:"What it is called here; else what its owner calls it."`
	Only    string `placeholder:"QUERY" help:"Keep only the rows that fulfil these conditions."`
}

func (tableJoinCommand) detail() string {
	return `All that was written comes over and is checked: each signature chain, and what the table is, anew. Then this machine answers for itself, and for others. What is written later comes while 'grange run' runs, or by 'grange table sync'.

With --only a part is kept, as the machine asked has answered and proven; queries within it are answered here, also when nobody is within reach, and 'grange run' asks again for what is new.

A question alone needs no join: grange table query ADDRESS 'QUERY'.`
}

func (c *tableJoinCommand) run(ctx context.Context, a *app) error {
	if c.Only != "" {
		return c.part(ctx, a)
	}
	return a.with(ctx, func(s *session) error {
		bar := a.progress()
		t, err := s.JoinTable(ctx, api.JoinTableRequest{Address: c.Address, As: c.As}, bar.writes())
		bar.end()
		if t.Name == "" {
			return err
		}
		a.value(t)
		a.say("Joined %s: %s by %s.", clean(t.Name), count(int64(t.Rows), "row", "rows"), count(int64(t.Writers), "writer", "writers"))
		if !s.running {
			a.tell("What is written from now on comes while 'grange run' runs.")
		}
		return err
	})
}

// part begins to keep a part of a table.
func (c *tableJoinCommand) part(ctx context.Context, a *app) error {
	if err := a.checkQuery(c.Only); err != nil {
		return err
	}
	return a.with(ctx, func(s *session) error {
		p, err := s.JoinTablePart(ctx, api.TablePartRequest{JoinTableRequest: api.JoinTableRequest{Address: c.Address, As: c.As}, Only: c.Only})
		if err != nil {
			return err
		}
		a.value(p)
		a.say("Keeping %s of %s: %s.", count(int64(p.Rows), "row", "rows"), clean(p.Name), clean(p.Only))
		return nil
	})
}

// writes shows how many writes have come.
func (p *progress) writes() func(grange.Progress) {
	if p.a.json {
		return p.tell
	}
	var drawn time.Time
	return func(now grange.Progress) {
		if t := p.a.now(); t.Sub(drawn) >= drawEvery {
			drawn, now.Stage = t, count(now.Files, "write", "writes")+" fetched"
			p.tell(now)
		}
	}
}
