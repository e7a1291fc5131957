package vault

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/seal"
)

// cachePieces is how many data pieces of 1 MiB a reader keeps: the two segments
// that a put fills at once, and those that are on their way.
const cachePieces = 40

// reader opens chunks. It keeps the pieces that were read last, because
// neighbouring chunks share them. Its methods may be called at once.
type reader struct {
	v *Vault

	mu       sync.Mutex
	segments map[string]manifest.Segment
	cache    map[pieceID]*pieceSlot
	recent   []pieceID            // oldest first
	repairs  map[string]*repair   // segments that are being rebuilt
	broken   map[pieceID]struct{} // pieces that could not be fetched: rebuild at once
}

type pieceID struct {
	segment string
	index   int
}

// pieceSlot is a piece, or the fetching of it.
type pieceSlot struct {
	ready chan struct{}
	data  []byte
	err   error
}

type repair struct {
	done chan struct{}
	err  error
}

func (v *Vault) newReader() *reader {
	return &reader{
		v: v, segments: map[string]manifest.Segment{}, cache: map[pieceID]*pieceSlot{},
		repairs: map[string]*repair{}, broken: map[pieceID]struct{}{},
	}
}

// chunk returns the bytes that a Ref names, opened and verified.
func (r *reader) chunk(ctx context.Context, ref manifest.Ref) ([]byte, error) {
	s, err := r.segment(ref.Segment)
	if err != nil {
		return nil, err
	}
	if end := ref.Offset + ref.Sealed; end < ref.Offset || end > s.K*s.Size || ref.Sealed == 0 {
		return nil, fmt.Errorf("chunk %s lies outside its segment: %w", ref.Plain.Short(), core.ErrCorrupt)
	}
	sealed := make([]byte, 0, ref.Sealed)
	for at := ref.Offset; at < ref.Offset+ref.Sealed; {
		piece, err := r.piece(ctx, s, int(at/s.Size))
		if err != nil {
			return nil, fmt.Errorf("chunk %s: %w", ref.Plain.Short(), err)
		}
		from := at % s.Size
		to := min(s.Size, from+ref.Offset+ref.Sealed-at)
		sealed = append(sealed, piece[from:to]...)
		at += to - from
	}
	packed, err := seal.OpenChunk(ref.Key, ref.Packed, sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("chunk %s: %w", ref.Plain.Short(), err)
	}
	plain, err := r.v.packer.Unpack(nil, packed, int(ref.Size))
	if err != nil {
		return nil, fmt.Errorf("chunk %s: %w", ref.Plain.Short(), err)
	}
	if core.ScoreOf(plain) != ref.Plain {
		return nil, fmt.Errorf("chunk %s opens to other bytes: %w", ref.Plain.Short(), core.ErrCorrupt)
	}
	return plain, nil
}

// load opens a page of a manifest by its encoded Ref.
func (r *reader) load(ctx context.Context) func(ref []byte) ([]byte, error) {
	return func(raw []byte) ([]byte, error) {
		ref, err := manifest.ParseRef(raw)
		if err != nil {
			return nil, err
		}
		return r.chunk(ctx, ref)
	}
}

func (r *reader) segment(id []byte) (manifest.Segment, error) {
	r.mu.Lock()
	s, ok := r.segments[string(id)]
	r.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := r.v.segment(id)
	if err != nil {
		return s, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.segments) >= 1<<12 {
		clear(r.segments)
	}
	r.segments[string(id)] = s
	return s, nil
}

// piece returns a data piece, from the cache, from a holder, or made from others.
func (r *reader) piece(ctx context.Context, s manifest.Segment, index int) ([]byte, error) {
	id := pieceID{string(s.ID), index}
	for {
		r.mu.Lock()
		slot := r.cache[id]
		_, broken := r.broken[id]
		mine := slot == nil && !broken
		if mine {
			slot = &pieceSlot{ready: make(chan struct{})}
			r.keep(id, slot)
		}
		r.mu.Unlock()
		if slot == nil {
			if err := r.repair(ctx, s); err != nil {
				return nil, err
			}
			continue
		}
		if mine {
			r.fetch(ctx, s, id, slot)
		}
		select {
		case <-slot.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if slot.err == nil {
			return slot.data, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// fetch fills a slot. On failure the slot leaves the cache, and the piece is
// marked for a repair.
func (r *reader) fetch(ctx context.Context, s manifest.Segment, id pieceID, slot *pieceSlot) {
	slot.data, slot.err = r.v.c.Barter.Fetch(ctx, core.Piece{Score: s.Piece(id.index), Size: int64(s.Size)}, nil, false)
	if slot.err != nil {
		r.mu.Lock()
		if r.cache[id] == slot {
			delete(r.cache, id)
		}
		if ctx.Err() == nil {
			r.broken[id] = struct{}{}
		}
		r.mu.Unlock()
	}
	close(slot.ready)
}

// keep puts a slot in the cache, and the oldest out. The caller holds r.mu.
func (r *reader) keep(id pieceID, slot *pieceSlot) {
	if _, there := r.cache[id]; !there {
		r.recent = append(r.recent, id)
	}
	r.cache[id] = slot
	for len(r.recent) > cachePieces {
		delete(r.cache, r.recent[0])
		r.recent = r.recent[1:]
	}
}

// repair makes all data pieces of a segment from whichever k can be had, once,
// however many ask at the same time.
func (r *reader) repair(ctx context.Context, s manifest.Segment) error {
	r.mu.Lock()
	at := r.repairs[string(s.ID)]
	mine := at == nil
	if mine {
		at = &repair{done: make(chan struct{})}
		r.repairs[string(s.ID)] = at
	}
	r.mu.Unlock()
	if !mine {
		select {
		case <-at.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if errors.Is(at.err, context.Canceled) { // the other's context, not ours
			return ctx.Err()
		}
		return at.err
	}
	var pieces [][]byte
	pieces, at.err = r.v.dataOf(ctx, s)
	r.mu.Lock()
	delete(r.repairs, string(s.ID))
	for i, data := range pieces {
		id := pieceID{string(s.ID), i}
		delete(r.broken, id)
		slot := &pieceSlot{ready: make(chan struct{}), data: data}
		close(slot.ready)
		r.keep(id, slot)
	}
	r.mu.Unlock()
	close(at.done)
	return at.err
}

// dataOf returns the data pieces of a segment.
func (v *Vault) dataOf(ctx context.Context, s manifest.Segment) ([][]byte, error) {
	pieces, err := v.fetchAny(ctx, s, func(int) bool { return true })
	if err != nil {
		return nil, err
	}
	coder, err := v.coder(erasure.Shape{K: int(s.K), M: int(s.M)})
	if err != nil {
		return nil, err
	}
	want := make([]bool, s.K+s.M)
	for i := range s.K {
		want[i] = true
	}
	if err := coder.Rebuild(pieces, want); err != nil {
		return nil, fmt.Errorf("rebuild segment %x: %w", s.ID, err)
	}
	return pieces[:s.K], nil
}
