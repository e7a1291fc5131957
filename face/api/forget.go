package api

import (
	"context"
	"errors"
	"io/fs"
	"net/http"

	"github.com/grange-grid/grange"
)

// RemoveRequest is the body of POST /v1/rm.
type RemoveRequest struct {
	Name string `json:"name"`
	// Version is its number; 0 is all of them.
	Version uint64 `json:"version,omitempty"`
}

// Removed is the answer to POST /v1/rm.
type Removed struct {
	Removed []grange.Version `json:"removed"`
}

// UndoRequest is the body of POST /v1/undo.
type UndoRequest struct {
	// Name is whose newest removal is undone; "" is that of all names.
	Name string `json:"name,omitempty"`
}

func (o *owner) remove(r *http.Request) answer {
	var in RemoveRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	if _, err := o.find(r.Context(), in.Name, in.Version); err != nil {
		return failure(nil, err)
	}
	gone, err := o.agent.Remove(r.Context(), grange.Ref{Name: in.Name, Version: in.Version})
	out := Removed{gone}
	switch {
	case errors.Is(err, fs.ErrNotExist): // it was removed just now
		return failure(nil, noName(in.Name))
	case errors.Is(err, grange.ErrPartly):
		return failure(out, &Error{
			Code: CodePartly, Message: "removed here, but no partner could be told: a recovery would bring it back",
			Hint: "a running agent tells them when they are back: grange run",
		})
	}
	return value(out, err)
}

func (in UndoRequest) check() error { return named(in.Name, "grange ls") }

func (o *owner) undo(r *http.Request) answer {
	var in UndoRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	out, err := o.agent.Undo(r.Context(), in.Name)
	switch {
	case errors.Is(err, grange.ErrPartly) && len(out.Lost) > 0:
		return failure(out, &Error{
			Code: CodePartly, Message: "not brought back: " + count(len(out.Lost), "version", "versions"),
			Hint: "try again when whoever is away is back",
		})
	case errors.Is(err, grange.ErrPartly):
		return failure(out, &Error{
			Code: CodePartly, Message: "brought back, but no partner could be told",
			Hint: "a running agent tells them when they are back: grange run",
		})
	case errors.Is(err, fs.ErrNotExist) && in.Name != "":
		err = &Error{Code: CodeNotFound, Message: "nothing of " + Clean(in.Name) + " was removed"}
	case errors.Is(err, fs.ErrNotExist):
		err = &Error{Code: CodeNotFound, Message: "nothing was removed"}
	}
	return value(out, err)
}

// Remove forgets a version, or all of a name. With grange.ErrPartly they are returned too.
func (c *Client) Remove(ctx context.Context, in RemoveRequest) ([]grange.Version, error) {
	if err := named(in.Name, "grange ls"); err != nil {
		return nil, err
	}
	var out Removed
	err := c.post(ctx, "rm", in, &out)
	return out.Removed, err
}

// Undo brings back what was removed. With grange.ErrPartly the result says more.
func (c *Client) Undo(ctx context.Context, name string) (out grange.Undone, err error) {
	if err := named(name, "grange ls"); err != nil {
		return out, err
	}
	return out, c.post(ctx, "undo", UndoRequest{name}, &out)
}
