package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
	"github.com/grange-grid/grange/pure/document"
)

type tableImportCommand struct {
	Name   string `arg:"" name:"NAME" placeholder:"NAME" help:"What it is called here, or its DID."`
	File   string `arg:"" name:"FILE" placeholder:"FILE|-" help:"What to read; - is stdin."`
	Key    string `placeholder:"FIELD" help:"The field that has a row's key, text or a number. Else keys are made."`
	Format string `enum:"ndjson,deb822" default:"ndjson" placeholder:"ndjson|deb822" help:"ndjson: a JSON object a line. deb822: records as of Debian's control files."`
	List   string `aside:"" placeholder:"F[,F]" default:"tag" help:"deb822: fields that are lists with commas between, and will be JSON lists."`
}

func (tableImportCommand) detail() string {
	return `Rows are written some thousand at a time. What was written before an error stays, and the error says how far it came and in which line it is; with --key the same command again writes the same rows.

Of deb822 the names of fields become small letters, size and installed-size numbers, and those of --list lists: apt-cache dumpavail | grange table import debian - --format deb822 --key package`
}

// A batch of rows has at most so many, and so many bytes as they are sent.
const (
	batchRows = 2000
	batchSize = 4 << 20
)

// importing is an import under way.
type importing struct {
	c     *tableImportCommand
	s     *session
	read  *counted
	tell  func(grange.Progress)
	size  int64 // of the file; 0 if it is not known
	rows  []api.PutRow
	bytes int
	done  int
}

// counted counts what was read.
type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

func (c *tableImportCommand) run(ctx context.Context, a *app) error {
	in := &importing{c: c, read: &counted{Reader: a.in}}
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return fmt.Errorf("%s: %w", clean(c.File), cause(err))
		}
		defer f.Close()
		info, err := f.Stat()
		if err == nil && info.IsDir() {
			err = errors.New("it is a directory")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", clean(c.File), cause(err))
		}
		in.read.Reader, in.size = f, info.Size()
	}
	return a.with(ctx, func(s *session) error {
		in.s = s
		if _, err := s.Table(ctx, c.Name); err != nil {
			return err
		}
		bar := a.progress()
		in.tell = bar.tell
		err := in.all(ctx)
		bar.end()
		a.value(map[string]int{"rows": in.done})
		if err == nil {
			a.say("%s imported.", count(int64(in.done), "row", "rows"))
			return nil
		}
		return in.stopped(ctx, err)
	})
}

// all reads and writes; rows before a bad one are written.
func (in *importing) all(ctx context.Context) error {
	next := ndjson(in.read)
	if in.c.Format == "deb822" {
		next = deb822(in.read, strings.Split(in.c.List, ","))
	}
	for {
		r, err := next()
		if errors.Is(err, io.EOF) {
			return in.flush(ctx)
		}
		var row api.PutRow
		if err == nil {
			row, err = in.row(r)
		}
		if err != nil {
			if failed := in.flush(ctx); failed != nil {
				return failed
			}
			return err
		}
		if size := sentSize(row); len(in.rows) == batchRows || in.bytes+size > batchSize {
			if err := in.flush(ctx); err != nil {
				return err
			}
			in.bytes = size
		} else {
			in.bytes += size
		}
		in.rows = append(in.rows, row)
	}
}

// sentSize is how many bytes a row is in a request, or more: encoding/json escapes what HTML would.
func sentSize(r api.PutRow) int {
	const around = 64
	n := len(r.Document) + 6*len(r.Key) + around
	for _, c := range []string{"<", ">", "&"} {
		n += 5 * bytes.Count(r.Document, []byte(c))
	}
	return n
}

func (in *importing) flush(ctx context.Context) error {
	if len(in.rows) == 0 {
		return ctx.Err()
	}
	if _, err := in.s.PutRows(ctx, api.PutRowsRequest{Name: in.c.Name, Rows: in.rows}); err != nil {
		return err
	}
	in.done += len(in.rows)
	in.rows, in.bytes = in.rows[:0], 0
	in.tell(grange.Progress{Stage: "importing", Files: int64(in.done), Bytes: in.read.n, Of: in.size})
	return nil
}

// row makes a row of a record.
func (in *importing) row(r record) (out api.PutRow, err error) {
	doc, err := document.FromJSON(r.json)
	if err != nil {
		return out, r.wrong("%s", api.ErrorOf(err).Message)
	}
	if in.c.Key != "" {
		v, ok := doc.Field(document.Path{in.c.Key})
		switch {
		case !ok:
			return out, r.wrong("it has no field %q for a key", clean(in.c.Key))
		case v.Kind() == document.Text:
			out.Key = v.Text()
		case v.Kind() == document.Number:
			out.Key = string(v.AppendJSON(nil))
		}
		if out.Key == "" || len(out.Key) > keySizeMax {
			return out, r.wrong("its field %q is no key: that is text of 1 to %d bytes, or a number", clean(in.c.Key), keySizeMax)
		}
	}
	out.Document = doc.JSON()
	return out, nil
}

// keySizeMax bounds a row's key in bytes.
const keySizeMax = 256

// stopped says how far an import came.
func (in *importing) stopped(ctx context.Context, err error) error {
	came := "nothing was imported"
	if in.done > 0 {
		came = "imported before: " + count(int64(in.done), "row", "rows")
	}
	if ctx.Err() != nil {
		return &api.Error{Code: api.CodeInterrupted, Message: "interrupted", Hint: came + "; with --key the same command again writes them as they are"}
	}
	e := api.ErrorOf(err)
	out := &api.Error{Code: e.Code, Message: e.Message + "; " + came, Hint: e.Hint}
	if in.done > 0 {
		out.Code = api.CodePartly
	}
	return out
}

// record is one of a file: its JSON, and the line where it begins.
type record struct {
	json []byte
	line int
}

func (r record) wrong(format string, args ...any) error {
	return &api.Error{Code: api.CodeInvalid, Message: fmt.Sprintf("line %d: ", r.line) + strings.TrimPrefix(fmt.Sprintf(format, args...), "invalid: ")}
}
