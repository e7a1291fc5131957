package wire

import (
	"context"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
)

// plain has what a peer's code means, in words that follow a name. A code that is not
// here means what its kind does.
var plain = map[string]string{
	CodeUnknown:   "does not know this household",
	CodeRevoked:   "says that this machine was removed from its household",
	CodeVersion:   "speaks another version of the protocol",
	CodeInternal:  "had trouble of its own",
	CodeHeadStale: "has something newer already",
	CodeHeadBase:  "has something newer already",
	CodeFull:      "has no room on its disk",
	CodeAway:      "has its disk not mounted",
}

// Plain says of an error of a call to a peer what a person can make of it, in words that
// follow the peer's name: "could not be reached", "said no: …", "is busy". Addresses,
// paths and keys are not in it; the error's own text, for the log, has them.
func Plain(err error) string {
	if d, ok := errors.AsType[*core.Denial](err); ok {
		return "said no: " + d.Reason
	}
	if e, ok := errors.AsType[*Error](err); ok {
		if text, ok := plain[e.Code]; ok {
			return text
		}
		switch {
		case errors.Is(e, core.ErrRefused):
			return "said no: " + e.Message
		case errors.Is(e, core.ErrInvalid), errors.Is(e, core.ErrTooLarge):
			return "could not make sense of the request: " + e.Message
		}
	}
	for _, kind := range []struct {
		error
		text string
	}{
		{core.ErrUnreachable, "could not be reached"},
		{core.ErrBusy, "is busy"},
		{core.ErrNotExist, "does not have it any more"},
		{core.ErrCorrupt, "has it no more as it was"},
		{core.ErrVersion, "speaks another version of the protocol"},
		{core.ErrInvalid, "sent what it should not"},
		{core.ErrTooLarge, "sent more than it should"},
		{core.ErrStale, "has something newer already"},
		{core.ErrRefused, "said no"},
		{core.ErrRevoked, plain[CodeRevoked]},
		{core.ErrPartly, "lost some of it before it had promised to keep it"},
		{context.Canceled, "was not waited for"},
		{context.DeadlineExceeded, "did not answer in time"},
	} {
		if errors.Is(err, kind.error) {
			return kind.text
		}
	}
	return fmt.Sprintf("failed: %v", innermost(err))
}

// innermost returns the cause of all, which is the shortest text: each layer adds what it was doing.
func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}
