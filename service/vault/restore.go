package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// RestoreOptions say what is restored.
type RestoreOptions struct {
	// Path restricts the restore to a file or directory of the version; it becomes
	// the root. Slash-separated; "" is everything.
	Path string
	// Progress is called now and then.
	Progress func(Progress)
}

// The restore is a pipe of two: walk asks for chunks ahead of what write needs,
// as far as the channel's bound goes.
const (
	aheadSteps  = 64
	aheadChunks = 24 // being fetched, or waiting to be written; 1 MiB at most each
)

// step is one thing to do to the sink.
type step struct {
	path  []byte
	entry *manifest.Entry // begin this
	nth   int64           // number of the file, from 1
	chunk *ahead          // write this to the file at hand
	pass  uint64          // or so many bytes of it are there already
}

// ahead is a chunk that is being fetched.
type ahead struct {
	done  chan struct{}
	bytes []byte
	err   error
}

// Restored counts what a restore wrote: whole files only.
type Restored struct {
	Files, Bytes int64
	// Kept is how many bytes had been restored before.
	Kept     int64
	Problems []Problem
}

// Restore writes a version, or a part of it, into a sink; what the sink has of it already is not
// fetched. open is told whether one file is restored, and a score of what is restored, which is equal for what is
// equal. A file that cannot be
// had or written is a problem, and the others go on; then the error is core.ErrPartly. Where the sink has no room
// all ends with core.ErrFull: what it has stays.
func (v *Vault) Restore(ctx context.Context, version manifest.Version, o RestoreOptions, open func(single bool, id core.Score) (Sink, error)) (*Restored, error) {
	r, done := v.reader()
	defer done()
	return r.restore(ctx, version, o, open)
}

func (r *reader) restore(ctx context.Context, version manifest.Version, o RestoreOptions, open func(single bool, id core.Score) (Sink, error)) (*Restored, error) {
	prefix, single, err := r.rootOf(ctx, version, o.Path)
	if err != nil {
		return nil, err
	}
	sink, err := open(single, core.ScoreOf(append(bytes.Clone(version.Tree.Root), o.Path...)))
	if err != nil {
		return nil, err
	}
	w := &restoring{
		r: r, sink: sink, prefix: prefix, single: single, meter: newMeter("restoring", o.Progress),
		steps: make(chan step, aheadSteps), slots: make(chan struct{}, aheadChunks), spare: make(chan []byte, aheadChunks),
	}
	if o.Path == "" {
		w.meter.of(int64(version.Bytes))
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(w.steps)
		defer w.found.close()
		return w.walk(gctx, version.Tree)
	})
	g.Go(func() error { return w.write(gctx) })
	err = g.Wait()
	w.fetches.Wait() // on failure their context has ended
	if err != nil {
		w.abort()
		return &w.out, err
	}
	if len(w.out.Problems) > 0 {
		return &w.out, fmt.Errorf("%d of the files could not be restored: %w", len(w.out.Problems), core.ErrPartly)
	}
	return &w.out, nil
}

// rootOf returns the key below which to restore, and whether that is one file.
func (r *reader) rootOf(ctx context.Context, version manifest.Version, path string) (key []byte, single bool, err error) {
	if path == "" {
		return nil, version.Single, nil
	}
	if key, err = manifest.Key([]byte(path)); err != nil {
		return nil, false, err
	}
	raw, err := page.Get(version.Tree, r.load(ctx), key)
	if errors.Is(err, core.ErrNotExist) {
		return nil, false, fmt.Errorf("%q in %q: %w", path, version.Name, core.ErrNotExist)
	}
	if err != nil {
		return nil, false, err
	}
	e, err := manifest.DecodeEntry(raw)
	if err != nil {
		return nil, false, fmt.Errorf("%q: %w", path, err)
	}
	if e.Kind == manifest.KindLink {
		return nil, false, fmt.Errorf("%q is a symlink, which is restored with its directory: %w", path, core.ErrInvalid)
	}
	return key, e.Kind == manifest.KindFile, nil
}

type restoring struct {
	r      *reader
	sink   Sink
	prefix []byte
	single bool
	meter  *meter

	steps   chan step
	slots   chan struct{}
	spare   chan []byte // buffers of chunks
	fetches sync.WaitGroup
	found   leftover     // of walk alone
	without atomic.Int64 // the number of the last file that was given up: its chunks need not be fetched

	// Of write alone: the file at hand. left is what is still to come of it; nil sink when it was given up.
	out  Restored
	file SinkFile
	path []byte
	size uint64
	left uint64
	nth  int64
	open bool
	full error // there is no room for anything more
}

