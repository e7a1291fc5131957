package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"

	"github.com/grange-grid/grange"
)

// KeepRequest is the body of POST /v1/keep.
type KeepRequest struct {
	grange.Keeping
	// Stop keeps the path no more; its versions stay. Only the path is given with it.
	Stop bool `json:"stop,omitempty"`
}

// Kept is the answer to GET /v1/keep.
type Kept struct {
	Kept []grange.Kept `json:"kept"`
	// Waits says why nothing is stored just now, such as "quiet until 07:00".
	Waits string `json:"waits,omitempty"`
}

func (o *owner) kept(r *http.Request) answer {
	return value(Kept{o.agent.Kept(r.Context()), o.agent.Waits()}, nil)
}

func (o *owner) keep(r *http.Request) answer {
	var in KeepRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	if in.Stop {
		out, err := o.agent.StopKeeping(r.Context(), in.Path)
		if errors.Is(err, fs.ErrNotExist) {
			err = &Error{Code: CodeNotFound, Message: fmt.Sprintf("%s is not kept", Clean(string(in.Path))), Hint: "grange keep lists what is"}
		}
		return value(out, err)
	}
	out, err := o.agent.Keep(r.Context(), in.Keeping)
	if errors.Is(err, fs.ErrExist) {
		err = &Error{Code: CodeExists, Message: message(err), Hint: "another name: grange keep --name N PATH; no more under that one: --stop"}
	}
	return value(out, err)
}

func (in KeepRequest) check() error {
	if err := absolute("path", in.Path); err != nil {
		return err
	}
	if in.Stop {
		return nil
	}
	name, hint := in.Name, ""
	if base := filepath.Base(filepath.Clean(string(in.Path))); name == "" && base != string(filepath.Separator) {
		name, hint = base, "it can be kept under another name: grange keep --name N PATH"
	}
	return named(name, hint)
}

// Kept returns what is kept.
func (c *Client) Kept(ctx context.Context) (out Kept, err error) {
	return out, c.get(ctx, "keep", nil, &out)
}

// Keep keeps a path from now on, changes how, or stops it.
func (c *Client) Keep(ctx context.Context, in KeepRequest) (out grange.Kept, err error) {
	return out, c.post(ctx, "keep", in, &out)
}
