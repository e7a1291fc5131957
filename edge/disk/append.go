package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/grange-grid/grange/core"
)

type opKind int

const (
	opPut    opKind = iota // append a blob
	opDelete               // append deletions
	opMove                 // append a record again, out of a pack that is to go
)

// op waits in the queue to be appended with others, under one sync.
type op struct {
	kind opKind
	head header
	data []byte
	// was is where the record lies that this one takes the place of: the rotten one in a Put (or
	// none), the one that moves. If it lies elsewhere by now, nothing is written.
	was    place
	scores []core.Score // of a Delete
	err    error
	done   chan error
}

const (
	deletesMax = 256 // scores in one op
	goneBound  = 200 // bytes of one deletion's record, at most

	batchOpsMax   = 256
	batchBytesMax = 16 << 20
	// doubtSize is how many bytes at the end of a pack may not have been synced: a
	// batch, and the one op that goes beyond its limit.
	doubtSize = 2 * batchBytesMax

	// blobSpare is what must be free for a blob to be appended, so that there
	// is room left to delete. It is more than tableSpare: blobs must not fill up what
	// the books need, where they share a disk.
	blobSpare = 32 << 20
)

// errMoved says that a blob is not where it was when the op was made.
var errMoved = errors.New("moved")

// bound returns how many bytes the op appends, at most.
func (o *op) bound() int64 {
	if o.kind == opDelete {
		return int64(len(o.scores)) * goneBound
	}
	return int64(goneBound + len(o.head.Note) + len(o.data))
}

// submit hands ops over and waits until all have been appended and synced. Whoever waits
// does the work for all when it is their turn.
func (b *blobs) submit(ctx context.Context, ops ...*op) error {
	b.mu.Lock()
	for _, o := range ops {
		o.done = make(chan error, 1)
		b.queue = append(b.queue, o)
	}
	b.mu.Unlock()
	var errs error
	for _, o := range ops {
		errs = errors.Join(errs, b.await(ctx, o))
	}
	return errs
}

func (b *blobs) await(ctx context.Context, o *op) error {
	for {
		select {
		case err := <-o.done: // first: the turn is free as well, most of the time
			return err
		default:
		}
		select {
		case err := <-o.done:
			return err
		case b.turn <- struct{}{}:
			b.run(b.take())
			<-b.turn
		case <-ctx.Done():
			if b.withdraw(o) {
				return ctx.Err()
			}
			return <-o.done // somebody has begun to write it
		}
	}
}

// take returns the next batch.
func (b *blobs) take() []*op {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, size := 0, int64(0)
	for n < len(b.queue) && n < batchOpsMax && size < batchBytesMax {
		size += b.queue[n].bound()
		n++
	}
	batch := b.queue[:n:n]
	b.queue = b.queue[n:]
	return batch
}

func (b *blobs) withdraw(o *op) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, q := range b.queue {
		if q == o {
			b.queue = append(b.queue[:i:i], b.queue[i+1:]...)
			return true
		}
	}
	return false
}

// run appends a batch, in rounds that each fit into one pack, and tells each op.
func (b *blobs) run(ops []*op) {
	for len(ops) > 0 {
		n, err := b.some(ops)
		if errors.Is(err, core.ErrFull) && n > 1 {
			n, err = b.some(ops[:1]) // there may be room for some of them
		}
		for _, o := range ops[:n] {
			if err != nil {
				o.err = err
			}
			o.done <- o.err
		}
		ops = ops[n:]
	}
}

// some appends as many of the ops as fit into one pack, and returns how many it tried.
func (b *blobs) some(ops []*op) (int, error) {
	n, err := b.fit(ops)
	if err != nil {
		return len(ops), err
	}
	return n, b.round(ops[:n])
}

// fit returns how many of the ops fit into the current pack, at least one; for that it
// begins a new pack where it must.
func (b *blobs) fit(ops []*op) (int, error) {
	if b.attached.Load() == nil {
		return 0, core.ErrAway
	}
	for {
		if b.current == nil || b.current.shut {
			if err := b.roll(); err != nil {
				return 0, err
			}
		}
		n, end := 0, b.current.end
		for n < len(ops) && end+ops[n].bound() <= b.sizeMax {
			end += ops[n].bound()
			n++
		}
		if n > 0 || b.current.end == packStart {
			return max(n, 1), nil
		}
		b.current.shut = true
	}
}

// roll begins a new pack.
func (b *blobs) roll() error {
	if b.gone() {
		return core.ErrAway
	}
	number := b.highest + 1
	s, err := makePack(b.files, b.dir, number)
	for range rollTriesMax {
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		number++ // one that could not be made whole, nor removed
		s, err = makePack(b.files, b.dir, number)
	}
	if err != nil {
		return fullOr(err)
	}
	b.highest = number
	p := &pack{number: number, salt: s, end: packStart}
	if b.gone() { // just before, and this pack may be in its mount point
		return errors.Join(core.ErrAway, b.files.Remove(b.path(number)))
	}
	// Synced: what the pack before has behind its end must never be read again.
	if err := b.index.write(func(w *indexWrite) error { return w.setPack(p) }, true); err != nil {
		return err
	}
	b.packs[number] = p
	b.current = p
	return nil
}

// rollTriesMax bounds how many pack numbers are passed over.
const rollTriesMax = 16

func fullOr(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", core.ErrFull, err)
	}
	return err
}
