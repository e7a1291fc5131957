package files

import (
	"fmt"
	"io/fs"
	"os"

	"github.com/grange-grid/grange/pure/manifest"
)

// openFlags open a file for reading without waiting for a FIFO's writer.
const openFlags = os.O_RDONLY | nonblock

// openedFile is a regular file, and what it was when it was opened.
type openedFile struct {
	*os.File
	info fs.FileInfo
}

// opener returns an Item's Open.
func opener(d *os.Root, name string, listed fs.FileInfo) func() (File, error) {
	return func() (File, error) {
		f, err := openFile(d, name, listed)
		if err != nil {
			return nil, err // not f: a nil *openedFile is not a nil File
		}
		return f, nil
	}
}

// openFile opens a regular file of a directory. It need not be the one that was
// listed, since editors save by renaming a new file over the old; but it must be
// what the name itself stands for now, not what a symlink there points to.
func openFile(d *os.Root, name string, listed fs.FileInfo) (*openedFile, error) {
	if !listed.Mode().IsRegular() {
		return nil, unsupported(listed.Mode())
	}
	f, err := d.OpenFile(name, openFlags, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(info, listed) {
		listed, err = d.Lstat(name)
		if err == nil && !os.SameFile(info, listed) {
			err = errSwapped
		}
	}
	if err == nil && !info.Mode().IsRegular() {
		err = unsupported(info.Mode())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &openedFile{File: f, info: info}, nil
}

func (f *openedFile) Entry() manifest.Entry { return entryOf(f.info, "") }

func (f *openedFile) Stamp() Stamp { return stampOf(f.info) }

func (f *openedFile) Changed() (bool, error) {
	now, err := f.Stat()
	if err != nil {
		return false, fmt.Errorf("look at the file again: %w", err)
	}
	same := now.Size() == f.info.Size() && now.ModTime().Equal(f.info.ModTime()) && changeTime(now) == changeTime(f.info)
	return !same, nil
}
