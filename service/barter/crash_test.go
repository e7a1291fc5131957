package barter

import (
	"errors"
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
)

// TestCrashAtEachWrite stops the holder at each write in turn, with that write done or
// not, and starts it again: whatever lease had been given holds, the totals are exact, and
// nothing is left over.
func TestCrashAtEachWrite(t *testing.T) {
	for _, kept := range []bool{false, true} {
		for n := 0; ; n++ {
			ended := false
			t.Run(fmt.Sprintf("%d %v", n, kept), func(t *testing.T) { ended = crashAt(t, n, kept) })
			if ended {
				if n < 10 {
					t.Fatalf("the story has %d writes", n)
				}
				break
			}
			if t.Failed() {
				return
			}
		}
	}
}

// crashAt returns true if the story ended before the crash.
func crashAt(t *testing.T, n int, kept bool) (ended bool) {
	w, clock := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	promised := map[*home]map[core.Score]bool{owner: {}, other: {}}
	lease := func(from *home, pieces ...[]byte) error {
		out, err := from.lease(t, holder, nil, pieces...)
		if err != nil {
			return err
		}
		l, err := holder.now().openOwn(mustMarshal(t, *out.Lease), from.grid)
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range l.Pieces {
			promised[from][piece] = true
		}
		return nil
	}
	story := func() error {
		one, err := owner.ask(t, holder, 1<<20)
		if err != nil {
			return err
		}
		two, err := other.ask(t, holder, 1<<20)
		if err != nil {
			return err
		}
		put := func(from *home, grant grantAnswer, seeds ...int) error {
			for _, seed := range seeds {
				if err := from.put(t, holder, grant.Grant, bytesOf(seed, 1_000+seed)); err != nil {
					return err
				}
			}
			return nil
		}
		for _, step := range []func() error{
			func() error { return put(owner, one, 1, 2, 3) },
			func() error { return lease(owner, bytesOf(1, 1_001), bytesOf(2, 1_002)) },
			func() error { return put(other, two, 2, 3, 4) },
			func() error { return lease(other, bytesOf(2, 1_002), bytesOf(4, 1_004)) },
			func() error {
				clock.Jump(100 * daySeconds * 1e9) // which ends the grants, and makes a renewal
				if err := holder.now().tidy(t.Context()); err != nil {
					return err
				}
				return lease(owner, bytesOf(1, 1_001), bytesOf(2, 1_002))
			},
			func() error {
				clock.Jump(150 * daySeconds * 1e9) // the first leases ended long ago
				return holder.now().tidy(t.Context())
			},
			func() error { return lease(owner, bytesOf(2, 1_002)) },
			func() error { // other's leases have ended; owner's pieces are given back, and one is wanted again
				if _, err := owner.release(t, holder, bytesOf(1, 1_001), bytesOf(2, 1_002)); err != nil {
					return err
				}
				clock.Advance(10 * days)
				holder.now().pass(10 * days)
				return lease(owner, bytesOf(2, 1_002))
			},
			func() error {
				delete(promised[owner], core.ScoreOf(bytesOf(1, 1_001)))
				clear(promised[other])
				clock.Advance(60 * days)
				holder.now().pass(60 * days)
				return holder.now().tidy(t.Context())
			},
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
	holder.disk.CrashAfter(n, kept)
	if err := story(); (err != nil) != holder.disk.Crashed() {
		t.Fatalf("crashed %v: %v", holder.disk.Crashed(), err)
	}
	ended = !holder.disk.Crashed()
	holder.disk.Restart()
	holder.open()
	for from, pieces := range promised {
		for piece := range pieces {
			if _, err := from.client.Fetch(t.Context(), holder.agent(), "/pieces/"+piece.String(), nil, 1<<20); err != nil {
				t.Errorf("a piece that was leased: %v", err)
			}
		}
		if _, held := holder.now().Used(from.grid); held < int64(len(pieces)) {
			t.Errorf("%d pieces are held, %d were promised", held, len(pieces))
		}
	}
	if size, n := holder.now().Used(owner.grid); ended && (size != 1_002 || n != 1) {
		t.Errorf("in the end %d bytes of %d pieces are used", size, n)
	}
	holder.check(t)
	for info := range holder.disk.Blobs().All(t.Context()) {
		if about, _ := parseNote(info.Note); about.Kind == notePiece && info.Size == 1_003 {
			t.Error("a piece that was never leased outlived the restart")
		}
	}
	return ended
}

// A disk that can write no more, but is read, refuses and stays exact.
func TestFullDisks(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	grant := owner.mustAsk(t, holder, 10_000)
	a, b := bytesOf(1, 1_000), bytesOf(2, 1_000)
	owner.mustPut(t, holder, grant, a)
	holder.disk.Blobs().SetCapacity(holder.disk.Blobs().Used() + 500)
	if err := owner.put(t, holder, grant, b); !errors.Is(err, core.ErrFull) {
		t.Errorf("a piece on a full disk: %v", err)
	}
	holder.disk.Blobs().SetCapacity(holder.disk.Blobs().Used())
	if _, err := owner.lease(t, holder, nil, a); !errors.Is(err, core.ErrFull) {
		t.Errorf("a lease on a full disk: %v", err)
	}
	holder.disk.Blobs().SetCapacity(0)
	holder.disk.Books().SetFull(true)
	if _, err := owner.lease(t, holder, nil, a); !errors.Is(err, core.ErrFull) {
		t.Errorf("a lease with full books: %v", err)
	}
	holder.wantUsed(t, owner, 0, 0, 10_000)
	holder.check(t) // also that the lease that was not given is gone
	holder.disk.Books().SetFull(false)
	owner.mustPut(t, holder, grant, b)
	owner.mustLease(t, holder, a, b)
	holder.wantUsed(t, owner, 2_000, 2, 10_000)

	holder.disk.Blobs().SetAway(true)
	for name, err := range map[string]error{
		"put": owner.put(t, holder, grant, bytesOf(3, 10)),
		"get": func() error {
			_, err := owner.client.Fetch(t.Context(), holder.agent(), "/pieces/"+core.ScoreOf(a).String(), nil, 1<<20)
			return err
		}(),
		"lease": func() error { _, err := owner.lease(t, holder, nil, a); return err }(),
	} {
		if !errors.Is(err, core.ErrAway) {
			t.Errorf("%s while the disk is away: %v", name, err)
		}
	}
	holder.open() // which sweeps, and must bear it
	holder.disk.Blobs().SetAway(false)
	holder.wantUsed(t, owner, 2_000, 2, 2_000)
	holder.check(t)
}

// A piece that rotted is put again without needing room, and its owner pays once.
func TestRotIsHealedByAnotherPut(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	grant := owner.mustAsk(t, holder, 1_000)
	data := bytesOf(1, 1_000)
	owner.mustPut(t, holder, grant, data)
	owner.mustLease(t, holder, data)
	for _, harm := range []func(core.Score) bool{holder.disk.Blobs().Rot, holder.disk.Blobs().Lose} {
		if !harm(core.ScoreOf(data)) {
			t.Fatal("no harm was done")
		}
		if _, err := owner.client.Fetch(t.Context(), holder.agent(), "/pieces/"+core.ScoreOf(data).String(), nil, 1<<20); !errors.Is(err, core.ErrCorrupt) && !errors.Is(err, core.ErrNotExist) {
			t.Errorf("a piece that rotted: %v", err)
		}
		owner.mustPut(t, holder, grant, data)
		owner.mustLease(t, holder, data)
		holder.wantUsed(t, owner, 1_000, 1, 1_000)
	}
	holder.check(t)
}

// The owner's books are exact after a crash at each write, too.
func TestOwnerCrashAtEachWrite(t *testing.T) {
	for _, kept := range []bool{false, true} {
		for n := 0; n < 15; n++ {
			w, _ := simWorld(t, 3)
			owner := w.homes[0]
			owner.disk.CrashAfter(n, kept)
			for seed := range 3 {
				s, pieces := segmentOf(seed, 2, 2, 100)
				p, err := owner.now().Place(t.Context(), core.Normal, 400)
				if err != nil {
					t.Fatal(err)
				}
				if unplaced, err := p.Segment(t.Context(), s, pieces, upTo(4), nil); err != nil || len(unplaced) > 0 {
					t.Fatal(unplaced, err)
				}
				if failed := p.Commit(t.Context(), true); len(failed) > 0 && !owner.disk.Crashed() {
					t.Fatal(failed)
				}
				if held, err := owner.now().Held(s.Piece(0)); err == nil && len(held) > 0 && seed == 2 {
					_ = owner.now().Forget(held...)
				}
			}
			if crashed := owner.disk.Crashed(); crashed != (n < 13) {
				t.Fatalf("crashed %v at write %d", crashed, n)
			}
			owner.disk.Restart()
			owner.open()
			owner.checkPlaced(t)
			// What was lost is learned again from the holders.
			for _, o := range w.homes[1:] {
				_, unknown, err := owner.now().Learn(t.Context(), o.grid, func(core.Score) (int64, bool) { return 100, true })
				if err != nil || unknown > 0 {
					t.Fatal(unknown, err)
				}
			}
			owner.deliver(t)
			owner.checkPlaced(t)
			for _, o := range w.homes[1:] {
				owner.receipt(t, o)
				used, _ := o.now().Used(owner.grid)
				if got := owner.now().Placed(o.grid); got != used-o.aside(owner) || n > 4 && got == 0 {
					t.Errorf("write %d: %d bytes are placed, %d are held", n, got, used)
				}
			}
		}
	}
}
