package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/grange-grid/grange"
)

// AmendRequest is the body of POST /v1/amend: Agree, or at least one of the others.
type AmendRequest struct {
	// Partner is a name, as in the list of pacts, or a DID.
	Partner string `json:"partner"`
	// Give is what we give, Want what they give; the resources that are left out stay.
	Give grange.Amounts `json:"give,omitempty"`
	Want grange.Amounts `json:"want,omitempty"`
	// Days is in how many days from now it is to end; 0 leaves that as it is.
	Days uint `json:"days,omitempty"`
	// Agree agrees to what they have proposed.
	Agree bool `json:"agree,omitempty"`
}

// EndRequest is the body of POST /v1/end.
type EndRequest struct {
	Partner string `json:"partner"`
}

// Amend changes what we and a partner give, or agrees to it. With grange.ErrPartly the partner hears of
// it later.
func (c *Client) Amend(ctx context.Context, in AmendRequest) (out grange.Pact, err error) {
	return out, c.long(ctx, "amend", in, nil, &out)
}

// End gives a partner notice. With grange.ErrPartly the partner hears of it later.
func (c *Client) End(ctx context.Context, partner string) (out grange.Pact, err error) {
	return out, c.long(ctx, "end", EndRequest{partner}, nil, &out)
}

func (in AmendRequest) check() error {
	if in.Agree == (in.Give != "" || in.Want != "" || in.Days != 0) {
		return invalid(`an amendment is of "give", "want" and "days", or "agree"`, "")
	}
	return nil
}

func (o *owner) amend(r *http.Request) answer {
	var in AmendRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return long(r, func(func(grange.Progress)) (any, error) {
		if !in.Agree {
			out, err := o.agent.Amend(r.Context(), in.Partner, grange.Amendment{Give: in.Give, Want: in.Want, Days: in.Days})
			return later(out, o.noPartner(r, in.Partner, err))
		}
		out, err := o.agent.Agree(r.Context(), in.Partner)
		if err = o.noPartner(r, in.Partner, err); errors.Is(err, fs.ErrNotExist) {
			err = &Error{Code: CodeNotFound, Message: Clean(in.Partner) + " has proposed nothing", Hint: "grange pacts"}
		}
		return later(out, err)
	})
}

func (o *owner) end(r *http.Request) answer {
	var in EndRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return long(r, func(func(grange.Progress)) (any, error) {
		out, err := o.agent.End(r.Context(), in.Partner)
		return later(out, o.noPartner(r, in.Partner, err))
	})
}

// noPartner says who is meant where nobody is.
func (o *owner) noPartner(r *http.Request, who string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for p := range o.agent.Pacts(r.Context()) {
		if p.Name == who || p.Partner.String() == who {
			return err
		}
	}
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf("no partner %q", Clean(who)), Hint: "grange pacts"}
}

// later turns the error of a partner who was away into one that says that it is done and has to be told.
func later(out grange.Pact, err error) (any, error) {
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, grange.ErrUnreachable):
		return out, &Error{
			Code: CodePartly, Message: Clean(out.Name) + " could not be reached, and does not know yet",
			Hint: "a running agent tells them when they are back: grange run",
		}
	}
	return nil, err
}
