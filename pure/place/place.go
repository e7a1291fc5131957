// Package place decides which household should hold which pieces of a segment,
// and computes what a placement is worth: how many households may vanish.
//
// A segment's pieces are spread evenly over households, never over machines,
// because the machines of one home burn, are stolen and go offline together.
// What survives is computed from where the pieces are, not assumed from how they
// should be.
//
// The package knows nothing of pacts, rooms in bytes or addresses: the caller
// says who has room for how many pieces, and does what comes out. It draws no
// randomness: the same arguments give the same answer.
package place

import (
	"bytes"
	"slices"

	"github.com/grange-grid/grange/core"
)

// Household is one that may hold pieces of a segment.
type Household struct {
	DID core.DID
	// Room is how many pieces of this segment it can take besides Held. One with
	// neither room nor pieces is not counted.
	Room int
	// Held are the indexes of the pieces that it has.
	Held []int
}

// seat is a household while pieces are dealt.
type seat struct {
	did  core.DID
	room int
	held []int // indexes in range, each once, rising
	load int   // pieces it has and is given
}

// Share returns the most pieces that one of n households may hold: ⌈total/n⌉.
func Share(total, n int) int {
	if n <= 0 {
		return 0
	}
	return (total + n - 1) / n
}

// Spread says who should be given each of the pieces 0 … total-1 that nobody
// holds yet. Give has the new pieces, rising, of each household that gets any;
// unplaced are those that nobody can take, rising. Pieces that are held stay.
//
// With n households that hold pieces or have room, none is given a piece when it
// already has Share(total, n), also where others have too little room for theirs:
// the rest is unplaced. Pieces go to whoever has least. Among equals turn decides
// who comes first: a caller counts it up by one a segment, and over as many
// segments as there are households those that are alike get equally many pieces.
//
// Indexes in Held that are out of range or there twice are ignored. The DIDs of
// hs must differ. The order of hs does not matter.
func Spread(total int, hs []Household, turn int) (give map[core.DID][]int, unplaced []int) {
	seats := seatsOf(total, hs)
	missing := missingOf(total, seats)
	share := Share(total, len(seats))
	give = make(map[core.DID][]int, len(seats))
	for len(missing) > 0 {
		row := least(seats, share)
		if len(row) == 0 {
			break
		}
		// A whole row gets one piece each. Rotating the row, not all seats, keeps the
		// odd pieces fair when some seats are full.
		first := modulo(turn, len(row))
		for i := range min(len(row), len(missing)) {
			s := row[(first+i)%len(row)]
			give[s.did] = append(give[s.did], missing[i])
			s.load++
			s.room--
		}
		missing = missing[min(len(row), len(missing)):]
	}
	return give, missing
}

// seatsOf returns the households that count, by rising DID.
func seatsOf(total int, hs []Household) []*seat {
	seats := make([]*seat, 0, len(hs))
	for _, h := range hs {
		held := slices.DeleteFunc(slices.Clone(h.Held), func(p int) bool { return p < 0 || p >= total })
		slices.Sort(held)
		held = slices.Compact(held)
		if len(held) == 0 && h.Room <= 0 {
			continue
		}
		seats = append(seats, &seat{did: h.DID, room: max(h.Room, 0), held: held, load: len(held)})
	}
	slices.SortFunc(seats, func(a, b *seat) int { return bytes.Compare(a.did[:], b.did[:]) })
	return seats
}

// missingOf returns the pieces that nobody holds, rising.
func missingOf(total int, seats []*seat) []int {
	held := make([]bool, max(total, 0))
	for _, s := range seats {
		for _, p := range s.held {
			held[p] = true
		}
	}
	var missing []int
	for p, h := range held {
		if !h {
			missing = append(missing, p)
		}
	}
	return missing
}

// least returns the seats that can take one more piece and have fewest.
func least(seats []*seat, share int) []*seat {
	var row []*seat
	for _, s := range seats {
		if s.room == 0 || s.load >= share {
			continue
		}
		if len(row) > 0 && s.load > row[0].load {
			continue
		}
		if len(row) > 0 && s.load < row[0].load {
			row = row[:0]
		}
		row = append(row, s)
	}
	return row
}

func modulo(a, n int) int { return (a%n + n) % n }
