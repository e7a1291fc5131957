package vault

import (
	"cmp"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/place"
)

// once returns h with each piece at one holder only.
func (h holders) once() holders {
	var seen pieceSet
	out := make(holders, len(h))
	for _, grid := range slices.SortedFunc(maps.Keys(h), core.DID.Compare) {
		out[grid] = h[grid] &^ seen
		seen |= h[grid]
	}
	return out
}

// without returns h but for the holdings in other.
func (h holders) without(other holders) holders {
	out := make(holders, len(h))
	for grid, set := range h {
		if rest := set &^ other[grid]; rest != 0 {
			out[grid] = rest
		}
	}
	return out
}

// with returns how many households there are with those that hold pieces and the takers.
func (h holders) with(takers []core.DID) int {
	n := len(h)
	for _, grid := range takers {
		if h[grid] == 0 {
			n++
		}
	}
	return n
}

// seats returns among how many pieces are to be spread: the households that hold some or take some, but where there is
// one only that has several machines, these.
func (v *Vault) seats(h holders, takers []core.DID) int {
	n := h.with(takers)
	if n == 1 && slices.ContainsFunc(slices.AppendSeq(slices.Clone(takers), maps.Keys(h)), v.c.Household.Several) {
		return 2
	}
	return n
}

// spare returns what can be given up because a household that is here holds it too, so
// that holdings come out as even as can be. Copies of a segment of one data piece are no spares.
func (h holders) spare(s manifest.Segment, here []core.DID) holders {
	if s.K == 1 {
		return nil
	}
	kept, spare := holders{}, holders{}
	for i := range s.Total() { // those that one alone holds come first
		if at := h.at(i); len(at) == 1 {
			kept[at[0]] |= 1 << i
		}
	}
	for i := range s.Total() {
		at := h.at(i)
		keepers := slices.DeleteFunc(slices.Clone(at), func(grid core.DID) bool { return !slices.Contains(here, grid) })
		if len(at) < 2 || len(keepers) == 0 {
			continue
		}
		keeper := slices.MinFunc(keepers, func(a, b core.DID) int { return cmp.Compare(kept[a].len(), kept[b].len()) })
		kept[keeper] |= 1 << i
		for _, grid := range at {
			if grid != keeper {
				spare[grid] |= 1 << i
			}
		}
	}
	if place.WorthOf(int(s.K), h.without(spare).counts()).Survives < place.WorthOf(int(s.K), h.counts()).Survives {
		return nil
	}
	return spare
}

// at returns who holds a piece, by rising DID.
func (h holders) at(i int) []core.DID {
	var out []core.DID
	for _, grid := range slices.SortedFunc(maps.Keys(h), core.DID.Compare) {
		if h[grid].has(i) {
			out = append(out, grid)
		}
	}
	return out
}

// crowded returns what households hold beyond an even share over all that hold pieces or would
// take some, if the segment survives more when others hold that.
func (h holders) crowded(s manifest.Segment, takers []core.DID) holders {
	if s.K == 1 { // a copy at each, never two
		return nil
	}
	once := h.once()
	share := place.Share(s.Total(), once.with(takers))
	over := holders{}
	for grid, set := range once {
		if all := set.list(); len(all) > share {
			for _, i := range all[share:] { // parity rather than data, which readers fetch first
				over[grid] |= 1 << i
			}
		}
	}
	if len(over) == 0 || once.filled(s, takers).Survives >= once.without(over).filled(s, takers).Survives {
		return nil
	}
	return over
}

// filled returns what a segment is worth once the takers have what nobody holds.
func (h holders) filled(s manifest.Segment, takers []core.DID) place.Worth {
	seats := make([]place.Household, 0, len(h)+len(takers))
	for grid, set := range h {
		seat := place.Household{DID: grid, Held: set.list()}
		if slices.Contains(takers, grid) {
			seat.Room = s.Total()
		}
		seats = append(seats, seat)
	}
	for _, grid := range takers {
		if h[grid] == 0 {
			seats = append(seats, place.Household{DID: grid, Room: s.Total()})
		}
	}
	counts := h.counts()
	give, _ := place.Spread(s.Total(), seats, 0)
	for grid, pieces := range give {
		counts[grid] += len(pieces)
	}
	return place.WorthOf(int(s.K), counts)
}
