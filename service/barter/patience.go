package barter

import (
	"context"
	"errors"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// Limits of waiting for holders that are busy; SPEC.md §11.
const (
	busyWait     = 2 * time.Second // the first time, then twice as long each time
	busyWaitMax  = busyMax * time.Second
	busyPatience = 2 * time.Minute // in which one piece, or ask, goes nowhere else
	busyGiveUp   = time.Hour       // without a good word
)

// busyFor tells whether an error says to ask again soon, and in how long at the earliest.
func busyFor(err error) (time.Duration, bool) {
	seconds := int64(0)
	if d, ok := errors.AsType[*core.Denial](err); ok {
		seconds = d.Retry
		return time.Duration(seconds) * time.Second, seconds > 0 && seconds <= busyMax
	}
	if e, ok := errors.AsType[*wire.Error](err); ok {
		seconds = int64(e.RetrySeconds)
	}
	return min(max(time.Duration(seconds)*time.Second, busyWait), busyWaitMax), errors.Is(err, core.ErrBusy)
}

// patient calls f again while the answer is "busy", which is not punished, for about as long as patience.
func (b *Barter) patient(ctx context.Context, patience time.Duration, f func() error) error {
	for waited, least := time.Duration(0), busyWait; ; least = min(2*least, busyWaitMax) {
		err := f()
		wait, busy := busyFor(err)
		if !busy || waited >= patience {
			return err
		}
		wait = max(wait, least)
		if err := b.c.Clock.Sleep(ctx, wait); err != nil {
			return err
		}
		waited += wait
	}
}

// pause is that nothing is sent to a holder for a while, because it is busy; guarded by lane.mu. The zero pause is none.
type pause struct {
	since, until time.Time
	err          error
}

// left is how long it lasts.
func (p pause) left(now time.Time) time.Duration {
	if left := p.until.Sub(now); left <= busyWaitMax { // else the clock was set back
		return max(left, 0)
	}
	return 0
}

// rest has a lane pause where an error says so, unless it has done nothing else for too long.
func (l *lane) rest(err error) bool {
	wait, busy := busyFor(err)
	if !busy {
		return false
	}
	now := l.b.c.Clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pause.err == nil {
		l.pause.since = now
	}
	l.pause.until, l.pause.err = now.Add(wait), err
	return now.Sub(l.pause.since) < busyGiveUp
}

// awake ends a lane's pause: something has gone well.
func (l *lane) awake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pause = pause{}
}

// await waits until the first lane that pauses at now goes on, and tells whether there was one.
func (p *Placement) await(ctx context.Context, now time.Time) (bool, error) {
	first := time.Duration(0)
	for l := range p.all() {
		l.mu.Lock()
		left := l.pause.left(now)
		if l.stop != nil || l.refusal != nil {
			left = 0
		}
		l.mu.Unlock()
		if left > 0 && (first == 0 || left < first) {
			first = left
		}
	}
	if first == 0 {
		return false, nil
	}
	return true, p.b.c.Clock.Sleep(ctx, first)
}
