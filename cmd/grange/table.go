package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

// tableCommand is the commands that begin with table.
type tableCommand struct {
	Create  tableCreateCommand  `cmd:"" help:"make a table"`
	List    tableListCommand    `cmd:"" help:"the tables that are kept here"`
	Show    tableShowCommand    `cmd:"" help:"what a table is, who may do what, and where others join it"`
	Put     tablePutCommand     `cmd:"" help:"write a row: one JSON document"`
	Import  tableImportCommand  `cmd:"" help:"write many rows from a file"`
	Delete  tableDeleteCommand  `cmd:"" help:"delete rows; the history keeps what they were"`
	Erase   tableEraseCommand   `cmd:"" help:"delete for good what was written to a row"`
	Query   tableQueryCommand   `cmd:"" help:"ask a table, here or at a stranger, and check the answer"`
	Verify  tableVerifyCommand  `cmd:"" help:"check an answer that was saved"`
	History tableHistoryCommand `cmd:"" help:"who has written what to a row"`
	Watch   tableWatchCommand   `cmd:"" help:"the rows that change, as they do"`
	Join    tableJoinCommand    `cmd:"" help:"keep a table that another machine has"`
	Export  tableExportCommand  `cmd:"" help:"write all that a table is to a file"`
	Load    tableLoadCommand    `cmd:"" help:"keep a table that was exported"`
	Leave   tableLeaveCommand   `cmd:"" help:"keep a table no more"`
	Share   tableShareCommand   `cmd:"" help:"let somebody read or write a table"`
	Quota   tableQuotaCommand   `cmd:"" help:"how much somebody may write"`
	Index   tableIndexCommand   `cmd:"" help:"add an index to a table, or drop one"`
	Sync    tableSyncCommand    `cmd:"" help:"bring a table level with the others that have it, now"`
	Attest  tableAttestCommand  `cmd:"" help:"sign what a table is here"`
	Forks   tableForksCommand   `cmd:"" help:"who was caught signing two things under one number"`
}

type tableCreateCommand struct {
	Name   string   `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called; others can call it otherwise."`
	Index  []string `placeholder:"F[,F]" sep:"none" help:"Rows are to be found, and ordered, by this field, or these; a list in it counts with each of its elements. Again for more."`
	Unique []string `placeholder:"F[,F]" sep:"none" help:"Likewise; of rows with the same values the first one holds them, and the others are shown as losers."`
	Fold   []string `placeholder:"FIELD=HOW" sep:"none" help:"When several write one row, this field is made of what all of them have there: set (the lists together), counter (the sum) or multi (all values). Else the last writer's row counts."`
}

func (tableCreateCommand) detail() string {
	return `A table has rows, each a JSON document under a key, written by your machines and by whom you let: grange table share. What each writes is signed. Whoever may read it can keep it all, write while offline, and answer questions about it, also to those who trust them not at all: an answer proves itself.

Indexes can come later: 'grange table query' says which one would have helped. What @key, @author and @time are every row has; an index can have them too.`
}

type tableListCommand struct{}

type tableShowCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
}

type tableLeaveCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
}

func (tableLeaveCommand) detail() string {
	return `Drops the table from this machine. What others keep of it they keep. Of a table that was made here the key goes too: nobody can share it, or stop that, any more.`
}

type tableIndexCommand struct {
	Name   string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	Fields string `arg:"" name:"F[,F]" placeholder:"F[,F]" help:"By this field, or these, rows are to be found and ordered."`
	Unique bool   `help:"Of rows with the same values the first one holds them."`
	Drop   bool   `help:"Take away the index that there is."`
}

func (tableIndexCommand) detail() string {
	return `Only where the table was made. All who keep the table make its trees anew, from what was written; of a large one that takes a while.`
}

type tableSyncCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
}

type tableAttestCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
}

func (tableAttestCommand) detail() string {
	return `Signs the table's checkpoint, a score of all that it is: this machine has made it from what was written, and left nothing out. Answers are proven relative to such words. The owner's machines give theirs by themselves; of others' it counts for those who say so: grange table query --trust DID.`
}

type tableForksCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
}

