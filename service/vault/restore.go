package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

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
	chunk *ahead          // write this to the file at hand
}

// ahead is a chunk that is being fetched.
type ahead struct {
	done  chan struct{}
	bytes []byte
	err   error
}

// Restored counts what a restore wrote.
type Restored struct {
	Files, Bytes int64
	Problems     []Problem
}

// Restore writes a version, or a part of it, into a sink. A file that cannot be
// had or written is a problem, and the others go on; then the error is core.ErrPartly.
func (v *Vault) Restore(ctx context.Context, version manifest.Version, o RestoreOptions, open func(single bool) (Sink, error)) (*Restored, error) {
	r := v.newReader()
	prefix, single, err := v.rootOf(ctx, r, version, o.Path)
	if err != nil {
		return nil, err
	}
	sink, err := open(single)
	if err != nil {
		return nil, err
	}
	w := &restoring{
		r: r, sink: sink, prefix: prefix, single: single, steps: make(chan step, aheadSteps), slots: make(chan struct{}, aheadChunks),
		meter: newMeter("restoring", o.Progress),
	}
	if o.Path == "" {
		w.meter.of(int64(version.Bytes))
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(w.steps)
		return w.walk(gctx, version.Tree)
	})
	g.Go(func() error { return w.write(gctx) })
	if err := g.Wait(); err != nil {
		w.abort()
		return &w.out, err
	}
	if len(w.out.Problems) > 0 {
		return &w.out, fmt.Errorf("%d of the files could not be restored: %w", len(w.out.Problems), core.ErrPartly)
	}
	return &w.out, nil
}

// rootOf returns the key below which to restore, and whether that is one file.
func (v *Vault) rootOf(ctx context.Context, r *reader, version manifest.Version, path string) (key []byte, single bool, err error) {
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
	return key, e.Kind == manifest.KindFile, nil
}

type restoring struct {
	r      *reader
	sink   Sink
	prefix []byte
	single bool
	steps  chan step
	slots  chan struct{}
	meter  *meter
	out    Restored

	// The file at hand: left is what is still to come of it, nil sink when it was given up.
	file SinkFile
	path []byte
	left uint64
	open bool
}

// walk reads the manifest and asks for chunks.
func (w *restoring) walk(ctx context.Context, t page.Tree) error {
	for row, err := range manifest.Rows(w.records(ctx, t)) {
		if err != nil {
			return fmt.Errorf("read the manifest: %w", err)
		}
		path := w.relative(row.Path)
		if row.Part == 0 && (!w.single || row.Entry.Kind == manifest.KindFile) {
			e := row.Entry
			e.Chunks = nil
			if err := w.send(ctx, step{path: path, entry: &e}); err != nil {
				return err
			}
		}
		for _, ref := range row.Chunks {
			if err := w.ask(ctx, path, ref); err != nil {
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
				continue
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

func (w *restoring) send(ctx context.Context, s step) error {
	select {
	case w.steps <- s:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ask begins to fetch a chunk, when there is a slot for it.
func (w *restoring) ask(ctx context.Context, path []byte, ref manifest.Ref) error {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	a := &ahead{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.bytes, a.err = w.r.chunk(ctx, ref)
	}()
	return w.send(ctx, step{path: path, chunk: a})
}

// write does the steps in order.
func (w *restoring) write(ctx context.Context) error {
	for s := range w.steps {
		if s.entry != nil {
			w.end()
			w.begin(s.path, *s.entry)
			continue
		}
		select {
		case <-s.chunk.done:
		case <-ctx.Done():
			return ctx.Err()
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
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.end()
	return nil
}

func (w *restoring) begin(path []byte, e manifest.Entry) {
	var err error
	switch e.Kind {
	case manifest.KindDir:
		err = w.sink.Dir(path, e)
	case manifest.KindLink:
		err = w.sink.Link(path, e)
	default:
		w.path, w.left, w.open = path, e.Size, true
		w.file, err = w.sink.File(path, e)
		if err != nil {
			w.file = nil
			w.giveUp(err)
			return
		}
	}
	if err != nil {
		w.out.Problems = append(w.out.Problems, Problem{path, err})
	}
}

func (w *restoring) append(b []byte) {
	if w.file == nil {
		return // given up
	}
	if uint64(len(b)) > w.left {
		w.giveUp(fmt.Errorf("more bytes than its size says: %w", core.ErrCorrupt))
		return
	}
	if _, err := w.file.Write(b); err != nil {
		w.giveUp(err)
		return
	}
	w.left -= uint64(len(b))
	w.out.Bytes += int64(len(b))
	w.meter.bytes(int64(len(b)))
}

// giveUp leaves out the file at hand. Only the first reason is told.
func (w *restoring) giveUp(err error) {
	if !w.open {
		return
	}
	w.open = false
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
		w.giveUp(err)
		return
	}
	w.file, w.open = nil, false
	w.out.Files++
	w.meter.file()
}
