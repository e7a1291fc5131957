package sim_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
	"github.com/grange-grid/grange/internal/sim"
)

func TestClockIsAClock(t *testing.T) {
	seamtest.Clock(t, func(*testing.T) (core.Clock, func(time.Duration)) {
		c := sim.NewClock(1)
		return c, c.Advance
	})
}

func TestClockStartsWhereItsSeedSays(t *testing.T) {
	a, b, c := sim.NewClock(7).Now(), sim.NewClock(7).Now(), sim.NewClock(8).Now()
	if !a.Equal(b) || a.Equal(c) || a.Year() != 2026 || c.Year() != 2026 {
		t.Fatalf("seeds 7, 7, 8 start at %v, %v, %v", a, b, c)
	}
}

func TestJumpMovesTheWallAndNoTimer(t *testing.T) {
	for _, jump := range []time.Duration{1000 * time.Hour, -1000 * time.Hour} {
		c := sim.NewClock(1)
		start := c.Now()
		called := false
		c.AfterFunc(time.Hour, func() { called = true })
		c.Jump(jump)
		if got := c.Now().Sub(start); got != jump {
			t.Fatalf("the wall moved by %v, want %v", got, jump)
		}
		c.Advance(time.Hour - 1)
		if called {
			t.Fatalf("a jump of %v brought a timer nearer", jump)
		}
		c.Advance(1)
		if !called {
			t.Fatalf("a jump of %v put a timer off", jump)
		}
	}
}

// Without synctest and without waiting: the calls are over, in order, when Advance returns.
func TestAdvanceWaitsForCallsInOrder(t *testing.T) {
	c := sim.NewClock(1)
	var got []int
	for i, d := range []time.Duration{2, 1, 2, 0} {
		c.AfterFunc(d, func() { got = append(got, i) })
	}
	c.AfterFunc(1, func() {
		got = append(got, 10)
		c.AfterFunc(0, func() { got = append(got, 11) })
	})
	c.Advance(2)
	if want := []int{3, 1, 10, 11, 0, 2}; !slices.Equal(got, want) {
		t.Fatalf("called %v, want %v", got, want)
	}
}

func TestAwaitReturnsWhenEnoughWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := sim.NewClock(1)
		waited := false
		go func() {
			_ = c.Await(t.Context(), 2)
			waited = true
		}()
		go func() { _ = c.Sleep(t.Context(), time.Second) }()
		synctest.Wait()
		if waited {
			t.Fatal("it returned with one sleeper")
		}
		timer := c.AfterFunc(time.Second, func() {})
		synctest.Wait()
		if !waited {
			t.Fatal("it did not return with two pending")
		}
		timer.Stop()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := c.Await(ctx, 2); err == nil {
			t.Fatal("a stopped timer still counts")
		}
		c.Advance(time.Second)
	})
}
