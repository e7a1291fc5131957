package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
	"github.com/grange-grid/grange/pure/document"
)

type tablePutCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	Key  string `arg:"" name:"KEY" optional:"" placeholder:"KEY" help:"The row's; what is there is replaced. Else a key is made, and printed."`
	File string `placeholder:"F" help:"Read the document from this file; else from stdin."`
}

func (tablePutCommand) detail() string {
	return `The document is one JSON object, of at most 1 MiB. It is signed by this machine and stands here at once; the others who have the table get it from 'grange run', also when they come back later.`
}

type tableDeleteCommand struct {
	Name string   `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	Keys []string `arg:"" name:"KEY" placeholder:"KEY" help:"The rows' keys. All are deleted or, if one is not there, none."`
}

type tableEraseCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	Key  string `arg:"" name:"KEY" placeholder:"KEY" help:"The row's key."`
}

func (tableEraseCommand) detail() string {
	return `What this machine has ever written to the row goes, here and at every machine that hears of it and is honest; where the table was made, what anybody has. That something was written, by whom and when, remains, so that the rest still proves itself. It cannot be undone.`
}

type tableHistoryCommand struct {
	Name string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	Key  string `arg:"" name:"KEY" placeholder:"KEY" help:"The row's key."`
}

type tableWatchCommand struct {
	Name  string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	Query string `arg:"" name:"QUERY" optional:"" placeholder:"QUERY" help:"Only rows that fulfil its conditions, or did not before; else all."`
}

func (tableWatchCommand) detail() string {
	return `A line for each row that changes, until Ctrl-C: its key and document, or that it is not there, or not among those asked for, any more. It needs a 'grange run'.`
}

// documentSizeMax bounds the JSON of a document in bytes, as package document does.
const documentSizeMax = 8 << 20

func (c *tablePutCommand) run(ctx context.Context, a *app) error {
	from, what := a.in, "stdin"
	if c.File != "" && c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("--file: %s: %w", clean(c.File), cause(err))
		}
		defer f.Close()
		from, what = io.Reader(f), clean(c.File)
	} else if a.inTerminal {
		a.note("Type the document, then Ctrl-D.")
	}
	text, err := readAll(ctx, from, documentSizeMax)
	if err != nil {
		return fmt.Errorf("read the document: %w", err)
	}
	doc, err := document.FromJSON([]byte(text))
	if err != nil {
		return &api.Error{Code: api.CodeInvalid, Message: what + ": " + api.ErrorOf(err).Message, Hint: "a document is one JSON object; grange table import takes many"}
	}
	return a.with(ctx, func(s *session) error {
		keys, err := s.PutRows(ctx, api.PutRowsRequest{Name: c.Name, Rows: []api.PutRow{{Key: c.Key, Document: doc.JSON()}}})
		if err != nil {
			return err
		}
		a.value(map[string]string{"key": keys[0]})
		if c.Key == "" {
			a.say("%s", keys[0])
		}
		return nil
	})
}

func (c *tableDeleteCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		if err := s.DeleteRows(ctx, c.Name, c.Keys); err != nil {
			return err
		}
		a.value(map[string]int{"deleted": len(c.Keys)})
		a.tell("%s deleted.", count(int64(len(c.Keys)), "row", "rows"))
		return nil
	})
}

func (c *tableEraseCommand) run(ctx context.Context, a *app) error {
	question := fmt.Sprintf("Erase for good what was written to %q?", clean(c.Key))
	if yes, err := a.confirm(ctx, question, "a row is erased on a terminal, where you are asked"); err != nil || !yes {
		return cmpErr(err, &api.Error{Code: api.CodeFailed, Message: "nothing was done"})
	}
	return a.with(ctx, func(s *session) error {
		out, err := s.EraseRow(ctx, c.Name, c.Key)
		if err != nil {
			return err
		}
		a.value(out)
		a.say("%s erased.", count(int64(out.Erased), "write", "writes"))
		if out.Left > 0 {
			a.say("By others: %s, which stay. Who wrote them can erase them, or the table's owner.", count(int64(out.Left), "write", "writes"))
		}
		return nil
	})
}

func (c *tableHistoryCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		all, err := s.TableHistory(ctx, c.Name, c.Key)
		if err != nil {
			return err
		}
		if len(all) == 0 {
			return &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("nothing was ever written to %q, or all of it is erased", clean(c.Key))}
		}
		a.value(all)
		for _, w := range all {
			who, what := clean(w.Name), clean(string(w.Document))
			if who == "" {
				who = w.Author.Short()
			}
			if w.Deleted {
				what = "deleted"
			}
			a.say("%s  %s  %s", w.Time.Local().Format("2006-01-02 15:04:05"), who, what)
		}
		return nil
	})
}

func (c *tableWatchCommand) run(ctx context.Context, a *app) error {
	if err := a.checkQuery(c.Query); err != nil {
		return err
	}
	return a.with(ctx, func(s *session) error {
		if !s.running {
			return &api.Error{Code: api.CodeNotRunning, Message: "no agent is running", Hint: "grange run"}
		}
		a.note("Watching %s (Ctrl-C ends it)", clean(c.Name))
		for change, err := range s.WatchTable(ctx, c.Name, c.Query) {
			switch {
			case errors.Is(err, context.Canceled):
				return reported(exitDone) // whoever watches has seen enough
			case err != nil:
				return err
			case a.json:
				a.value(change)
			case change.Missed:
				a.warn("More has changed than could be told.")
			case len(change.Row.Document) == 0:
				a.say("%s  is not there", clean(change.Row.Key))
			default:
				a.say("%s  %s", clean(change.Row.Key), clean(string(change.Row.Document)))
			}
			if a.out.err != nil {
				return nil
			}
		}
		return nil
	})
}

// rowLine is a row as it is written to a file or a program: one JSON object a line.
type rowLine struct {
	Key      string          `json:"key"`
	Document json.RawMessage `json:"document"`
	Loser    bool            `json:"loser,omitempty"`
}

func lineOf(r grange.TableRow) rowLine { return rowLine{r.Key, r.Document, r.Loser} }
