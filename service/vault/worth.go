package vault

import (
	"errors"
	"maps"
	"math/bits"
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
	// Pieces of Wanted are held: all k+m of each segment, or k while one household
	// holds all there is.
	Pieces, Wanted int
	// Bytes is what the held pieces come to, Held that by household.
	Bytes int64
	Held  map[core.DID]int64
	// Vital are the households of which none may vanish, or some of it could not be read.
	Vital map[core.DID]bool

	alone, together score // while one household holds all, and else
}

// score is how many pieces are held, of those wanted.
type score struct{ held, wanted int }

func (s *score) add(segment manifest.Segment, held holders, households int) {
	want := wanted(segment, households)
	s.wanted += want
	s.held += min(want, held.distinct())
}

// pieceSet is a set of the pieces of one segment: bit i is piece i. A segment has
// at most erasure.DataMax+erasure.ParityMax of them.
type pieceSet uint32

func (s pieceSet) has(i int) bool { return s&(1<<i) != 0 }
func (s pieceSet) len() int       { return bits.OnesCount32(uint32(s)) }

func (s pieceSet) list() []int {
	out := make([]int, 0, s.len())
	for rest := uint32(s); rest != 0; rest &= rest - 1 {
		out = append(out, bits.TrailingZeros32(rest))
	}
	return out
}

// holders says which household holds which pieces of one segment.
type holders map[core.DID]pieceSet

// at tells by what a holding is lost when it is: by its machine, of our own household, else by its household.
func (v *Vault) at(h core.Holding) core.DID {
	if v.c.Household.Lists(h.Agent) {
		return h.Agent
	}
	return h.Grid
}

// heldOf returns who holds the pieces of s. It leaves out promises that have ended, and those
// that lost names, where it is set.
func (v *Vault) heldOf(s manifest.Segment, lost func(core.Holding) bool) (holders, error) {
	_, held, err := v.lasting(s, lost)
	return held, err
}

// lasting returns also who holds the pieces of s without this machine. What it has itself, because other machines of the
// household have placed it here, is held as they want it, but dies with it; and it does not count at all of
// a segment that is this machine's own to see to.
func (v *Vault) lasting(s manifest.Segment, lost func(core.Holding) bool) (lasting, held holders, err error) {
	lasting, here := holders{}, holders{}
	now, self := v.c.Clock.Now().Unix(), v.c.Household.Agent()
	for i := range s.Total() {
		at, err := v.c.Barter.Held(s.Piece(i))
		if err != nil {
			return nil, nil, err
		}
		for _, h := range at {
			switch {
			case h.Until <= now || lost != nil && lost(h):
			case h.Agent == self:
				here[h.Grid] |= 1 << i
			default:
				lasting[h.Grid] |= 1 << i
			}
		}
	}
	held = lasting
	if len(here) > 0 {
		if _, mine, err := v.timeOfKey(mineKey(s.ID)); err != nil {
			return nil, nil, err
		} else if !mine {
			held = maps.Clone(lasting)
			for grid, set := range here {
				held[grid] |= set
			}
		}
	}
	if s.K == 1 {
		lasting.number(s.Total())
		held.number(s.Total())
	}
	return lasting, held, nil
}

// number tells copies apart: with one data piece all pieces of a segment are the same bytes under
// one score, and each household that has them has one piece of its own.
func (h holders) number(total int) {
	for i, grid := range slices.SortedFunc(maps.Keys(h), core.DID.Compare) {
		h[grid] = 1 << min(i, total-1)
	}
}

// wanted returns how many pieces of s should be held when so many households take part. With one,
// parity would lie beside the data and be worth nothing; and so would a second copy.
func wanted(s manifest.Segment, households int) int {
	switch {
	case households <= 1:
		return int(s.K)
	case s.K == 1:
		return min(s.Total(), households)
	}
	return s.Total()
}

// pieces returns the pieces that somebody holds.
func (h holders) pieces() pieceSet {
	var all pieceSet
	for _, s := range h {
		all |= s
	}
	return all
}

// distinct counts the pieces that somebody holds.
func (h holders) distinct() int { return h.pieces().len() }

// lacking returns the pieces that should be held and are not, data first, when so many households
// take part. Where not all are wanted, any will do.
func (h holders) lacking(s manifest.Segment, households int) []int {
	all := pieceSet(1)<<s.Total() - 1
	out := (all &^ h.pieces()).list()
	if want := wanted(s, households); want < s.Total() {
		return out[:min(len(out), max(0, want-h.distinct()))]
	}
	return out
}

// lists returns h as barter wants it.
func (h holders) lists() map[core.DID][]int {
	out := make(map[core.DID][]int, len(h))
	for grid, s := range h {
		out[grid] = s.list()
	}
	return out
}

// counts returns the number of pieces by household, each piece counted for one
// holder only, so that the worth is never too good.
func (h holders) counts() map[core.DID]int {
	out := make(map[core.DID]int, len(h))
	for grid, set := range h.once() {
		if n := set.len(); n > 0 {
			out[grid] = n
		}
	}
	return out
}

// worthOf computes what a set of segments is worth from where their pieces are, while
// those households, or machines of our own, are away that away, where it is set, names; asked is what it said of each.
func (v *Vault) worthOf(uses segmentSet, away func(core.DID) bool) (w Worth, asked map[core.DID]bool, err error) {
	w, asked = newWorth(), map[core.DID]bool{}
	for id := range uses {
		s, err := v.segment(id[:])
		if errors.Is(err, errNoSegment) {
			w.addUnknown()
			continue
		}
		if err != nil {
			return w, nil, err
		}
		lasting, held, err := v.lasting(s, func(h core.Holding) bool {
			at := v.at(h)
			gone, known := asked[at]
			if !known {
				gone = away != nil && away(at)
				asked[at] = gone
			}
			return gone
		})
		if err != nil {
			return w, nil, err
		}
		w.add(s, lasting, held)
	}
	return w, asked, nil
}

func newWorth() Worth { return Worth{Held: map[core.DID]int64{}, Vital: map[core.DID]bool{}} }

// worthless is what something is worth that cannot be read.
var worthless = place.Worth{Survives: -1}

// addUnknown takes a segment into account of which nothing is known.
func (w *Worth) addUnknown() { w.min(worthless) }

// add takes one more segment into account: what it is worth without this machine, and whether all of it is held.
func (w *Worth) add(s manifest.Segment, lasting, held holders) {
	if place.WorthOf(int(s.K), held.counts()).Survives > 0 { // though all of the household vanish, and this machine with it
		lasting = held
	}
	counts := lasting.counts()
	w.min(place.WorthOf(int(s.K), counts))
	left := 0
	for _, n := range counts {
		left += n
	}
	for grid, n := range counts {
		if left-n < int(s.K) {
			w.Vital[grid] = true
		}
	}
	w.alone.add(s, held, 1)
	w.together.add(s, held, max(2, len(held)))
	for grid, set := range lasting {
		size := int64(set.len()) * int64(s.Size)
		w.Held[grid] += size
		w.Bytes += size
	}
	sum := w.alone
	if len(w.Held) > 1 {
		sum = w.together
	}
	w.Pieces, w.Wanted = sum.held, sum.wanted
}

func (w *Worth) min(one place.Worth) {
	if w.Segments == 0 {
		w.Worth = one
	} else {
		w.Worth = w.Worth.Min(one)
	}
	w.Segments++
}
