package disk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/grange-grid/grange/core"
)

// blobs is a core.Blobs over packs. Get, Stat and All only read the index and
// the packs, and hold nothing; whatever changes packs does it in its turn.
type blobs struct {
	files   files
	dir     string
	marker  string // the marker's path; empty if the disk cannot go away
	want    []byte // what the marker says
	sizeMax int64
	doubt   int64 // how many bytes at the end of a pack may not have been synced
	index   index
	gate    *gate
	// attached is the marker as it was when the packs were last looked through, nil before.
	attached atomic.Pointer[fs.FileInfo]

	mu    sync.Mutex
	queue []*op

	// turn is held by whoever changes packs or what is below, across the I/O that takes.
	turn    chan struct{}
	packs   map[uint32]*pack
	current *pack // the one that is appended to; nil if there is none yet
	highest uint32
	out     *bufio.Writer // of the round that is under way
	found   Recovery      // what the last look through the packs found

	// tidying is held by whoever rewrites packs; cursor is how far that has come.
	tidying chan struct{}
	cursor  cursor
}

var _ core.Blobs = (*blobs)(nil)

func newBlobs(s *Store, c Config, w world) (*blobs, error) {
	b := &blobs{
		files:   w.files,
		dir:     filepath.Join(s.dir, piecesDir),
		sizeMax: c.PackSizeMax,
		index:   index{table: s.table},
		gate:    &s.gate,
		turn:    make(chan struct{}, 1),
		out:     bufio.NewWriterSize(nil, roundBufferSize),
		tidying: make(chan struct{}, 1),
	}
	if b.sizeMax == 0 {
		b.sizeMax = packSizeDefault
	}
	if b.doubt = w.doubt; b.doubt == 0 {
		b.doubt = doubtSize
	}
	if c.PiecesDir == "" {
		return b, nil
	}
	var err error
	b.dir, err = filepath.Abs(c.PiecesDir)
	b.marker = filepath.Join(b.dir, markerName)
	b.want = markerText(c.Owner)
	return b, err
}

func (b *blobs) path(number uint32) string { return filepath.Join(b.dir, packName(number)) }

// enter lets a call in whose disk is there; the caller leaves by the gate.
func (b *blobs) enter(ctx context.Context) error {
	if err := b.gate.enter(); err != nil {
		return err
	}
	err := b.ready(ctx)
	if err != nil {
		b.gate.leave()
	}
	return err
}

// ready answers core.ErrAway unless the disk with the packs is there. One that was not there
// before is looked through first.
func (b *blobs) ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ok, err := b.present(); ok || err != nil {
		return err
	}
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if ok, err := b.present(); ok || err != nil { // another was faster
		return err
	}
	var info fs.FileInfo
	if b.marker != "" {
		var err error
		if info, err = os.Stat(b.marker); err != nil {
			return core.ErrAway
		}
		got, err := readSmall(b.marker, textSizeMax)
		if err != nil {
			return core.ErrAway
		}
		if !bytes.Equal(got, b.want) {
			return fmt.Errorf("%w: %s keeps the pieces of %q", core.ErrAway, b.dir, ownerOf(got))
		}
	}
	if err := b.attach(); err != nil {
		return b.blame(err)
	}
	b.attached.Store(&info)
	return nil
}

// present tells whether the packs on the disk that is there now have been looked through.
func (b *blobs) present() (bool, error) {
	was := b.attached.Load()
	if b.marker == "" {
		return was != nil, nil
	}
	now, err := os.Stat(b.marker)
	if err != nil {
		b.attached.Store(nil) // whatever comes back must be looked through again
		return false, core.ErrAway
	}
	return was != nil && os.SameFile(*was, now), nil
}

// blame returns core.ErrAway for an error that comes of the disk's having gone.
func (b *blobs) blame(err error) error {
	if err == nil || !b.gone() {
		return err
	}
	b.attached.Store(nil)
	return fmt.Errorf("%w: %v", core.ErrAway, err) // it is not what err says as well
}

// gone tells whether the disk with the packs is away.
func (b *blobs) gone() bool {
	if b.marker == "" {
		return false
	}
	_, err := os.Stat(b.marker)
	return err != nil
}

const (
	// putTriesMax bounds how often a Put begins again because others moved what it looked at.
	putTriesMax = 16
	// findTriesMax bounds how often a reader follows a blob to another pack.
	findTriesMax = 8
)

// Put keeps a blob; see core.Blobs.
func (b *blobs) Put(ctx context.Context, blob core.Blob) error {
	err := b.put(ctx, blob)
	if err != nil {
		return fmt.Errorf("put blob %s: %w", blob.Score.Short(), err)
	}
	return nil
}

