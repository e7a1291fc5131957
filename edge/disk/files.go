package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// files is what packs need of a file system, and where tests put their faults.
type files interface {
	Open(name string, flag int) (file, error)
	Remove(name string) error
	List(dir string) ([]fs.FileInfo, error)
	SyncDir(dir string) error
	// Free returns how many bytes this user may still write there.
	Free(dir string) (int64, error)
}

type file interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	// Sync returns when the bytes, and the length, have reached the disk.
	Sync() error
	Close() error
}

type osFiles struct{}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

func (osFiles) Open(name string, flag int) (file, error) {
	f, err := os.OpenFile(name, flag, fileMode)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) Remove(name string) error { return os.Remove(name) }

func (osFiles) List(dir string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	infos := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func (osFiles) SyncDir(dir string) error { return syncDir(dir) }

func (osFiles) Free(dir string) (int64, error) { return freeBytes(dir) }

const (
	dirMode  = 0o700
	fileMode = 0o600
)

// writeWhole makes a file that is there whole after any crash, or not at all. An
// older one of that name is replaced.
func writeWhole(dir, name string, data []byte) error {
	staging := filepath.Join(dir, stagingDir)
	f, err := os.CreateTemp(staging, stagingPrefix+"*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// readSmall reads a file that ought to be short. One that is longer than sizeMax is cut
// there, which its reader's checks find.
func readSmall(name string, sizeMax int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, sizeMax))
}

// isFull tells whether err says that the disk, or this user's share of it, is full.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || isFullHere(err)
}
