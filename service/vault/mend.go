package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// Mended is the outcome of a mending.
type Mended struct {
	// Segments lacked pieces; Whole of them lack none now.
	Segments, Whole int
	// Pieces were made and placed anew.
	Pieces int
	// Unreadable segments have fewer than k pieces within reach, or no record.
	Unreadable int
	// Refused says why partners took less than they were asked to.
	Refused map[core.DID]error
}

const (
	fillBatch    = 32 // segments between two leases
	mendSegments = 2  // segments mended at once: 20 MiB each
)

// filling sees to it that every piece of many segments is held, by making again
// those that are not, a batch of segments at a time. It computes what they are worth on the way.
type filling struct {
	v     *Vault
	meter *meter
	// found, where it is set, says which holdings are lost and so count as none; they are
	// struck out where the piece has found another holder. Those of them that are dead
	// are struck out as soon as there are bytes to place, so that the same holder
	// may be given the piece again; from then on a holding of it there counts.
	found *findings

	placing Placement // nil until a segment lacks pieces, or if there is nobody
	asked   bool
	out     Mended
	worth   Worth
	stored  uint64 // bytes of pieces that were placed and leased
}

func (v *Vault) newFilling(m *meter) *filling {
	return &filling{v: v, meter: m, out: Mended{Refused: map[core.DID]error{}}, worth: newWorth()}
}

