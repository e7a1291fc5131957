package vault

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// file reads a regular file. A symlink has no bytes: see ReadLink.
type file struct {
	f    *versionFS
	path []byte
	info *fileInfo

	at int64 // where Read goes on

	mu    sync.Mutex
	start int64 // where the chunk that was read last begins
	data  []byte
	parts []int64        // where the records of chunks that were read begin
	part  uint32         // the one that was read last
	refs  []manifest.Ref // its chunks
}

func (f *file) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *file) Close() error               { return nil }

// Read reads on from where the last Read or Seek stopped.
func (f *file) Read(b []byte) (int, error) {
	n, err := f.ReadAt(b, f.at)
	f.at += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// Seek sets where Read goes on.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.info.Size()
	default:
		offset = -1
	}
	if offset < 0 {
		return 0, &fs.PathError{Op: "seek", Path: f.info.name, Err: fs.ErrInvalid}
	}
	f.at = offset
	return offset, nil
}

// ReadAt reads len(b) bytes from off, or up to the end with io.EOF.
func (f *file) ReadAt(b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: f.info.name, Err: fs.ErrInvalid}
	}
	done := 0
	for done < len(b) && off < f.info.Size() {
		chunk, start, err := f.chunkAt(off)
		if err != nil {
			return done, &fs.PathError{Op: "read", Path: f.info.name, Err: err}
		}
		n := copy(b[done:], chunk[off-start:])
		done, off = done+n, off+int64(n)
	}
	if done < len(b) {
		return done, io.EOF
	}
	return done, nil
}

// chunkAt returns the chunk that has byte off, and where it begins. The one that
// was read last is at hand.
func (f *file) chunkAt(off int64) ([]byte, int64, error) {
	f.mu.Lock()
	data, start := f.data, f.start
	f.mu.Unlock()
	if off >= start && off < start+int64(len(data)) {
		return data, start, nil
	}
	ref, start, err := f.refAt(off)
	if err != nil {
		return nil, 0, err
	}
	data, err = f.f.r.chunk(f.f.ctx, ref, nil)
	if err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data, f.start = data, start
	return data, start, nil
}

// refAt finds the Ref of the chunk that has byte off. Where a record begins is known
// when all before it have been read: once for each file.
func (f *file) refAt(off int64) (manifest.Ref, int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock() // across the reading of a page on purpose: others would read the same
	if f.parts == nil {
		f.parts, f.part, f.refs = []int64{0}, 0, f.info.e.Chunks
	}
	at, found := slices.BinarySearch(f.parts, off)
	if !found {
		at--
	}
	for part := uint32(at); ; part++ {
		if err := f.load(part); err != nil {
			return manifest.Ref{}, 0, err
		}
		start := f.parts[part]
		for _, ref := range f.refs {
			if off < start+int64(ref.Size) {
				return ref, start, nil
			}
			start += int64(ref.Size)
		}
		if int(part)+1 == len(f.parts) {
			f.parts = append(f.parts, start)
		}
	}
}

// load sets refs to the chunks of one record of the file. The caller holds f.mu.
func (f *file) load(part uint32) error {
	if part == f.part {
		return nil
	}
	if part == 0 {
		f.part, f.refs = 0, f.info.e.Chunks
		return nil
	}
	key, err := manifest.PartKey(f.path, part)
	if err != nil {
		return err
	}
	raw, err := page.Get(f.f.version.Tree, f.f.r.load(f.f.ctx), key)
	if errors.Is(err, core.ErrNotExist) {
		return fmt.Errorf("its chunks end early: %w", core.ErrCorrupt)
	}
	if err != nil {
		return err
	}
	more, err := manifest.DecodeMore(raw)
	if err != nil {
		return err
	}
	f.part, f.refs = part, more.Chunks
	return nil
}