func (tableForksCommand) detail() string {
	return `A writer signs its writes in a row, with numbers. One that has signed two with one number has told different people different things; what it wrote before that counts, and nothing after. The evidence is both, signed: it convinces anybody, and goes from machine to machine by itself. A machine that was put back to an old copy of its disk looks the same.

A machine that keeps the table signs what it is. Others ask it now and then for rows that they choose at random: one that has left a write out of what it has signed is shown here too, with the evidence. Trust its answers no more.`
}

func (c *tableCreateCommand) run(ctx context.Context, a *app) error {
	in := grange.NewTable{Name: c.Name, Indexes: c.Index, Unique: c.Unique, Folds: map[string]string{}}
	for _, f := range c.Fold {
		field, how, ok := strings.Cut(f, "=")
		if !ok || field == "" || !slices.Contains([]string{"set", "counter", "multi"}, how) {
			return usage(fmt.Sprintf("--fold %.80q says not how", clean(f)), "--fold FIELD=set, FIELD=counter or FIELD=multi")
		}
		if in.Folds[field] != "" {
			return usage("--fold "+clean(field)+" stands twice", "")
		}
		in.Folds[field] = how
	}
	return a.with(ctx, func(s *session) error {
		t, err := s.CreateTable(ctx, in)
		if err != nil {
			return err
		}
		a.value(t)
		a.say("Table %s: %s", clean(t.Name), t.ID)
		a.tell("Next: grange table put %s KEY < doc.json", api.Word(t.Name))
		return nil
	})
}

func (c *tableListCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		all, err := s.Tables(ctx)
		if err != nil {
			return err
		}
		a.value(all)
		if len(all.Tables)+len(all.Parts) == 0 {
			a.tell("There is no table here. Next: grange table create NAME")
			return nil
		}
		rows := [][]string{{"TABLE", "ROWS", "WRITERS", "MAY READ", "MAY WRITE", ""}}
		for _, t := range all.Tables {
			whose := "joined"
			if t.Owned {
				whose = "yours"
			}
			if t.Checkpoint == "" {
				whose += ", nothing of it has come yet"
			}
			rows = append(rows, []string{clean(t.Name), number(int64(t.Rows)), number(int64(t.Writers)), may(t, false), may(t, true), whose})
		}
		for _, p := range all.Parts {
			rows = append(rows, []string{clean(p.Name), number(int64(p.Rows)), "", "", "", "only " + clean(p.Only)})
		}
		a.table(rows...)
		return nil
	})
}

// may says who may read a table, or write it.
func may(t grange.Table, write bool) string {
	if t.WriteAll || t.ReadAll && !write {
		return "everybody"
	}
	var names []string
	for _, g := range t.Grants {
		if name := grantee(g); (g.Write || !write) && !g.Stopped && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "nobody"
	}
	slices.Sort(names)
	return list(names)
}

func grantee(g grange.TableGrant) string {
	if g.Label != "" {
		return clean(g.Label)
	}
	return g.Machine.Short()
}

func (c *tableShowCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		t, err := s.Table(ctx, c.Name)
		if err != nil {
			return err
		}
		a.value(t)
		a.showTable(t, s.running)
		return nil
	})
}

// showTable says what a table is.
func (a *app) showTable(t grange.Table, running bool) {
	a.say("Table %s: %s", clean(t.Name), t.ID)
	if t.Checkpoint == "" {
		a.say("Nothing of it has come yet.")
		return
	}
	a.say("%s by %s; %s deleted or erased.", count(int64(t.Rows), "row", "rows"), count(int64(t.Writers), "writer", "writers"), number(int64(t.Deleted)))
	for _, x := range t.Indexes {
		a.say("  index %s", clean(x))
	}
	for _, field := range slices.Sorted(maps.Keys(t.Folds)) {
		a.say("  %s of several writers: %s", clean(field), clean(t.Folds[field]))
	}
	a.say("May read: %s. May write: %s.", may(t, false), may(t, true))
	for _, g := range t.Grants {
		switch {
		case g.Stopped:
			a.say("  %s wrote up to number %s, and may no more", grantee(g), number(int64(g.Until)))
		case g.Write && g.Quota > 0:
			a.say("  %s may write %s", grantee(g), amount(int64(g.Quota)))
		}
	}
	if t.Quota > 0 {
		a.say("  anybody else may write %s each", amount(int64(t.Quota)))
	}
	for _, author := range slices.Sorted(maps.Keys(t.Stuck)) {
		a.say("  what %s writes does not count: %s", writer(t, author), clean(t.Stuck[author]))
	}
	a.say("Checkpoint: %s", t.Checkpoint)
	if t.Owned {
		a.say("Its key is on this machine.")
	}
	if !running {
		a.say("Others join it while 'grange run' runs.")
		return
	}
	for _, addr := range t.Addresses {
		a.say("Join it: grange table join %s", addr)
	}
}

