package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"

	"github.com/grange-grid/grange"
)

// resource is one row of the index.
type resource struct {
	Method string   `json:"method"`
	Path   string   `json:"path"`
	Query  []string `json:"query,omitempty"`
	What   string   `json:"what"`
}

func (o *owner) index(*http.Request) answer {
	var out struct {
		Resources []resource `json:"resources"`
	}
	for _, r := range o.routes {
		out.Resources = append(out.Resources, resource{r.method, r.path, r.query, r.what})
	}
	return value(out, nil)
}

func (o *owner) status(r *http.Request) answer {
	name := param(r, "name")
	out, err := o.agent.Status(r.Context(), name)
	if errors.Is(err, fs.ErrNotExist) {
		err = noName(name)
	}
	return value(out, err)
}

// Versions is the answer to GET /v1/versions.
type Versions struct {
	Versions []grange.Version `json:"versions"`
}

func (o *owner) versions(r *http.Request) answer {
	name := param(r, "name")
	out := Versions{Versions: []grange.Version{}}
	for v, err := range o.agent.Versions(r.Context(), name) {
		if errors.Is(err, fs.ErrNotExist) {
			err = noName(name)
		}
		if err != nil {
			return failure(nil, err)
		}
		out.Versions = append(out.Versions, v)
	}
	return value(out, nil)
}

// Pacts is the answer to GET /v1/pacts.
type Pacts struct {
	Pacts []grange.Pact `json:"pacts"`
}

func (o *owner) pacts(r *http.Request) answer {
	out := Pacts{Pacts: []grange.Pact{}}
	for p, err := range o.agent.Pacts(r.Context()) {
		if err != nil {
			return failure(nil, err)
		}
		out.Pacts = append(out.Pacts, p)
	}
	return value(out, nil)
}

// joined waits until an invitation is accepted.
func (o *owner) joined(r *http.Request) answer {
	id, err := base64.StdEncoding.DecodeString(param(r, "id"))
	if err != nil || len(id) == 0 {
		return failure(nil, invalid("id is an invitation's, in base64", "in a query, '+' is written %2B and '/' %2F"))
	}
	p, err := o.agent.WaitJoined(r.Context(), id)
	if errors.Is(err, fs.ErrNotExist) {
		err = &Error{Code: CodeNotFound, Message: "no such invitation"}
	}
	return value(p, err)
}

// events streams what happens, whatever the request accepts, until it is closed.
func (o *owner) events(r *http.Request) answer {
	return func(w http.ResponseWriter) {
		s := newStream(w)
		for e := range o.agent.Events(r.Context()) {
			if s.send(line{Event: &e}) != nil {
				return
			}
		}
	}
}

// param returns a parameter of the query, "" if it is not there.
func param(r *http.Request, name string) string { return r.URL.Query().Get(name) }

func noName(name string) *Error {
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf("nothing is stored under %q", Clean(name)), Hint: "grange ls"}
}

// find returns a version, the newest for number 0, or says what there is instead.
func (o *owner) find(ctx context.Context, name string, number uint64) (grange.Version, error) {
	if name == "" {
		return grange.Version{}, invalid("no name is given", "")
	}
	var numbers []uint64
	for v, err := range o.agent.Versions(ctx, name) {
		if errors.Is(err, fs.ErrNotExist) {
			return v, noName(name)
		}
		if err != nil {
			return v, err
		}
		if number == 0 || v.Number == number {
			return v, nil
		}
		numbers = append(numbers, v.Number)
	}
	if len(numbers) == 0 {
		return grange.Version{}, noName(name)
	}
	return grange.Version{}, &Error{
		Code:    CodeNotFound,
		Message: fmt.Sprintf("%q has no version %d; there are versions %d to %d", Clean(name), number, slices.Min(numbers), slices.Max(numbers)),
		Hint:    "grange ls --versions lists them",
	}
}

// entriesMax bounds a listing that is not streamed.
const entriesMax = 10_000

// readAhead is how many entries of a directory are read at once.
const readAhead = 256

func (o *owner) list(r *http.Request) answer {
	var number uint64
	if text := param(r, "version"); text != "" {
		var err error
		if number, err = strconv.ParseUint(text, 10, 64); err != nil {
			return failure(nil, invalid(fmt.Sprintf("version %.40q is no number", text), ""))
		}
	}
	v, err := o.find(r.Context(), param(r, "name"), number)
	if err != nil {
		return failure(nil, err)
	}
	dir := param(r, "path")
	out := Listing{Version: v, Path: grange.Path(dir)}
	if !accepts(r) {
		err := o.entries(r.Context(), v, dir, func(e Entry) error {
			if out.Count++; out.Count > entriesMax {
				return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("over %d entries", entriesMax), Hint: "ask for a stream: Accept: " + typeStream}
			}
			out.Entries = append(out.Entries, e)
			return nil
		})
		return value(out, err)
	}
	return func(w http.ResponseWriter) {
		s := newStream(w)
		err := o.entries(r.Context(), v, dir, func(e Entry) error {
			out.Count++
			return s.send(line{Entry: &e})
		})
		if err != nil {
			_ = s.send(line{Error: ErrorOf(err)})
			return
		}
		_ = s.send(line{Result: out})
	}
}

// entries calls each for what is in a directory of a version, or for the file at that path.
func (o *owner) entries(ctx context.Context, v grange.Version, dir string, each func(Entry) error) error {
	fsys, err := o.agent.FS(ctx, grange.Ref{Name: v.Name, Version: v.Number})
	if err != nil {
		return err
	}
	if dir == "" {
		dir = "."
	}
	info, err := fs.Stat(fsys, dir)
	if (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid)) && dir != "." { // as .. is
		return noPath(v, dir)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return each(entryOf(fsys, dir, info))
	}
	f, err := fsys.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	lister, ok := f.(fs.ReadDirFile)
	if !ok {
		return &fs.PathError{Op: "readdir", Path: dir, Err: errors.ErrUnsupported}
	}
	for {
		batch, err := lister.ReadDir(readAhead)
		for _, d := range batch {
			info, err := d.Info()
			if err != nil {
				return err
			}
			if err := each(entryOf(fsys, path.Join(dir, d.Name()), info)); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func noPath(v grange.Version, dir string) *Error {
	return &Error{
		Code: CodeNotFound, Message: fmt.Sprintf("no %q in version %d of %q", Clean(dir), v.Number, Clean(v.Name)),
		Hint: fmt.Sprintf("grange ls %s lists it", Word(v.Name)),
	}
}

func entryOf(fsys fs.FS, at string, info fs.FileInfo) Entry {
	e := Entry{Name: grange.Path(info.Name()), Kind: KindFile, Size: info.Size(), Mode: info.Mode().Perm().String()[1:], Time: info.ModTime()}
	switch {
	case info.IsDir():
		e.Kind, e.Size = KindDir, 0
	case info.Mode()&fs.ModeSymlink != 0:
		e.Kind = KindLink
		target, _ := fs.ReadLink(fsys, at) // a link whose target cannot be had is listed without
		e.Target = grange.Path(target)
	}
	return e
}
