package vault

import (
	"errors"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/place"
)

// Worth is what a version is worth.
type Worth struct {
	place.Worth
	// Segments is how many it consists of.
	Segments int
	// Pieces of Wanted are held: all k+m of each segment, or k while there is one
	// household that holds any.
	Pieces, Wanted int
	// Bytes is what the held pieces come to, Held that by household.
	Bytes int64
	Held  map[core.DID]int64
}

// holders says who holds which pieces of one segment.
type holders map[core.DID][]int

// heldOf returns who holds the pieces of s, leaving out those that lost names.
func (v *Vault) heldOf(s manifest.Segment, lost func(core.Holding) bool) (holders, error) {
	out := holders{}
	for i := range int(s.K + s.M) {
		held, err := v.c.Barter.Held(s.Piece(i))
		if err != nil {
			return nil, err
		}
		for _, h := range held {
			if lost != nil && lost(h) || slices.Contains(out[h.Grid], i) {
				continue
			}
			out[h.Grid] = append(out[h.Grid], i)
		}
	}
	return out, nil
}

// distinct counts the pieces that somebody holds.
func (h holders) distinct() int {
	seen := map[int]bool{}
	for _, indexes := range h {
		for _, i := range indexes {
			seen[i] = true
		}
	}
	return len(seen)
}

// has tells whether anybody holds piece i.
func (h holders) has(i int) bool {
	for _, indexes := range h {
		if slices.Contains(indexes, i) {
			return true
		}
	}
	return false
}

// counts returns the number of pieces by household, each piece counted for one
// holder only, so that the worth is never too good.
func (h holders) counts() map[core.DID]int {
	grids := make([]core.DID, 0, len(h))
	for grid := range h {
		grids = append(grids, grid)
	}
	slices.SortFunc(grids, core.DID.Compare)
	seen := map[int]bool{}
	out := map[core.DID]int{}
	for _, grid := range grids {
		for _, i := range h[grid] {
			if !seen[i] {
				seen[i] = true
				out[grid]++
			}
		}
	}
	return out
}

// worthOf computes what a set of segments is worth from where their pieces are.
func (v *Vault) worthOf(uses segmentSet) (Worth, error) {
	w := Worth{Held: map[core.DID]int64{}}
	for id := range uses {
		s, err := v.segment(id[:])
		if errors.Is(err, core.ErrNotExist) {
			w.add(manifest.Segment{}, nil)
			continue
		}
		if err != nil {
			return w, err
		}
		held, err := v.heldOf(s, nil)
		if err != nil {
			return w, err
		}
		w.add(s, held)
	}
	return w, nil
}

// add takes one more segment into account.
func (w *Worth) add(s manifest.Segment, held holders) {
	counts := held.counts()
	one := place.WorthOf(max(1, int(s.K)), counts)
	if w.Segments == 0 {
		w.Worth = one
	} else {
		w.Worth = w.Worth.Min(one)
	}
	w.Segments++
	w.Pieces += held.distinct()
	w.Wanted += len(wanted(s, len(counts)))
	for grid, n := range counts {
		w.Held[grid] += int64(n) * int64(s.Size)
		w.Bytes += int64(n) * int64(s.Size)
	}
}
