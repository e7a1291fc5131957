package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
)

func faulty(t *testing.T, dir string, c Config) (*Store, *faultFiles) {
	t.Helper()
	f := &faultFiles{}
	s, err := open(dir, c, world{files: f, books: vfs.Default})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, f
}

// once fails the n-th operation of that kind from now on, and those after it as long as more says so.
func once(op string, n int, err error) func(string, string) error {
	return func(o, _ string) error {
		if o == op {
			if n--; n == 0 {
				return err
			}
		}
		return nil
	}
}

func packSize(t *testing.T, dir, name string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "pieces", name))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func TestAFullDiskKeepsNothing(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		for _, short := range []bool{false, true} {
			dir := made(t)
			s, f := faulty(t, dir, Config{})
			blobs := some(1, 3, 200<<10)
			put(t, s, blobs[0])
			size := packSize(t, dir, "001.pack")
			f.short = short
			f.setFail(once("write", 2, &fs.PathError{Op: "write", Err: full}))
			if err := s.Blobs().Put(t.Context(), blobs[1]); !errors.Is(err, core.ErrFull) {
				t.Fatalf("%v: %v", full, err)
			}
			f.setFail(nil)
			seamtest.WantNoBlob(t, s.Blobs(), blobs[1].Score)
			if got := packSize(t, dir, "001.pack"); got != size {
				t.Errorf("the pack has %d bytes, want %d", got, size)
			}
			put(t, s, blobs[2])
			closed(t, s)
			s = opened(t, dir, Config{})
			seamtest.WantAll(t, s.Blobs(), blobs[0], blobs[2])
			if got := names(t, filepath.Join(dir, "pieces")); len(got) != 1 {
				t.Errorf("a full disk is no reason for a new pack: %q", got)
			}
		}
	}
}

// Some file systems find only at the sync that there is no room.
func TestAFullDiskIsFoundLate(t *testing.T) {
	dir := made(t)
	s, f := faulty(t, dir, Config{})
	blobs := some(1, 3, 1000)
	put(t, s, blobs[0])
	f.setFail(once("sync", 1, syscall.ENOSPC))
	if err := s.Blobs().Put(t.Context(), blobs[1]); !errors.Is(err, core.ErrFull) {
		t.Errorf("%v", err)
	}
	f.setFail(nil)
	put(t, s, blobs[2])
	closed(t, s)
	seamtest.WantAll(t, opened(t, dir, Config{}).Blobs(), blobs[0], blobs[2])
}

func TestAFullDiskMakesNoPack(t *testing.T) {
	dir := made(t)
	s, f := faulty(t, dir, Config{})
	for _, op := range []string{"open", "write", "sync"} {
		f.setFail(func(o, _ string) error {
			if o == op {
				return syscall.ENOSPC
			}
			return nil
		})
		if err := s.Blobs().Put(t.Context(), some(1, 1, 10)[0]); !errors.Is(err, core.ErrFull) {
			t.Errorf("%s: %v", op, err)
		}
		if got := names(t, filepath.Join(dir, "pieces")); len(got) != 0 {
			t.Errorf("%s left %q", op, got)
		}
	}
	f.setFail(nil)
	put(t, s, some(1, 1, 10)...)
}

