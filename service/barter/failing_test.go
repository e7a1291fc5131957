package barter

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

func TestNobodyToPlaceWith(t *testing.T) {
	w, _ := simWorld(t, 1)
	if _, err := w.homes[0].now().Place(t.Context(), core.Normal, 1); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("without a partner: %v", err)
	}
	w, _ = simWorld(t, 2)
	w.homes[1].agents = []core.DID{}
	if _, err := w.homes[0].now().Place(t.Context(), core.Normal, 1); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("with a partner without machines: %v", err)
	}
	w.homes[1].agents = nil
	w.net.Down(w.homes[1].agent())
	p := mustPlace(t, w.homes[0], 1)
	s, pieces := segmentOf(1, 1, 0, 10)
	unplaced, err := p.Segment(t.Context(), s, pieces, []int{0}, nil)
	if err != nil || len(unplaced) != 1 || len(p.Households()) != 0 {
		t.Errorf("with a partner that is away: %v, %v, %v", unplaced, err, p.Households())
	}
	if r := p.Refusals(); !errors.Is(r[w.homes[1].grid], core.ErrUnreachable) {
		t.Errorf("refusals %v", r)
	}
	commit(t, p, true)
}

// The first machine of a household that answers is taken.
func TestTheMachineThatAnswersIsChosen(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	holder.agents = []core.DID{{9}, holder.agent()}
	p := mustPlace(t, owner, 1_000)
	mustSegment(t, p, 1, 10, upTo(10))
	commit(t, p, true)
	holder.wantUsed(t, owner, 100, 10, 100)
}

func TestSegmentEndsWithItsContext(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	p := mustPlace(t, owner, 10_000)
	ctx, cancel := context.WithCancel(t.Context())
	real := holder.real("PUT /pieces/{score}")
	holder.instead("PUT /pieces/{score}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cancel()
		real.ServeHTTP(w, r)
	}))
	s, pieces := segmentOf(1, 10, 10, 1_000)
	unplaced, err := p.Segment(ctx, s, pieces, upTo(10), nil)
	if !errors.Is(err, context.Canceled) || len(unplaced) != 10 {
		t.Errorf("unplaced %v, %v", unplaced, err)
	}
	if err := owner.now().isDown(holder.agent()); err != nil {
		t.Errorf("a call that we ended ourselves says that the machine is down: %v", err)
	}
	wantNothingOpen(t, p)
	holder.instead("PUT /pieces/{score}", nil)
	mustSegment(t, p, 2, 1_000, upTo(10))
	commit(t, p, true)
	holder.wantUsed(t, owner, 10_000, 10, 10_000)
	holder.check(t)
}

// TestAHolderThatDies goes out of reach in the middle of a segment: what it had been
// given goes to the others, within the cap.
func TestAHolderThatDies(t *testing.T) {
	for after := range 8 {
		w, _ := simWorld(t, 4)
		owner, dying := w.homes[0], w.homes[1]
		p := mustPlace(t, owner, 40_000)
		var n atomic.Int64
		real := dying.real("PUT /pieces/{score}")
		dying.instead("PUT /pieces/{score}", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if n.Add(1) == int64(after)+1 {
				w.net.Down(dying.agent())
			}
			real.ServeHTTP(rw, r)
		}))
		s, pieces := segmentOf(1, 10, 10, 1_000)
		unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil)
		if err != nil || len(unplaced) > 0 {
			t.Fatalf("dead after %d: unplaced %v, %v", after, unplaced, err)
		}
		died := n.Load() > int64(after)
		commit(t, p, true)
		got := owner.spread(t, s)
		if died && (got[dying] != 0 || got[w.homes[2]] != 10 || got[w.homes[3]] != 10) {
			t.Errorf("dead after %d: spread %v", after, got)
		}
		if died != errors.Is(p.Refusals()[dying.grid], core.ErrUnreachable) {
			t.Errorf("dead after %d: refusals %v", after, p.Refusals())
		}
		for i := range 20 {
			if n := len(owner.holders(t, s.Piece(i))); n != 1 {
				t.Errorf("dead after %d: piece %d has %d holders", after, i, n)
			}
		}
	}
}

