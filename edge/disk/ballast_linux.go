package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fillBallast takes the ballast's room, without writing it where the file system can.
func fillBallast(f *os.File) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, ballastSize)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return writeNoise(f)
	}
	return err
}
