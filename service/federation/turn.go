package federation

import (
	"context"
	"time"

	"github.com/grange-grid/grange/core"
)

// turn lets one caller at a time do what takes I/O. Unlike a mutex, waiting for
// it ends with the caller's context.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turn) give() { <-t }

// within returns a context that ends after d by the clock, and says so with
// core.ErrUnreachable as its cause.
func within(ctx context.Context, clock core.Clock, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := clock.AfterFunc(d, func() { cancel(core.ErrUnreachable) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// wake puts a token into a channel of capacity one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
