package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// Compacted is the outcome of a compaction.
type Compacted struct {
	// Sparse segments are less than half live, and used by Versions that were rewritten without them.
	Sparse, Versions int
	// Bytes of pieces were placed.
	Bytes int64
	// More says that there is more to do, and the budget is used up or a put waits.
	More bool
}

var (
	// errMakeWay ends a rewriting because a put waits.
	errMakeWay = errors.New("a put waits")
	// errNoBetter says that a rewritten version would be worth less than it is.
	errNoBetter = errors.New("what takes their place is worth less")
)

// Compact rewrites those versions of this machine that use segments of which less than half is live, so
// that Collect gives those up: what lives in them is placed anew, for about budget bytes, and the
// version's tree names the new places. It is the same version, with the same name, number and time. It reads the
// manifests of all versions that share segments with removed ones. It may be broken off anywhere,
// and stops when a put waits.
func (v *Vault) Compact(ctx context.Context, budget int64, progress func(Progress)) (*Compacted, error) {
	unlock, err := v.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	m, err := v.mark(ctx)
	if err != nil {
		return nil, fmt.Errorf("nothing is rewritten: %w", err)
	}
	out := &Compacted{}
	sparse, err := v.sparse(ctx, m, budget, out)
	if err != nil || len(sparse) == 0 {
		return out, err
	}
	out.Sparse = len(sparse)
	versions, err := v.ours(sparse)
	if err != nil {
		return nil, err
	}
	defer v.worths.forget()
	meter := newMeter("rewriting", progress)
	var failures []error
	for _, version := range versions {
		placed, err := v.rewrite(ctx, version, sparse, meter)
		out.Bytes += placed
		switch {
		case err == nil:
			out.Versions++
		case ctx.Err() != nil:
			return out, ctx.Err()
		case errors.Is(err, errMakeWay):
			out.More = true
			return out, errors.Join(failures...)
		default:
			failures = append(failures, fmt.Errorf("rewrite %q, version %d: %w", version.Name, version.Seq, err))
		}
	}
	if out.Versions > 0 {
		failures = append(failures, v.publish(ctx))
	}
	return out, errors.Join(failures...)
}

// ours returns this machine's versions that use any of some segments.
func (v *Vault) ours(segments segmentSet) ([]manifest.Version, error) {
	versions, err := v.Versions("")
	if err != nil {
		return nil, err
	}
	var out []manifest.Version
	for _, version := range versions {
		if version.Agent != v.c.Household.Agent() {
			continue
		}
		uses, err := v.knownUses(version)
		if err != nil {
			return nil, err
		}
		for id := range uses {
			if segments.has(id[:]) {
				out = append(out, version)
				break
			}
		}
	}
	return out, nil
}

// liveBytes has the live chunks of segments: offset and length of each, 32 bits each.
type liveBytes map[segmentID][]uint64

func (l liveBytes) add(ref manifest.Ref) {
	if len(ref.Segment) != manifest.SegmentIDSize {
		return
	}
	if chunks, tracked := l[segmentID(ref.Segment)]; tracked {
		l[segmentID(ref.Segment)] = append(chunks, ref.Offset<<32|ref.Sealed)
	}
}

// tidy counts each chunk once.
func (l liveBytes) tidy() {
	for id, chunks := range l {
		slices.Sort(chunks)
		l[id] = slices.Compact(chunks)
	}
}

func (l liveBytes) of(id segmentID) (sum uint64) {
	for _, chunk := range l[id] {
		sum += chunk & (1<<32 - 1)
	}
	return sum
}

// sparse returns the segments that are to be emptied: this machine's, used by no other's versions and no ticket, less
// than half live; the emptiest first, as far as the budget goes.
func (v *Vault) sparse(ctx context.Context, m *marks, budget int64, out *Compacted) (segmentSet, error) {
	live := liveBytes{}
	for id := range m.worn {
		_, mine, err := v.timeOfKey(mineKey(id[:]))
		if err != nil {
			return nil, err
		}
		if mine && !m.others.has(id[:]) && !m.ticketed.has(id[:]) {
			live[id] = nil
		}
	}
	if err := v.weigh(ctx, live); err != nil {
		return nil, err
	}
	chosen := segmentSet{}
	weight := func(a, b segmentID) int {
		return cmp.Or(cmp.Compare(live.of(a), live.of(b)), slices.Compare(a[:], b[:]))
	}
	for _, id := range slices.SortedFunc(maps.Keys(live), weight) {
		s, err := v.segment(id[:])
		if errors.Is(err, errNoSegment) {
			continue
		}
		if err != nil {
			return nil, err
		}
		size := live.of(id)
		if size*2 >= s.K*s.Size {
			continue
		}
		cost := int64(size / s.K * (s.K + s.M))
		if budget -= cost; budget < 0 {
			out.More = true
			break
		}
		chosen[id] = struct{}{}
	}
	return chosen, nil
}

