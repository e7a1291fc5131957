//go:build linux || darwin

package files

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const nonblock = syscall.O_NONBLOCK

// device returns the number of the filesystem on which an entry lies.
func device(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev) // signed on darwin
	}
	return 0
}

// inode returns the number of an entry on its filesystem.
func inode(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// syncRoot sees to it that the names in a directory are on the disk, where its filesystem can.
func syncRoot(d *os.Root) error {
	f, err := d.Open(".")
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}
