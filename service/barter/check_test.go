package barter

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
)

// wantUsed checks what an owner uses here, and what is used or promised in all.
func (h *home) wantUsed(t *testing.T, owner *home, size, pieces, offered int64) {
	t.Helper()
	gotSize, gotPieces := h.now().Used(owner.grid)
	_, used := h.now().Offer()
	if gotSize != size || gotPieces != pieces || used != offered {
		t.Errorf("used %d bytes of %d pieces, %d with grants; want %d, %d, %d", gotSize, gotPieces, used, size, pieces, offered)
	}
}

func (h *home) has(t *testing.T, data []byte) bool {
	t.Helper()
	_, err := h.disk.Blobs().Stat(t.Context(), core.ScoreOf(data))
	if err != nil && !errors.Is(err, core.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// check holds the books against themselves and the blobs: nothing is held that is not
// here, nothing is here that is not needed, and every total is its sum.
func (h *home) check(t *testing.T) {
	t.Helper()
	b := h.now()
	if err := b.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	sums := map[core.DID]usedRecord{}
	needed, aside := map[core.Score]bool{}, map[string]bool{}
	for c, err := range h.disk.Books().Scan(heldPrefix, nil) {
		if err != nil {
			t.Fatal(err)
		}
		owner, piece := core.DID(c.Key[len(heldPrefix):][:didSize]), core.Score(c.Key[len(heldPrefix)+didSize:])
		var r heldRecord
		if err := codec.Unmarshal(c.Value, &r, recordSizeMax); err != nil {
			t.Fatal(err)
		}
		info, err := h.disk.Blobs().Stat(t.Context(), piece)
		if err != nil || info.Size != r.Size {
			t.Errorf("piece %s of %d bytes is held, and is here with %d: %v", piece.Short(), r.Size, info.Size, err)
		}
		sums[owner] = sums[owner].plus(usedRecord{Bytes: r.Size, Pieces: 1})
		needed[piece] = true
		if r.Aside != 0 {
			sums[owner] = sums[owner].plus(usedRecord{Aside: r.Size})
			aside[string(asideKey(owner, r.Aside, piece))] = true
		}
	}
	for c, err := range h.disk.Books().Scan(asidePrefix, nil) {
		if err != nil || !aside[string(c.Key)] {
			t.Errorf("a piece is in the list of what is aside, and is not: %v", err)
		}
		delete(aside, string(c.Key))
	}
	if len(aside) > 0 {
		t.Errorf("%d pieces that are aside are not in the list", len(aside))
	}
	leases := 0
	for c, err := range h.disk.Books().Scan(leasePrefix, nil) {
		if err != nil {
			t.Fatal(err)
		}
		owner, lease := core.DID(c.Key[len(leasePrefix):][:didSize]), core.Score(c.Key[len(leasePrefix)+didSize:])
		data, err := h.disk.Blobs().Get(t.Context(), lease, nil)
		if err != nil || !bytes.Equal(data, c.Value) {
			t.Errorf("lease %s is not among the blobs: %v", lease.Short(), err)
		}
		sums[owner] = sums[owner].plus(usedRecord{Leases: int64(len(c.Value))})
		needed[lease] = true
		leases++
	}
	for c, err := range h.disk.Books().Scan(endsPrefix, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := b.has(join(leasePrefix, c.Key[len(endsPrefix)+dateSize:])); !ok || err != nil {
			t.Errorf("the end of a lease that is not there: %v", err)
		}
		leases--
	}
	if leases != 0 {
		t.Errorf("%d leases more than ends", leases)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for owner, a := range b.accounts {
		want := sums[owner].plus(usedRecord{})
		var wrote usedRecord
		ok, err := b.read(join(usedPrefix, owner[:]), &wrote)
		if a.used != want || err != nil || ok && wrote != want {
			t.Errorf("used by %s: %+v in memory, %+v in the books (%v), %+v in sum", owner.Short(), a.used, wrote, err, want)
		}
		delete(sums, owner)
	}
	if len(sums) > 0 {
		t.Errorf("pieces are held for %d owners without an account", len(sums))
	}
	for info, err := range h.disk.Blobs().All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if about, ok := parseNote(info.Note); ok && !needed[info.Score] && b.inHand[info.Score] == 0 {
			t.Errorf("%s %s of %d bytes is needed by nobody", about.Kind, info.Score.Short(), info.Size)
		}
	}
	if b.coming != 0 || len(b.dropping) != 0 {
		t.Errorf("%d bytes are coming and %d blobs being dropped while nothing goes on", b.coming, len(b.dropping))
	}
}

// checkPlaced holds the owner's totals against the placements.
func (h *home) checkPlaced(t *testing.T) {
	t.Helper()
	sums := tally{}
	for c, err := range h.disk.Books().Scan(placedPrefix, nil) {
		if err != nil {
			t.Fatal(err)
		}
		_, r, err := parsePlaced(c)
		if err != nil {
			t.Fatal(err)
		}
		if r.Released == 0 {
			sums.add(r.Grid, 1, r.Size)
		}
	}
	b := h.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for grid, r := range b.out {
		if r != sums[grid].plus(usedRecord{}) {
			t.Errorf("pieces at %s come to %+v, in sum %+v", grid.Short(), r, sums[grid])
		}
		delete(sums, grid)
	}
	if len(sums) > 0 {
		t.Errorf("pieces at %d households without a total", len(sums))
	}
}

// holders returns the homes that have leased a piece to h.
func (h *home) holders(t *testing.T, piece core.Score) []*home {
	t.Helper()
	held, err := h.now().Held(piece)
	if err != nil {
		t.Fatal(err)
	}
	var out []*home
	for _, o := range h.w.homes {
		if slices.ContainsFunc(held, func(g core.Holding) bool { return g.Agent == o.agent() && g.Grid == o.grid }) {
			out = append(out, o)
		}
	}
	return out
}

// spread counts the leased pieces of a segment by home, each piece once at each.
func (h *home) spread(t *testing.T, s manifest.Segment) map[*home]int {
	t.Helper()
	out := map[*home]int{}
	for i := range s.Total() {
		for _, o := range h.holders(t, s.Piece(i)) {
			out[o]++
		}
	}
	return out
}
