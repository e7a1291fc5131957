package barter

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/place"
)

// expectSpare is how much more than an even share each holder is expected to be given, as a
// part of it: shares are of whole pieces.
const expectSpare = 16

// Placement spreads the pieces of one put, or of one mending, over the partners.
// Its methods may be called at once.
type Placement struct {
	b     *Barter
	lanes map[core.DID][]*lane // by household
	turn  atomic.Int64
}

// Place begins a placement of about expect bytes of pieces in all, which are asked for with a quality, at the partners that are
// not leaving and at our other machines. It reaches each of these once; those that do not answer take no part, and Refusals says so.
// Errors: core.ErrNotExist if there is no partner, ctx's.
func (b *Barter) Place(ctx context.Context, quality core.Quality, expect int64) (*Placement, error) {
	var partners []Partner
	for _, partner := range b.c.Partners.All() {
		if len(b.away(partner)) > 0 && !partner.Leaving && (partner.Gives > 0 || b.isHome(partner)) {
			partners = append(partners, partner)
		}
	}
	if len(partners) == 0 {
		return nil, fmt.Errorf("no partner: %w", core.ErrNotExist)
	}
	share := max(0, expect) / int64(len(partners))
	p := &Placement{b: b, lanes: make(map[core.DID][]*lane, len(partners))}
	p.turn.Store(int64(randomBelow(1 << 16))) // or the odd pieces of small puts would always go to the same
	var reached errgroup.Group
	for _, partner := range partners {
		berths := b.berths(partner)
		for _, agents := range berths {
			l := newLane(b, partner, agents, quality, (share+share/expectSpare)/int64(len(berths)))
			p.lanes[partner.Grid] = append(p.lanes[partner.Grid], l)
			reached.Go(func() error { return l.choose(ctx) })
		}
	}
	if err := reached.Wait(); err != nil {
		return nil, err
	}
	return p, nil
}

// all yields the lanes.
func (p *Placement) all() iter.Seq[*lane] {
	return func(yield func(*lane) bool) {
		for _, lanes := range p.lanes {
			for _, l := range lanes {
				if !yield(l) {
					return
				}
			}
		}
	}
}

// Households returns those that can still take pieces, in order of their DIDs.
func (p *Placement) Households() []core.DID {
	var out []core.DID
	for grid, lanes := range p.lanes {
		if slices.ContainsFunc(lanes, (*lane).usable) {
			out = append(out, grid)
		}
	}
	slices.SortFunc(out, core.DID.Compare)
	return out
}

// Refusals says, of each household that took less than it was asked to, why.
func (p *Placement) Refusals() map[core.DID]error {
	out := map[core.DID]error{}
	for grid, lanes := range p.lanes {
		why := lanes[0].refused()
		for _, l := range lanes[1:] { // what one machine of ours does not take, another may
			if l.refused() == nil {
				why = nil
			}
		}
		if why != nil {
			out[grid] = why
		}
	}
	return out
}

// spreading is one segment being placed.
type spreading struct {
	p       *Placement
	segment manifest.Segment
	pieces  [][]byte
	held    map[core.DID][]int
	turn    int

	mu     sync.Mutex
	stored []stored
}

// stored is a piece that a holder has and that is not leased.
type stored struct {
	lane  *lane
	room  *room
	index int
}

// Segment places those pieces of a segment whose index is in want; pieces has
// their bytes by index, which are the caller's again afterwards. held has the
// indexes that each household holds already. It returns when each has been stored by a
// holder, or nobody is left who would take it; those are returned. What a holder that went
// out of reach had been given is dealt to the others. The promise to keep the pieces
// comes with Commit. A segment of which fewer than k pieces found a place is
// given up: all of want is returned. A holder that is busy is given nothing for a while: what nobody else may have
// waits for it, until it is given up too. It fails only when ctx has ended.
func (p *Placement) Segment(ctx context.Context, s manifest.Segment, pieces [][]byte, want []int, held map[core.DID][]int) (unplaced []int, err error) {
	sp := &spreading{p: p, segment: s, pieces: pieces, held: held, turn: int(p.turn.Add(1))}
	for {
		lacking, now := sp.lacking(want), p.b.c.Clock.Now()
		give := sp.deal(now, lacking)
		more, err := len(give) > 0, error(nil)
		if more {
			err = sp.round(ctx, give)
		} else if len(lacking) > 0 {
			more, err = p.await(ctx, now)
		}
		if err != nil {
			sp.giveUp(func(stored) bool { return true })
			return want, err
		}
		if !more {
			break
		}
		sp.giveUp(func(at stored) bool { return at.lane.lost() })
	}
	if sp.distinct() < int(s.K) {
		sp.giveUp(func(stored) bool { return true })
		return want, nil
	}
	unplaced = sp.lacking(want)
	sp.settle()
	return unplaced, nil
}

