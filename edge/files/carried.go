package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/grange-grid/grange/core"
)

// Limits of what is looked at on a carried disk.
const (
	carriedFolders = 1 << 10
	carriedFiles   = 1 << 16
)

// CarriedFolder is where on a disk that a person carries the pieces for partners lie.
const CarriedFolder = "grange-seed"

// Carried is a disk that a person carries to a partner. What lies there may have been made
// by anybody: no symlink of it is followed, and nothing but regular files is opened.
type Carried struct {
	dir  string
	root *os.Root
}

// OpenCarried opens a disk by a directory of it. Errors: fs.ErrNotExist, core.ErrInvalid of what is no directory.
func OpenCarried(dir string) (*Carried, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", dir, err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() { // opening a FIFO would wait for its writer for ever
		return nil, fmt.Errorf("%s is not a directory: %w", dir, core.ErrInvalid)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, err
	}
	return &Carried{abs, root}, nil
}

// Close frees the disk.
func (c *Carried) Close() error { return c.root.Close() }

// inside opens a directory that is no symlink. The caller closes it, also r if they are one.
func inside(r *os.Root, name string) (*os.Root, error) {
	info, err := r.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	d, err := r.OpenRoot(name + "/.") // the dot is that of openDir
	if err != nil {
		return nil, err
	}
	if opened, err := d.Stat("."); err != nil || !os.SameFile(opened, info) {
		d.Close()
		return nil, &fs.PathError{Op: "open", Path: name, Err: errSwapped}
	}
	return d, nil
}

// plain tells whether a name is one of something in a directory.
func plain(name string) bool {
	return filepath.IsLocal(name) && filepath.Base(name) == name && name != "."
}

// folder opens one folder below CarriedFolder.
func (c *Carried) folder(name string) (*os.Root, error) {
	all, err := inside(c.root, CarriedFolder)
	if err != nil {
		return nil, err
	}
	defer all.Close()
	if !plain(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	return inside(all, name)
}

// list returns what is in a directory, by name, at most so much.
func list(d *os.Root, most int) ([]fs.FileInfo, error) {
	f, err := d.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	infos, err := f.Readdir(most)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	slices.SortFunc(infos, func(x, y fs.FileInfo) int { return strings.Compare(x.Name(), y.Name()) })
	return infos, nil
}

// Folders returns the names of the folders below CarriedFolder, by name; none if there is no such.
func (c *Carried) Folders() ([]string, error) {
	all, err := inside(c.root, CarriedFolder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer all.Close()
	infos, err := list(all, carriedFolders)
	var out []string
	for _, info := range infos {
		if info.IsDir() {
			out = append(out, info.Name())
		}
	}
	return out, err
}

// Files returns the regular files of a folder, by name; none if there is no such folder.
func (c *Carried) Files(folder string) ([]fs.FileInfo, error) {
	d, err := c.folder(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	infos, err := list(d, carriedFiles)
	return slices.DeleteFunc(infos, func(info fs.FileInfo) bool { return !info.Mode().IsRegular() }), err
}

// Open opens a regular file of a folder.
func (c *Carried) Open(folder, name string) (io.ReadCloser, error) {
	d, err := c.folder(folder)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if !plain(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	info, err := d.Lstat(name)
	if err != nil {
		return nil, err
	}
	f, err := openFile(d, name, info)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// carriedFile is a file that is being written.
type carriedFile struct{ f *os.File }

// Create makes a file, and the folders. Errors: fs.ErrExist, core.ErrFull, also of what is written.
func (c *Carried) Create(folder, name string) (interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}, error,
) {
	if !plain(folder) || !plain(name) {
		return nil, &fs.PathError{Op: "create", Path: filepath.Join(folder, name), Err: fs.ErrInvalid}
	}
	d, err := c.make(folder)
	if err != nil {
		return nil, full(err)
	}
	defer d.Close()
	f, err := d.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, full(err)
	}
	if err := syncRoot(d); err != nil {
		return nil, errors.Join(full(err), f.Close())
	}
	return carriedFile{f}, nil
}

// make opens a folder, which is made if need be.
func (c *Carried) make(folder string) (*os.Root, error) {
	d := c.root
	for _, name := range []string{CarriedFolder, folder} {
		err := d.Mkdir(name, 0o755)
		made := err == nil
		var next *os.Root
		if made || errors.Is(err, fs.ErrExist) {
			next, err = inside(d, name)
		}
		if err == nil && made {
			err = syncRoot(d)
		}
		if d != c.root {
			d.Close()
		}
		if err != nil {
			if next != nil {
				next.Close()
			}
			return nil, err
		}
		d = next
	}
	return d, nil
}

func (c carriedFile) Write(b []byte) (int, error) {
	n, err := c.f.Write(b)
	return n, full(err)
}

// Truncate cuts what is behind size off, and writing goes on there.
func (c carriedFile) Truncate(size int64) error {
	_, err := c.f.Seek(size, io.SeekStart)
	return errors.Join(c.f.Truncate(size), err)
}

func (c carriedFile) Sync() error { return full(c.f.Sync()) }

func (c carriedFile) Close() error { return full(c.f.Close()) }

// What Windows calls a disk that is full.
const (
	windowsHandleDiskFull = syscall.Errno(39)
	windowsDiskFull       = syscall.Errno(112)
)

// full makes of a disk that is full a core.ErrFull.
func full(err error) error {
	onWindows := runtime.GOOS == "windows" && (errors.Is(err, windowsDiskFull) || errors.Is(err, windowsHandleDiskFull))
	if onWindows || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", core.ErrFull, err)
	}
	return err
}
