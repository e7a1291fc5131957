package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"

	"github.com/grange-grid/grange"
)

// ExportTableRequest is the body of POST /v1/table-export.
type ExportTableRequest struct {
	Name string `json:"name"`
	// Dest is absolute, and must not exist.
	Dest grange.Path `json:"dest"`
}

// LoadTableRequest is the body of POST /v1/table-load.
type LoadTableRequest struct {
	// Path is absolute.
	Path grange.Path `json:"path"`
	// As is what it is called here; "" is as its owner calls it.
	As string `json:"as,omitempty"`
}

func (o *owner) exportTable(r *http.Request) answer {
	var in ExportTableRequest
	err := read(r, &in)
	if err == nil {
		err = absolute("dest", in.Dest)
	}
	if err != nil {
		return failure(nil, err)
	}
	var out grange.TableExport
	err = create(string(in.Dest), func(w io.Writer) (err error) {
		out, err = o.agent.ExportTable(r.Context(), in.Name, w)
		return err
	})
	if errors.Is(err, fs.ErrExist) {
		err = &Error{Code: CodeExists, Message: Clean(string(in.Dest)) + " exists: nothing was written", Hint: "name another file"}
	}
	return tableValue(out, err)
}

// create makes a file, whole or not at all. Errors: fs.ErrExist.
func create(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err = write(w); err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

func (o *owner) loadTable(r *http.Request) answer {
	var in LoadTableRequest
	err := read(r, &in)
	if err == nil {
		err = absolute("path", in.Path)
	}
	if err != nil {
		return failure(nil, err)
	}
	f, err := os.Open(string(in.Path))
	if err != nil {
		return failure(nil, err)
	}
	defer f.Close()
	out, err := o.agent.LoadTable(r.Context(), bufio.NewReaderSize(f, 1<<20), in.As)
	return value(out, loadFailure(err))
}

// loadFailure is what an error of a table out of a file is to whoever has named it.
func loadFailure(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return &Error{Code: CodeExists, Message: message(err), Hint: "choose another name: --as"}
	}
	e := ErrorOf(TableFailure(err, ""))
	switch e.Code {
	case CodeInvalid, CodeCorrupt, CodeTooLarge:
		e.Code, e.Hint = CodeCorrupt, "the file is damaged, or somebody has changed it: get another copy"
	}
	return e
}

// ExportTable writes a table to a file.
func (c *Client) ExportTable(ctx context.Context, in ExportTableRequest) (out grange.TableExport, err error) {
	return out, c.post(ctx, "table-export", in, &out)
}

// LoadTable begins to keep a table out of a file.
func (c *Client) LoadTable(ctx context.Context, in LoadTableRequest) (out grange.Table, err error) {
	return out, c.post(ctx, "table-load", in, &out)
}
