package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// Machines is the answer to GET /v1/machines.
type Machines struct {
	// Machines has the one that answers first.
	Machines []grange.Machine `json:"machines"`
	Removed  []grange.Machine `json:"removed"`
}

// RevokeRequest is the body of POST /v1/revoke.
type RevokeRequest struct {
	// Machine is its name, its DID, or the short form of that.
	Machine string `json:"machine"`
	// Phrase is the household's 24 words; they are not kept.
	Phrase string `json:"phrase"`
}

// Machines returns the household's machines.
func (c *Client) Machines(ctx context.Context) (out Machines, err error) {
	return out, c.get(ctx, "machines", nil, &out)
}

// Revoke shuts a machine out of the household. With grange.ErrPartly the result says who
// does not know yet.
func (c *Client) Revoke(ctx context.Context, in RevokeRequest) (out grange.Removal, err error) {
	return out, c.long(ctx, "revoke", in, nil, &out)
}

func (o *owner) machines(r *http.Request) answer {
	list, removed, err := o.agent.Machines(r.Context())
	return value(Machines{Machines: list, Removed: append([]grange.Machine{}, removed...)}, err)
}

func (in RevokeRequest) check() error {
	if in.Machine == "" {
		return invalid("no machine is given", "grange machine list")
	}
	return nil
}

func (o *owner) revoke(r *http.Request) answer {
	var in RevokeRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return long(r, func(func(grange.Progress)) (any, error) {
		out, err := o.agent.RemoveMachine(r.Context(), in.Phrase, in.Machine)
		if err != nil {
			return nil, notRevoked(in.Machine, err)
		}
		if len(out.Failed) > 0 {
			return out, &Error{
				Code: CodePartly, Message: "removed, but not everybody knows yet",
				Hint: "a running agent tells them when they are back: grange run",
			}
		}
		return out, nil
	})
}

// notRevoked says why a machine was not removed.
func notRevoked(which string, err error) error {
	e := ErrorOf(err)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Message, e.Hint = fmt.Sprintf("no machine %q in this household", Clean(which)), "grange machine list"
	case errors.Is(err, core.ErrForbidden):
		e.Message, e.Hint = "these are another household's words", "the words are those that 'grange init' showed, in their order"
	case errors.Is(err, grange.ErrUnreachable):
		e.Message, e.Hint = "nobody can be asked whether anything has changed; nothing was done", "try again when a partner is within reach"
	}
	return e
}
