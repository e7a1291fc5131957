//go:build unix

package files

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

func TestItemsComeInKeyOrder(t *testing.T) {
	dir := tree(t, "f a/z", "f a!", "f a.b", "f ab/c", "f A", "f \xff\xfe", "f é", "d a/b", "f a/b/c", "l a/b-l x", "f a/b!")
	var last []byte
	for item, err := range must2(NewSource(dir, SourceOptions{})).Items(t.Context()) {
		must(t, err)
		key, err := manifest.Key(item.Path)
		must(t, err)
		if len(item.Path) > 0 && bytes.Compare(key, last) <= 0 {
			t.Errorf("%q comes after %q", key, last)
		}
		last = key
	}
	got, skipped := paths(t, dir, SourceOptions{})
	wantPaths(t, got, "/", "A", "a/", "a/b/", "a/b/c", "a/b!", "a/b-l", "a/z", "a!", "a.b", "ab/", "ab/c", "é", "\xff\xfe")
	wantPaths(t, skipped)
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestEntries(t *testing.T) {
	dir := tree(t, "f run 4755 #!", "d box 3777", "l to gone", "f sticky 1600 12345")
	setMtime(t, filepath.Join(dir, "run"), -5, 999_999_999)
	setMtime(t, filepath.Join(dir, "box"), 1<<33, 1)
	got := map[string]manifest.Entry{}
	for item, err := range must2(NewSource(dir, SourceOptions{})).Items(t.Context()) {
		must(t, err)
		if item.Entry.Size == 0 { // those with contents have their chunks yet to come
			must(t, item.Entry.Check())
		}
		got[string(item.Path)] = item.Entry
	}
	want := func(path string, e manifest.Entry) {
		t.Helper()
		g := got[path]
		if e.Mtime == 0 {
			e.Mtime, e.Nsec = g.Mtime, g.Nsec
		}
		if g.Kind != e.Kind || g.Mode != e.Mode || g.Mtime != e.Mtime || g.Nsec != e.Nsec || g.Size != e.Size || string(g.Target) != string(e.Target) {
			t.Errorf("%q: got %+v, want %+v", path, g, e)
		}
	}
	want("", manifest.Entry{Kind: "dir", Mode: 0o755})
	want("run", manifest.Entry{Kind: "file", Mode: 0o755, Mtime: -5, Nsec: 999_999_999, Size: 2})
	want("box", manifest.Entry{Kind: "dir", Mode: 0o1777, Mtime: 1 << 33, Nsec: 1})
	want("to", manifest.Entry{Kind: "link", Mode: 0o777, Target: []byte("gone")})
	want("sticky", manifest.Entry{Kind: "file", Mode: 0o1600, Size: 5})
}

func TestSingle(t *testing.T) {
	dir := tree(t, "f real.txt 640 hello", "l link real.txt", "f .grangeignore 644 *")
	s := must2(NewSource(filepath.Join(dir, "link"), SourceOptions{Exclude: []string{"*"}}))
	if !s.Single() || s.Name() != "link" {
		t.Fatalf("single %v, name %q", s.Single(), s.Name())
	}
	n, size, err := s.Count(t.Context())
	if n != 1 || size != 5 || err != nil {
		t.Errorf("Count: %d, %d, %v", n, size, err)
	}
	got, _ := paths(t, filepath.Join(dir, "link"), SourceOptions{})
	wantPaths(t, got, "/", "link")
	for item, err := range s.Items(t.Context()) {
		must(t, err)
		if item.Open != nil {
			f := must2(item.Open())
			text := must2(io.ReadAll(f))
			if string(text) != "hello" || f.Entry().Mode != 0o640 {
				t.Errorf("%q, %+v", text, f.Entry())
			}
			must(t, f.Close())
		}
	}
	to := filepath.Join(t.TempDir(), "other name")
	wantNoProblems(t, restore(t, filepath.Join(dir, "link"), to, SourceOptions{}))
	wantEqual(t, filepath.Join(dir, "real.txt"), to)
}

func wantNoProblems(t *testing.T, problems []Problem) {
	t.Helper()
	for _, p := range problems {
		t.Error(p)
	}
}

func TestName(t *testing.T) {
	dir := tree(t, "d a\xffb", "d x\ny")
	for path, want := range map[string]string{
		"/": "root", dir: "tree", dir + "/": "tree", dir + "/a\xffb/..": "tree",
		dir + "/a\xffb": "a\xffb", dir + "/x\ny": "x\ny",
	} {
		if got := must2(NewSource(path, SourceOptions{})).Name(); got != want {
			t.Errorf("%q: name %q, want %q", path, got, want)
		}
	}
	t.Chdir(dir)
	if got := must2(NewSource(".", SourceOptions{})).Name(); got != "tree" {
		t.Errorf(".: name %q", got)
	}
}

func TestNewSourceErrors(t *testing.T) {
	dir := tree(t, "l loop loop", "l dangling gone")
	must(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	if _, err := NewSource(filepath.Join(dir, "gone"), SourceOptions{}); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
	if _, err := NewSource(filepath.Join(dir, "dangling"), SourceOptions{}); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("dangling: %v", err)
	}
	if _, err := NewSource(filepath.Join(dir, "loop"), SourceOptions{}); err == nil {
		t.Error("loop: no error")
	}
	if _, err := NewSource(filepath.Join(dir, "fifo"), SourceOptions{}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("fifo: %v", err)
	}
}

func TestExcludeAndIgnoreFiles(t *testing.T) {
	dir := tree(t, "f .grangeignore 644 *.tmp\n/top\n", "f a.tmp", "f top", "f d/top", "f d/b.tmp", "f d/keep.tmp",
		"f d/.grangeignore 644 !keep.tmp\n!forced.tmp\n", "f d/forced.tmp", "f cache/x", "l tmp cache")
	got, skipped := paths(t, dir, SourceOptions{Exclude: []string{"forced.*", "/cache", "tmp/", "#x"}})
	wantPaths(t, got, "/", ".grangeignore", "d/", "d/.grangeignore", "d/keep.tmp", "d/top", "tmp")
	wantPaths(t, skipped)
	n, size, err := must2(NewSource(dir, SourceOptions{Exclude: []string{"forced.*", "/cache"}})).Count(t.Context())
	if n != 4 || size != 11+22 || err != nil {
		t.Errorf("Count: %d files, %d bytes, %v", n, size, err)
	}
}

func TestIgnoreFileThatCannotBeApplied(t *testing.T) {
	dir := tree(t, "f out 644 *", "f d/x", "l d/.grangeignore ../out", "d e/.grangeignore", "f e/x")
	must(t, os.WriteFile(filepath.Join(dir, ".grangeignore"), bytes.Repeat([]byte("x\n"), ignoreSizeMax/2+1), 0o600))
	got, skipped := paths(t, dir, SourceOptions{})
	wantPaths(t, got, "/", ".grangeignore", "d/", "d/.grangeignore", "d/x", "e/", "e/.grangeignore/", "e/x", "out")
	wantPaths(t, skipped, ".grangeignore", "d/.grangeignore", "e/.grangeignore")
}

func TestCacheTag(t *testing.T) {
	dir := tree(t, "f CACHEDIR.TAG 644 "+tagSignature, "f x", "f c/CACHEDIR.TAG 644 "+tagSignature+"\n# by a test", "f c/big", "f c/d/e",
		"f wrong/CACHEDIR.TAG 644 Signature: 0", "f wrong/y", "f short/CACHEDIR.TAG", "l l/CACHEDIR.TAG ../CACHEDIR.TAG", "f l/z")
	got, skipped := paths(t, dir, SourceOptions{})
	wantPaths(t, got, "/", "CACHEDIR.TAG", "c/", "c/CACHEDIR.TAG", "l/", "l/CACHEDIR.TAG", "l/z", "short/", "short/CACHEDIR.TAG",
		"wrong/", "wrong/CACHEDIR.TAG", "wrong/y", "x")
	wantPaths(t, skipped)
}

func TestAvoid(t *testing.T) {
	dir := tree(t, "f own/agent.key", "f own/pieces/1", "f x")
	must(t, os.Symlink(filepath.Join(dir, "own"), filepath.Join(t.TempDir(), "alias")))
	got, _ := paths(t, dir, SourceOptions{Avoid: []string{filepath.Join(dir, "own"), filepath.Join(dir, "gone")}})
	wantPaths(t, got, "/", "own/", "x")
}

func TestOneFileSystem(t *testing.T) {
	here, err := os.Stat("/dev")
	if err != nil {
		t.Skip("no /dev")
	}
	if shm, err := os.Stat("/dev/shm"); err != nil || device(shm) == device(here) {
		t.Skip("no other filesystem at /dev/shm")
	}
	got, _ := paths(t, "/dev", SourceOptions{OneFileSystem: true, Exclude: []string{"/*", "!/shm"}})
	wantPaths(t, got, "/", "shm/")
}

func TestSpecialFilesAreProblems(t *testing.T) {
	dir := tree(t, "f x", "d d")
	must(t, syscall.Mkfifo(filepath.Join(dir, "d/fifo"), 0o600))
	t.Chdir(dir) // the name of a socket has a low limit
	listener := must2(net.Listen("unix", "sock"))
	defer listener.Close()
	want := []string{"d/fifo", "sock"}
	if syscall.Mknod(filepath.Join(dir, "null"), syscall.S_IFCHR|0o600, 1<<8|3) == nil {
		want = []string{"d/fifo", "null", "sock"}
	}
	var problems []Problem
	for _, err := range must2(NewSource(dir, SourceOptions{Skip: func(p Problem) { problems = append(problems, p) }})).Items(t.Context()) {
		must(t, err)
	}
	for _, p := range problems {
		if !errors.Is(p, core.ErrInvalid) || !strings.Contains(p.Error(), "not a file, directory or symlink") {
			t.Error(p)
		}
	}
	got, skipped := paths(t, dir, SourceOptions{})
	wantPaths(t, got, "/", "d/", "x")
	wantPaths(t, skipped, want...)
}

func TestPathTooLong(t *testing.T) {
	dir := tree(t)
	root := must2(os.OpenRoot(dir))
	defer root.Close()
	name := strings.Repeat("n", 250)
	must(t, root.MkdirAll(strings.Repeat(name+"/", 18), 0o755)) // 18 × 251 > 4096
	got, skipped := paths(t, dir, SourceOptions{})
	if len(got) != 17 || len(skipped) != 1 || len(skipped[0]) != 17*251-1 {
		t.Errorf("%d yielded, %d skipped", len(got), len(skipped))
	}
}

func TestEnded(t *testing.T) {
	dir := tree(t, "f a", "f b/c", "f d")
	s := must2(NewSource(dir, SourceOptions{}))
	for item, err := range s.Items(t.Context()) {
		must(t, err)
		if string(item.Path) == "b/c" {
			break // and it must not be called again
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	n := 0
	for _, err := range s.Items(ctx) {
		n++
		last = err
		if n == 2 {
			cancel()
		}
	}
	if n != 3 || !errors.Is(last, context.Canceled) {
		t.Errorf("after %d: %v", n, last)
	}
	if _, _, err := s.Count(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Count: %v", err)
	}
	must(t, os.Rename(dir, dir+"-moved"))
	must(t, os.Mkdir(dir, 0o755))
	for _, err := range s.Items(t.Context()) {
		last = err
	}
	if !errors.Is(last, core.ErrStale) {
		t.Errorf("another root: %v", last)
	}
	must(t, os.Remove(dir))
	if _, _, err := s.Count(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no root: %v", err)
	}
}