// writer is who has that DID, as the table's grants say.
func writer(t grange.Table, author string) string {
	for _, g := range t.Grants {
		if g.Machine.String() == author {
			return grantee(g)
		}
	}
	return author
}

func (c *tableLeaveCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		t, err := s.Table(ctx, c.Name)
		if errors.Is(err, fs.ErrNotExist) {
			err, t.Name = nil, c.Name // perhaps it is a part, which is had again any time
			a.yes = true
		}
		if err != nil {
			return err
		}
		question := fmt.Sprintf("Drop %s, %s?", clean(t.Name), count(int64(t.Rows), "row", "rows"))
		if t.Owned {
			question = fmt.Sprintf("Drop %s, %s, and its key, which is nowhere else?", clean(t.Name), count(int64(t.Rows), "row", "rows"))
		}
		if yes, err := a.confirm(ctx, question, "a table is dropped on a terminal, where you are asked"); err != nil || !yes {
			return cmpErr(err, &api.Error{Code: api.CodeFailed, Message: "nothing was done"})
		}
		if err := s.LeaveTable(ctx, c.Name); err != nil {
			return err
		}
		a.value(api.TableRequest{Name: t.Name})
		a.tell("%s is not kept here any more.", clean(t.Name))
		return nil
	})
}

// cmpErr returns the first error that is one.
func cmpErr(err error, other *api.Error) error {
	if err != nil {
		return err
	}
	return other
}

func (c *tableIndexCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		t, err := s.IndexTable(ctx, api.IndexTableRequest{Name: c.Name, Fields: c.Fields, Unique: c.Unique, Drop: c.Drop})
		if err != nil {
			return err
		}
		a.value(t)
		if len(t.Indexes) == 0 {
			a.say("%s has no index.", clean(t.Name))
			return nil
		}
		a.say("%s has these indexes:", clean(t.Name))
		for _, x := range t.Indexes {
			a.say("  %s", clean(x))
		}
		return nil
	})
}

func (c *tableSyncCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		out, err := s.SyncTable(ctx, c.Name)
		if err != nil {
			return err
		}
		a.value(out)
		a.say("%s is level with %s: %s by %s.", clean(out.Name), count(int64(out.Reached), "other machine", "other machines"),
			count(int64(out.Rows), "row", "rows"), count(int64(out.Writers), "writer", "writers"))
		return nil
	})
}

func (c *tableAttestCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		out, err := s.AttestTable(ctx, c.Name)
		if err != nil {
			return err
		}
		a.value(out)
		a.say("Signed: checkpoint %s, by %s.", out.Checkpoint, out.Machine)
		if !out.Counts {
			a.tell("It counts for those who say so: grange table query --trust %s", out.Machine)
		}
		return nil
	})
}

func (c *tableForksCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		all, err := s.TableForks(ctx, c.Name)
		if err != nil {
			return err
		}
		a.value(all)
		for _, f := range all.Forks {
			a.say("%s has signed two writes with number %s; what it wrote before counts. Evidence: %x", namedMachine(f.Name, f.Author), number(int64(f.Seq)), f.Evidence)
		}
		for _, o := range all.Omissions {
			a.say("%s has left out write %s of %s, to %s, of what it signed on %s. Evidence: %x", namedMachine(o.Name, o.Machine), number(int64(o.Seq)), o.Author, clean(o.Key), moment(o.Time, a.now()), o.Evidence)
		}
		if len(all.Forks)+len(all.Omissions) == 0 {
			a.tell("Nobody was caught.")
		}
		return nil
	})
}

// namedMachine is a machine as people know it.
func namedMachine(name string, did grange.DID) string {
	if name == "" {
		return did.String()
	}
	return clean(name) + " (" + did.String() + ")"
}
