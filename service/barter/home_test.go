package barter

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/pact"
)

// families makes a machine for each of grids; those with one number are one household's.
func families(t *testing.T, grids ...byte) (*world, *sim.Clock) {
	clock := sim.NewClock(1)
	return newFamilies(t, clock, grids), clock
}

// placedBy has a machine place a segment of twenty pieces, those in want.
func placedBy(t *testing.T, h *home, seed int, want []int) (manifest.Segment, []core.Piece) {
	t.Helper()
	p := mustPlace(t, h, 20*1_000)
	mustSegment(t, p, seed, 1_000, want)
	commit(t, p, true)
	s, _ := segmentOf(seed, 10, 10, 1_000)
	var pieces []core.Piece
	for _, i := range want {
		pieces = append(pieces, core.Piece{Score: s.Piece(i), Size: 1_000})
	}
	return s, pieces
}

// The own household is one among those that hold pieces, and its other machines share its part.
func TestMachinesOfAHouseholdHoldItsShare(t *testing.T) {
	for _, c := range []struct {
		name  string
		grids []byte
		want  []int // pieces at each machine
		homes int
	}{
		{"two machines", []byte{0, 0}, []int{0, 20}, 1},
		{"three", []byte{0, 0, 0}, []int{0, 10, 10}, 1},
		{"two and a friend", []byte{0, 0, 1}, []int{0, 10, 10}, 2},
		{"three and two friends", []byte{0, 0, 0, 1, 2}, []int{0, 3, 3, 6, 6}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, _ := families(t, c.grids...)
			owner := w.homes[0]
			if got := mustPlace(t, owner, 0).Households(); len(got) != c.homes {
				t.Errorf("households %v", got)
			}
			s, pieces := placedBy(t, owner, 1, upTo(20))
			spread := owner.spread(t, s)
			for i, o := range w.homes {
				if got := spread[o]; got < c.want[i] || got > c.want[i]+1 {
					t.Errorf("machine %d has %d pieces, want %d", i, got, c.want[i])
				}
				if i > 0 {
					n := int64(spread[o])
					o.wantUsed(t, owner, n*1_000, n, n*1_000)
				}
				o.check(t)
			}
			owner.checkPlaced(t)
			var out int
			if err := owner.now().Audit(t.Context(), pieces, func(f core.Finding) {
				if f.State == core.PieceOK {
					out++
				}
			}); err != nil || out != 20 {
				t.Errorf("%d are proven, %v", out, err)
			}
		})
	}
}

// What a lease within a household says is under no pact, and nothing is owed for it.
func TestALeaseAtHome(t *testing.T) {
	w, clock := families(t, 0, 0)
	owner, holder := w.homes[0], w.homes[1]
	_, _ = placedBy(t, owner, 1, upTo(10))
	leases, err := holder.now().leases(owner.grid, "")
	if err != nil || len(leases.Leases) != 1 {
		t.Fatalf("%+v, %v", leases, err)
	}
	l, err := pact.OpenLease(leases.Leases[0])
	if err != nil || l.Grid != owner.grid || l.Owner != owner.grid || l.Pact != pact.Home(owner.grid) || l.Holder != holder.agent() || l.Until-l.From != 180*daySeconds {
		t.Errorf("%+v, %v", l, err)
	}
	clock.Advance(10 * 24 * time.Hour)
	for range 10 * 24 * 60 {
		holder.now().pass(time.Minute)
	}
	if err := owner.now().sendDue(t.Context()); err != nil {
		t.Errorf("receipts: %v", err)
	}
	_, _ = placedBy(t, owner, 2, upTo(10)) // no receipt is overdue
	decisions, err := holder.now().Decisions(owner.grid, 1)
	if err != nil || len(decisions) != 1 || decisions[0].Policy != "own" || !decisions[0].Grant {
		t.Errorf("%+v, %v", decisions, err)
	}
	call := owner.client.Call(t.Context(), holder.agent(), "POST", "/receipt", receiptRequest{}, nil)
	if !errors.Is(call, core.ErrForbidden) {
		t.Errorf("a receipt: %v", call)
	}
}

// The offer bounds what machines of the household put too.
func TestTheOfferBoundsOwnMachines(t *testing.T) {
	w, _ := families(t, 0, 0)
	owner, holder := w.homes[0], w.homes[1]
	if err := holder.now().SetOffer(5_500); err != nil {
		t.Fatal(err)
	}
	p := mustPlace(t, owner, 1_000)
	s, pieces := segmentOf(1, 5, 5, 1_000)
	unplaced, err := p.Segment(t.Context(), s, pieces, upTo(10), nil)
	if err != nil || len(unplaced) != 5 {
		t.Errorf("unplaced %v, %v", unplaced, err)
	}
	commit(t, p, true)
	holder.wantUsed(t, owner, 5_000, 5, 5_000)
	if d, ok := errors.AsType[*core.Denial](p.Refusals()[owner.grid]); !ok || d.Reason != "500 B free; ask for at most 500 B" && d.Counter == nil {
		t.Errorf("refusals %v", p.Refusals())
	}
}

