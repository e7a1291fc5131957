package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
)

// Mended is the outcome of a mending.
type Mended struct {
	// Segments lacked pieces; Whole of them lack none now.
	Segments, Whole int
	// Pieces were made and placed anew.
	Pieces int
	// Unreadable segments have fewer than k pieces within reach.
	Unreadable int
	// Refused says why partners took less than they were asked to.
	Refused map[core.DID]error
}

const mendSegments = 2 // segments mended at once: 20 MiB each

// fill sees to it that every piece of the segments in uses is held, by making
// again those that are not. lost names holdings that count as none; they are struck
// out where the piece has found another holder.
func (v *Vault) fill(ctx context.Context, uses segmentSet, lost func(core.Holding) bool, m *meter) (*Mended, error) {
	f := &filling{v: v, lost: lost, meter: m, out: Mended{Refused: map[core.DID]error{}}}
	for _, id := range uses.sorted() {
		s, err := v.segment(id)
		if err != nil {
			return nil, err
		}
		held, err := v.heldOf(s, lost)
		if err != nil {
			return nil, err
		}
		if held.distinct() < int(s.K+s.M) { // which of them are wanted is known when partners have answered
			f.todo = append(f.todo, task{s, held})
			f.expect += int64(int(s.K+s.M)-held.distinct()) * int64(s.Size)
		}
	}
	if len(f.todo) == 0 {
		return &f.out, nil
	}
	placing, err := v.c.Barter.Place(ctx, f.expect)
	if errors.Is(err, core.ErrNotExist) {
		return &f.out, nil
	}
	if err != nil {
		return nil, err
	}
	f.placing = placing
	if err := f.run(ctx); err != nil {
		return nil, err
	}
	maps.Copy(f.out.Refused, placing.Refusals())
	return &f.out, nil
}

// task is one segment that lacks pieces.
type task struct {
	segment manifest.Segment
	held    holders
}

// filling is one fill under way.
type filling struct {
	v       *Vault
	lost    func(core.Holding) bool
	placing Placement
	todo    []task
	expect  int64
	meter   *meter
	out     Mended
}

