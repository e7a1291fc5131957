package vault

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/seal"
)

const (
	// cachePieces is how many data pieces of 1 MiB a reader keeps: the two segments
	// that a put fills at once, and those that are on their way.
	cachePieces = 40
	// cacheFS is the same for a file system, of which there may be many: two segments that
	// had to be rebuilt, and a few pages.
	cacheFS = 24
	// cacheSegments is how many segments' records it keeps, of 1 KiB each.
	cacheSegments = 1 << 12
	// repairsMax is how many segments are rebuilt at once: up to 20 MiB each.
	repairsMax = 2
)

// reader opens chunks. It keeps the pieces that were read last, because
// neighbouring chunks share them. Its methods may be called at once.
type reader struct {
	*opener
	// find returns a segment's record, which has that id.
	find      func(ctx context.Context, id []byte) (manifest.Segment, error)
	room      int // pieces to keep
	repairing chan struct{}

	mu       sync.Mutex
	segments map[segmentID]manifest.Segment
	cache    map[pieceID]*pieceSlot
	recent   []pieceID // the keys of cache, the one that was used last at the end
	repairs  map[segmentID]*repair
}

type pieceID struct {
	segment segmentID
	index   int
}

// pieceSlot is a piece, or the fetching of it.
type pieceSlot struct {
	ready   chan struct{}
	data    []byte
	err     error
	stopped bool // whoever fetched it wanted it no more
}

// repair is the rebuilding of a segment.
type repair struct {
	done    chan struct{}
	pieces  [][]byte
	err     error
	stopped bool
}

// reader returns the one reader that all who restore at the same time share, so that
// many of them need no more memory than one. When the last has called done, it is forgotten.
func (v *Vault) reader() (r *reader, done func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.readers == 0 {
		v.shared = v.newReader(cachePieces)
	}
	v.readers++
	return v.shared, sync.OnceFunc(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.readers--; v.readers == 0 {
			v.shared = nil
		}
	})
}

func (v *Vault) newReader(room int) *reader {
	return v.opener.newReader(room, func(_ context.Context, id []byte) (manifest.Segment, error) { return v.segment(id) })
}

func (o *opener) newReader(room int, find func(context.Context, []byte) (manifest.Segment, error)) *reader {
	return &reader{
		opener: o, find: find, room: room, repairing: make(chan struct{}, repairsMax), segments: map[segmentID]manifest.Segment{},
		cache: map[pieceID]*pieceSlot{}, repairs: map[segmentID]*repair{},
	}
}

// chunk appends to dst the bytes that a Ref names, opened and verified.
func (r *reader) chunk(ctx context.Context, ref manifest.Ref, dst []byte) ([]byte, error) {
	plain, err := r.open(ctx, ref, dst)
	if err != nil {
		return nil, fmt.Errorf("chunk %s: %w", ref.Plain.Short(), err)
	}
	return plain, nil
}

func (r *reader) open(ctx context.Context, ref manifest.Ref, dst []byte) ([]byte, error) {
	s, err := r.segment(ctx, ref.Segment)
	if err != nil {
		return nil, err
	}
	if err := ref.Within(s); err != nil {
		return nil, fmt.Errorf("%w: %w", core.ErrCorrupt, err)
	}
	sealed, err := r.bytes(ctx, s, ref.Offset, ref.Sealed)
	if err != nil {
		return nil, err
	}
	packed, err := seal.OpenChunk(ref.Key, ref.Packed, sealed, make([]byte, 0, len(sealed)))
	if err != nil {
		return nil, err
	}
	plain, err := r.packer.Unpack(dst, packed, int(ref.Size))
	if err != nil {
		return nil, err
	}
	if core.ScoreOf(plain[len(dst):]) != ref.Plain {
		return nil, fmt.Errorf("it opens to other bytes: %w", core.ErrCorrupt)
	}
	return plain, nil
}

// bytes returns a part of a segment's string, which lies within it and is not the caller's
// to change.
func (r *reader) bytes(ctx context.Context, s manifest.Segment, offset, size uint64) ([]byte, error) {
	first, last := offset/s.Size, (offset+size-1)/s.Size
	from := offset % s.Size
	if first == last {
		piece, err := r.piece(ctx, s, int(first))
		if err != nil {
			return nil, err
		}
		return piece[from : from+size], nil
	}
	out := make([]byte, 0, size)
	for i := first; i <= last; i++ {
		piece, err := r.piece(ctx, s, int(i))
		if err != nil {
			return nil, err
		}
		to := min(s.Size, from+size-uint64(len(out)))
		out = append(out, piece[from:to]...)
		from = 0
	}
	return out, nil
}

// load opens a page of a manifest by its encoded Ref.
func (r *reader) load(ctx context.Context) func(ref []byte) ([]byte, error) {
	return func(raw []byte) ([]byte, error) {
		ref, err := manifest.ParseRef(raw)
		if err != nil {
			return nil, err
		}
		return r.chunk(ctx, ref, nil)
	}
}

