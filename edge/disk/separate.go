package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grange-grid/grange/core"
)

// separate are the books that stand apart from the agent's own.
type separate struct {
	fs vfs.FS

	mu     sync.Mutex
	tables map[string]*table
}

// Separate returns books of their own, which lie in the folder of that name in the directory; with create
// they are made if there are none. They are closed with the store. Unlike the store's Books, they cannot be made again from
// anything else: what cannot be read stays as it is, and is an error. Errors: core.ErrNotExist,
// core.ErrCorrupt, core.ErrVersion, fs.ErrClosed.
func (s *Store) Separate(name string, create bool) (core.Books, error) {
	err := s.gate.enter()
	var b core.Books
	if err == nil {
		defer s.gate.leave()
		b, err = s.openSeparate(name, create)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s in %s: %w", name, s.dir, err)
	}
	return b, nil
}

func (s *Store) openSeparate(name string, create bool) (core.Books, error) {
	s.apart.mu.Lock()
	defer s.apart.mu.Unlock()
	t := s.apart.tables[name]
	if t == nil {
		dir := filepath.Join(s.dir, name)
		if _, err := s.apart.fs.Stat(dir); err != nil && (!create || !errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		var err error
		if t, err = tryTable(s.apart.fs, dir, s.table.free); err != nil {
			if unreadable(err) {
				err = fmt.Errorf("%w: %w", core.ErrCorrupt, err)
			}
			return nil, err
		}
		if s.apart.tables == nil {
			s.apart.tables = map[string]*table{}
		}
		s.apart.tables[name] = t
	}
	return &books{table: t, gate: &s.gate}, nil
}

func (a *separate) close() (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tables {
		err = errors.Join(err, t.close())
	}
	return err
}
