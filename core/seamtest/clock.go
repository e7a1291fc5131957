package seamtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
)

// Clock checks a core.Clock. Each test runs in a synctest bubble of its own, in which open makes
// a clock and a function that lets time go by on it; for the real clock,
// time.Sleep is that function. Nothing waits for real time.
func Clock(t *testing.T, open func(t *testing.T) (core.Clock, func(time.Duration))) {
	run := func(name string, test func(t *testing.T, c core.Clock, pass func(time.Duration))) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, advance := open(t)
				test(t, c, func(d time.Duration) {
					synctest.Wait()
					advance(d)
					synctest.Wait()
				})
			})
		})
	}
	run("Now", clockNow)
	run("Sleep", clockSleep)
	run("SleepEnds", clockSleepEnds)
	run("AfterFunc", clockAfterFunc)
	run("AfterFuncSleeps", clockAfterFuncSleeps)
	run("Order", clockOrder)
	run("Stop", clockStop)
}

func clockNow(t *testing.T, c core.Clock, pass func(time.Duration)) {
	before := c.Now()
	if again := c.Now(); !again.Equal(before) {
		t.Errorf("time went from %v to %v by itself", before, again)
	}
	pass(90 * time.Minute)
	if got := c.Now().Sub(before); got != 90*time.Minute {
		t.Errorf("90 minutes later, %v have gone by", got)
	}
}

func clockSleep(t *testing.T, c core.Clock, pass func(time.Duration)) {
	var woke atomic.Bool
	var err error
	go func() {
		err = c.Sleep(t.Context(), time.Hour)
		woke.Store(true)
	}()
	pass(time.Hour - 1)
	if woke.Load() {
		t.Fatal("it woke a nanosecond early")
	}
	pass(1)
	if !woke.Load() || err != nil {
		t.Fatalf("woke: %t, error: %v", woke.Load(), err)
	}
	if err := c.Sleep(t.Context(), 0); err != nil {
		t.Errorf("a sleep of nothing: %v", err)
	}
	if err := c.Sleep(t.Context(), -time.Second); err != nil {
		t.Errorf("a sleep of less than nothing: %v", err)
	}
}

func clockSleepEnds(t *testing.T, c core.Clock, pass func(time.Duration)) {
	ctx, cancel := context.WithCancel(t.Context())
	var woke atomic.Bool
	var err error
	go func() {
		err = c.Sleep(ctx, time.Hour)
		woke.Store(true)
	}()
	pass(time.Minute)
	cancel()
	synctest.Wait()
	if !woke.Load() || !errors.Is(err, context.Canceled) {
		t.Fatalf("woke: %t, error: %v", woke.Load(), err)
	}
	for _, d := range []time.Duration{0, time.Hour} {
		if err := c.Sleep(ctx, d); !errors.Is(err, context.Canceled) {
			t.Errorf("a sleep of %v after the end of its context: %v", d, err)
		}
	}
}

func clockAfterFunc(t *testing.T, c core.Clock, pass func(time.Duration)) {
	var calls atomic.Int32
	timer := c.AfterFunc(time.Minute, func() { calls.Add(1) })
	c.AfterFunc(0, func() { calls.Add(100) })
	pass(time.Minute - 1)
	if got := calls.Load(); got != 100 {
		t.Fatalf("%d, want the call that was due at once and no other", got)
	}
	pass(1)
	pass(time.Hour)
	if got := calls.Load(); got != 101 {
		t.Fatalf("%d, want each call once", got)
	}
	if timer.Stop() {
		t.Error("Stop says that it prevented a call that was made")
	}
}

// A call has a goroutine of its own, so that it may wait on the clock itself.
func clockAfterFuncSleeps(t *testing.T, c core.Clock, pass func(time.Duration)) {
	start := c.Now()
	var end time.Time
	c.AfterFunc(time.Minute, func() {
		if c.Sleep(t.Context(), time.Minute) == nil {
			end = c.Now()
		}
	})
	pass(time.Minute)
	pass(time.Minute)
	if got := end.Sub(start); got != 2*time.Minute {
		t.Errorf("the call ended after %v", got)
	}
}

func clockOrder(t *testing.T, c core.Clock, pass func(time.Duration)) {
	var mu sync.Mutex
	var got []time.Duration
	start := c.Now()
	for _, d := range []time.Duration{3, 1, 5, 2, 4} {
		c.AfterFunc(d*time.Second, func() {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, c.Now().Sub(start))
		})
	}
	pass(time.Minute)
	want := []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second, 5 * time.Second}
	if !slices.Equal(got, want) {
		t.Errorf("called at %v, want %v", got, want)
	}
}

func clockStop(t *testing.T, c core.Clock, pass func(time.Duration)) {
	called := false
	timer := c.AfterFunc(time.Minute, func() { called = true })
	pass(time.Second)
	if !timer.Stop() {
		t.Error("Stop does not say that it prevented the call")
	}
	if timer.Stop() {
		t.Error("the second Stop says that it prevented the call")
	}
	pass(time.Hour)
	if called {
		t.Error("it was called all the same")
	}
}
