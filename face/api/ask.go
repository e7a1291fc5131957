package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// AskRequest is the body of POST /v1/ask.
type AskRequest struct {
	// Who is a partner, or somebody who lets this household in as a guest: a name, as in the ledger, or a DID.
	Who      string          `json:"who"`
	Resource grange.Resource `json:"resource"`
	// Amount is in the resource's unit: bytes of storage.
	Amount int64 `json:"amount"`
	// Seconds is for how long, zero for grange.DefaultAsk. Quality is "normal" and Why what there is with them, if they are left out.
	Seconds int64          `json:"seconds,omitempty"`
	Quality grange.Quality `json:"quality,omitempty"`
	Why     grange.WhyKind `json:"why,omitempty"`
}

// SignRequest is the body of POST /v1/sign.
type SignRequest struct {
	Who      string          `json:"who"`
	Resource grange.Resource `json:"resource"`
	// Amount is what was had beyond what was signed for before.
	Amount int64 `json:"amount"`
}

func (in AskRequest) check() error {
	if in.Seconds < 0 || in.Seconds > math.MaxInt64/int64(time.Second) {
		return invalid("seconds is out of range", "")
	}
	return nil
}

func (o *owner) ask(r *http.Request) answer {
	var in AskRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	out, err := o.agent.Ask(r.Context(), in.Who, grange.AskOptions{
		Resource: in.Resource, Amount: in.Amount, For: time.Duration(in.Seconds) * time.Second, Quality: in.Quality, Why: in.Why,
	})
	return value(out, in.saidNo(nobody(in.Who, err)))
}

func (o *owner) sign(r *http.Request) answer {
	var in SignRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	out, err := o.agent.Had(r.Context(), in.Who, in.Resource, in.Amount)
	if err != nil && out.Waits {
		why := " could not be reached, and does not have it yet"
		if !errors.Is(err, grange.ErrUnreachable) {
			why = " does not have it yet: " + ErrorOf(err).Message
		}
		return failure(out, &Error{Code: CodePartly, Message: Clean(out.Name) + why, Hint: "it is signed, so not once more; a running agent sends it: grange run"})
	}
	return value(out, nobody(in.Who, err))
}

// nobody says who is meant where nobody is; nil stays nil.
func nobody(who string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Code: CodeNotFound, Message: fmt.Sprintf("no partner %q", Clean(who)), Hint: "grange pacts"}
	}
	return err
}

// saidNo says who refused, and what would be granted; nil stays nil.
func (in AskRequest) saidNo(err error) error {
	denial, ok := errors.AsType[*grange.Denial](err)
	if !ok {
		return err
	}
	e := &Error{Code: CodeRefused, Message: fmt.Sprintf("%s said no: %s", Clean(in.Who), Clean(denial.Reason)), Counter: denial.Counter}
	c := denial.Counter
	if c == nil || c.Amount <= 0 {
		return e
	}
	e.Hint = fmt.Sprintf("yes to: grange ask %s %s %d", Word(in.Who), Word(string(in.Resource)), min(c.Amount, in.Amount))
	if in.Resource == core.Storage || in.Resource == core.Network {
		e.Hint += "B"
	}
	if c.Seconds > 0 && c.Seconds < in.Seconds {
		e.Hint += fmt.Sprintf(" --for %ds", c.Seconds)
	}
	return e
}

// Ask asks a household for something.
func (c *Client) Ask(ctx context.Context, in AskRequest) (out grange.Allowance, err error) {
	return out, c.post(ctx, "ask", in, &out)
}

// Sign signs for what was had of a partner. With grange.ErrPartly the partner gets it later.
func (c *Client) Sign(ctx context.Context, in SignRequest) (out grange.Had, err error) {
	return out, c.post(ctx, "sign", in, &out)
}
