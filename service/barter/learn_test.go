package barter

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/pact"
)

func TestLearnFindsPieces(t *testing.T) {
	w, clock := simWorld(t, 3)
	owner := w.homes[0]
	var pieces []core.Piece
	for seed := range 12 { // two pages of leases
		p := mustPlace(t, owner, 1)
		mustSegment(t, p, seed, 100, upTo(20))
		commit(t, p, true)
		s, _ := segmentOf(seed, 10, 10, 100)
		for i := range 20 {
			pieces = append(pieces, core.Piece{Score: s.Piece(i), Size: 100})
		}
	}
	sizes := map[core.Score]int64{}
	for _, p := range pieces[20:] { // the first segment is not known any more
		sizes[p.Score] = p.Size
	}
	sizeOf := func(p core.Score) (int64, bool) { size, ok := sizes[p]; return size, ok }
	owner.disk = newDiskOf(owner)
	owner.open()
	clock.Advance(200 * 24 * time.Hour) // the leases have ended, and count all the same
	for range 2 {
		known, unknown := 0, 0
		for _, o := range w.homes[1:] {
			k, u, err := owner.now().Learn(t.Context(), o.grid, sizeOf)
			if err != nil {
				t.Fatal(err)
			}
			known, unknown = known+k, unknown+u
		}
		if known != 220 || unknown != 20 {
			t.Errorf("%d pieces are known, %d are not", known, unknown)
		}
	}
	owner.checkPlaced(t)
	if err := owner.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What has come to be known has its size, and what is not known again keeps it.
	for _, p := range pieces[:20] {
		sizes[p.Score] = p.Size
	}
	delete(sizes, pieces[30].Score)
	total := int64(0)
	for _, o := range w.homes[1:] {
		if _, unknown, err := owner.now().Learn(t.Context(), o.grid, sizeOf); err != nil || unknown != 0 {
			t.Errorf("%d unknown, %v", unknown, err)
		}
		total += owner.now().Placed(o.grid)
		o.check(t)
	}
	if total != 24_000 {
		t.Errorf("%d bytes are placed", total)
	}
	owner.checkPlaced(t)
	for _, p := range pieces {
		if _, err := owner.now().Fetch(t.Context(), p, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := owner.now().Learn(t.Context(), core.DID{5}, sizeOf); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("learn from a stranger: %v", err)
	}
}

func TestLearnBelievesNobody(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	unknown := func(core.Score) (int64, bool) { return 0, false }
	sign := func(i int, change func(*pact.Lease)) leasesAnswer {
		l := honest(holder, owner, leaseRequest{Seconds: 100})
		l.Pieces = []core.Score{{1, byte(i), byte(i >> 8)}}
		if change != nil {
			change(&l)
		}
		s, err := pact.SignLease(holder.key, l)
		if err != nil {
			t.Fatal(err)
		}
		return leasesAnswer{Leases: append(leasesAnswer{}.Leases, s)}
	}
	var rising []leasesAnswer
	for i := range learnPagesMax + 1 {
		a := sign(i, nil)
		a.More = true
		rising = append(rising, a)
	}
	slices.SortFunc(rising, func(a, b leasesAnswer) int { return compareScores(a.Leases[0].Score(), b.Leases[0].Score()) })
	bad := sign(1, func(l *pact.Lease) { l.Owner = core.DID{3} })
	bad.Leases = append(bad.Leases, sign(2, nil).Leases...)
	slices.SortFunc(bad.Leases, func(a, b signedLease) int { return compareScores(a.Score(), b.Score()) })
	for name, c := range map[string]struct {
		page   func(n int) leasesAnswer
		max    int
		kind   error
		placed int64
	}{
		"the same for ever": {func(int) leasesAnswer { a := sign(1, nil); a.More = true; return a }, 1 << 20, core.ErrInvalid, 1},
		"empty for ever":    {func(int) leasesAnswer { return leasesAnswer{More: true} }, 1 << 20, nil, 0},
		"falling": {func(int) leasesAnswer {
			return leasesAnswer{Leases: append(rising[9].Leases[:1:1], rising[8].Leases...)}
		}, 1 << 20, core.ErrInvalid, 1},
		"rising for ever":      {func(n int) leasesAnswer { return rising[n] }, 1 << 20, core.ErrTooLarge, learnPagesMax},
		"too many unknown":     {func(n int) leasesAnswer { return rising[n] }, 100, core.ErrTooLarge, 100},
		"one bad, one good":    {func(int) leasesAnswer { return bad }, 1 << 20, core.ErrInvalid, 1},
		"another grid's":       {func(int) leasesAnswer { return sign(1, func(l *pact.Lease) { l.Grid = core.DID{3} }) }, 1 << 20, core.ErrInvalid, 0},
		"of a former pact":     {func(int) leasesAnswer { return sign(1, func(l *pact.Lease) { l.Pact = core.Score{3} }) }, 1 << 20, nil, 1},
		"with a bad signature": {func(int) leasesAnswer { a := sign(1, nil); a.Leases[0].Sig[9] ^= 1; return a }, 1 << 20, core.ErrCorrupt, 0},
	} {
		t.Run(name, func(t *testing.T) {
			owner.disk = newDiskOf(owner)
			owner.open()
			n := 0
			holder.instead("GET /leases", wire.Handle(func(context.Context, struct{}) (leasesAnswer, error) {
				n++
				return c.page(n - 1), nil
			}))
			p, _ := owner.Of(holder.grid)
			if err := owner.now().learnFrom(t.Context(), p, holder.agent(), unknown, c.max); !errors.Is(err, c.kind) {
				t.Errorf("%v, want %v", err, c.kind)
			}
			owner.mu.Lock()
			b := owner.barter
			owner.mu.Unlock()
			b.mu.Lock()
			defer b.mu.Unlock()
			if got := b.out[holder.grid].Pieces; got != c.placed {
				t.Errorf("%d pieces are placed, want %d", got, c.placed)
			}
		})
	}
}

// What a holder lists is not taken for held where its release waits, or is remembered.
func TestLearnTakesNothingBack(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	learn := func(when string) {
		t.Helper()
		known, unknown, err := owner.now().Learn(t.Context(), holder.grid, func(core.Score) (int64, bool) { return 100, true })
		if err != nil || known != 16 || unknown != 0 || len(owner.everywhere(t, pieces)) != 16 {
			t.Errorf("%s: %d known, %d unknown, %v", when, known, unknown, err)
		}
		owner.checkPlaced(t)
	}
	owner.letGo(t, pieces[:4])
	learn("queued")
	owner.deliver(t)
	learn("remembered")
	if holder.aside(owner) != 400 {
		t.Errorf("%d bytes are aside", holder.aside(owner))
	}
}
