//go:build unix

package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/grange-grid/grange/core"
)

func carriedDisk(t *testing.T) (*Carried, string) {
	t.Helper()
	dir := t.TempDir()
	c := must2(OpenCarried(dir))
	t.Cleanup(func() { c.Close() })
	return c, filepath.Join(dir, CarriedFolder)
}

func TestACarriedDiskIsWrittenAndRead(t *testing.T) {
	c, dir := carriedDisk(t)
	if folders := must2(c.Folders()); len(folders) > 0 {
		t.Errorf("folders %v", folders)
	}
	if files := must2(c.Files("bo")); len(files) > 0 {
		t.Errorf("files %v", files)
	}
	f := must2(c.Create("bo", "1.seed"))
	for _, b := range []string{"what stays", "what is taken back"} {
		must2(f.Write([]byte(b)))
	}
	must(t, f.Truncate(10))
	must2(f.Write([]byte(", and more")))
	must(t, f.Sync())
	must(t, f.Close())
	if _, err := c.Create("bo", "1.seed"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	must(t, must2(c.Create("bo", "0.seed")).Close())
	must(t, must2(c.Create("anna", "1.seed")).Close())
	if folders := must2(c.Folders()); !slices.Equal(folders, []string{"anna", "bo"}) {
		t.Errorf("folders %v", folders)
	}
	files := must2(c.Files("bo"))
	if len(files) != 2 || files[0].Name() != "0.seed" || files[1].Name() != "1.seed" || files[1].Size() != 20 {
		t.Errorf("files %v", files)
	}
	r := must2(c.Open("bo", "1.seed"))
	defer r.Close()
	if got := string(must2(io.ReadAll(r))); got != "what stays, and more" {
		t.Errorf("%q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "bo", "1.seed")); err != nil {
		t.Error(err)
	}
	if _, err := OpenCarried(filepath.Join(dir, "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a disk that is not there: %v", err)
	}
}

// Opening a FIFO as if it were a directory would wait for its writer for ever.
func TestADiskThatIsNoDirectoryIsNotWaitedFor(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	must(t, syscall.Mkfifo(fifo, 0o600))
	for _, path := range []string{fifo, must2(os.Executable())} {
		if _, err := OpenCarried(path); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestNothingOfACarriedDiskIsFollowed(t *testing.T) {
	c, dir := carriedDisk(t)
	must(t, must2(c.Create("bo", "1.seed")).Close())
	must(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "secret"), []byte("s"), 0o600))
	must(t, os.Symlink("bo", filepath.Join(dir, "link")))
	must(t, os.Symlink("1.seed", filepath.Join(dir, "bo", "2.seed")))
	must(t, os.Symlink("../../secret", filepath.Join(dir, "bo", "3.seed")))
	must(t, syscall.Mkfifo(filepath.Join(dir, "bo", "4.seed"), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "bo", "5.seed"), 0o700))
	if folders := must2(c.Folders()); !slices.Equal(folders, []string{"bo"}) {
		t.Errorf("folders %v", folders)
	}
	if files := must2(c.Files("bo")); len(files) != 1 || files[0].Name() != "1.seed" {
		t.Errorf("files %v", files)
	}
	for _, name := range []string{"2.seed", "3.seed", "4.seed", "5.seed", "../bo/1.seed", "../../secret", "none"} {
		if f, err := c.Open("bo", name); err == nil {
			f.Close()
			t.Errorf("%s is opened", name)
		}
		if f, err := c.Create("bo", name); err == nil && name != "none" {
			f.Close()
			t.Errorf("%s is made", name)
		}
	}
	for _, folder := range []string{"link", "..", "bo/..", "/", "."} {
		if files, err := c.Files(folder); err == nil && len(files) > 0 {
			t.Errorf("files of %q: %v", folder, files)
		}
		if f, err := c.Create(folder, "x.seed"); err == nil {
			f.Close()
			t.Errorf("something is made in %q", folder)
		}
	}
	// Neither is the folder of all.
	must(t, os.Rename(dir, dir+"-real"))
	must(t, os.Symlink(filepath.Base(dir)+"-real", dir))
	if _, err := c.Folders(); err == nil {
		t.Error("folders behind a symlink")
	}
	if _, err := c.Create("bo", "9.seed"); err == nil {
		t.Error("a file behind a symlink")
	}
}

func TestAFullCarriedDiskIsToldAsOne(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		if got := full(&fs.PathError{Op: "write", Path: "x", Err: err}); !errors.Is(got, core.ErrFull) || !errors.Is(got, err) {
			t.Errorf("%v", got)
		}
	}
	if err := full(syscall.EIO); errors.Is(err, core.ErrFull) {
		t.Errorf("%v", err)
	}
}
