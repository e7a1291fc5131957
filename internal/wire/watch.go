package wire

import (
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
)

// An exchange that moves no byte for stallTicks ticks is cut: after 30 s at the
// least, 45 s at the most. One timer for many reads is cheap; one each is not.
const (
	tick       = 15 * time.Second
	stallTicks = 3
)

// watch cuts a read or a write that makes no progress. The zero value with clock and
// cut set is ready. One operation at a time is watched.
type watch struct {
	clock core.Clock
	// cut makes the operation under way return. It is never called when none is under
	// way: a deadline that it sets cannot hit a later operation unseen.
	cut func()

	mu      sync.Mutex
	timer   core.Timer
	waiting bool
	ticks   int
	stalled bool
}

// begin says that an operation starts.
func (w *watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting, w.ticks = true, 0
	if w.timer == nil && !w.stalled {
		w.timer = w.clock.AfterFunc(tick, w.tick)
	}
}

// end says that it returned, and tells whether it was cut.
func (w *watch) end() (stalled bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = false
	return w.stalled
}

// revive makes it ready again after a cut.
func (w *watch) revive() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stalled = false
}

func (w *watch) tick() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil { // stopped while this waited for the lock
		return
	}
	w.timer = nil
	if !w.waiting {
		return // idle: the next begin starts a timer
	}
	w.ticks++
	if w.ticks >= stallTicks {
		w.stalled = true
		w.cut()
		return
	}
	w.timer = w.clock.AfterFunc(tick, w.tick)
}

// stop ends the watching.
func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = false
	if w.timer != nil {
		w.timer.Stop()
		w.timer = nil
	}
}
