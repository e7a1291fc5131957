//go:build unix

package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

func totalBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(uint64(s.Blocks) * uint64(s.Bsize)), nil //nolint:unconvert // the types differ between systems
}