// weigh finds what is live in segments by the trees of all versions that use them.
func (v *Vault) weigh(ctx context.Context, live liveBytes) error {
	if len(live) == 0 {
		return nil
	}
	segments := segmentSet{}
	for id := range live {
		segments[id] = struct{}{}
	}
	versions, err := v.ours(segments)
	if err != nil {
		return err
	}
	r, done := v.reader()
	defer done()
	for _, version := range versions {
		err := v.refs(ctx, r, version.Tree, func(ref manifest.Ref) error { live.add(ref); return nil })
		if err != nil {
			return err
		}
		live.tidy()
	}
	return nil
}

// rewrite makes a version do without some segments. It is a put whose source is the version. placed is what it
// has cost, in bytes of pieces.
func (v *Vault) rewrite(ctx context.Context, old manifest.Version, avoid segmentSet, m *meter) (placed int64, err error) {
	if len(old.Segments) == 0 {
		return 0, fmt.Errorf("its manifest lies nowhere: %w", core.ErrCorrupt)
	}
	like, err := v.segment(old.Segments[0])
	if err != nil {
		return 0, err
	}
	p, err := v.newPut(old.Name, like.Shape(), m)
	if err != nil {
		return 0, err
	}
	p.avoid = avoid
	if p.placing, err = v.c.Barter.Place(ctx, core.Normal, int64(len(avoid))*int64(like.Size)*int64(like.Total())); err != nil {
		return 0, err
	}
	tree, err := p.pipe(ctx, func() error { return p.copy(old) }, p.collect)
	if err != nil {
		p.abandon(ctx)
		return int64(p.stored), err
	}
	if p.lost > 0 {
		return int64(p.stored), p.incomplete(0)
	}
	f := v.newFilling(m)
	if err := f.all(ctx, p.segs); err != nil {
		return int64(p.stored), err
	}
	placed = int64(p.stored + f.stored)
	uses, err := v.knownUses(old)
	if err != nil {
		return placed, err
	}
	before, _, err := v.worthOf(uses, nil)
	if err != nil {
		return placed, err
	}
	switch {
	case p.files != old.Files || p.bytes != old.Bytes:
		return placed, fmt.Errorf("%d files of %d bytes, and it has %d of %d: %w", p.files, p.bytes, old.Files, old.Bytes, core.ErrCorrupt)
	case !f.worth.Readable || f.worth.Survives < before.Survives:
		return placed, errNoBetter
	}
	now := old
	now.Tree, now.Segments = tree, p.treeSegs.sorted()
	return placed, v.record(now, p.segs)
}

// copy reads a version as a source: chunks that can stay are not fetched.
func (p *put) copy(version manifest.Version) error {
	r, done := p.v.reader()
	defer done()
	var at *reading
	var path []byte
	end := func() error {
		if at == nil {
			return nil
		}
		if err := p.endChunks(at); err != nil {
			return err
		}
		return p.emit(event{kind: eventEntry, path: path, entry: at.entry})
	}
	for row, err := range manifest.Rows(page.Walk(version.Tree, r.load(p.ctx), nil, nil)) {
		if err != nil {
			return fmt.Errorf("read the manifest: %w", err)
		}
		if p.v.waiting.Load() > 0 {
			return errMakeWay
		}
		if row.Part == 0 {
			if err := end(); err != nil {
				return err
			}
			at, path = &reading{entry: row.Entry}, row.Path
			at.entry.Size, at.entry.Chunks = 0, nil
		}
		for _, ref := range row.Chunks {
			j, err := p.copyChunk(r, ref)
			if err == nil {
				err = p.addChunk(j, j.placed == nil, at)
			}
			if err != nil {
				return err
			}
		}
	}
	return end()
}

// copyChunk returns the job of a chunk of a version: where it is, or elsewhere, or of its bytes.
func (p *put) copyChunk(r *reader, ref manifest.Ref) (*job, error) {
	if stays, err := p.usableRef(ref); err != nil || stays {
		return &job{ref: ref}, err
	}
	if j, err := p.jobOf(ref.Plain, false); err != nil || j != nil {
		return j, err
	}
	if ref.Size > uint64(p.chunkMax) { // it comes from a put with another spread
		return nil, errNoBetter
	}
	plain, err := r.chunk(p.ctx, ref, nil)
	if err != nil {
		return nil, err
	}
	j, _, err := p.chunk(plain, false)
	return j, err
}
