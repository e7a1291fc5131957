package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// FS returns a version as a file system that is read from the holders as it is
// used. Its regular files are io.ReaderAt and io.Seeker. ctx bounds its whole use.
// Names that are not UTF-8 are not seen in it.
func (v *Vault) FS(ctx context.Context, version manifest.Version) fs.FS {
	return &versionFS{ctx: ctx, r: v.newReader(), version: version}
}

type versionFS struct {
	ctx     context.Context
	r       *reader
	version manifest.Version
}

// Open opens a file or directory.
func (f *versionFS) Open(name string) (fs.File, error) {
	e, key, err := f.lookup("open", name)
	if err != nil {
		return nil, err
	}
	info := &fileInfo{name: path.Base(name), e: e}
	if e.Kind == manifest.KindDir {
		return &dir{f: f, key: key, info: info}, nil
	}
	return &file{f: f, path: []byte(name), info: info}, nil
}

// Stat describes a file without opening it.
func (f *versionFS) Stat(name string) (fs.FileInfo, error) {
	e, _, err := f.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return &fileInfo{name: path.Base(name), e: e}, nil
}

// ReadLink returns a symlink's target.
func (f *versionFS) ReadLink(name string) (string, error) {
	e, _, err := f.lookup("readlink", name)
	if err != nil {
		return "", err
	}
	if e.Kind != manifest.KindLink {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	return string(e.Target), nil
}

// Lstat is Stat: no symlink is ever followed.
func (f *versionFS) Lstat(name string) (fs.FileInfo, error) { return f.Stat(name) }

func (f *versionFS) lookup(op, name string) (manifest.Entry, []byte, error) {
	var e manifest.Entry
	if !fs.ValidPath(name) {
		return e, nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	var key []byte
	if name != "." {
		var err error
		if key, err = manifest.Key([]byte(name)); err != nil {
			return e, nil, &fs.PathError{Op: op, Path: name, Err: err}
		}
	}
	raw, err := page.Get(f.version.Tree, f.r.load(f.ctx), key)
	if err == nil {
		e, err = manifest.DecodeEntry(raw)
	}
	if err != nil {
		return e, nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return e, key, nil
}

type fileInfo struct {
	name string
	e    manifest.Entry
}

func (i *fileInfo) Name() string               { return i.name }
func (i *fileInfo) Size() int64                { return int64(i.e.Size) }
func (i *fileInfo) ModTime() time.Time         { return time.Unix(i.e.Mtime, int64(i.e.Nsec)) }
func (i *fileInfo) IsDir() bool                { return i.e.Kind == manifest.KindDir }
func (i *fileInfo) Sys() any                   { return nil }
func (i *fileInfo) Info() (fs.FileInfo, error) { return i, nil }
func (i *fileInfo) Type() fs.FileMode          { return i.Mode().Type() }

func (i *fileInfo) Mode() fs.FileMode {
	mode := fs.FileMode(i.e.Mode & 0o777)
	if i.e.Mode&0o1000 != 0 {
		mode |= fs.ModeSticky
	}
	switch i.e.Kind {
	case manifest.KindDir:
		mode |= fs.ModeDir
	case manifest.KindLink:
		mode |= fs.ModeSymlink
	}
	return mode
}

// dir lists one directory, a few entries at a time: it jumps over what lies in
// its subdirectories.
type dir struct {
	f    *versionFS
	key  []byte
	info *fileInfo

	next []byte // the key to go on from; nil at first
	done bool
}

func (d *dir) Stat() (fs.FileInfo, error) { return d.info, nil }
func (d *dir) Close() error               { return nil }

func (d *dir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.info.name, Err: errors.New("is a directory")}
}

// ReadDir reads up to n entries, or all for n <= 0.
func (d *dir) ReadDir(n int) ([]fs.DirEntry, error) {
	out := []fs.DirEntry{}
	for !d.done && (n <= 0 || len(out) < n) {
		info, err := d.step()
		if err != nil {
			return out, &fs.PathError{Op: "readdir", Path: d.info.name, Err: err}
		}
		if info != nil {
			out = append(out, info)
		}
	}
	if n > 0 && len(out) == 0 {
		return nil, io.EOF
	}
	return out, nil
}

// step reads the next entry, and sets next behind everything below it.
func (d *dir) step() (*fileInfo, error) {
	prefix := d.key
	if len(prefix) > 0 {
		prefix = append(slices.Clone(prefix), 0)
	}
	for record, err := range page.Walk(d.f.version.Tree, d.f.r.load(d.f.ctx), prefix, d.next) {
		if err != nil {
			return nil, err
		}
		rest := record.Key[len(prefix):]
		if len(rest) == 0 { // the root's own entry
			continue
		}
		name, _, _ := bytes.Cut(rest, []byte{0})
		if len(name) == 0 { // further chunks of a file: not in a directory
			return nil, fmt.Errorf("a record without a name: %w", core.ErrCorrupt)
		}
		d.next = append(append(slices.Clone(prefix), name...), 1) // 0x01 follows the 0x00 of all below
		e, err := manifest.DecodeEntry(record.Value)
		if err != nil {
			return nil, err
		}
		return &fileInfo{name: string(name), e: e}, nil
	}
	d.done = true
	return nil, nil
}

// file reads a regular file, or the target of a symlink as bytes.
type file struct {
	f    *versionFS
	path []byte
	info *fileInfo

	at int64 // where Read goes on

	mu    sync.Mutex
	start int64 // where the chunk that was read last begins
	data  []byte
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
	case io.SeekCurrent:
		offset += f.at
	case io.SeekEnd:
		offset += f.info.Size()
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
	data, err = f.f.r.chunk(f.f.ctx, ref)
	if err != nil {
		return nil, 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data, f.start = data, start
	return data, start, nil
}

// refAt finds the Ref of the chunk that has byte off.
func (f *file) refAt(off int64) (manifest.Ref, int64, error) {
	var start int64
	refs := f.info.e.Chunks
	for part := uint32(0); ; part++ {
		if part > 0 {
			var err error
			if refs, err = f.part(part); err != nil {
				return manifest.Ref{}, 0, err
			}
		}
		for _, ref := range refs {
			if off < start+int64(ref.Size) {
				return ref, start, nil
			}
			start += int64(ref.Size)
		}
	}
}

// part reads a further record of the file's chunks.
func (f *file) part(part uint32) ([]manifest.Ref, error) {
	key, err := manifest.PartKey(f.path, part)
	if err != nil {
		return nil, err
	}
	raw, err := page.Get(f.f.version.Tree, f.f.r.load(f.f.ctx), key)
	if errors.Is(err, core.ErrNotExist) {
		return nil, fmt.Errorf("its chunks end early: %w", core.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}
	more, err := manifest.DecodeMore(raw)
	return more.Chunks, err
}
