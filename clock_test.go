package grange_test

import (
	"context"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/clock"
)

// houseClock is a clock of a household: such go wrong, and laptops sleep: then no time passes for them, and the date jumps.
type houseClock struct {
	clock.System
	mu     sync.Mutex
	ahead  time.Duration
	slept  time.Duration
	since  time.Time
	asleep chan struct{} // nil when awake, closed when it wakes
}

// Now is the date that this machine believes in.
func (c *houseClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.System.Now().Add(c.ahead)
}

// set has the clock be wrong by d.
func (c *houseClock) set(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = d
}

func (c *houseClock) sleep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since, c.asleep = time.Now(), make(chan struct{})
}

func (c *houseClock) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slept += time.Since(c.since)
	close(c.asleep)
	c.asleep = nil
}

// passed is the time that it was awake, from some beginning.
func (c *houseClock) passed() (time.Duration, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.asleep != nil {
		now = c.since
	}
	return time.Duration(now.UnixNano()) - c.slept, c.asleep
}

// Sleep waits until the machine was awake for d.
func (c *houseClock) Sleep(ctx context.Context, d time.Duration) error {
	begun, _ := c.passed()
	for ctx.Err() == nil {
		now, asleep := c.passed()
		left := begun + d - now
		switch {
		case asleep != nil:
			select {
			case <-asleep:
			case <-ctx.Done():
			}
		case left <= 0:
			return nil
		default:
			_ = c.System.Sleep(ctx, left) // ctx tells
		}
	}
	return ctx.Err()
}

// AfterFunc calls f when the machine was awake for d.
func (c *houseClock) AfterFunc(d time.Duration, f func()) core.Timer {
	ctx, cancel := context.WithCancel(context.Background())
	t := &houseTimer{cancel: cancel}
	go func() {
		if c.Sleep(ctx, d) == nil && t.Stop() {
			f()
		}
	}()
	return t
}

type houseTimer struct {
	cancel func()
	mu     sync.Mutex
	over   bool
}

// Stop prevents the call; it reports whether it did.
func (t *houseTimer) Stop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := !t.over
	t.over = true
	t.cancel()
	return first
}
