package wire_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&core.Denial{Reason: "0.1 GB left of your 10 GB"}, "said no: 0.1 GB left of your 10 GB"},
		{errors.Join(core.ErrUnreachable, &core.Denial{Reason: "no room"}), "said no: no room"},
		{fmt.Errorf("dial zh7Ae81S: %w: /ip4/127.0.0.1/tcp/1: refused", core.ErrUnreachable), "could not be reached"},
		{&wire.Error{Code: wire.CodeBusy, Message: "at a limit"}, "is busy"},
		{&wire.Error{Code: wire.CodeUnknown}, "does not know this household"},
		{&wire.Error{Code: wire.CodeRevoked}, "says that this machine was removed from its household"},
		{core.ErrRevoked, "says that this machine was removed from its household"},
		{&wire.Error{Code: wire.CodeVersion}, "speaks another version of the protocol"},
		{&wire.Error{Code: wire.CodeFull}, "has no room on its disk"},
		{&wire.Error{Code: wire.CodeAway}, "has its disk not mounted"},
		{&wire.Error{Code: wire.CodeInternal}, "had trouble of its own"},
		{&wire.Error{Code: wire.CodeHeadStale}, "has something newer already"},
		{&wire.Error{Code: wire.CodeNotFound, Message: "not here"}, "does not have it any more"},
		{&wire.Error{Code: wire.CodeCorrupt}, "has it no more as it was"},
		{&wire.Error{Code: wire.CodeInvitationUsed, Message: "used before"}, "said no: used before"},
		{&wire.Error{Code: wire.CodeInvalid, Message: "a size of 0"}, "could not make sense of the request: a size of 0"},
		{fmt.Errorf("POST /prove at abc: %w: 3 proofs", core.ErrInvalid), "sent what it should not"},
		{core.ErrTooLarge, "sent more than it should"},
		{core.ErrPartly, "lost some of it before it had promised to keep it"},
		{context.Canceled, "was not waited for"},
		{context.DeadlineExceeded, "did not answer in time"},
		{fmt.Errorf("GET /x at y: %w", errors.New("flames")), "failed: flames"},
	} {
		if got := wire.Plain(fmt.Errorf("PUT /pieces/bafkr4: %w", c.err)); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}
