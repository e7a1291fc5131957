package grange_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/disk"
	"github.com/grange-grid/grange/internal/sim"
)

// ramDisks are disks in memory by directory. They can crash and run full; what lies in real directories are the settings.
type ramDisks struct {
	settings string // of each machine

	mu    sync.Mutex
	disks map[string]*ramDisk
}

// ramDisk is one machine's.
type ramDisk struct {
	*sim.Disk
	key []byte

	mu    sync.Mutex
	open  bool
	apart map[string]*sim.Books
}

// ramRoom is how many bytes each disk says that it has.
const ramRoom = 1e12

func newRAMDisks(settings string) *ramDisks {
	return &ramDisks{settings: settings, disks: map[string]*ramDisk{}}
}

func (r *ramDisks) at(dir string) *ramDisk {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.disks[dir]
}

func (r *ramDisks) Vacant(dir string) error {
	if r.at(dir) != nil {
		return fmt.Errorf("directory %s: %w", dir, fs.ErrExist)
	}
	return nil
}

func (r *ramDisks) Create(dir string, key []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disks[dir] = &ramDisk{Disk: sim.NewDisk(0), key: key}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "config.toml"), []byte(r.settings), 0o600)
}

// Open starts the machine again, if it has crashed.
func (r *ramDisks) Open(dir string, _ disk.Config) (grange.Store, error) {
	d := r.at(dir)
	if d == nil {
		return nil, fmt.Errorf("directory %s: %w", dir, core.ErrNotExist)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open {
		return nil, fmt.Errorf("directory %s: %w", dir, core.ErrLocked)
	}
	d.open = true
	d.Restart()
	return d, nil
}

func (d *ramDisk) Blobs() core.Blobs        { return d.Disk.Blobs() }
func (d *ramDisk) Books() core.Books        { return d.Disk.Books() }
func (d *ramDisk) ReadKey() ([]byte, error) { return d.key, nil }

func (d *ramDisk) Separate(name string, create bool) (core.Books, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b := d.apart[name]; b != nil {
		return b, nil
	}
	if !create {
		return nil, fmt.Errorf("open %s: %w", name, core.ErrNotExist)
	}
	if d.apart == nil {
		d.apart = map[string]*sim.Books{}
	}
	d.apart[name] = sim.NewBooks()
	return d.apart[name], nil
}

func (d *ramDisk) Space() (free, total int64, err error) {
	return ramRoom - d.Disk.Blobs().Used(), ramRoom, nil
}

func (d *ramDisk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = false
	return nil
}