// walk reads the manifest and asks for chunks.
func (w *restoring) walk(ctx context.Context, t page.Tree) error {
	files := int64(0)
	for row, err := range manifest.Rows(w.records(ctx, t)) {
		if err != nil {
			return fmt.Errorf("read the manifest: %w", err)
		}
		path := w.relative(row.Path)
		isFile := row.Entry.Kind == manifest.KindFile
		if row.Part == 0 && isFile {
			if files++; w.single && files > 1 {
				return fmt.Errorf("read the manifest: %q is one file more than there is: %w", row.Path, core.ErrCorrupt)
			}
		}
		if row.Part == 0 && (!w.single || isFile) {
			e := row.Entry
			e.Chunks = nil
			if err := send(ctx, w.steps, step{path: path, entry: &e, nth: files}); err != nil {
				return err
			}
			w.found.close()
			if isFile {
				w.found.ReadCloser = w.sink.Found(path, e)
			}
		}
		for _, ref := range row.Chunks {
			if w.without.Load() == files {
				break
			}
			if w.found.has(ref) {
				err = send(ctx, w.steps, step{pass: ref.Size})
			} else {
				err = w.ask(ctx, ref)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// records yields what lies at the prefix and below it; a neighbour whose name
// merely begins alike does not.
func (w *restoring) records(ctx context.Context, t page.Tree) iter.Seq2[page.Record, error] {
	return func(yield func(page.Record, error) bool) {
		for r, err := range page.Walk(t, w.r.load(ctx), w.prefix, nil) {
			if err == nil && len(w.prefix) > 0 && len(r.Key) > len(w.prefix) && r.Key[len(w.prefix)] != 0 {
				return // and what is below the prefix came before it
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// relative returns a path as seen from the prefix. A file that is restored by
// itself keeps its own name.
func (w *restoring) relative(path []byte) []byte {
	if w.single {
		return path[bytes.LastIndexByte(path, '/')+1:]
	}
	return bytes.TrimPrefix(path[min(len(w.prefix), len(path)):], []byte{'/'})
}

// ask begins to fetch a chunk, when there is a slot for it.
func (w *restoring) ask(ctx context.Context, ref manifest.Ref) error {
	if err := send(ctx, w.slots, struct{}{}); err != nil {
		return err
	}
	a := &ahead{done: make(chan struct{})}
	w.fetches.Go(func() {
		defer close(a.done)
		a.bytes, a.err = w.r.chunk(ctx, ref, spare(w.spare))
	})
	return send(ctx, w.steps, step{chunk: a})
}

// write does the steps in order.
func (w *restoring) write(ctx context.Context) error {
	for w.full == nil {
		s, more, err := receive(ctx, w.steps)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if s.entry != nil {
			w.end()
			w.begin(s)
			continue
		}
		if s.chunk == nil {
			w.pass(s.pass)
			continue
		}
		if _, _, err := receive(ctx, s.chunk.done); err != nil {
			return err
		}
		<-w.slots
		if err := s.chunk.err; err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			w.giveUp(err)
			continue
		}
		w.append(s.chunk.bytes)
		giveBack(w.spare, s.chunk.bytes)
	}
	if ctx.Err() != nil { // walk may have ended for that
		return ctx.Err()
	}
	if w.full == nil {
		w.end()
	}
	return w.full
}

// refused notes that the sink did not take something of the file at hand, or of what has no bytes.
func (w *restoring) refused(path []byte, err error) {
	if errors.Is(err, core.ErrFull) {
		w.full = err
	}
	if w.open {
		w.giveUp(err)
		return
	}
	w.out.Problems = append(w.out.Problems, Problem{path, err})
}

func (w *restoring) begin(s step) {
	var err error
	switch s.entry.Kind {
	case manifest.KindDir:
		err = w.sink.Dir(s.path, *s.entry)
	case manifest.KindLink:
		err = w.sink.Link(s.path, *s.entry)
	default:
		w.path, w.size, w.left, w.nth, w.open = s.path, s.entry.Size, s.entry.Size, s.nth, true
		if w.file, err = w.sink.File(s.path, *s.entry); err != nil {
			w.file = nil
		}
	}
	if err != nil {
		w.refused(s.path, err)
	}
}

func (w *restoring) append(b []byte) {
	w.add(uint64(len(b)), func() error { _, err := w.file.Write(b); return err })
}

// pass goes on behind n bytes that are there already.
func (w *restoring) pass(n uint64) {
	if w.add(n, func() error { return w.file.Pass(n) }) {
		w.out.Kept += int64(n)
	}
}

// add has the next n bytes of the file at hand written somehow.
func (w *restoring) add(n uint64, write func() error) (done bool) {
	if w.file == nil {
		return false // given up
	}
	if n > w.left {
		w.giveUp(fmt.Errorf("more bytes than its size says: %w", core.ErrCorrupt))
		return false
	}
	if err := write(); err != nil {
		w.refused(w.path, err)
		return false
	}
	w.left -= n
	w.meter.bytes(int64(n))
	return true
}

// giveUp leaves out the file at hand. Only the first reason is told.
func (w *restoring) giveUp(err error) {
	if !w.open {
		return
	}
	w.open = false
	w.without.Store(w.nth)
	w.out.Problems = append(w.out.Problems, Problem{w.path, err})
	w.abort()
}

func (w *restoring) abort() {
	if w.file != nil {
		w.file.Abort()
		w.file = nil
	}
}

// end completes the file at hand.
func (w *restoring) end() {
	if w.file == nil {
		w.open = false
		return
	}
	if w.left != 0 {
		w.giveUp(fmt.Errorf("%d bytes are missing: %w", w.left, core.ErrCorrupt))
		return
	}
	if err := w.file.Commit(); err != nil {
		w.file = nil
		w.refused(w.path, err)
		return
	}
	w.file, w.open = nil, false
	w.out.Files++
	w.out.Bytes += int64(w.size)
	w.meter.file()
}
