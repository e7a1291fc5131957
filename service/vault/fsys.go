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
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// FS returns a version as a file system that is read from the holders as it is
// used. Its regular files are io.ReaderAt and io.Seeker. ctx bounds its whole use.
// It keeps up to 24 MiB of what was read last.
// Names that are not UTF-8 are as good as others in it, though package fs has it otherwise.
func (v *Vault) FS(ctx context.Context, version manifest.Version) fs.FS {
	// Nobody says when its use has ended, so it shares no reader.
	return &versionFS{ctx: ctx, r: v.newReader(cacheFS), version: version}
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
	var key []byte
	if name != "." {
		var err error
		if key, err = manifest.Key([]byte(name)); err != nil || len(key) == 0 {
			return e, nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
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
		var err error
		if out, err = d.step(out, n); err != nil {
			return out, &fs.PathError{Op: "readdir", Path: d.info.name, Err: err}
		}
	}
	if n > 0 && len(out) == 0 {
		return nil, io.EOF
	}
	return out, nil
}

// skipMax is how many records below a subdirectory are read past, before it is cheaper
// to look for what comes behind it.
const skipMax = 256

// step appends to out what comes next, up to n in all, as far as it can go without a leap. It sets
// d.next behind all that it has seen.
func (d *dir) step(out []fs.DirEntry, n int) ([]fs.DirEntry, error) {
	prefix := d.key
	if len(prefix) > 0 {
		prefix = append(slices.Clone(prefix), 0)
	}
	skipped := 0
	for record, err := range page.Walk(d.f.version.Tree, d.f.r.load(d.f.ctx), prefix, d.next) {
		if err != nil {
			return out, err
		}
		rest := record.Key[len(prefix):]
		if len(rest) == 0 { // the root's own entry
			continue
		}
		if bytes.Compare(record.Key, d.next) < 0 { // below the one before
			if skipped++; skipped == skipMax {
				return out, nil
			}
			continue
		}
		if n > 0 && len(out) == n {
			return out, nil
		}
		name, _, _ := bytes.Cut(rest, []byte{0})
		if len(name) == 0 { // further chunks of a file: not in a directory
			return out, fmt.Errorf("a record without a name: %w", core.ErrCorrupt)
		}
		d.next = append(append(slices.Clone(prefix), name...), 1) // 0x01 follows the 0x00 of all below
		e, err := manifest.DecodeEntry(record.Value)
		if err != nil {
			return out, err
		}
		out, skipped = append(out, &fileInfo{name: string(name), e: e}), 0
	}
	d.done = true
	return out, nil
}
