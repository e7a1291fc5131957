package disk

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// faultFiles are the machine's files, which fail as they are told, and which know what a crash may take.
type faultFiles struct {
	osFiles
	free int64 // what Free says, unless 0

	mu sync.Mutex
	// fail is asked before each operation: open, read, write, truncate, sync, remove, list, syncdir.
	fail func(op, name string) error
	// short makes a write that fails leave the first half of its bytes.
	short  bool
	synced map[string]int64 // up to where each file is on the disk
	fresh  map[string]bool  // files whose names may not be on the disk
}

func (f *faultFiles) ask(op, name string) error {
	f.mu.Lock()
	fail := f.fail
	f.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(op, filepath.Base(name))
}

func (f *faultFiles) setFail(fail func(op, name string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = fail
}

func (f *faultFiles) Open(name string, flag int) (file, error) {
	if err := f.ask("open", name); err != nil {
		return nil, err
	}
	_, statErr := os.Stat(name)
	inner, err := f.osFiles.Open(name, flag)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.synced == nil {
		f.synced, f.fresh = map[string]int64{}, map[string]bool{}
	}
	if _, known := f.synced[name]; !known {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		f.synced[name] = info.Size()
	}
	if statErr != nil {
		f.fresh[name] = true
	}
	return &faultFile{file: inner, files: f, name: name}, nil
}

func (f *faultFiles) Remove(name string) error {
	if err := f.ask("remove", name); err != nil {
		return err
	}
	f.mu.Lock()
	delete(f.synced, name)
	delete(f.fresh, name)
	f.mu.Unlock()
	return f.osFiles.Remove(name)
}

func (f *faultFiles) List(dir string) ([]fs.FileInfo, error) {
	if err := f.ask("list", dir); err != nil {
		return nil, err
	}
	return f.osFiles.List(dir)
}

func (f *faultFiles) SyncDir(dir string) error {
	if err := f.ask("syncdir", dir); err != nil {
		return err
	}
	f.mu.Lock()
	clear(f.fresh)
	f.mu.Unlock()
	return f.osFiles.SyncDir(dir)
}

func (f *faultFiles) Free(dir string) (int64, error) {
	if f.free != 0 {
		return f.free, nil
	}
	return f.osFiles.Free(dir)
}

// crash takes from the disk what was not synced, or a part of it.
func (f *faultFiles) crash(t *testing.T, rng *rand.Rand) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, synced := range f.synced {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.fresh[name] && rng.IntN(2) == 0 {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			continue
		}
		lost := info.Size() - synced
		if lost <= 0 {
			continue
		}
		size := synced + rng.Int64N(lost+1)
		if err := os.Truncate(name, size); err != nil {
			t.Fatal(err)
		}
		// The length may be there before the bytes are.
		if hole := size - synced; hole > 0 && rng.IntN(2) == 0 {
			scribble(t, name, synced+rng.Int64N(hole), make([]byte, 1+rng.Int64N(hole)), size)
		}
	}
	f.synced, f.fresh, f.fail = nil, nil, nil
}

// scribble overwrites a part of a file, which keeps its size.
func scribble(t testing.TB, name string, at int64, data []byte, size int64) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err == nil {
		_, err = file.WriteAt(data, at)
	}
	if err := errors.Join(err, file.Truncate(size), file.Close()); err != nil {
		t.Fatal(err)
	}
}

type faultFile struct {
	file
	files *faultFiles
	name  string
}

func (f *faultFile) ReadAt(b []byte, at int64) (int, error) {
	if err := f.files.ask("read", f.name); err != nil {
		return 0, err
	}
	return f.file.ReadAt(b, at)
}

func (f *faultFile) WriteAt(b []byte, at int64) (int, error) {
	if err := f.files.ask("write", f.name); err != nil {
		if !f.files.short {
			return 0, err
		}
		n, _ := f.file.WriteAt(b[:len(b)/2], at)
		return n, err
	}
	return f.file.WriteAt(b, at)
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.files.ask("truncate", f.name); err != nil {
		return err
	}
	f.files.mu.Lock()
	f.files.synced[f.name] = min(f.files.synced[f.name], size)
	f.files.mu.Unlock()
	return f.file.Truncate(size)
}

func (f *faultFile) Sync() error {
	if err := f.files.ask("sync", f.name); err != nil {
		return err
	}
	info, err := os.Stat(f.name)
	if err != nil {
		return err
	}
	f.files.mu.Lock()
	defer f.files.mu.Unlock()
	if _, ok := f.files.synced[f.name]; ok {
		f.files.synced[f.name] = info.Size()
	}
	return nil
}
