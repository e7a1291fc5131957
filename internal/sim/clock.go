package sim

import (
	"context"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
)

// Clock is a core.Clock that stands still until it is told to move. Timers and
// sleeps go by the time that has passed, not by the wall time, as on a real machine:
// Advance moves both, Jump only the wall.
type Clock struct {
	mu      sync.Mutex
	wall    time.Time
	passed  time.Duration
	pending []*alarm // in the order in which they are due, then in which they were set
	changed chan struct{}
	slept   chan struct{}
}

var _ core.Clock = (*Clock)(nil)

// alarm is a sleep or an AfterFunc that is not over.
type alarm struct {
	clock *Clock
	due   time.Duration
	ring  func(slept <-chan struct{})
}

// NewClock returns a clock that stands at a time in 2026 which the seed chooses.
func NewClock(seed uint64) *Clock {
	const year = 365 * 24 * 60 * 60
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &Clock{
		wall:    start.Add(time.Duration(seed*0x9e3779b97f4a7c15%year) * time.Second), // neighbouring seeds lie far apart
		changed: make(chan struct{}),
		slept:   make(chan struct{}),
	}
}

// Now returns the wall time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

// Advance lets d go by. On the way it stops at each timer and sleep that is due,
// in order, and waits there until the call has returned, or until somebody
// sleeps on this clock: so a call may sleep, and one that does not is over when
// Advance returns. A goroutine whose sleep has ended is set going and not waited for. A call must not
// wait for anything else that only more time would bring. One Advance at a time.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.passed + max(d, 0)
	for len(c.pending) > 0 && c.pending[0].due <= end {
		a := c.pending[0]
		c.remove(0)
		c.moveTo(a.due)
		slept := c.slept
		c.mu.Unlock()
		a.ring(slept)
		c.mu.Lock()
	}
	c.moveTo(end)
	c.mu.Unlock()
}

func (c *Clock) moveTo(passed time.Duration) {
	if passed > c.passed { // a timer that was set for the past is due now
		c.wall = c.wall.Add(passed - c.passed)
		c.passed = passed
	}
}

// Jump moves the wall time by d, forward or back, as an administrator or a bad
// battery does. No timer comes nearer.
func (c *Clock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

// Await returns when at least n timers and sleeps are pending: then whoever was to
// wait does, and Advance reaches them. It returns ctx's error if that ends first.
func (c *Clock) Await(ctx context.Context, n int) error {
	for {
		c.mu.Lock()
		enough, changed := len(c.pending) >= n, c.changed
		c.mu.Unlock()
		if enough {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Sleep waits until d has gone by or ctx ends, and returns ctx's error.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	over := make(chan struct{})
	c.mu.Lock()
	a := c.add(d, func(<-chan struct{}) { close(over) })
	close(c.slept)
	c.slept = make(chan struct{})
	c.mu.Unlock()
	select {
	case <-over:
	case <-ctx.Done():
		a.Stop()
	}
	return ctx.Err()
}

// AfterFunc calls f in a goroutine of its own once d has gone by; that is within a
// call of Advance, even for a d of nothing.
func (c *Clock) AfterFunc(d time.Duration, f func()) core.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.add(max(d, 0), func(slept <-chan struct{}) {
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			f()
		}()
		select {
		case <-returned:
		case <-slept:
		}
	})
}

func (c *Clock) add(d time.Duration, ring func(<-chan struct{})) *alarm {
	a := &alarm{clock: c, due: c.passed + d, ring: ring}
	at := len(c.pending)
	for at > 0 && c.pending[at-1].due > a.due {
		at--
	}
	c.pending = append(c.pending, nil)
	copy(c.pending[at+1:], c.pending[at:])
	c.pending[at] = a
	close(c.changed)
	c.changed = make(chan struct{})
	return a
}

func (c *Clock) remove(at int) {
	copy(c.pending[at:], c.pending[at+1:])
	c.pending[len(c.pending)-1] = nil
	c.pending = c.pending[:len(c.pending)-1]
}

// Stop prevents the call; it reports whether it did.
func (a *alarm) Stop() bool {
	a.clock.mu.Lock()
	defer a.clock.mu.Unlock()
	for i, p := range a.clock.pending {
		if p == a {
			a.clock.remove(i)
			return true
		}
	}
	return false
}
