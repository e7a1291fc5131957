//go:build linux || darwin

package files

import (
	"errors"
	"os"
	"syscall"
)

// lock keeps a file or directory from others who lock it, until f is closed. A filesystem that
// has no locks is gone without. Errors: errHeld.
func lock(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return errHeld
	}
	return nil
}
