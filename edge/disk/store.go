package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grange-grid/grange/core"
)

// Config says how a directory is to be kept. The zero value works.
type Config struct {
	// PiecesDir is a directory on another disk that keeps the packs, made by
	// MarkPieces for Owner. While its marker is missing, every call of Blobs answers
	// core.ErrAway; when it is back, so are the blobs. Empty: pieces/ in the directory itself.
	PiecesDir string
	// Owner is what the marker in PiecesDir names: this agent.
	Owner string
	// PackSizeMax is how long a pack gets, in bytes, before the next is begun. 0: 1 GiB.
	PackSizeMax int64
}

const (
	packSizeDefault = 1 << 30
	packSizeLeast   = packStart + 64<<10
)

func (c Config) check() error {
	switch {
	case c.PackSizeMax != 0 && c.PackSizeMax < packSizeLeast:
		return fmt.Errorf("config: %w: packs of %d bytes, at least %d", core.ErrInvalid, c.PackSizeMax, packSizeLeast)
	case c.PiecesDir != "" && c.Owner == "":
		return fmt.Errorf("config: %w: pieces on another disk need an owner", core.ErrInvalid)
	}
	return nil
}

// Recovery says what Open found and mended.
type Recovery struct {
	// BooksNew says that the books were made just now: the directory is new, or they
	// were lost. The services make theirs again from the notes that All yields.
	BooksNew bool
	// BooksAside is where books went that could not be read; empty if they could.
	BooksAside string
	// Indexed is how many records the index did not know, Cut how many bytes of them were
	// not whole and were cut off.
	Indexed, Cut int64
	// Damaged is how many packs have places that can no longer be read as records.
	Damaged int
}

// Store is one machine's directory, locked. All methods may be called at once.
type Store struct {
	dir      string
	lock     *os.File
	gate     gate
	table    *table
	books    *books
	blobs    *blobs
	apart    separate
	recovery Recovery
	keyMu    sync.Mutex // one writer of the key at a time
}

// world is what a test replaces.
type world struct {
	files files
	books vfs.FS
	doubt int64 // 0: doubtSize
}

// Open opens the directory that Create made, and brings blobs and books to where they were,
// whatever happened since. Errors: core.ErrNotExist, core.ErrLocked (at once, also
// within one process), core.ErrVersion, core.ErrInvalid, core.ErrFull where there is no room for what is
// written at every start.
func Open(dir string, c Config) (*Store, error) {
	return open(dir, c, world{files: osFiles{}, books: vfs.Default})
}

func open(dir string, c Config, w world) (*Store, error) {
	s, err := tryOpen(dir, c, w)
	if err != nil {
		return nil, fmt.Errorf("open directory %s: %w", dir, err)
	}
	return s, nil
}

func tryOpen(dir string, c Config, w world) (_ *Store, err error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := checkVersion(dir); err != nil {
		return nil, err
	}
	s := &Store{dir: dir}
	if s.lock, err = takeLock(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = s.shut()
		}
	}()
	for _, sub := range []string{piecesDir, stagingDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), dirMode); err != nil {
			return nil, err
		}
	}
	if err := clearStaging(dir); err != nil {
		return nil, err
	}
	free := func() (int64, error) { return w.files.Free(s.dir) }
	if err := dropBallast(dir, free); err != nil {
		return nil, err
	}
	if err := s.openTable(w); err != nil {
		return nil, err
	}
	s.books = &books{table: s.table, gate: &s.gate}
	s.apart.fs = w.books
	if s.blobs, err = newBlobs(s, c, w); err != nil {
		return nil, err
	}
	if err := s.openBlobs(filepath.Join(dir, booksDir), w); err != nil {
		return nil, err
	}
	_ = makeBallast(dir, free) // without it all works but a start on a full disk
	return s, nil
}

func (s *Store) openTable(w world) (err error) {
	free := func() (int64, error) { return w.files.Free(s.dir) }
	s.table, s.recovery.BooksAside, err = openTable(w.books, filepath.Join(s.dir, booksDir), free)
	s.recovery.BooksNew = err == nil && s.table.isNew
	return err
}

// openBlobs looks through the packs, unless their disk is away. An index that cannot be read
// goes aside with its books, once.
func (s *Store) openBlobs(dir string, w world) error {
	err := s.blobs.ready(context.Background())
	if errors.Is(err, core.ErrCorrupt) && s.recovery.BooksAside == "" {
		var aside string
		if err = s.table.close(); err == nil {
			aside, err = moveAside(w.books, dir)
		}
		if err == nil {
			err = s.openTable(w)
		}
		if err != nil {
			return err
		}
		s.recovery.BooksAside = aside
		s.books.table, s.blobs.index.table = s.table, s.table
		err = s.blobs.ready(context.Background())
	}
	if errors.Is(err, core.ErrAway) {
		return nil
	}
	found := s.blobs.found
	s.recovery.Indexed, s.recovery.Cut, s.recovery.Damaged = found.Indexed, found.Cut, found.Damaged
	return err
}

// Blobs returns the blobs.
func (s *Store) Blobs() core.Blobs { return s.blobs }

// Books returns the books. No key is reserved.
func (s *Store) Books() core.Books { return s.books }

// Dir returns the directory, as an absolute path.
func (s *Store) Dir() string { return s.dir }

// Recovery says what Open found and mended.
func (s *Store) Recovery() Recovery { return s.recovery }

// Free returns how many bytes this user may still write on the file system
// that has the packs. The last few of them, 32 MiB, no Put will take. Errors: core.ErrAway.
func (s *Store) Free() (int64, error) {
	err := s.gate.enter()
	if err == nil {
		defer s.gate.leave()
		err = s.blobs.ready(context.Background())
	}
	var free int64
	if err == nil {
		free, err = s.blobs.files.Free(s.blobs.dir)
	}
	if err != nil {
		return 0, fmt.Errorf("free space: %w", err)
	}
	return free, nil
}

// Tidy rewrites packs that are less than half live, and gives their room back, a bounded piece of the
// work at a time; more says that there is more to do. Delete does a smaller
// piece each time, so that Tidy is for idle hours. Errors: core.ErrAway, core.ErrFull.
func (s *Store) Tidy(ctx context.Context) (more bool, err error) {
	if err = s.gate.enter(); err == nil {
		defer s.gate.leave()
		if err = s.blobs.ready(ctx); err == nil {
			more, err = s.blobs.tidy(ctx, tidyBytes)
		}
	}
	if err != nil {
		return more, fmt.Errorf("tidy packs: %w", err)
	}
	return more, nil
}

// Close waits for the calls that are under way, closes the books, and gives the
// lock back. Calls after it answer fs.ErrClosed; so does a second Close. It
// must not be called from within a loop over All or Scan.
func (s *Store) Close() error {
	if !s.gate.close() {
		return fmt.Errorf("close directory %s: %w", s.dir, fs.ErrClosed)
	}
	if err := s.shut(); err != nil {
		return fmt.Errorf("close directory %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) shut() error {
	err := s.apart.close()
	if s.table != nil {
		err = errors.Join(err, s.table.close())
	}
	return errors.Join(err, s.lock.Close())
}

// gate lets calls in until it is closed.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
}

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return fs.ErrClosed
	}
	g.inside.Add(1)
	return nil
}

func (g *gate) leave() { g.inside.Done() }

// close waits until nobody is inside; it reports whether it was the first.
func (g *gate) close() bool {
	g.mu.Lock()
	first := !g.closed
	g.closed = true
	g.mu.Unlock()
	g.inside.Wait()
	return first
}
