package barter

import (
	"bytes"
	"slices"

	"github.com/grange-grid/grange/core"
)

// holding is what a lease under way relies on.
type holding struct {
	pieces []core.Score
	grants []*grant // by id
}

// hold finds out which pieces are stored under the owner's grants, and keeps them, and
// the grants, until release. The pieces returned rise if those given do.
func (b *Barter) hold(a *account, pieces []core.Piece) holding {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endIdle(b.c.Clock.Now())
	var h holding
	for _, g := range a.grants {
		g.leases++
		h.grants = append(h.grants, g)
	}
	slices.SortFunc(h.grants, func(x, y *grant) int { return bytes.Compare(x.id[:], y.id[:]) })
	for _, piece := range pieces {
		for _, g := range h.grants {
			if s := g.slots[piece.Score]; s != nil && s.stored {
				h.pieces = append(h.pieces, piece.Score)
				b.inHand[piece.Score]++
				break
			}
		}
	}
	return h
}

// has tells whether a piece is among those that are held.
func (h holding) has(piece core.Score) bool {
	_, ok := slices.BinarySearchFunc(h.pieces, piece, compareScores)
	return ok
}

// release undoes hold. Grants that were to end meanwhile end when somebody looks.
func (b *Barter) release(h holding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, piece := range h.pieces {
		b.letGo(piece)
	}
	for _, g := range h.grants {
		g.leases--
	}
}

// settle takes a piece that is leased now out of the grants that it came under.
// fresh says that it was not counted as used before: then the room of the first
// of them has become its own; otherwise the grants have it again. The caller holds b.mu.
func (b *Barter) settle(h holding, piece core.Score, fresh bool) {
	for _, g := range h.grants {
		s := g.slots[piece]
		if s == nil || !s.stored {
			continue
		}
		b.vacate(g, piece)
		if fresh {
			b.recount(g, -s.size, 0)
			fresh = false
		}
	}
}
