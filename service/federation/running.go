package federation

import (
	"context"
	"fmt"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/pact"
)

// Running time is counted in steps, while Run runs, and kept in the books at each: what
// is set aside waits by it, so that a wall clock that jumps reclaims nothing.
const (
	runStep = time.Minute
	// clockHeardMax is how long a partner's clock counts after it was heard, in seconds of running time.
	clockHeardMax = 7 * daySeconds
	// clockOffMax is how far two clocks that agree may be apart, in seconds.
	clockOffMax = daySeconds
	// clockJumpMax is how far the wall clock may move against the running time between two
	// steps, in seconds: what was heard before a greater jump counts no more.
	clockJumpMax = 60 * 60
)

// ranRecord is how long this machine has run, in seconds.
type ranRecord struct {
	V       uint  `json:"v"`
	Seconds int64 `json:"seconds"`
}

// heardClock is what a partner's clock said when this machine had run so long.
type heardClock struct{ ran, said int64 }

// loadRan reads the running time. It begins at 1: a zero stamp is none.
func (f *Federation) loadRan() error {
	var r ranRecord
	_, err := get(f.c.Books, []byte(keyRan), &r, recordSizeMax)
	f.ran = max(1, r.Seconds)
	return err
}

// Ran returns how many seconds this machine has run, as far as Run has counted.
func (f *Federation) Ran() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ran
}

// keepRunning counts the running time.
func (f *Federation) keepRunning(ctx context.Context) {
	f.mu.Lock()
	f.wall = f.now()
	f.mu.Unlock()
	for f.c.Clock.Sleep(ctx, runStep) == nil {
		now := f.now()
		f.mu.Lock()
		f.ran += int64(runStep / time.Second)
		if f.jumped(now - int64(runStep/time.Second)) {
			clear(f.clocks)
		}
		f.wall = now
		r := ranRecord{V: codec.Version, Seconds: f.ran}
		f.mu.Unlock()
		var c changes
		c.set([]byte(keyRan), r)
		if err := c.apply(f.c.Books); err != nil {
			f.c.Log.Warn("note how long this machine has run", "err", err)
		}
	}
}

// jumped tells whether the wall clock is far from where it was at the last step. The
// caller holds f.mu.
func (f *Federation) jumped(now int64) bool {
	off := now - f.wall
	return f.wall != 0 && (off < -clockJumpMax || off > clockJumpMax)
}

// hearClock notes what a partner's clock says. What is no date is not heard.
func (f *Federation) hearClock(grid core.DID, said int64) {
	if said <= 0 || said > pact.TimeMax {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.partners[grid] != nil {
		f.clocks[grid] = heardClock{ran: f.ran, said: said}
	}
}

// ClockTrusted tells whether this machine's clock can be right: a partner was heard
// in the last 7 days of running time, and the clocks of at least half of those that
// were are within a day of ours now. Each household has one voice, that of its machine
// heard last. After our clock has jumped, they must be heard again. Partners' clocks that are wrong together, or lie, can take trust away and
// give it: so nothing is dropped by it that was not due by somebody's clock.
func (f *Federation) ClockTrusted() bool {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.jumped(now) {
		return false
	}
	heard, near := 0, 0
	for grid, c := range f.clocks {
		if f.partners[grid] == nil || f.ran-c.ran > clockHeardMax {
			continue
		}
		heard++
		if off := c.said + f.ran - c.ran - now; -clockOffMax <= off && off <= clockOffMax {
			near++
		}
	}
	return heard > 0 && 2*near >= heard
}

// reclaimMax bounds the pages of a household that one sweep reclaims.
const reclaimMax = 4096

// asideSeconds returns how long what a household's heads drop is kept, in running time.
func (f *Federation) asideSeconds(grid core.DID) int64 {
	if p, ok := f.Partner(grid); ok {
		return int64(p.Terms.AsideDays) * daySeconds
	}
	if g, ok := f.Guest(grid); ok {
		return int64(g.Terms().AsideDays) * daySeconds
	}
	return pact.AsideDays * daySeconds
}

// reclaim drops pages that were set aside long enough ago. The caller has the shelf's turn.
func (f *Federation) reclaim(ctx context.Context, s *shelf, grid core.DID) error {
	keep := f.asideSeconds(grid)
	f.mu.Lock()
	ran, some := f.ran, s.aside.pages > 0
	f.mu.Unlock()
	if !some {
		return nil
	}
	var again changes
	for e, err := range scan[pageRecord](f.c.Books, key(keyPage, grid[:]), didSize+core.ScoreSize, recordSizeMax) {
		if err != nil {
			return err
		}
		if r := e.value; r.Aside > ran { // the count was lost with the books: it begins again
			r.Aside = ran
			again.set(e.key, r)
		}
	}
	if err := again.apply(f.c.Books); err != nil {
		return fmt.Errorf("count anew: %w", err)
	}
	return f.shed(ctx, s, grid, reclaimMax, func(r pageRecord) bool { return r.Aside != 0 && ran-r.Aside >= keep })
}
