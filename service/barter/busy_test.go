package barter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// fill has the disk of a home full, and n pieces of a household wait for it, until free is called.
func (h *home) fill(t *testing.T, of *home, n int) (free func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	turns := h.now().turns
	first, err := turns.take(ctx, queueOf('?', hasteNormal), 0, whole)
	if err != nil {
		t.Fatal(err)
	}
	for range n {
		go func() {
			if w, err := turns.take(ctx, queueID{household: of.grid, haste: hasteNormal}, 0, pieceSize); err == nil {
				w.done()
			}
		}()
	}
	synctest.Wait()
	return func() {
		cancel()
		synctest.Wait()
		first.done()
	}
}

func (h *home) askFor(t *testing.T, of *home, q core.Quality) error {
	t.Helper()
	pact := pactOf(h.grid, of.grid)
	return h.client.Call(t.Context(), of.agent(), "POST", "/ask", core.Ask{
		Resource: core.Storage, Amount: 10, Seconds: 180 * daySeconds, Quality: q, Why: core.Why{Kind: core.WhyPact, Ref: pact[:]},
	}, &grantAnswer{})
}

func TestAskOfWhoIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 3)
		flood, holder, other := w.homes[0], w.homes[1], w.homes[2]
		free := holder.fill(t, flood, 100)
		for _, q := range []core.Quality{core.Normal, core.Idle} {
			d, ok := errors.AsType[*core.Denial](flood.askFor(t, holder, q))
			if !ok || d.Retry != 4 || d.Reason != "busy; ask again in 4 seconds" {
				t.Errorf("%s: %+v", q, d)
			}
		}
		if err := flood.askFor(t, holder, core.Prompt); err != nil {
			t.Errorf("prompt: %v", err)
		}
		if err := other.askFor(t, holder, core.Normal); err != nil {
			t.Errorf("another household: %v", err)
		}
		kept := holder.decisions(t, flood)
		again, _, err := holder.now().Replay(kept[1])
		if err != nil || kept[1].Facts.Busy != 4 || kept[1].Policy != "busy" || !again.Equal(kept[1].Decision) {
			t.Errorf("%+v, replayed %+v, %v", kept[1], again, err)
		}
		free()
		if err := flood.askFor(t, holder, core.Normal); err != nil {
			t.Errorf("when it is over: %v", err)
		}
		w.end()
	})
}

// noted notes the order in which pieces reach the disk, by their sizes.
type noted struct {
	core.Blobs
	mu    sync.Mutex
	sizes []int
}

func (n *noted) Put(ctx context.Context, blob core.Blob) error {
	n.mu.Lock()
	n.sizes = append(n.sizes, len(blob.Data))
	n.mu.Unlock()
	return n.Blobs.Put(ctx, blob)
}

func TestPiecesTakeTheirTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		owner, holder := w.homes[0], w.homes[1]
		order := &noted{Blobs: holder.blobs}
		holder.blobs = order
		holder.open()
		grants := map[core.Quality][]byte{}
		for _, q := range []core.Quality{core.Idle, core.Normal} {
			pact := pactOf(owner.grid, holder.grid)
			var out grantAnswer
			if err := owner.client.Call(t.Context(), holder.agent(), "POST", "/ask", core.Ask{
				Resource: core.Storage, Amount: 5_000, Seconds: 180 * daySeconds, Quality: q, Why: core.Why{Kind: core.WhyPact, Ref: pact[:]},
			}, &out); err != nil {
				t.Fatal(err)
			}
			grants[q] = out.Grant
		}
		old := bytesOf(9, 900)
		owner.mustPut(t, holder, grants[core.Normal], old)
		owner.mustLease(t, holder, old)
		order.sizes = nil

		// The disk has room for one small piece at a time.
		turns := holder.now().turns
		most, err := turns.take(t.Context(), queueID{}, 0, turnsRoom-3*turnCost)
		if err != nil {
			t.Fatal(err)
		}
		last, err := turns.take(t.Context(), queueID{}, 0, turnCost)
		if err != nil {
			t.Fatal(err)
		}
		var g sync.WaitGroup
		read := false
		g.Go(func() { owner.mustPut(t, holder, grants[core.Idle], bytesOf(1, 100)) })
		synctest.Wait()
		g.Go(func() { owner.mustPut(t, holder, grants[core.Normal], bytesOf(2, 200)) })
		synctest.Wait()
		g.Go(func() {
			data, err := owner.client.Fetch(t.Context(), holder.agent(), "/pieces/"+core.ScoreOf(old).String(), nil, 900)
			read = err == nil && slices.Equal(data, old)
		})
		synctest.Wait()
		if read || len(order.sizes) != 0 {
			t.Errorf("something went out of turn: read %v, put %v", read, order.sizes)
		}
		last.done()
		g.Wait()
		if !read || !slices.Equal(order.sizes, []int{200, 100}) {
			t.Errorf("read %v, put in the order %v", read, order.sizes)
		}
		most.done()
		synctest.Wait()
		turns.idle(t)
		w.end()
	})
}

