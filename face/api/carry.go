package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/grange-grid/grange"
)

// CarriedRequest is the body of POST /v1/carried and /v1/take-in.
type CarriedRequest struct {
	// Dir is absolute: of a disk to which 'put' with Seed has written.
	Dir grange.Path `json:"dir"`
}

func (in CarriedRequest) check() error { return absolute("dir", in.Dir) }

func (o *owner) carried(r *http.Request) answer {
	var in CarriedRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	out, err := o.agent.Carried(r.Context(), string(in.Dir))
	return value(out, noDisk(in.Dir, err))
}

func (o *owner) takeIn(r *http.Request) answer {
	var in CarriedRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return long(r, func(progress func(grange.Progress)) (any, error) {
		out, err := o.agent.TakeIn(r.Context(), string(in.Dir), &grange.TakeInOptions{Progress: progress})
		switch {
		case errors.Is(err, grange.ErrPartly), errors.Is(err, grange.ErrRefused):
			return out, notTaken(out, err)
		case err != nil && len(out.From) == 0 && out.ProblemCount == 0:
			return nil, noDisk(in.Dir, err)
		}
		return out, err
	})
}

// noDisk says of a disk that is not there where it was looked for; nil stays nil.
func noDisk(dir grange.Path, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Code: CodeNotFound, Message: fmt.Sprintf("%s is not there", Clean(string(dir))), Hint: "is the disk mounted?"}
	}
	return err
}

// notTaken says what of a disk was not taken in, in one line.
func notTaken(out grange.TakeInResult, err error) error {
	e := ErrorOf(err)
	for _, from := range out.From {
		if from.Refused != "" {
			e.Message = fmt.Sprintf("not all of %s was taken in: %s", Clean(from.Partner), Clean(from.Refused))
			e.Hint = "more room: grange offer, and grange pact amend; then the same again"
		}
	}
	if e.Hint == "" {
		e.Message = "taken in, but for " + count(out.ProblemCount, "place that cannot be read", "places that cannot be read")
		e.Hint = "what is missing is sent over the network by the owner's next put"
	}
	return e
}

// written is the error of a put onto a disk that a person carries; nil if there is nothing to carry.
func written(in PutRequest, out grange.PutResult, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, grange.ErrCarried):
		return &Error{
			Code: CodePartly, Message: "Not safe yet.",
			Hint: "bring it to them, and there: grange take-in DIR; then here: grange put " + quoted(in.Path),
		}
	case errors.Is(err, grange.ErrFull):
		return &Error{
			Code: CodeFull, Message: "the disk is full; what is on it stays good",
			Hint: "another disk takes the rest: grange put " + quoted(in.Path) + " --seed OTHERDIR",
		}
	case out.Incomplete != nil || len(out.Refused) > 0:
		e := ErrorOf(err)
		e.Code, e.Message, e.Hint = CodeRefused, "not all of it has room at your partners", MoreRoom(out.Full)
		return e
	}
	return noDisk(in.Seed, err)
}

// quoted is a path as a hint shows it.
func quoted(p grange.Path) string { return Word(string(p)) }

// Carried tells what a disk has for this machine.
func (c *Client) Carried(ctx context.Context, dir grange.Path) (out grange.TakeInResult, err error) {
	return out, c.post(ctx, "carried", CarriedRequest{dir}, &out)
}

// TakeIn takes in what a disk has for this machine. With grange.ErrPartly the result says more.
func (c *Client) TakeIn(ctx context.Context, dir grange.Path, progress func(grange.Progress)) (out grange.TakeInResult, err error) {
	return out, c.long(ctx, "take-in", CarriedRequest{dir}, progress, &out)
}
