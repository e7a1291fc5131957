//go:build unix

package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/grange-grid/grange/core"
)

// walkWith does something when the walk is at a path, and returns what was
// yielded and skipped, and what Open at that path said.
func walkWith(t *testing.T, dir, at string, do func()) (got, skipped []string, f File, opened error) {
	t.Helper()
	s := must2(NewSource(dir, SourceOptions{Skip: func(p Problem) { skipped = append(skipped, string(p.Path)) }}))
	for item, err := range s.Items(t.Context()) {
		must(t, err)
		got = append(got, string(item.Path))
		if string(item.Path) == at {
			do()
			if item.Open != nil {
				f, opened = item.Open()
			}
		}
	}
	if f != nil {
		t.Cleanup(func() { f.Close() })
	}
	return got, skipped, f, opened
}

// swap puts something else in the place of a path.
func swap(t *testing.T, path string, put func() error) {
	t.Helper()
	must(t, os.RemoveAll(path))
	must(t, put())
}

func TestDirectorySwapped(t *testing.T) {
	outside := tree(t, "f secret 644 s")
	for name, put := range map[string]func(path string) error{
		"a symlink out":         func(path string) error { return os.Symlink(outside, path) },
		"a relative one out":    func(path string) error { return os.Symlink("../../..", path) },
		"a symlink inside":      func(path string) error { return os.Symlink("inside", path) },
		"a FIFO":                func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a file":                func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"another directory":     func(path string) error { return os.Rename(filepath.Dir(path)+"/other", path) },
		"nothing":               func(string) error { return nil },
		"a symlink to no place": func(path string) error { return os.Symlink("gone", path) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "f d/x", "f inside/y", "f other/y", "f zz")
			at := filepath.Join(dir, "d")
			got, skipped, _, _ := walkWith(t, dir, "d", func() { swap(t, at, func() error { return put(at) }) })
			want := []string{"", "d", "inside", "inside/y", "other", "other/y", "zz"}
			if name == "another directory" {
				want = []string{"", "d", "inside", "inside/y", "zz"}
				wantPaths(t, skipped, "d", "other") // that one vanished
			} else {
				wantPaths(t, skipped, "d")
			}
			wantPaths(t, got, want...)
		})
	}
}

func TestDirectoryAboveSwapped(t *testing.T) {
	outside := tree(t, "f e/x 644 secret")
	dir := tree(t, "f d/e/x 644 mine", "f d/z 644 mine")
	_, skipped, f, err := walkWith(t, dir, "d/e/x", func() {
		must(t, os.Rename(dir+"/d", dir+"/moved"))
		must(t, os.Symlink(outside, dir+"/d"))
	})
	must(t, err)
	if text := must2(io.ReadAll(f)); string(text) != "mine" {
		t.Errorf("read %q", text)
	}
	wantPaths(t, skipped)
}

func TestFileSwapped(t *testing.T) {
	outside := filepath.Join(tree(t, "f secret 644 s"), "secret")
	for name, c := range map[string]struct {
		put  func(path string) error
		want error
	}{
		"a symlink out":    {func(path string) error { return os.Symlink(outside, path) }, nil},
		"a symlink inside": {func(path string) error { return os.Symlink("z", path) }, core.ErrStale},
		"a FIFO":           {func(path string) error { return syscall.Mkfifo(path, 0o600) }, core.ErrInvalid},
		"a directory":      {func(path string) error { return os.Mkdir(path, 0o700) }, core.ErrInvalid},
		"nothing":          {func(string) error { return nil }, fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "f x", "f z")
			at := filepath.Join(dir, "x")
			got, _, f, err := walkWith(t, dir, "x", func() { swap(t, at, func() error { return c.put(at) }) })
			if f != nil || err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("opened %v, error %v, want %v", f, err, c.want)
			}
			wantPaths(t, got, "", "x", "z")
		})
	}
}