// A put whose turn does not come, or whose sender goes, leaves nothing behind.
func TestPutWithoutATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		owner, holder := w.homes[0], w.homes[1]
		grant := owner.mustAsk(t, holder, 1_000)
		free := holder.fill(t, owner, 1)
		data := bytesOf(1, 1_000)
		if err := owner.put(t, holder, grant, data); !errors.Is(err, core.ErrBusy) {
			t.Errorf("put: %v", err)
		}
		free()
		if holder.has(t, data) {
			t.Error("the piece is here")
		}
		owner.mustPut(t, holder, grant, bytesOf(2, 1_000)) // which needs all the room
		w.end()
	})
}

// busyUntil has a home answer asks with "busy, come again in a minute" until then; qualities are what it was asked for.
func (h *home) busyUntil(end time.Time) (qualities func() []core.Quality) {
	var mu sync.Mutex
	var all []core.Quality
	h.instead("POST /ask", wire.Handle(func(ctx context.Context, ask askRequest) (grantAnswer, error) {
		mu.Lock()
		all = append(all, ask.Quality)
		mu.Unlock()
		if time.Now().Before(end) {
			return grantAnswer{}, &core.Denial{Reason: "busy", Retry: busyMax}
		}
		return h.now().handleAsk(ctx, ask)
	}))
	return func() []core.Quality {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(all)
	}
}

func TestOthersAreGivenWhatABusyHolderDoesNotTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 3)
		owner, busy := w.homes[0], w.homes[1]
		began := time.Now()
		asked := busy.busyUntil(began.Add(10 * time.Minute))
		p := mustPlace(t, owner, 60_000)
		place := func(seed, want int) {
			t.Helper()
			mustSegment(t, p, seed, 1_000, upTo(20))
			commit(t, p, false)
			s, _ := segmentOf(seed, 10, 10, 1_000)
			if got := owner.spread(t, s)[busy]; got != want {
				t.Errorf("the busy one has %d pieces, not %d", got, want)
			}
		}
		place(1, 0)
		if waited := time.Since(began); waited < 2*time.Minute || waited > 3*time.Minute {
			t.Errorf("waited %v", waited)
		}
		n := len(asked())
		began = time.Now()
		place(2, 0)
		if waited := time.Since(began); waited != 0 || len(asked()) != n || p.Refusals()[busy.grid] == nil {
			t.Errorf("waited %v, asked %d times more, refusals %v", waited, len(asked())-n, p.Refusals())
		}
		time.Sleep(10 * time.Minute)
		place(3, 10)
		commit(t, p, true)
		if len(p.Refusals()) > 0 {
			t.Errorf("refusals %v", p.Refusals())
		}
		w.end()
	})
}

