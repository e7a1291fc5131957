package main

import (
	"context"
	"path/filepath"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

type tableExportCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	File string `arg:"" name:"FILE" placeholder:"FILE" help:"Where to; it must not exist."`
}

func (tableExportCommand) detail() string {
	return `The file has every signed write that counts, but for what was erased, and what all of them make, attested. Whoever has it has the table, whether this machine is still there or not: 'grange table load' verifies it and goes on with it, and docs/table_reader.py, a short program in another language, shows its rows without any grange.

Who may write cannot be changed from it: the table's key stays here.`
}

type tableLoadCommand struct {
	File string `arg:"" name:"FILE" placeholder:"FILE" help:"What 'grange table export' has written."`
	As   string `placeholder:"NAME" help:"What it is called here; else what its owner calls it."`
}

func (tableLoadCommand) detail() string {
	return `Nobody need be online. All of it is checked, as if a stranger had sent it: each chain of writes, and that they make what the file says. Of a table that is kept here already it adds what is new.`
}

func (c *tableExportCommand) run(ctx context.Context, a *app) error {
	abs, err := filepath.Abs(c.File)
	if err != nil {
		return err
	}
	return a.with(ctx, func(s *session) error {
		out, err := s.ExportTable(ctx, api.ExportTableRequest{Name: c.Name, Dest: grange.Path(abs)})
		if err != nil {
			return err
		}
		a.value(out)
		a.say("Written to %s: %s of %s, %s.", clean(c.File), count(int64(out.Operations), "write", "writes"), count(int64(out.Writers), "writer", "writers"), amount(out.Bytes))
		a.say("Checkpoint %s", out.Checkpoint)
		return nil
	})
}

func (c *tableLoadCommand) run(ctx context.Context, a *app) error {
	abs, err := filepath.Abs(c.File)
	if err != nil {
		return err
	}
	return a.with(ctx, func(s *session) error {
		t, err := s.LoadTable(ctx, api.LoadTableRequest{Path: grange.Path(abs), As: c.As})
		if err != nil {
			return err
		}
		a.value(t)
		a.say("Table %s: %s, verified.", clean(t.Name), count(int64(t.Rows), "row", "rows"))
		a.say("Checkpoint %s", t.Checkpoint)
		return nil
	})
}
