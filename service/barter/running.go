package barter

import (
	"context"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

const (
	runEvery = time.Minute // between counts of the time that this machine runs
	// A date that moves by more than jumpMax against the time that has passed was set, or this
	// machine slept: nothing is reclaimed until somebody agrees with the clock again, or doubtMax has passed.
	jumpMax  = time.Hour
	doubtMax = 7 * daySeconds
	// doubtAlarm is how many seconds of doubt are told of: who was asleep is put right sooner.
	doubtAlarm = 15 * 60
)

// runRecord is how long this machine has run.
type runRecord struct {
	V       uint  `json:"v"`
	Seconds int64 `json:"seconds"`
}

// running counts the seconds for which this machine has run, whatever its date says. What
// is set aside is kept by this count, so that no clock can end it.
// Guarded by Barter.mu.
type running struct {
	seconds int64
	last    time.Time // the date at the last count
	// doubt is the count at which the date jumped, by jump; 0: it is not in doubt.
	doubt int64
	jump  time.Duration
	told  bool // the person has heard of it
}

// loadRunning reads the count. It is 1 at the least, so that 0 can stand for never.
func (b *Barter) loadRunning() error {
	var r runRecord
	if _, err := b.read(ranKey, &r); err != nil {
		return err
	}
	b.running.seconds = max(r.Seconds, 1)
	return nil
}

// ran returns the count.
func (b *Barter) ran() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running.seconds
}

// startRunning begins to count.
func (b *Barter) startRunning() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running.last = b.c.Clock.Now()
}

// pass counts what has just passed, and looks whether the date has jumped.
func (b *Barter) pass(d time.Duration) {
	trusted := b.c.ClockTrusted()
	now := b.c.Clock.Now()
	b.mu.Lock()
	r := &b.running
	r.seconds += int64(d / time.Second)
	jump := now.Sub(r.last) - d
	jumped := jump.Abs() > jumpMax
	r.last = now
	switch {
	case jumped:
		r.doubt, r.jump, r.told = r.seconds, jump, false
	case r.doubt > 0 && (trusted || r.seconds-r.doubt > doubtMax):
		r.doubt = 0
	}
	seconds, by := r.seconds, r.jump
	alarm := r.doubt > 0 && !r.told && r.seconds-r.doubt >= doubtAlarm
	r.told = r.told || alarm
	b.mu.Unlock()
	if jumped {
		b.c.Log.Warn("the date has jumped", "by", jump.Round(time.Second))
	}
	if alarm {
		b.c.Alarm(core.DID{}, "the clock of this machine jumped by "+by.Round(time.Minute).String()+": nothing is reclaimed until a partner's clock agrees with it")
	}
	c, err := change(ranKey, runRecord{V: codec.Version, Seconds: seconds})
	if err == nil {
		err = b.c.Books.Apply(c)
	}
	if err == nil {
		err = b.meet()
	}
	if err != nil { // the count is only behind then
		b.c.Log.Error("count the time that this machine runs", "err", err)
	}
}

// trusted tells whether dates may be acted on.
func (b *Barter) trusted() bool {
	b.mu.Lock()
	doubt := b.running.doubt > 0
	b.mu.Unlock()
	return !doubt && b.c.ClockTrusted()
}

// count counts the minutes for which this machine runs, beside all other work.
func (b *Barter) count(ctx context.Context) {
	b.startRunning()
	for b.c.Clock.Sleep(ctx, runEvery) == nil {
		b.pass(runEvery)
	}
}

// Run blocks until ctx ends: it ends unused grants, sets aside what has expired, reclaims what has been
// aside for long enough, tells holders what was released, sends them receipts, forgets leases that have ended long ago, and
// renews ours before they lapse, and writes decisions down, from the first tick on, because a machine may never run for long.
// It goes by time that has passed, not by the date, which may jump. It returns nil.
func (b *Barter) Run(ctx context.Context) error {
	var g sync.WaitGroup
	defer g.Wait()
	g.Go(func() { b.count(ctx) })
	g.Go(func() { b.keepDecisions(ctx) })
	for minutes, wait := 1, 1; ; minutes++ {
		if err := b.c.Clock.Sleep(ctx, runEvery); err != nil {
			return nil // ctx has ended: that is how Run stops
		}
		if err := b.Deliver(ctx); err != nil && ctx.Err() == nil {
			b.c.Log.Info("tell holders what was released", "err", err)
		}
		if minutes%tickMinutes != 0 {
			continue
		}
		if err := b.tidy(ctx); err != nil && ctx.Err() == nil {
			b.c.Log.Error("tidy up", "err", err)
		}
		if err := b.sendDue(ctx); err != nil && ctx.Err() == nil {
			b.c.Log.Info("send receipts", "err", err)
		}
		if wait--; wait > 0 {
			continue
		}
		wait = renewTicks
		if err := b.renewDue(ctx); err != nil && ctx.Err() == nil {
			b.c.Log.Warn("renew leases", "err", err)
			wait = retryTicks
		}
	}
}