// One machine of the household that does not answer leaves its part to the others, which is no refusal.
func TestAnOwnMachineThatIsAway(t *testing.T) {
	w, _ := families(t, 0, 0, 0)
	owner, away, holder := w.homes[0], w.homes[1], w.homes[2]
	away.stop()
	p := mustPlace(t, owner, 20_000)
	mustSegment(t, p, 1, 1_000, upTo(10))
	commit(t, p, true)
	holder.wantUsed(t, owner, 10_000, 10, 10_000)
	if r := p.Refusals(); len(r) > 0 {
		t.Errorf("refusals %v", r)
	}
}

// reads checks which pieces a machine reads from its own disk.
func (h *home) reads(t *testing.T, pieces []core.Piece, want int) {
	t.Helper()
	got := 0
	for _, p := range pieces {
		if data, err := h.now().Fetch(t.Context(), p, make([]byte, 0, erasure.PieceSizeMax), false); err == nil && core.ScoreOf(data) == p.Score {
			got++
		} else if !errors.Is(err, core.ErrNotExist) {
			t.Error(err)
		}
	}
	if got != want {
		t.Errorf("%d pieces are read, want %d", got, want)
	}
}

// A machine reads what it has for its own household without anybody's help, and says so.
func TestWhatLiesHereIsRead(t *testing.T) {
	w, _ := families(t, 0, 0)
	owner, holder := w.homes[0], w.homes[1]
	_, pieces := placedBy(t, owner, 1, upTo(10))
	owner.stop()
	holder.reads(t, pieces, 10)
	for _, p := range pieces {
		held, err := holder.now().Held(p.Score)
		if err != nil || len(held) != 1 || held[0].Agent != holder.agent() || held[0].Grid != owner.grid {
			t.Fatalf("held by %+v, %v", held, err)
		}
	}
	if err := holder.now().Audit(t.Context(), pieces, func(f core.Finding) { t.Errorf("asked itself: %+v", f) }); err != nil {
		t.Error(err)
	}
	if _, err := holder.now().Place(t.Context(), core.Normal, 1); err != nil {
		t.Errorf("with a machine that is away: %v", err)
	}
	w.removed[owner.agent()] = true
	if _, err := holder.now().Place(t.Context(), core.Normal, 1); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("a placement at itself: %v", err)
	}
	if _, _, err := holder.now().Learn(t.Context(), owner.grid, func(core.Score) (int64, bool) { return 0, false }); err != nil {
		t.Errorf("asked itself for its leases: %v", err)
	}
}

// A machine that was removed reads, puts, leases and releases nothing any more.
func TestARemovedMachineIsShutOut(t *testing.T) {
	w, _ := families(t, 0, 0)
	owner, holder := w.homes[0], w.homes[1]
	_, pieces := placedBy(t, owner, 1, upTo(10))
	w.removed[owner.agent()] = true
	piece := pieces[0].Score
	home := pact.Home(owner.grid)
	for name, err := range map[string]error{
		"ask": owner.client.Call(t.Context(), holder.agent(), "POST", "/ask", core.Ask{
			Resource: core.Storage, Amount: 1, Seconds: 1, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact, Ref: home[:]},
		}, nil),
		"put":     owner.client.Send(t.Context(), holder.agent(), putPath(piece, make([]byte, 16), make([]byte, 16), 0), []byte{1}),
		"lease":   owner.client.Call(t.Context(), holder.agent(), "POST", "/leases", leaseRequest{Pieces: pieces[:1], Seconds: 1}, nil),
		"release": owner.client.Call(t.Context(), holder.agent(), "POST", "/release", releaseRequest{}, nil),
		"list":    owner.client.Call(t.Context(), holder.agent(), "GET", "/leases", nil, nil),
		"prove":   owner.client.Call(t.Context(), holder.agent(), "POST", "/prove", proveRequest{}, nil),
		"get": func() error {
			_, err := owner.client.Fetch(t.Context(), holder.agent(), "/pieces/"+piece.String(), nil, 1_000)
			return err
		}(),
	} {
		if !errors.Is(err, core.ErrRevoked) {
			t.Errorf("%s: %v", name, err)
		}
	}
	holder.reads(t, pieces, 10)
	holder.check(t)
}