func TestWhatNobodyElseTakesWaits(t *testing.T) {
	for name, test := range map[string]struct {
		busy     time.Duration
		unplaced int
		least    time.Duration
		most     time.Duration
	}{
		"for half an hour": {30 * time.Minute, 0, 30 * time.Minute, 32 * time.Minute},
		"for ever":         {1 << 60, 20, time.Hour, 65 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, bubble{}, 2)
				owner, busy := w.homes[0], w.homes[1]
				began := time.Now()
				asked := busy.busyUntil(began.Add(test.busy))
				p, err := owner.now().Place(t.Context(), core.Prompt, 20_000)
				if err != nil {
					t.Fatal(err)
				}
				s, pieces := segmentOf(1, 10, 10, 1_000)
				unplaced, err := p.Segment(t.Context(), s, pieces, upTo(20), nil)
				if err != nil || len(unplaced) != test.unplaced || (len(p.Refusals()) > 0) != (test.unplaced > 0) {
					t.Errorf("unplaced %v, %v, refusals %v", unplaced, err, p.Refusals())
				}
				if waited := time.Since(began); waited < test.least || waited > test.most {
					t.Errorf("waited %v", waited)
				}
				if all := asked(); all[0] != core.Prompt || len(slices.Compact(all)) != 1 {
					t.Errorf("asked for %v", all)
				}
				w.end()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		began := time.Now()
		w.homes[1].busyUntil(began.Add(time.Hour))
		p := mustPlace(t, w.homes[0], 20_000)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Minute+time.Second, cancel)
		s, pieces := segmentOf(1, 10, 10, 1_000)
		if _, err := p.Segment(ctx, s, pieces, upTo(20), nil); !errors.Is(err, context.Canceled) || time.Since(began) > 11*time.Minute {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		w.end()
	})
}

func TestWhatCountsAsBusy(t *testing.T) {
	for _, test := range []struct {
		err  error
		wait time.Duration
		busy bool
	}{
		{nil, busyWait, false},
		{core.ErrBusy, busyWait, true},
		{&wire.Error{Code: wire.CodeBusy, RetrySeconds: 7}, 7 * time.Second, true},
		{&wire.Error{Code: wire.CodeBusy, RetrySeconds: 1 << 20}, busyWaitMax, true},
		{fmt.Errorf("ask: %w", &core.Denial{Retry: 1}), time.Second, true},
		{&core.Denial{}, 0, false},
		{&core.Denial{Retry: busyMax + 1}, (busyMax + 1) * time.Second, false}, // not a matter of load
		{&core.Denial{Retry: -1}, -time.Second, false},
		{core.ErrFull, busyWait, false},
	} {
		if wait, busy := busyFor(test.err); busy != test.busy || busy && wait != test.wait {
			t.Errorf("%v: %v %v", test.err, wait, busy)
		}
	}
}

func TestFetchWaitsForWhoIsBusyInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		owner, holder := w.homes[0], w.homes[1]
		p := mustPlace(t, owner, 20_000)
		mustSegment(t, p, 1, 1_000, upTo(20))
		commit(t, p, true)
		_, pieces := segmentOf(1, 10, 10, 1_000)
		piece := core.Piece{Score: core.ScoreOf(pieces[0]), Size: 1_000}
		free := holder.fill(t, owner, queueMost)
		began := time.Now()
		if _, err := owner.now().Fetch(t.Context(), piece, nil, false); !errors.Is(err, core.ErrBusy) || time.Since(began) != 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.AfterFunc(10*time.Second, free)
		data, err := owner.now().Fetch(t.Context(), piece, nil, true)
		if err != nil || !slices.Equal(data, pieces[0]) || time.Since(began) < 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		w.end()
	})
}

func TestWhatIsCarriedWaitsForABusyDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		owner, holder := w.homes[0], w.homes[1]
		s := newStick()
		owner.seeds(t, s, 1)
		began := time.Now()
		time.AfterFunc(3*time.Second, holder.fill(t, owner, 100))
		out := holder.takesIn(t, s)
		if f := out.From[0]; f.Pieces != 10 || f.Refused != nil || time.Since(began) != 4*time.Second {
			t.Errorf("%+v after %v", out, time.Since(began))
		}
		w.end()
	})
}
