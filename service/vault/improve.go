package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/place"
)

const (
	// ReplaceAfter is how long a household may be away until its pieces are made again elsewhere.
	ReplaceAfter = 72 * time.Hour
	// improveBatch is how many segments are improved between two looks at whether a put waits: 80 MiB.
	improveBatch = 4
)

// Standing is how a household stands with ours.
type Standing struct {
	// Away is for how long it has been out of reach, of the time that this machine ran; 0: it is here.
	Away time.Duration
	// Leaving says that its pact ends.
	Leaving bool
}

// ImproveOptions say what there is to improve with.
type ImproveOptions struct {
	// Budget is how many bytes of pieces are placed at most.
	Budget int64
	// Partners are those households that may hold pieces, our own among them, Machines our own other machines. What
	// one holds that is not among them stays.
	Partners, Machines map[core.DID]Standing
	// Progress is called now and then.
	Progress func(Progress)
}

// Improved is the outcome of an improvement.
type Improved struct {
	Mended
	// Bytes of pieces were placed.
	Bytes int64
	// More says that there is more to do, and the budget is used up or a put waits.
	More bool
}

// Improve brings pieces to where they are worth more, within a budget: those that nobody holds,
// those of households that are leaving, or have been away for 72 hours, and those of which a household holds so
// many that the version survives less than it could, as when another household has joined. What is
// worth least comes first. An old holding is given up when the new one is leased. It stops when a put
// waits. Segments that another machine of the household has placed are left to that.
func (v *Vault) Improve(ctx context.Context, o ImproveOptions) (*Improved, error) {
	unlock, err := v.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	found := &findings{leaves: o.leaves}
	found.begin()
	todo, err := v.improvable(ctx, o, found)
	if err != nil {
		return nil, err
	}
	if len(todo) == 0 {
		return &Improved{}, nil
	}
	f := v.newFilling(newMeter("moving pieces", o.Progress))
	f.found = found
	more, err := f.within(ctx, todo, o.Budget)
	if err != nil {
		return nil, err
	}
	out := &Improved{Mended: f.out, Bytes: int64(f.stored), More: more}
	if out.Pieces == 0 {
		return out, nil
	}
	return out, v.publish(ctx) // also who is new among the holders must have the head
}

// within improves segments, some at a time, until the budget is used up, nobody takes any more, or a
// put waits. more says that it was for want of budget or time.
func (f *filling) within(ctx context.Context, todo []improvement, budget int64) (more bool, err error) {
	var all int64
	for _, t := range todo {
		all += t.bytes
	}
	f.meter.of(min(all, budget))
	if err := f.ask(ctx, min(all, budget)); err != nil || f.placing == nil {
		return false, err
	}
	defer func() {
		words, cancel := f.v.lastWords(ctx)
		defer cancel()
		f.placing.Commit(words, true) // all is leased by now; it gives up the grants
	}()
	for len(todo) > 0 && len(f.placing.Households()) > 0 {
		var ids [][]byte
		left, before := budget-int64(f.stored), f.stored
		for len(ids) < min(len(todo), improveBatch) && todo[len(ids)].bytes <= left {
			left -= todo[len(ids)].bytes
			ids = append(ids, todo[len(ids)].id[:])
		}
		if len(ids) == 0 || f.v.waiting.Load() > 0 {
			return true, nil
		}
		if err := f.batch(ctx, ids, false); err != nil {
			return false, err
		}
		if f.stored == before {
			return false, nil
		}
		todo = todo[len(ids):]
	}
	return false, nil
}

// leaves tells whether a holding is to be replaced because its household, or our own machine, leaves or is away.
func (o ImproveOptions) leaves(h core.Holding) bool {
	p, known := o.Machines[h.Agent]
	if !known {
		p, known = o.Partners[h.Grid]
	}
	return known && (p.Leaving || p.Away >= ReplaceAfter)
}

// takers returns the households that may take pieces, as far as is known here.
func (o ImproveOptions) takers() []core.DID {
	var out []core.DID
	for _, grid := range slices.SortedFunc(maps.Keys(o.Partners), core.DID.Compare) {
		if p := o.Partners[grid]; p.Away == 0 && !p.Leaving {
			out = append(out, grid)
		}
	}
	return out
}