// A connection that breaks once is made anew once, whatever streams were on it.
func TestAPathThatBreaksOnce(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder := w.homes[0], w.homes[1]
	p := mustPlace(t, owner, 40_000)
	mustSegment(t, p, 1, 1_000, upTo(20))
	owner.freshes = 0
	var once sync.Once
	real := holder.real("PUT /pieces/{score}")
	holder.instead("PUT /pieces/{score}", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		once.Do(func() { holder.peers.Reset(owner.agent()) })
		real.ServeHTTP(rw, r)
	}))
	mustSegment(t, p, 2, 1_000, upTo(20))
	commit(t, p, true)
	if r := p.Refusals(); len(r) > 0 {
		t.Errorf("refusals %v", r)
	}
	if owner.freshes > 1 {
		t.Errorf("connections were made anew %d times", owner.freshes)
	}
	holder.wantUsed(t, owner, 20_000, 20, 20_000)
	holder.check(t)
}

// A holder that is started anew has forgotten its grants, and what came under them: it is
// asked again. What was lost is told by Commit.
func TestAHolderThatIsStartedAnew(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	p := mustPlace(t, owner, 40_000)
	mustSegment(t, p, 1, 1_000, upTo(10))
	commit(t, p, false)
	mustSegment(t, p, 2, 1_000, upTo(10))
	holder.open()
	mustSegment(t, p, 3, 1_000, upTo(10))
	failed := p.Commit(t.Context(), true)
	if err := failed[holder.grid]; !errors.Is(err, core.ErrPartly) || !strings.Contains(err.Error(), "lost 10 of 20") {
		t.Errorf("commit: %v", err)
	}
	for seed, want := range map[int]int{1: 10, 2: 0, 3: 10} {
		s, _ := segmentOf(seed, 10, 10, 1_000)
		if got := owner.spread(t, s)[holder]; got != want {
			t.Errorf("segment %d: %d pieces are held, want %d", seed, got, want)
		}
	}
	holder.wantUsed(t, owner, 20_000, 20, 20_000)
	holder.check(t)
	// One that forgets all the time is given up.
	var mu sync.Mutex
	asks := 0
	real := holder.real("POST /ask")
	holder.instead("POST /ask", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asks++
		mu.Unlock()
		real.ServeHTTP(w, r)
	}))
	holder.instead("PUT /pieces/{score}", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wire.WriteError(w, r, core.ErrNotExist)
	}))
	p = mustPlace(t, owner, 10_000)
	s, pieces := segmentOf(4, 10, 10, 1_000)
	unplaced, err := p.Segment(t.Context(), s, pieces, upTo(10), nil)
	if err != nil || len(unplaced) != 10 || asks != roomsLostMax+1 || !errors.Is(p.Refusals()[holder.grid], core.ErrNotExist) {
		t.Errorf("unplaced %v, %v after %d asks: %v", unplaced, err, asks, p.Refusals())
	}
}

// A full disk is an answer: what is there is leased, the rest goes elsewhere.
func TestAHolderWhoseDiskFills(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, small := w.homes[0], w.homes[1]
	p := mustPlace(t, owner, 20_000)
	small.disk.Blobs().SetCapacity(6_000)
	s, pieces := segmentOf(1, 10, 10, 1_000)
	unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil)
	if err != nil {
		t.Fatal(err)
	}
	small.disk.Blobs().SetCapacity(0)
	commit(t, p, true)
	got := owner.spread(t, s)
	if got[small] < 1 || got[small] > 5 || got[w.homes[2]] != 10 || len(unplaced) != 10-got[small] {
		t.Errorf("spread %v, unplaced %v", got, unplaced)
	}
	if r := p.Refusals(); !errors.Is(r[small.grid], core.ErrFull) || len(r) != 1 {
		t.Errorf("refusals %v", r)
	}
	if slices.Contains(p.Households(), small.grid) {
		t.Error("it is still given pieces")
	}
	small.check(t)
}