// TestFileSaved: editors write a new file and rename it over the old.
func TestFileSaved(t *testing.T) {
	dir := tree(t, "f x 600 old", "f new 644 newer")
	_, _, f, err := walkWith(t, dir, "x", func() { must(t, os.Rename(dir+"/new", dir+"/x")) })
	must(t, err)
	text := must2(io.ReadAll(f))
	if string(text) != "newer" || f.Entry().Size != 5 || f.Entry().Mode != 0o644 {
		t.Errorf("%q, %+v", text, f.Entry())
	}
	if changed, err := f.Changed(); changed || err != nil {
		t.Errorf("changed: %v, %v", changed, err)
	}
}

func TestFileVanished(t *testing.T) {
	dir := tree(t, "f a", "f b", "f c")
	got, skipped, _, _ := walkWith(t, dir, "a", func() { must(t, os.Remove(dir+"/b")) })
	wantPaths(t, got, "", "a", "c")
	wantPaths(t, skipped, "b")
}

func TestChanged(t *testing.T) {
	cases := map[string]func(t *testing.T, path string){
		"grown": func(t *testing.T, path string) {
			f := must2(os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0))
			must2(f.WriteString("more"))
			must(t, f.Close())
			setMtime(t, path, 7, 7)
		},
		"cut short": func(t *testing.T, path string) { must(t, os.Truncate(path, 1)); setMtime(t, path, 7, 7) },
		"rewritten": func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("HELLO"), 0)) },
		"rewritten, and its time put back": func(t *testing.T, path string) {
			before := changeTime(must2(os.Stat(path)))
			for changeTime(must2(os.Stat(path))) == before { // until the kernel's tick
				must(t, os.WriteFile(path, []byte("HELLO"), 0))
				setMtime(t, path, 7, 7)
			}
		},
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			dir := tree(t, "f x 644 hello")
			path := filepath.Join(dir, "x")
			setMtime(t, path, 7, 7)
			_, _, f, err := walkWith(t, dir, "x", func() {})
			must(t, err)
			must2(f.Read(make([]byte, 2)))
			if changed, err := f.Changed(); changed || err != nil {
				t.Fatalf("before: %v, %v", changed, err)
			}
			change(t, path)
			if changed, err := f.Changed(); !changed || err != nil {
				t.Errorf("after: %v, %v", changed, err)
			}
			if e := f.Entry(); e.Size != 5 || e.Mtime != 7 || e.Nsec != 7 {
				t.Errorf("the entry moved: %+v", e)
			}
			must(t, f.Close())
			if _, err := f.Changed(); !errors.Is(err, fs.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		})
	}
}

// TestStamp changes a file in every way that its contents could have been changed by.
func TestStamp(t *testing.T) {
	dir := tree(t, "f a 644 text", "f other 644 text")
	path := filepath.Join(dir, "a")
	stamp := func() Stamp {
		t.Helper()
		for item, err := range must2(NewSource(dir, SourceOptions{})).Items(t.Context()) {
			must(t, err)
			if string(item.Path) != "a" {
				continue
			}
			f := must2(item.Open())
			defer f.Close()
			if f.Stamp() != item.Stamp || item.Stamp.Size != item.Entry.Size || item.Stamp.Mtime != item.Entry.Mtime {
				t.Errorf("listed as %+v, opened as %+v", item.Stamp, f.Stamp())
			}
			return item.Stamp
		}
		return Stamp{}
	}
	info := must2(os.Stat(path))
	last := stamp()
	if last == (Stamp{}) || stamp() != last {
		t.Fatalf("%+v, then %+v", last, stamp())
	}
	setMtime(t, path, 5, 6)
	for what, change := range map[string]func() error{
		"longer":           func() error { return os.WriteFile(path, []byte("longer text"), 0o644) },
		"its time set":     func() error { return os.Chtimes(path, info.ModTime(), info.ModTime()) },
		"another in place": func() error { return os.Rename(filepath.Join(dir, "other"), path) },
	} {
		before := stamp()
		must(t, change())
		if stamp() == before {
			t.Errorf("%s: %+v as before", what, before)
		}
	}
	single := must2(NewSource(path, SourceOptions{}))
	for item := range single.Items(t.Context()) {
		if item.Open != nil && item.Stamp == (Stamp{}) {
			t.Error("a single file without a stamp")
		}
	}
}