func (b *blobs) put(ctx context.Context, blob core.Blob) error {
	if len(blob.Data) > core.BlobSizeMax || len(blob.Note) > core.NoteSizeMax {
		return fmt.Errorf("%w: %d bytes with a note of %d", core.ErrTooLarge, len(blob.Data), len(blob.Note))
	}
	if core.ScoreOf(blob.Data) != blob.Score {
		return core.ErrCorrupt
	}
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.gate.leave()
	for range putTriesMax {
		e, _, err := b.fetch(blob.Score, nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, core.ErrNotExist) && !errors.Is(err, core.ErrCorrupt) {
			return b.blame(err)
		}
		err = b.submit(ctx, &op{
			kind: opPut,
			head: header{Score: blob.Score, Note: blob.Note, Size: uint64(len(blob.Data))},
			data: blob.Data,
			was:  e.place,
		})
		if !errors.Is(err, errMoved) {
			return b.blame(err)
		}
	}
	return core.ErrBusy
}

// Get returns a blob's bytes; see core.Blobs.
func (b *blobs) Get(ctx context.Context, s core.Score, buf []byte) ([]byte, error) {
	err := b.enter(ctx)
	if err == nil {
		defer b.gate.leave()
		_, buf, err = b.fetch(s, buf)
		err = b.blame(err)
	}
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", s.Short(), err)
	}
	return buf, nil
}

// fetch returns where a blob lies, and its bytes if they are whole. With core.ErrCorrupt the entry is
// that of the rotten one.
func (b *blobs) fetch(s core.Score, buf []byte) (entry, []byte, error) {
	var before place
	for range findTriesMax {
		e, err := b.index.find(s)
		if err != nil {
			return entry{}, nil, err
		}
		buf, err = b.read(s, e, buf)
		if !errors.Is(err, fs.ErrNotExist) {
			return e, buf, err
		}
		if e.place == before { // the pack is not gone because it was rewritten
			return e, nil, b.blame(fmt.Errorf("%w: %s is missing", core.ErrCorrupt, packName(e.Pack)))
		}
		before = e.place
	}
	return entry{}, nil, core.ErrBusy
}

// read appends to buf[:0] what lies there, and checks it.
func (b *blobs) read(s core.Score, e entry, buf []byte) ([]byte, error) {
	f, err := b.files.Open(b.path(e.Pack), os.O_RDONLY)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	if cap(buf) < int(e.size) || buf == nil {
		buf = make([]byte, e.size)
	}
	buf = buf[:e.size]
	err = readFull(f, buf, int64(e.Offset)+int64(e.head))
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EIO) {
		return buf, b.blame(fmt.Errorf("%w: %w", core.ErrCorrupt, err)) // a disk that can no longer read them has lost them
	}
	if err != nil {
		return buf, err
	}
	if core.ScoreOf(buf) != s {
		return buf, core.ErrCorrupt
	}
	return buf, nil
}

// Stat tells a blob's size and note; see core.Blobs.
func (b *blobs) Stat(ctx context.Context, s core.Score) (core.BlobInfo, error) {
	var e entry
	err := b.enter(ctx)
	if err == nil {
		defer b.gate.leave()
		e, err = b.index.find(s)
	}
	if err != nil {
		return core.BlobInfo{}, fmt.Errorf("stat blob %s: %w", s.Short(), err)
	}
	return core.BlobInfo{Score: s, Note: e.note, Size: int64(e.size)}, nil
}

// Delete forgets blobs; see core.Blobs.
func (b *blobs) Delete(ctx context.Context, scores ...core.Score) error {
	err := b.enter(ctx)
	if err == nil {
		defer b.gate.leave()
		for rest := scores; len(rest) > 0 && err == nil; {
			n := min(len(rest), deletesMax)
			err = b.blame(b.submit(ctx, &op{kind: opDelete, scores: rest[:n]}))
			rest = rest[n:]
		}
	}
	if err != nil {
		return fmt.Errorf("delete %d blobs: %w", len(scores), err)
	}
	_, _ = b.tidy(ctx, deleteTidyBytes) // the blobs are forgotten, whether or not there is room to tidy up now
	return nil
}

// All yields every blob; see core.Blobs.
func (b *blobs) All(ctx context.Context) iter.Seq2[core.BlobInfo, error] {
	return func(yield func(core.BlobInfo, error) bool) {
		err := b.enter(ctx)
		if err == nil {
			defer b.gate.leave()
			var bad error
			err = b.index.table.scan(scorePrefix, above(scorePrefix), func(key, value []byte) bool {
				var e entry
				if bad = ctx.Err(); bad == nil && len(key) != len(scorePrefix)+core.ScoreSize {
					bad = core.ErrCorrupt
				}
				if bad == nil {
					e, bad = parseEntry(append([]byte{}, value...))
				}
				return bad == nil && yield(core.BlobInfo{Score: core.Score(key[len(scorePrefix):]), Note: e.note, Size: int64(e.size)}, nil)
			})
			err = errors.Join(err, bad)
		}
		if err != nil {
			yield(core.BlobInfo{}, fmt.Errorf("list blobs: %w", err))
		}
	}
}