func (r *reader) segment(ctx context.Context, id []byte) (manifest.Segment, error) {
	if len(id) != manifest.SegmentIDSize {
		return manifest.Segment{}, fmt.Errorf("a page of the state where one of a manifest should be: %w", core.ErrCorrupt)
	}
	r.mu.Lock()
	s, ok := r.segments[segmentID(id)]
	r.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := r.find(ctx, id)
	if err != nil {
		return s, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.segments) >= cacheSegments {
		clear(r.segments)
	}
	r.segments[segmentID(id)] = s
	return s, nil
}

// piece returns a data piece, from the cache, from a holder, or made from others.
func (r *reader) piece(ctx context.Context, s manifest.Segment, index int) ([]byte, error) {
	id := pieceID{segmentID(s.ID), index}
	for {
		slot, mine := r.slot(id)
		if mine {
			r.fetch(ctx, s, id, slot)
		}
		if _, _, err := receive(ctx, slot.ready); err != nil {
			return nil, err
		}
		switch {
		case slot.err == nil:
			return slot.data, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case slot.stopped:
			continue
		}
		pieces, err := r.repair(ctx, s)
		if err != nil {
			return nil, err
		}
		return pieces[index], nil
	}
}

// slot returns the slot of a piece, and whether it is the caller's to fill.
func (r *reader) slot(id pieceID) (slot *pieceSlot, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slot = r.cache[id]; slot == nil {
		slot, mine = &pieceSlot{ready: make(chan struct{})}, true
	}
	r.keep(id, slot)
	return slot, mine
}

// keep puts a slot in the cache, or makes it the one that was used last. The oldest goes. The caller holds r.mu.
func (r *reader) keep(id pieceID, slot *pieceSlot) {
	r.drop(id)
	if len(r.recent) == r.room {
		r.drop(r.recent[0])
	}
	r.cache[id] = slot
	r.recent = append(r.recent, id)
}

// drop takes a piece out of the cache, if it is there. The caller holds r.mu.
func (r *reader) drop(id pieceID) {
	if _, there := r.cache[id]; there {
		delete(r.cache, id)
		at := slices.Index(r.recent, id)
		r.recent = slices.Delete(r.recent, at, at+1)
	}
}

// fetch fills a slot. On failure the slot leaves the cache.
func (r *reader) fetch(ctx context.Context, s manifest.Segment, id pieceID, slot *pieceSlot) {
	slot.data, slot.err = r.opener.fetch(ctx, s, id.index, false)
	if slot.err != nil {
		slot.stopped = ctx.Err() != nil
		r.mu.Lock()
		if r.cache[id] == slot {
			r.drop(id)
		}
		r.mu.Unlock()
	}
	close(slot.ready)
}

// repair makes all data pieces of a segment from whichever k can be had, once,
// however many ask at the same time.
func (r *reader) repair(ctx context.Context, s manifest.Segment) ([][]byte, error) {
	id := segmentID(s.ID)
	for {
		r.mu.Lock()
		at := r.repairs[id]
		mine := at == nil
		if mine {
			at = &repair{done: make(chan struct{})}
			r.repairs[id] = at
		}
		r.mu.Unlock()
		if mine {
			r.rebuild(ctx, s, at)
			return at.pieces, at.err
		}
		if _, _, err := receive(ctx, at.done); err != nil {
			return nil, err
		}
		if !at.stopped {
			return at.pieces, at.err
		}
	}
}

func (r *reader) rebuild(ctx context.Context, s manifest.Segment, at *repair) {
	at.pieces, at.err = r.dataOf(ctx, s)
	at.stopped = at.err != nil && ctx.Err() != nil
	r.mu.Lock()
	delete(r.repairs, segmentID(s.ID))
	for i, data := range at.pieces {
		slot := &pieceSlot{ready: make(chan struct{}), data: data}
		close(slot.ready)
		r.keep(pieceID{segmentID(s.ID), i}, slot)
	}
	r.mu.Unlock()
	close(at.done)
}

// dataOf returns the data pieces of a segment, nil with an error.
func (r *reader) dataOf(ctx context.Context, s manifest.Segment) ([][]byte, error) {
	if err := send(ctx, r.repairing, struct{}{}); err != nil {
		return nil, err
	}
	defer func() { <-r.repairing }()
	pieces, want := make([][]byte, s.Total()), make([]int, s.K)
	for i := range want {
		want[i], pieces[i] = i, r.cached(pieceID{segmentID(s.ID), i})
	}
	if err := r.fetchAny(ctx, s, pieces, ^pieceSet(0)); err != nil {
		return nil, err
	}
	if err := r.make(s, pieces, want); err != nil {
		return nil, err
	}
	return pieces[:s.K:s.K], nil
}

// cached returns a piece that is in the cache, or nil.
func (r *reader) cached(id pieceID) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	slot := r.cache[id]
	if slot == nil {
		return nil
	}
	select {
	case <-slot.ready:
		return slot.data
	default:
		return nil
	}
}