func (f *filling) run(ctx context.Context) error {
	for batch := range slices.Chunk(f.todo, checkSegs) {
		results := make([]int, len(batch)) // pieces placed, -1 for unreadable
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(mendSegments)
		for i, t := range batch {
			g.Go(func() (err error) {
				results[i], err = f.one(gctx, t)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		for grid, err := range f.placing.Commit(ctx, false) {
			f.out.Refused[grid] = err
		}
		for i, t := range batch {
			if err := f.settle(t, results[i]); err != nil {
				return err
			}
		}
	}
	f.placing.Commit(ctx, true)
	return nil
}

// one makes and places what a segment lacks.
func (f *filling) one(ctx context.Context, t task) (placed int, err error) {
	households := map[core.DID]bool{}
	for grid, indexes := range t.held {
		households[grid] = len(indexes) > 0
	}
	for _, grid := range f.placing.Households() {
		households[grid] = true
	}
	want := slices.DeleteFunc(wanted(t.segment, len(households)), t.held.has)
	if len(want) == 0 || len(f.placing.Households()) == 0 {
		return 0, nil
	}
	pieces, err := f.v.rebuild(ctx, t.segment, t.held, want)
	if errors.Is(err, errTooFew) {
		f.v.c.Log.Warn("a segment cannot be mended", "segment", fmt.Sprintf("%x", t.segment.ID), "err", err)
		return -1, nil
	}
	if err != nil {
		return 0, err
	}
	unplaced, err := f.placing.Segment(ctx, t.segment, pieces, want, t.held)
	if err != nil {
		return 0, err
	}
	n := len(want) - len(unplaced)
	f.meter.placed(int64(n) * int64(t.segment.Size))
	return n, nil
}

// settle counts what became of a segment, from the leases, and strikes out lost
// holdings whose pieces are held elsewhere now.
func (f *filling) settle(t task, placed int) error {
	after, err := f.v.heldOf(t.segment, f.lost)
	if err != nil {
		return err
	}
	short := len(wanted(t.segment, len(after))) - after.distinct()
	switch {
	case placed < 0:
		f.out.Segments++
		f.out.Unreadable++
	case placed > 0 || short > 0:
		f.out.Segments++
		f.out.Pieces += max(0, after.distinct()-t.held.distinct())
		if short <= 0 {
			f.out.Whole++
		}
	}
	if f.lost == nil {
		return nil
	}
	var gone []core.Holding
	for i := range int(t.segment.K + t.segment.M) {
		held, err := f.v.c.Barter.Held(t.segment.Piece(i))
		if err != nil {
			return err
		}
		for _, h := range held {
			if f.lost(h) && after.has(i) {
				gone = append(gone, h)
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return f.v.c.Barter.Forget(gone...)
}

// errTooFew says that fewer than k pieces of a segment could be had.
var errTooFew = errors.New("too few pieces can be reached")

// rebuild returns the pieces of a segment by index: those in want at the least,
// made from any k others that can be fetched.
func (v *Vault) rebuild(ctx context.Context, s manifest.Segment, held holders, want []int) ([][]byte, error) {
	pieces, err := v.fetchAny(ctx, s, func(i int) bool { return held == nil || held.has(i) })
	if err != nil {
		return nil, err
	}
	coder, err := v.coder(erasure.Shape{K: int(s.K), M: int(s.M)})
	if err != nil {
		return nil, err
	}
	make := make([]bool, s.K+s.M)
	for _, i := range want {
		make[i] = true
	}
	if err := coder.Rebuild(pieces, make); err != nil {
		return nil, fmt.Errorf("rebuild segment %x: %w", s.ID, err)
	}
	for _, i := range want {
		if core.ScoreOf(pieces[i]) != s.Piece(i) {
			return nil, fmt.Errorf("segment %x: piece %d as made again is not the piece: %w", s.ID, i, core.ErrCorrupt)
		}
	}
	return pieces, nil
}

const fetchStreams = 4 // pieces of one segment on their way at once

// fetchAny fetches k pieces of a segment, data first, of those that may be
// used; when too few come it tries once more the holders that did not answer.
func (v *Vault) fetchAny(ctx context.Context, s manifest.Segment, use func(i int) bool) ([][]byte, error) {
	pieces := make([][]byte, s.K+s.M)
	var failures []error
	got := 0
	for _, now := range []bool{false, true} {
		failures = failures[:0]
		next := 0
		for got < int(s.K) && next < len(pieces) {
			var batch []int
			for ; next < len(pieces) && len(batch) < int(s.K)-got; next++ {
				if pieces[next] == nil && use(next) {
					batch = append(batch, next)
				}
			}
			errs := v.fetchBatch(ctx, s, batch, pieces, now)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			failures = append(failures, errs...)
			got += len(batch) - len(errs)
		}
		if got >= int(s.K) {
			return pieces, nil
		}
	}
	return nil, fmt.Errorf("segment %x: %d of %d pieces: %w", s.ID, got, s.K, errors.Join(append([]error{errTooFew}, failures...)...))
}

// fetchBatch fetches pieces by index into pieces, and returns an error for each
// that did not come.
func (v *Vault) fetchBatch(ctx context.Context, s manifest.Segment, batch []int, pieces [][]byte, now bool) []error {
	errs := make([]error, len(batch))
	var g errgroup.Group
	g.SetLimit(fetchStreams)
	for n, i := range batch {
		g.Go(func() error {
			data, err := v.c.Barter.Fetch(ctx, core.Piece{Score: s.Piece(i), Size: int64(s.Size)}, nil, now)
			if err != nil {
				errs[n] = err
				return nil
			}
			pieces[i] = data
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}
