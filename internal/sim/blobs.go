package sim

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
)

// Blobs is a core.Blobs in memory, whose bytes can rot, vanish, or be away.
// It yields blobs in the order of their scores, so that a seed gives one run.
type Blobs struct {
	capacity int64
	fuse     *fuse

	mu   sync.Mutex
	kept map[core.Score]kept
	used int64
	away bool
}

var _ core.Blobs = (*Blobs)(nil)

type kept struct{ note, data []byte }

func (k kept) size() int64 { return int64(len(k.note) + len(k.data)) }

// NewBlobs returns blobs on a disk of their own; see NewDisk.
func NewBlobs(capacity int64) *Blobs { return NewDisk(capacity).Blobs() }

// Rot flips a bit of a blob where it lies; of a blob without bytes there is none to
// flip. It reports whether it did.
func (b *Blobs) Rot(s core.Score) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.kept[s]
	if !ok || len(k.data) == 0 {
		return false
	}
	k.data[len(k.data)/2] ^= 1
	return true
}

// Lose forgets a blob as no Delete would, and reports whether it was there.
func (b *Blobs) Lose(s core.Score) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.remove(s)
}

// SetAway takes the disk with the blobs away, or brings it back.
func (b *Blobs) SetAway(away bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = away
}

// SetCapacity changes how many bytes there is room for; 0 is without end.
func (b *Blobs) SetCapacity(capacity int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.capacity = capacity
}

// Used returns how many bytes of data and notes there are.
func (b *Blobs) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// Put keeps blob; see core.Blobs.
func (b *Blobs) Put(ctx context.Context, blob core.Blob) error {
	if len(blob.Data) > core.BlobSizeMax || len(blob.Note) > core.NoteSizeMax {
		return fmt.Errorf("put blob %s: %w: %d bytes with a note of %d", blob.Score.Short(), core.ErrTooLarge, len(blob.Data), len(blob.Note))
	}
	if core.ScoreOf(blob.Data) != blob.Score {
		return fmt.Errorf("put blob %s: %w", blob.Score.Short(), core.ErrCorrupt)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.ready(ctx); err != nil {
		return fmt.Errorf("put blob %s: %w", blob.Score.Short(), err)
	}
	old, present := b.kept[blob.Score]
	if present && core.ScoreOf(old.data) == blob.Score {
		return nil
	}
	fresh := kept{note: bytes.Clone(blob.Note), data: bytes.Clone(blob.Data)}
	if b.capacity > 0 && b.used-old.size()+fresh.size() > b.capacity {
		return fmt.Errorf("put blob %s: %w", blob.Score.Short(), core.ErrFull)
	}
	reached, err := b.fuse.write()
	if reached {
		b.remove(blob.Score)
		if b.kept == nil {
			b.kept = map[core.Score]kept{}
		}
		b.kept[blob.Score] = fresh
		b.used += fresh.size()
	}
	return err
}

// Get returns the blob's bytes; see core.Blobs.
func (b *Blobs) Get(ctx context.Context, s core.Score, buf []byte) ([]byte, error) {
	k, err := b.find(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", s.Short(), err)
	}
	buf = append(buf[:0], k.data...)
	if core.ScoreOf(buf) != s {
		return nil, fmt.Errorf("get blob %s: %w", s.Short(), core.ErrCorrupt)
	}
	return buf, nil
}

// Stat tells a blob's size and note; see core.Blobs.
func (b *Blobs) Stat(ctx context.Context, s core.Score) (core.BlobInfo, error) {
	k, err := b.find(ctx, s)
	if err != nil {
		return core.BlobInfo{}, fmt.Errorf("stat blob %s: %w", s.Short(), err)
	}
	return core.BlobInfo{Score: s, Note: k.note, Size: int64(len(k.data))}, nil
}

// Delete forgets blobs; see core.Blobs.
func (b *Blobs) Delete(ctx context.Context, scores ...core.Score) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.ready(ctx); err != nil {
		return fmt.Errorf("delete %d blobs: %w", len(scores), err)
	}
	reached, err := b.fuse.write()
	if err != nil {
		scores = scores[:(len(scores)+1)/2]
	}
	for _, s := range scores {
		if reached {
			b.remove(s)
		}
	}
	return err
}

// All yields every blob in the order of the scores; see core.Blobs.
func (b *Blobs) All(ctx context.Context) iter.Seq2[core.BlobInfo, error] {
	return func(yield func(core.BlobInfo, error) bool) {
		b.mu.Lock()
		scores := make([]core.Score, 0, len(b.kept))
		for s := range b.kept {
			scores = append(scores, s)
		}
		err := b.ready(ctx)
		b.mu.Unlock()
		slices.SortFunc(scores, func(a, b core.Score) int { return bytes.Compare(a[:], b[:]) })
		for _, s := range scores {
			var info core.BlobInfo
			if info, err = b.Stat(ctx, s); err != nil && b.lacks(s) {
				err = nil // deleted since
				continue
			}
			if err != nil || !yield(info, nil) {
				break
			}
		}
		if err != nil {
			yield(core.BlobInfo{}, fmt.Errorf("list blobs: %w", err))
		}
	}
}

func (b *Blobs) lacks(s core.Score) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.kept[s]
	return !ok
}

// find returns copies.
func (b *Blobs) find(ctx context.Context, s core.Score) (kept, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.ready(ctx); err != nil {
		return kept{}, err
	}
	k, ok := b.kept[s]
	if !ok {
		return kept{}, core.ErrNotExist
	}
	return kept{note: bytes.Clone(k.note), data: bytes.Clone(k.data)}, nil
}

func (b *Blobs) remove(s core.Score) bool {
	k, ok := b.kept[s]
	b.used -= k.size()
	delete(b.kept, s)
	return ok
}

func (b *Blobs) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.away {
		return core.ErrAway
	}
	return b.fuse.burnt()
}