// lacking returns which of want have not been stored.
func (sp *spreading) lacking(want []int) []int {
	var out []int
	for _, i := range want {
		if !slices.ContainsFunc(sp.stored, func(at stored) bool { return at.index == i }) {
			out = append(out, i)
		}
	}
	return out
}

// distinct counts the pieces that somebody has.
func (sp *spreading) distinct() int {
	have := map[int]bool{}
	for _, indexes := range sp.held {
		for _, i := range indexes {
			have[i] = true
		}
	}
	for _, at := range sp.stored {
		have[at.index] = true
	}
	return len(have)
}

// giveUp lets go of stored pieces: their holders forget them when the grant ends.
func (sp *spreading) giveUp(which func(stored) bool) {
	sp.stored = slices.DeleteFunc(sp.stored, func(at stored) bool {
		if !which(at) {
			return false
		}
		at.lane.free(at.room)
		return true
	})
}

// settle leaves what was stored to the next Commit.
func (sp *spreading) settle() {
	for _, at := range sp.stored {
		l := at.lane
		l.mu.Lock()
		l.pending = append(l.pending, pendingPiece{
			piece: core.Piece{Score: sp.segment.Piece(at.index), Size: int64(sp.segment.Size)},
			room:  at.room, segment: string(sp.segment.ID),
		})
		l.mu.Unlock()
	}
}

// deal says who should be given which of want now.
func (sp *spreading) deal(now time.Time, want []int) map[*lane][]int {
	total := sp.segment.Total()
	have := map[core.DID][]int{}
	for grid, indexes := range sp.held {
		have[grid] = slices.Clone(indexes)
	}
	for _, at := range sp.stored {
		grid := at.lane.partner.Grid
		have[grid] = append(have[grid], at.index)
	}
	var hs []place.Household
	room := map[*lane]int{}
	for grid, lanes := range sp.p.lanes {
		h := place.Household{DID: grid, Held: have[grid]}
		for _, l := range lanes {
			room[l] = l.fits(now, int64(sp.segment.Size), total)
			h.Room += room[l]
		}
		hs = append(hs, h)
	}
	for grid, indexes := range have { // a holder that is no lane of ours still counts
		if sp.p.lanes[grid] == nil {
			hs = append(hs, place.Household{DID: grid, Held: indexes})
		}
	}
	give, _ := place.Spread(total, hs, sp.turn)
	out := map[*lane][]int{}
	for grid, indexes := range give {
		for _, i := range indexes {
			if slices.Contains(want, i) {
				l := sp.least(sp.p.lanes[grid], room, out)
				out[l] = append(out[l], i)
			}
		}
	}
	return out
}

// least returns the lane of a household that has room for one more than it is given, and is given least. Among
// equals the turn decides.
func (sp *spreading) least(lanes []*lane, room map[*lane]int, given map[*lane][]int) *lane {
	var out *lane
	for n := range lanes {
		l := lanes[(n+sp.turn)%len(lanes)]
		if len(given[l]) < room[l] && (out == nil || len(given[l]) < len(given[out])) {
			out = l
		}
	}
	return out
}

// round sends what was dealt. It returns when nothing is under way any more.
func (sp *spreading) round(ctx context.Context, give map[*lane][]int) error {
	var g errgroup.Group
	for l, indexes := range give {
		g.Go(func() error { return sp.bring(ctx, l, indexes) })
	}
	return g.Wait()
}

// bring sends pieces to one holder, as many as it will have. It fails only when ctx has ended.
func (sp *spreading) bring(ctx context.Context, l *lane, indexes []int) error {
	rooms, err := l.take(ctx, len(indexes), int64(sp.segment.Size))
	if err != nil {
		return err
	}
	var sends errgroup.Group
	for n, r := range rooms {
		sends.Go(func() error {
			i := indexes[n]
			if err := l.send(ctx, r, sp.segment.ID, i, sp.segment.Piece(i), sp.pieces[i]); err != nil {
				return ctx.Err() // the next round deals with what the lane has become
			}
			sp.mu.Lock()
			defer sp.mu.Unlock()
			sp.stored = append(sp.stored, stored{lane: l, room: r, index: i})
			return nil
		})
	}
	return sends.Wait()
}

// Drop gives up the pieces of a segment that have not been leased yet: their
// holders forget them when the grant ends.
func (p *Placement) Drop(segment []byte) {
	for l := range p.all() {
		l.mu.Lock()
		l.pending = slices.DeleteFunc(l.pending, func(q pendingPiece) bool {
			if q.segment != string(segment) {
				return false
			}
			q.room.open--
			return true
		})
		l.mu.Unlock()
	}
}
