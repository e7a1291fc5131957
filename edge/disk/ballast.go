package disk

import (
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A directory keeps a file of no meaning for the day on which its disk is full: the books cannot be opened
// without room, and a holder that was started anew then would not give back what it has. It is given up for
// that, and made again when there is room.
const (
	ballastFile = "ballast"
	ballastSize = 16 << 20
	// ballastRoom is what must be free for it to be made.
	ballastRoom = 8 * ballastSize
)

// dropBallast gives the ballast up if the books need its room.
func dropBallast(dir string, free func() (int64, error)) error {
	room, err := free()
	if err != nil || room >= tableOpen {
		return err
	}
	if err := os.Remove(filepath.Join(dir, ballastFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// makeBallast makes the ballast if there is none and room for it.
func makeBallast(dir string, free func() (int64, error)) error {
	path := filepath.Join(dir, ballastFile)
	info, err := os.Stat(path)
	if err == nil && info.Size() == ballastSize || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if room, err := free(); err != nil || room < ballastRoom {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	if err = errors.Join(fillBallast(f), f.Close()); err != nil {
		_ = os.Remove(path)
	}
	return err
}

// writeNoise fills the ballast: a disk that compresses would keep nothing of zeros.
func writeNoise(f *os.File) error {
	_, err := io.CopyN(f, rand.Reader, ballastSize)
	return err
}