// improvement is a segment that can be improved.
type improvement struct {
	id    segmentID
	bytes int64 // of pieces that are to be placed
	worth place.Worth
}

// improvable returns those segments that this machine has placed, or taken over, and that can be improved, the ones that are worth
// least first. It gives up spare copies on the way.
func (v *Vault) improvable(ctx context.Context, o ImproveOptions, found *findings) ([]improvement, error) {
	versions, err := v.Versions("")
	if err != nil {
		return nil, err
	}
	all, others, left := segmentSet{}, segmentSet{}, segmentSet{} // left by machines that were removed
	for _, version := range versions {
		uses, err := v.usesOf(ctx, version)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			v.c.Log.Warn("a manifest cannot be read", "name", version.Name, "version", version.Seq, "err", err)
			continue
		}
		maps.Copy(all, uses)
		switch by := version.Agent; {
		case !v.c.Household.Lists(by):
			maps.Copy(left, uses)
		case by != v.c.Household.Agent():
			maps.Copy(others, uses)
		}
	}
	if err := v.inherit(left, others); err != nil {
		return nil, err
	}
	ticketed, err := v.ticketedBy(ctx, "", func(err error) { v.c.Log.Warn("a ticket's table cannot be read", "err", err) })
	if err != nil {
		return nil, err
	}
	maps.Copy(all, ticketed)
	takers := o.takers()
	var out []improvement
	for id := range all {
		if _, ours, err := v.timeOfKey(mineKey(id[:])); err != nil {
			return nil, err
		} else if !ours { // another machine sees to it, and knows where its pieces are
			continue
		}
		s, err := v.segment(id[:])
		if errors.Is(err, errNoSegment) {
			continue
		}
		if err != nil {
			return nil, err
		}
		held, err := v.heldOf(s, found.lost)
		if err != nil {
			return nil, err
		}
		if err := v.dropSpares(ctx, s, held, o); err != nil {
			return nil, err
		}
		want := held.lacking(s, v.seats(held, takers))
		n := len(want) + held.crowded(s, takers).pieces().len()
		if n == 0 {
			continue
		}
		out = append(out, improvement{id, int64(n) * int64(s.Size), place.WorthOf(int(s.K), held.counts())})
	}
	slices.SortFunc(out, func(a, b improvement) int {
		return cmp.Or(cmp.Compare(a.worth.Survives, b.worth.Survives), slices.Compare(a.id[:], b.id[:]))
	})
	return out, nil
}

// inherit makes segments that removed machines have left this machine's to see to, if it is the one that does,
// but for those that another machine has in use.
func (v *Vault) inherit(left, others segmentSet) error {
	if !v.c.Household.Heir() {
		return nil
	}
	maps.DeleteFunc(left, func(id segmentID, _ struct{}) bool { return others.has(id[:]) })
	changes, err := v.adopt(left)
	if err != nil || len(changes) == 0 {
		return err
	}
	defer v.worths.forget()
	if err := v.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("take over what removed machines have placed: %w", err)
	}
	return nil
}

// dropSpares gives up holdings of pieces that another household holds as well, as when a move was
// broken off between the new lease and the release, or a holder came back whose pieces had been made again;
// and what this machine has itself that another has too. It changes held. The holder that keeps the piece is here, and the segment survives no less.
func (v *Vault) dropSpares(ctx context.Context, s manifest.Segment, held holders, o ImproveOptions) error {
	spare, elsewhere, self := held.spare(s, o.takers()), held.pieces(), v.c.Household.Agent()
	var gone []core.Holding
	for i := range s.Total() {
		at, err := v.c.Barter.Held(s.Piece(i))
		if err != nil {
			return err
		}
		for _, h := range at {
			if mine := h.Agent == self; mine && elsewhere.has(i) || !mine && spare[h.Grid].has(i) {
				gone = append(gone, h)
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := v.c.Barter.Release(ctx, gone); err != nil {
		return fmt.Errorf("give up what is held twice: %w", err)
	}
	for grid, set := range spare {
		held[grid] &^= set
	}
	maps.DeleteFunc(held, func(_ core.DID, set pieceSet) bool { return set == 0 })
	return nil
}
