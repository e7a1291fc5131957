package main

import (
	"context"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

type tableShareCommand struct {
	Name  string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	Who   string `arg:"" name:"WHO|all" placeholder:"WHO|all" help:"A partner, by name or DID, and all its machines; a machine's DID; or everybody."`
	Read  bool   `help:"They may read it, and so keep it and answer for it."`
	Write bool   `help:"They may write, and read."`
	Stop  bool   `help:"They may no more: with --write only not write, with --read only not read, else neither."`
}

func (tableShareCommand) detail() string {
	return `Only where the table was made. The change reaches all who have the table, and each checks it by itself. What was written before a --stop stands, up to a number that is named in it; what was read was read.

Machines that a partner gets later are not let in by themselves: share it again.`
}

type tableQuotaCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	Who  string `arg:"" name:"WHO|all" placeholder:"WHO|all" help:"A partner, by name or DID, and each of its machines; a machine's DID; or whoever may write without being named."`
	Size size   `arg:"" name:"SIZE" placeholder:"SIZE" help:"How much a machine may write in all, deleted rows too: 10MB; 0 is any amount."`
}

func (tableQuotaCommand) detail() string {
	return `Every machine that keeps the table counts alike: what a writer signs beyond its quota counts nowhere. A write is its document and 214 bytes.`
}

func (c *tableShareCommand) run(ctx context.Context, a *app) error {
	if !c.Read && !c.Write && !c.Stop {
		return usage("say what they may", "--read or --write")
	}
	in := api.ShareTableRequest{Name: c.Name, Who: c.Who, TableShare: grange.TableShare{Read: c.Read, Write: c.Write, Stop: c.Stop}}
	if c.Stop && !c.Read && !c.Write {
		in.Read, in.Write = true, true
	}
	return a.with(ctx, func(s *session) error {
		t, err := s.ShareTable(ctx, in)
		if err != nil {
			return err
		}
		a.value(t)
		a.say("%s: may read: %s; may write: %s.", clean(t.Name), may(t, false), may(t, true))
		if c.Stop {
			return nil
		}
		if len(t.Addresses) == 0 || !s.running {
			a.tell("They join it while 'grange run' runs; grange table show %s says where.", api.Word(t.Name))
			return nil
		}
		a.tell("They join it: grange table join %s", t.Addresses[0])
		return nil
	})
}

func (c *tableQuotaCommand) run(ctx context.Context, a *app) error {
	quota := uint64(c.Size)
	return a.with(ctx, func(s *session) error {
		t, err := s.ShareTable(ctx, api.ShareTableRequest{Name: c.Name, Who: c.Who, TableShare: grange.TableShare{Quota: &quota}})
		if err != nil {
			return err
		}
		a.value(t)
		if quota == 0 {
			a.say("%s: %s may write any amount.", clean(t.Name), clean(c.Who))
			return nil
		}
		a.say("%s: %s may write %s each.", clean(t.Name), clean(c.Who), amount(int64(quota)))
		return nil
	})
}