// What lies at a machine that was removed is given up, and what lies here stays until it is.
func TestAfterARemoval(t *testing.T) {
	w, _ := families(t, 0, 0)
	owner, holder := w.homes[0], w.homes[1]
	_, here := placedBy(t, owner, 1, upTo(10))
	_, there := placedBy(t, holder, 2, upTo(10))
	w.removed[owner.agent()] = true
	b := holder.now()
	if err := b.GiveUpRemoved(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, p := range there {
		if held, err := b.Held(p.Score); err != nil || len(held) > 0 {
			t.Fatalf("held at a machine that was removed: %+v, %v", held, err)
		}
	}
	holder.reads(t, here, 10)
	holder.letGo(t, here[:4])
	if got := holder.aside(owner); got != 4_000 {
		t.Errorf("%d bytes are aside", got)
	}
	holder.reads(t, here, 10) // for two weeks
	if held, err := b.Held(here[0].Score); err != nil || len(held) > 0 {
		t.Errorf("what was given up is held: %+v, %v", held, err)
	}
	holder.renew(t, here[:2], 0)
	if got := holder.aside(owner); got != 2_000 {
		t.Errorf("%d bytes are aside after some were taken back", got)
	}
	for range 61 * 24 * 60 { // there was an alarm
		b.pass(time.Minute)
	}
	if err := b.reclaim(t.Context()); err != nil {
		t.Fatal(err)
	}
	holder.reads(t, here, 8)
	holder.check(t)
}

// What one machine has placed here, and counts on, another does not give up for it.
func TestOneMachineDoesNotGiveUpAnothers(t *testing.T) {
	w, _ := families(t, 0, 0, 0)
	owner, holder, third := w.homes[0], w.homes[1], w.homes[2]
	p := mustPlace(t, owner, 20_000)
	mustSegment(t, p, 1, 1_000, upTo(10))
	commit(t, p, true)
	s, _ := segmentOf(1, 10, 10, 1_000)
	var here []core.Piece
	for i := range 10 {
		if slices.Contains(owner.holders(t, s.Piece(i)), holder) {
			here = append(here, core.Piece{Score: s.Piece(i), Size: 1_000})
		}
	}
	if len(here) != 5 {
		t.Fatalf("%d pieces", len(here))
	}
	holder.letGo(t, here)
	known := func(core.Score) (int64, bool) { return 1_000, true }
	if _, _, err := third.now().Learn(t.Context(), owner.grid, known); err != nil {
		t.Fatal(err)
	}
	third.letGo(t, here)
	third.deliver(t)
	if got := holder.aside(owner); got != 0 {
		t.Errorf("%d bytes are aside", got)
	}
	owner.letGo(t, here)
	owner.deliver(t)
	if got := holder.aside(owner); got != 5_000 {
		t.Errorf("%d bytes are aside when who placed them has given them up", got)
	}
	holder.check(t)
}

// A lease within the household that ends is kept on, because who placed the pieces may be no more.
func TestWhatLiesHereDoesNotExpire(t *testing.T) {
	w, clock := families(t, 0, 0, 1)
	owner, holder := w.homes[0], w.homes[1]
	_, pieces := placedBy(t, owner, 1, upTo(20))
	n := int64(len(slices.DeleteFunc(slices.Clone(pieces), func(p core.Piece) bool { return !slices.Contains(owner.holders(t, p.Score), holder) })))
	owner.stop()
	b := holder.now()
	for range 3 {
		clock.Advance(181 * 24 * time.Hour)
		for range 5 * 24 * 60 {
			b.pass(time.Minute)
		}
		if err := b.tidy(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	holder.wantUsed(t, owner, n*1_000, n, n*1_000)
	if got := holder.aside(owner); got != 0 {
		t.Errorf("%d bytes are aside", got)
	}
	holder.check(t)
}

// A machine that is new learns from the others where the household's pieces lie.
func TestLearnFromOwnMachines(t *testing.T) {
	w, _ := families(t, 0, 0, 0)
	owner, third := w.homes[0], w.homes[2]
	_, pieces := placedBy(t, owner, 1, upTo(10))
	owner.stop()
	third.disk = newDiskOf(third)
	third.open()
	known := func(core.Score) (int64, bool) { return 1_000, true }
	n, _, err := third.now().Learn(t.Context(), owner.grid, known)
	if !errors.Is(err, core.ErrUnreachable) || n != 5 {
		t.Errorf("%d are known, %v", n, err)
	}
	third.reads(t, pieces, 5)
	if third.now().Placed(owner.grid) != 5_000 {
		t.Errorf("%d bytes are placed", third.now().Placed(owner.grid))
	}
}

// A piece that rots on one's own disk is read from another holder.
func TestWhatRotsHereIsReadElsewhere(t *testing.T) {
	w, _ := families(t, 0, 0)
	owner, holder := w.homes[0], w.homes[1]
	_, pieces := placedBy(t, owner, 1, upTo(10))
	holder.disk.Blobs().Rot(pieces[0].Score)
	_, err := holder.now().Fetch(t.Context(), pieces[0], nil, false)
	if !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("the only one is rotten: %v", err)
	}
	if _, ok := errors.AsType[*wire.Error](err); ok {
		t.Error("somebody was asked")
	}
}