// Room is left to delete, and a Put that does not fit does not spoil those that do.
func TestTheLastBytesAreForDeletes(t *testing.T) {
	dir := made(t)
	s, f := faulty(t, dir, Config{})
	blobs := some(1, 10, 1000)
	put(t, s, blobs[:5]...)
	f.free = blobSpare + 5000
	if err := s.Blobs().Put(t.Context(), seamtest.RandomBlob(50, 10000)); !errors.Is(err, core.ErrFull) {
		t.Errorf("a blob beyond the room: %v", err)
	}
	put(t, s, blobs[5])
	f.free = blobSpare - 1
	if err := s.Blobs().Put(t.Context(), blobs[6]); !errors.Is(err, core.ErrFull) {
		t.Errorf("a blob on a full disk: %v", err)
	}
	if err := s.Blobs().Put(t.Context(), blobs[5]); err != nil {
		t.Errorf("a blob that is there already: %v", err)
	}
	if err := s.Books().Apply(core.Change{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Errorf("the books have room: %v", err)
	}
	remove(t, s, blobs[:3]...)
	f.free = tableSpare - 1
	if err := s.Books().Apply(core.Change{Key: []byte("l"), Value: []byte("v")}, core.Change{Key: []byte("k")}); !errors.Is(err, core.ErrFull) {
		t.Errorf("a record on a full disk: %v", err)
	}
	if _, err := s.Books().Get([]byte("k")); err != nil {
		t.Errorf("half of a refused Apply was made: %v", err)
	}
	if err := s.Books().Apply(core.Change{Key: []byte("k")}); err != nil {
		t.Errorf("a delete on a full disk: %v", err)
	}
	remove(t, s, blobs[3])
	seamtest.WantAll(t, s.Blobs(), blobs[4], blobs[5])
}

// Pebble would try for ever to write what its log has.
func TestAFullDiskIsNotOpened(t *testing.T) {
	dir := made(t)
	s, _ := faulty(t, dir, Config{})
	if info, err := os.Stat(filepath.Join(dir, ballastFile)); err != nil || info.Size() != ballastSize {
		t.Errorf("no ballast: %v", err)
	}
	if err := s.Books().Apply(core.Change{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err := open(dir, Config{}, world{files: &faultFiles{free: tableOpen - 1}, books: vfs.Default}); !errors.Is(err, core.ErrFull) {
		t.Fatalf("%v, %v", s, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ballastFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the ballast was not given up for the books: %v", err)
	}
	s, err := open(dir, Config{}, world{files: &faultFiles{free: tableOpen}, books: vfs.Default})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := os.Stat(filepath.Join(dir, ballastFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the ballast takes what others need: %v", err)
	}
	if r := s.Recovery(); r.BooksAside != "" || r.BooksNew {
		t.Errorf("the books are not where they were: %+v", r)
	}
	if v, err := s.Books().Get([]byte("k")); err != nil || string(v) != "v" {
		t.Errorf("%q, %v", v, err)
	}
}

func TestSomeOfABatchFit(t *testing.T) {
	s, f := faulty(t, made(t), Config{})
	blobs := some(1, 3, 100<<10)
	put(t, s, blobs[0])
	// The first write of the second blob's data fails, in whatever company it comes.
	rotten := func(o, _ string) error {
		if o == "write" {
			return syscall.ENOSPC
		}
		return nil
	}
	ops := []*op{
		{kind: opDelete, scores: []core.Score{blobs[0].Score}},
		{kind: opPut, head: header{Score: blobs[1].Score, Size: 100 << 10}, data: blobs[1].Data},
		{kind: opDelete, scores: []core.Score{blobs[2].Score}}, // not there: nothing to write
	}
	for _, o := range ops {
		o.done = make(chan error, 1)
	}
	f.setFail(rotten)
	s.blobs.turn <- struct{}{}
	s.blobs.run(ops)
	<-s.blobs.turn
	f.setFail(nil)
	for i, full := range []bool{true, true, false} {
		if err := <-ops[i].done; errors.Is(err, core.ErrFull) != full || !full && err != nil {
			t.Errorf("op %d: %v", i, err)
		}
	}
	seamtest.WantAll(t, s.Blobs(), blobs[0])
}

// After a failed sync nobody knows what the disk has: the pack takes no more, and what was
// in doubt is never taken for kept.
func TestAFailedSyncEndsThePack(t *testing.T) {
	for name, fail := range map[string]func(op, name string) error{
		"sync":              func(op, name string) error { return when(op == "sync" && name == "001.pack") },
		"sync and truncate": func(op, name string) error { return when((op == "sync" || op == "truncate") && name == "001.pack") },
		"write":             func(op, name string) error { return when(op == "write" && name == "001.pack") },
		"everything":        func(op, name string) error { return when(op != "read" && op != "open") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := made(t)
			s, f := faulty(t, dir, Config{})
			blobs := some(1, 4, 1000)
			put(t, s, blobs[0])
			f.setFail(fail)
			err := s.Blobs().Put(t.Context(), blobs[1])
			if !errors.Is(err, syscall.EIO) || errors.Is(err, core.ErrFull) {
				t.Fatalf("put: %v", err)
			}
			seamtest.WantNoBlob(t, s.Blobs(), blobs[1].Score)
			f.setFail(nil)
			put(t, s, blobs[2])
			e, err := s.blobs.index.find(blobs[2].Score)
			if err != nil || e.Pack < 2 {
				t.Errorf("the next blob lies in pack %d, %v", e.Pack, err)
			}
			put(t, s, blobs[1])
			remove(t, s, blobs[1])
			closed(t, s)
			s = opened(t, dir, Config{})
			seamtest.WantAll(t, s.Blobs(), blobs[0], blobs[2])
			if got := names(t, filepath.Join(dir, "pieces")); len(got) != 2 {
				t.Errorf("packs: %q", got)
			}
		})
	}
}

func when(yes bool) error {
	if yes {
		return syscall.EIO
	}
	return nil
}

// A place that the disk cannot read any more has rotted; a file that cannot be opened has not.
func TestAnUnreadablePlaceIsRot(t *testing.T) {
	s, f := faulty(t, made(t), Config{})
	blob := some(1, 1, 1000)[0]
	put(t, s, blob)
	f.setFail(func(op, _ string) error { return when(op == "read") })
	if _, err := s.Blobs().Get(t.Context(), blob.Score, nil); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("get from a bad sector: %v", err)
	}
	blob.Note = []byte("replaced")
	put(t, s, blob)
	f.setFail(func(op, _ string) error {
		if op == "open" {
			return syscall.EMFILE
		}
		return nil
	})
	_, err := s.Blobs().Get(t.Context(), blob.Score, nil)
	if !errors.Is(err, syscall.EMFILE) || errors.Is(err, core.ErrCorrupt) {
		t.Errorf("get with no file left to open: %v", err)
	}
	f.setFail(nil)
	seamtest.WantBlob(t, s.Blobs(), blob)
}

// Where pebble would end the program, calls answer an error from then on.
func TestBooksThatCannotBeWrittenAnswerErrors(t *testing.T) {
	dir := made(t)
	var mu sync.Mutex
	broken := false
	w := errorfs.InjectorFunc(func(op errorfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && op.Kind.ReadOrWrite() == errorfs.OpIsWrite && filepath.Ext(op.Path) == ".log" {
			return syscall.EIO
		}
		return nil
	})
	s, err := open(dir, Config{}, world{files: osFiles{}, books: errorfs.Wrap(vfs.Default, w)})
	if err != nil {
		t.Fatal(err)
	}
	blobs := some(1, 2, 100)
	put(t, s, blobs[0])
	mu.Lock()
	broken = true
	mu.Unlock()
	_, getErr := s.Books().Get([]byte("k"))
	if getErr != nil && !errors.Is(getErr, core.ErrNotExist) {
		t.Fatal(getErr)
	}
	set := core.Change{Key: []byte("k"), Value: []byte("v")}
	first := s.Books().Apply(set)
	_, getErr = s.Books().Get([]byte("k"))
	var allErr error
	for _, err := range s.Blobs().All(t.Context()) {
		allErr = err
	}
	for i, err := range []error{first, s.Books().Apply(set), getErr, s.Blobs().Put(t.Context(), blobs[1]), allErr, s.Close()} {
		if err == nil || !strings.Contains(err.Error(), "input/output error") {
			t.Errorf("call %d: %v", i, err)
		}
	}
}
