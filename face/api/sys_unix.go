//go:build unix

package api

import (
	"fmt"
	"os"
	"syscall"
)

// private checks that a directory is this user's and no other's. In a directory for
// temporary files anybody may have made it first.
func private(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || int(stat.Uid) != os.Getuid() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is not a directory of mode 0700 that belongs to this user", dir)
	}
	return nil
}