// What could not be leased because the holder did not answer is tried again.
func TestCommitTriesAgain(t *testing.T) {
	w, clock := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	p := mustPlace(t, owner, 20_000)
	mustSegment(t, p, 1, 1_000, upTo(10))
	w.net.Down(holder.agent())
	if failed := p.Commit(t.Context(), false); !errors.Is(failed[holder.grid], core.ErrUnreachable) {
		t.Errorf("commit: %v", failed)
	}
	w.net.Up(holder.agent())
	if failed := p.Commit(t.Context(), false); !errors.Is(failed[holder.grid], core.ErrUnreachable) {
		t.Errorf("commit at once after a failure: %v", failed)
	}
	clock.Advance(downFirst)
	commit(t, p, false)
	holder.wantUsed(t, owner, 10_000, 10, 21_250)
	commit(t, p, true)
	holder.wantUsed(t, owner, 10_000, 10, 10_000)
}

func TestBusyIsWaitedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 3)
		owner, busy := w.homes[0], w.homes[1]
		var mu sync.Mutex
		left := map[string]int{"POST /ask": 3, "PUT /pieces/{score}": 9, "POST /leases": 2}
		for route := range left {
			real := busy.real(route)
			busy.instead(route, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				left[route]--
				again := left[route] >= 0
				mu.Unlock()
				if again {
					wire.WriteError(w, r, &wire.Error{Code: wire.CodeBusy, Message: "busy", RetrySeconds: 7})
					return
				}
				real.ServeHTTP(w, r)
			}))
		}
		began := time.Now()
		p := mustPlace(t, owner, 20_000)
		mustSegment(t, p, 1, 1_000, upTo(20))
		commit(t, p, true)
		s, _ := segmentOf(1, 10, 10, 1_000)
		if got := owner.spread(t, s)[busy]; got != 10 || len(p.Refusals()) > 0 {
			t.Errorf("%d pieces, refusals %v", got, p.Refusals())
		}
		if waited := time.Since(began); waited < 7*time.Second || waited > 10*time.Minute {
			t.Errorf("waited %v", waited)
		}
		// One that is busy for ever is given up in a few minutes.
		mu.Lock()
		left["PUT /pieces/{score}"] = 1 << 30
		mu.Unlock()
		began = time.Now()
		p = mustPlace(t, owner, 20_000)
		s, pieces := segmentOf(2, 10, 10, 1_000)
		unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil)
		if err != nil || len(unplaced) != 0 || !errors.Is(p.Refusals()[busy.grid], core.ErrBusy) {
			t.Errorf("unplaced %v, %v, refusals %v", unplaced, err, p.Refusals())
		}
		if waited := time.Since(began); waited < 2*time.Minute || waited > 10*time.Minute {
			t.Errorf("waited %v", waited)
		}
		w.end()
	})
}

// A holder that takes everything and answers nothing costs minutes, not for ever.
func TestAHolderThatStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 4)
		owner, stalled := w.homes[0], w.homes[1]
		p := mustPlace(t, owner, 20*1_000)
		mustSegment(t, p, 1, 1_000, upTo(20))
		w.net.Stall(owner.agent(), stalled.agent())
		began := time.Now()
		s, pieces := segmentOf(2, 10, 10, 1_000)
		unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil)
		if err != nil || len(unplaced) != 0 {
			t.Errorf("unplaced %v, %v", unplaced, err)
		}
		if waited := time.Since(began); waited > 10*time.Minute {
			t.Errorf("waited %v", waited)
		}
		// Its path mends: what it was given before is leased, what it was given last has gone to others.
		w.net.Heal(owner.agent(), stalled.agent())
		commit(t, p, true)
		if got := owner.spread(t, s); got[stalled] != 0 || got[w.homes[2]] != 10 || got[w.homes[3]] != 10 {
			t.Errorf("spread %v", got)
		}
		first, _ := segmentOf(1, 10, 10, 1_000)
		if got := owner.spread(t, first); got[stalled]+got[w.homes[2]]+got[w.homes[3]] != 20 || got[stalled] < 6 {
			t.Errorf("spread %v", got)
		}
		w.end()
	})
}