// all fills all segments of a set.
func (f *filling) all(ctx context.Context, uses segmentSet) error {
	ids := uses.sorted()
	for len(ids) > 0 {
		n := min(len(ids), fillBatch)
		if err := f.batch(ctx, ids[:n], n == len(ids)); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// task is one segment that lacks pieces.
type task struct {
	segment manifest.Segment
	held    holders
	lasting holders // without this machine
	crowded holders // holdings that others are to have instead
	placed  int     // pieces that somebody took
	lost    bool
}

// batch fills a few segments; last says that no others follow.
func (f *filling) batch(ctx context.Context, ids [][]byte, last bool) (err error) {
	tasks, err := f.tasks(ids)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && f.placing != nil { // what was placed is none the worse for it
			words, cancel := f.v.lastWords(ctx)
			defer cancel()
			f.placing.Commit(words, true)
		}
	}()
	if err := f.begin(ctx, tasks); err != nil {
		return err
	}
	if f.placing != nil {
		if err := f.place(ctx, tasks, last); err != nil {
			return err
		}
	}
	for _, t := range tasks {
		if err := f.settle(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// tasks looks the segments up.
func (f *filling) tasks(ids [][]byte) ([]*task, error) {
	tasks := make([]*task, 0, len(ids))
	for _, id := range ids {
		s, err := f.v.segment(id)
		if errors.Is(err, errNoSegment) {
			f.v.c.Log.Warn("a segment cannot be mended", "err", err)
			f.out.Segments++
			f.out.Unreadable++
			f.worth.addUnknown()
			continue
		}
		if err != nil {
			return nil, err
		}
		lasting, held, err := f.v.lasting(s, f.found.lost)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, &task{segment: s, held: held, lasting: lasting})
	}
	return tasks, nil
}

// begin finds out who could take pieces, when the first segment lacks some. That nobody
// answers is no failure of what is held already.
func (f *filling) begin(ctx context.Context, tasks []*task) error {
	if f.asked {
		return nil
	}
	var expect int64
	for _, t := range tasks {
		expect += int64(t.segment.Total()-t.held.distinct()) * int64(t.segment.Size)
		if f.found != nil {
			expect += int64(t.held.crowded(t.segment, slices.Collect(maps.Keys(t.held))).pieces().len()) * int64(t.segment.Size)
		}
	}
	if expect == 0 {
		return nil
	}
	return f.ask(ctx, expect)
}

// ask finds out who could take about so many bytes of pieces.
func (f *filling) ask(ctx context.Context, expect int64) error {
	placing, err := f.v.c.Barter.Place(ctx, core.Normal, expect)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, core.ErrNotExist):
	case err != nil:
		return err
	default:
		f.placing = placing
	}
	f.asked = true
	return nil
}

// place makes what the segments lack, has it placed, and leased.
func (f *filling) place(ctx context.Context, tasks []*task, last bool) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(mendSegments)
	for _, t := range tasks {
		g.Go(func() error { return f.one(gctx, t) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	failed := f.placing.Commit(ctx, last)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := ownFault(failed); err != nil {
		return err
	}
	maps.Copy(f.out.Refused, f.placing.Refusals())
	maps.Copy(f.out.Refused, failed)
	return nil
}

// one makes and places what a segment lacks.
func (f *filling) one(ctx context.Context, t *task) error {
	takers := f.placing.Households()
	if len(takers) == 0 {
		return nil
	}
	want := t.held.lacking(t.segment, f.v.seats(t.held, takers))
	lacking := len(want) > 0
	if f.found != nil { // a put leaves what others hold where it is
		t.crowded = t.held.crowded(t.segment, takers)
		want = append(want, t.crowded.pieces().list()...)
	}
	if len(want) == 0 {
		return nil
	}
	there, err := f.v.heldOf(t.segment, f.found.unproven)
	if err != nil {
		return err
	}
	pieces, err := f.pieces(ctx, t, want, there.pieces())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil { // a segment's fault: it is told, and the others are mended
		f.v.c.Log.Warn("a segment cannot be mended", "segment", fmt.Sprintf("%x", t.segment.ID), "err", err)
		t.lost = lacking
		t.crowded = nil
	}
	// Also where it cannot be mended: the next put of the same bytes must not rely on it.
	if err := f.strikeOut(ctx, t, f.found.dead); err != nil {
		return err
	}
	if err != nil {
		return nil
	}
	// A piece that two hold is in the way of neither's share but one's.
	unplaced, err := f.placing.Segment(ctx, t.segment, pieces, want, t.held.once().without(t.crowded).lists())
	if err != nil {
		return err
	}
	t.placed = len(want) - len(unplaced)
	f.meter.placed(int64(t.placed) * int64(t.segment.Size))
	return nil
}

// pieces returns those pieces of a segment that are wanted, by index: themselves, if all of them are
// there, or else made from others.
func (f *filling) pieces(ctx context.Context, t *task, want []int, there pieceSet) ([][]byte, error) {
	pieces := make([][]byte, t.segment.Total())
	if !slices.ContainsFunc(want, func(i int) bool { return !there.has(i) }) {
		if failed := f.v.fetchBatch(ctx, t.segment, want, pieces, false); len(failed) == 0 {
			return pieces, nil
		}
	}
	if err := f.v.fetchAny(ctx, t.segment, pieces, t.held.pieces()); err != nil {
		return nil, err
	}
	return pieces, f.v.make(t.segment, pieces, want)
}

// strikeOut gives up those holdings of a segment that which names. Dead ones are forgotten, because the
// holder has nothing to give back.
func (f *filling) strikeOut(ctx context.Context, t *task, which func(core.Holding) bool) error {
	if f.found == nil {
		return nil
	}
	var dead, gone []core.Holding
	for i := range t.segment.Total() {
		held, err := f.v.c.Barter.Held(t.segment.Piece(i))
		if err != nil {
			return err
		}
		for _, h := range held {
			switch {
			case !which(h):
			case f.found.dead(h):
				dead = append(dead, h)
			default:
				gone = append(gone, h)
			}
		}
	}
	if len(gone) > 0 {
		if err := f.v.c.Barter.Release(ctx, gone); err != nil {
			return err
		}
	}
	if len(dead) > 0 {
		if err := f.v.c.Barter.Forget(dead...); err != nil {
			return err
		}
	}
	for _, h := range slices.Concat(dead, gone) {
		f.found.struck(h)
	}
	return nil
}

// settle counts what became of a segment, from the leases, and strikes out lost
// holdings whose pieces are held elsewhere now.
func (f *filling) settle(ctx context.Context, t *task) error {
	moved, after, err := f.settleMoves(ctx, t)
	if err != nil {
		return err
	}
	lasting, present := t.lasting, t.held
	if f.found != nil || t.placed > 0 {
		if lasting, present, err = f.v.lasting(t.segment, f.found.unproven); err != nil {
			return err
		}
	}
	f.worth.add(t.segment, lasting, present)
	made := moved + max(0, after.distinct()-t.held.distinct())
	short := len(after.lacking(t.segment, len(after)))
	if made > 0 || short > 0 || t.lost {
		f.out.Segments++
		f.out.Pieces += made
		f.stored += uint64(made) * t.segment.Size
		if short == 0 {
			f.out.Whole++
		}
	}
	if t.lost || after.distinct() < int(t.segment.K) {
		f.out.Unreadable++
	}
	there := after.pieces()
	return f.strikeOut(ctx, t, func(h core.Holding) bool { return f.found.lost(h) && there.has(t.segment.Index(h.Score)) })
}

// settleMoves strikes out what others hold now in the place of a household that held too much. It
// returns how many pieces those are, and who holds the segment then.
func (f *filling) settleMoves(ctx context.Context, t *task) (moved int, after holders, err error) {
	if t.placed == 0 {
		return 0, t.held, nil
	}
	if after, err = f.v.heldOf(t.segment, f.found.lost); err != nil || len(t.crowded) == 0 {
		return 0, after, err
	}
	elsewhere := after.without(t.crowded).pieces()
	err = f.strikeOut(ctx, t, func(h core.Holding) bool {
		i := t.segment.Index(h.Score)
		return t.crowded[h.Grid].has(i) && elsewhere.has(i)
	})
	if err != nil {
		return 0, after, err
	}
	moved = (t.crowded.pieces() & elsewhere).len()
	after, err = f.v.heldOf(t.segment, f.found.lost)
	return moved, after, err
}

// whole tells whether nothing is left to be mended.
func (m *Mended) whole() bool { return m.Unreadable == 0 && m.Whole == m.Segments }
