package sim

import (
	"errors"
	"sync"
)

// ErrCrashed is what every call answers between a Disk's crash and its restart.
var ErrCrashed = errors.New("the machine has crashed")

// Disk is one machine's disk: blobs and books that crash together. What a call has
// acknowledged before the crash is there after the restart. Blobs are cut off in
// the middle of a Delete only, books never in the middle of an Apply.
type Disk struct {
	blobs *Blobs
	books *Books
	fuse  *fuse
}

// NewDisk returns a disk that has room for that many bytes of blobs with their notes; 0 is
// without end.
func NewDisk(capacity int64) *Disk {
	f := &fuse{}
	return &Disk{blobs: &Blobs{capacity: capacity, fuse: f}, books: &Books{fuse: f}, fuse: f}
}

// Blobs returns the disk's blobs.
func (d *Disk) Blobs() *Blobs { return d.blobs }

// Books returns the disk's books.
func (d *Disk) Books() *Books { return d.books }

// CrashAfter crashes the disk at the write (Put, Delete or Apply) after that many
// more. kept says whether that last write reaches the disk, though nobody is told:
// a caller must bear both.
func (d *Disk) CrashAfter(writes int, kept bool) {
	d.fuse.mu.Lock()
	defer d.fuse.mu.Unlock()
	d.fuse.set, d.fuse.left, d.fuse.kept = true, writes, kept
}

// OnCrash has f called when the disk crashes, before any call answers so: whoever uses the disk is dead by then.
func (d *Disk) OnCrash(f func()) {
	d.fuse.mu.Lock()
	defer d.fuse.mu.Unlock()
	d.fuse.onCrash = f
}

// Crash crashes the disk now.
func (d *Disk) Crash() {
	d.fuse.mu.Lock()
	defer d.fuse.mu.Unlock()
	d.fuse.crash()
}

// Crashed tells whether the disk has crashed.
func (d *Disk) Crashed() bool { return d.fuse.burnt() != nil }

// Restart makes the disk work again, with what was on it.
func (d *Disk) Restart() {
	d.fuse.mu.Lock()
	defer d.fuse.mu.Unlock()
	d.fuse.crashed, d.fuse.set = false, false
}

// fuse decides when a disk crashes.
type fuse struct {
	mu      sync.Mutex
	crashed bool
	set     bool
	left    int
	kept    bool
	onCrash func()
}

func (f *fuse) crash() {
	if !f.crashed && f.onCrash != nil {
		f.onCrash()
	}
	f.crashed = true
}

// burnt returns ErrCrashed after the crash.
func (f *fuse) burnt() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.crashed {
		return ErrCrashed
	}
	return nil
}

// write says whether one write reaches the disk, and what its caller is told.
func (f *fuse) write() (kept bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.crashed:
		return false, ErrCrashed
	case !f.set:
		return true, nil
	case f.left > 0:
		f.left--
		return true, nil
	}
	f.crash()
	return f.kept, ErrCrashed
}
