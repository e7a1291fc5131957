// Package clock is the machine's real clock, and the only place in grange that
// reads the time. Everything else is handed a core.Clock, so that a test can
// give it hours, leaps and a clock that goes wrong.
//
// It does not correct the machine's time, nor does it know whether it is right.
package clock

import (
	"context"
	"time"

	"github.com/grange-grid/grange/core"
)

// System is the machine's clock. The zero value works.
type System struct{}

var _ core.Clock = System{}

// Now returns the wall time. Go's monotonic reading is stripped, so that two
// times differ by what the wall clock says, jumps included: whoever looks for
// jumps must be able to see them.
func (System) Now() time.Time { return time.Now().Round(0) }

// Sleep waits for d or until ctx ends, and returns ctx's error. It measures by
// the monotonic clock: a jump of the wall time does not shorten or lengthen it.
func (System) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// AfterFunc calls f in a goroutine of its own after d, by the monotonic clock.
func (System) AfterFunc(d time.Duration, f func()) core.Timer { return time.AfterFunc(d, f) }
