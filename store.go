package grange

import (
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/disk"
)

// store is an agent's directory, open; see disk.Store.
type store interface {
	Blobs() core.Blobs
	Books() core.Books
	Separate(name string, create bool) (core.Books, error)
	ReadKey() ([]byte, error)
	Space() (free, total int64, err error)
	Close() error
}

// disks makes and opens directories as package disk does. A simulation has others, whose power can be cut.
type disks interface {
	Vacant(dir string) error
	Create(dir string, key []byte) error
	Open(dir string, c disk.Config) (store, error)
}

type realDisks struct{}

func (realDisks) Vacant(dir string) error             { return disk.Vacant(dir) }
func (realDisks) Create(dir string, key []byte) error { return disk.Create(dir, key) }

func (realDisks) Open(dir string, c disk.Config) (store, error) {
	s, err := disk.Open(dir, c)
	if err != nil {
		return nil, err // and not a store that is nil
	}
	return s, nil
}

// openStore opens a directory with its settings.
func openStore(c Config) (store, error) {
	s, err := readSettings(c.settings)
	if err != nil {
		return nil, err
	}
	return c.disks.Open(c.Dir, disk.Config{PiecesDir: string(s.Pieces.On), Owner: s.Pieces.Owner})
}
