//go:build !linux && !darwin

package files

import (
	"io/fs"
	"os"
)

// nonblock is not needed where opening a file does not wait.
const nonblock = 0

// device is the same for all: it is not told here.
func device(fs.FileInfo) uint64 { return 0 }

// inode is the same for all: it is not told here.
func inode(fs.FileInfo) uint64 { return 0 }

// changeTime is the same for all: it is not told here.
func changeTime(fs.FileInfo) int64 { return 0 }

// syncRoot does nothing where a directory cannot be synced.
func syncRoot(*os.Root) error { return nil }

// lock does nothing where there is no locking that a crash ends.
func lock(*os.File) error { return nil }
