//go:build unix

package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// declareAs declares a path as a kind, of a file that is empty.
func declareAs(s *Sink, kind manifest.Kind, path string) error {
	switch kind {
	case manifest.KindDir:
		return s.Dir([]byte(path), dirEntry)
	case manifest.KindLink:
		return s.Link([]byte(path), manifest.Entry{Kind: "link", Target: []byte("..")})
	}
	return put(s, path, "")
}

var kinds = []manifest.Kind{manifest.KindDir, manifest.KindFile, manifest.KindLink}

func TestHostilePaths(t *testing.T) {
	outer := t.TempDir()
	to := filepath.Join(outer, "to")
	s := must2(NewSink(to, SinkOptions{}))
	must(t, s.Dir([]byte("d"), dirEntry))
	for _, path := range []string{
		"..", ".", "../x", "d/../../x", "d/..", "d/.", "./x", "/", "/x", "/etc/x", "//x", "d//x", "d/", "x/", "nul\x00", "d/\x00",
		strings.Repeat("a/", 1_000_000) + "a", strings.Repeat("a", 4097), outer + "/x", "gone/x", "x/y/z",
	} {
		for _, kind := range kinds {
			if err := declareAs(s, kind, path); !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%s %.40q: %v", kind, path, err)
			}
		}
	}
	for _, kind := range []manifest.Kind{manifest.KindDir, manifest.KindFile} {
		if err := declareAs(s, kind, "d/"+strings.Repeat(string(kind[0]), 256)); !errors.Is(err, syscall.ENAMETOOLONG) {
			t.Errorf("%s of 256 bytes: %v", kind, err)
		}
	}
	for _, kind := range []manifest.Kind{manifest.KindFile, manifest.KindLink} {
		if err := declareAs(s, kind, ""); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s as the root: %v", kind, err)
		}
	}
	must(t, s.Finish(t.Context()))
	got, _ := paths(t, outer, SourceOptions{})
	wantPaths(t, got, "/", "to/", "to/d/")
}

// TestHostileKinds declares every path as two kinds, and something beneath it.
func TestHostileKinds(t *testing.T) {
	for _, first := range kinds {
		for _, second := range kinds {
			s := must2(NewSink(filepath.Join(t.TempDir(), "to"), SinkOptions{}))
			must(t, declareAs(s, first, "x"))
			err := declareAs(s, second, "x")
			if !errors.Is(err, core.ErrInvalid) && !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s, then %s: %v", first, second, err)
			}
			err = declareAs(s, second, "x/below")
			if (first == manifest.KindDir) != (err == nil) || err != nil && !errors.Is(err, core.ErrInvalid) && !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s below a %s: %v", second, first, err)
			}
			must(t, s.Abort())
		}
	}
	s := must2(NewSink(filepath.Join(t.TempDir(), "to"), SinkOptions{}))
	open := must2(s.File([]byte("x"), manifest.Entry{Kind: "file"}))
	for _, kind := range kinds {
		for _, path := range []string{"x", "x/y"} {
			if err := declareAs(s, kind, path); !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%s %s, beside an open file: %v", kind, path, err)
			}
		}
	}
	must(t, open.Commit())
	must(t, s.Dir(nil, dirEntry))
	if err := s.Dir(nil, dirEntry); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a second root: %v", err)
	}
	must(t, s.Abort())
}

func TestHostileSingle(t *testing.T) {
	outer := t.TempDir()
	s := must2(NewSink(filepath.Join(outer, "to"), SinkOptions{Single: true}))
	must(t, s.Dir(nil, manifest.Entry{Kind: "dir"}))
	if err := put(s, "../x", ""); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("out: %v", err)
	}
	for _, kind := range kinds {
		if err := declareAs(s, kind, "d/x"); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("below: %v", err)
		}
	}
	for _, kind := range []manifest.Kind{manifest.KindDir, manifest.KindLink} {
		if err := declareAs(s, kind, "x"); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("single %s: %v", kind, err)
		}
	}
	must(t, put(s, "any name", "one"))
	if err := put(s, "another", "two"); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a second: %v", err)
	}
	must(t, s.Finish(t.Context()))
	got, _ := paths(t, outer, SourceOptions{})
	wantPaths(t, got, "/", "to")
	if info := must2(os.Stat(outer)); info.Mode().Perm() == 0 {
		t.Error("the directory above got the mode of the manifest's root")
	}
}

func TestHostileEntries(t *testing.T) {
	to := filepath.Join(t.TempDir(), "to")
	var problems []string
	s := must2(NewSink(to, SinkOptions{Skip: func(p Problem) { problems = append(problems, string(p.Path)) }}))
	must(t, s.Dir(nil, manifest.Entry{Kind: "dir", Mode: 0o7755, Mtime: 5}))
	must(t, s.Dir([]byte("d"), manifest.Entry{Kind: "dir", Mode: 1<<63 | 0o7777, Mtime: -1 << 63}))
	p := must2(s.File([]byte("f"), manifest.Entry{Kind: "file", Mode: 1<<63 | 0o7777, Mtime: 1<<63 - 1}))
	must(t, p.Commit())
	p = must2(s.File([]byte("n"), manifest.Entry{Kind: "file", Mode: 0o600, Nsec: 1 << 63}))
	must(t, p.Commit())
	must(t, s.Link([]byte("l"), manifest.Entry{Kind: "link"}))
	must(t, s.Link([]byte("m"), manifest.Entry{Kind: "link", Target: []byte("a\x00b")}))
	huge := must2(s.File([]byte("huge"), manifest.Entry{Kind: "file", Size: 1<<64 - 1}))
	must2(huge.Write([]byte("x")))
	if err := huge.Commit(); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("huge: %v", err)
	}
	must(t, s.Finish(t.Context()))
	wantPaths(t, problems, "f", "n", "l", "m", "d")
	for path, want := range map[string]fs.FileMode{"": fs.ModeDir | fs.ModeSticky | 0o755, "d": fs.ModeDir | fs.ModeSticky | 0o777, "f": 0o777} {
		if got := must2(os.Stat(filepath.Join(to, path))).Mode(); got != want {
			t.Errorf("%q: mode %v, want %v", path, got, want)
		}
	}
}

// TestTaken is what a disk that takes no notice of case does: a name is there
// that nobody declared.
func TestTaken(t *testing.T) {
	to := filepath.Join(t.TempDir(), "to")
	var problems []string
	s := must2(NewSink(to, SinkOptions{Skip: func(p Problem) { problems = append(problems, p.Error()) }}))
	late := must2(s.File([]byte("late"), manifest.Entry{Kind: "file"}))
	must(t, s.Link([]byte("late-link"), manifest.Entry{Kind: "link", Target: []byte("x")}))
	grow(t, to, "f file 644 first", "f dir/in 644 first", "f late 644 first", "f late-link 644 first", "l link nowhere")
	for _, kind := range kinds {
		for _, path := range []string{"file", "dir", "link"} {
			err := declareAs(s, kind, path)
			if !errors.Is(err, fs.ErrExist) && !(errors.Is(err, core.ErrInvalid) && kind != manifest.KindDir) {
				t.Errorf("%s %s: %v", kind, path, err)
			}
		}
	}
	// What is below a directory that was not made must not be merged into another.
	for _, err := range []error{put(s, "dir/new", "x"), s.Dir([]byte("dir/sub"), dirEntry), put(s, "dir/sub/new", "x"), declareAs(s, "link", "dir/l")} {
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("below: %v", err)
		}
	}
	if err := late.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("late: %v", err)
	}
	must(t, s.Finish(t.Context()))
	if len(problems) != 1 || !strings.HasPrefix(problems[0], `"late-link": make symlink`) {
		t.Errorf("problems: %q", problems)
	}
	got, _ := paths(t, to, SourceOptions{})
	wantPaths(t, got, "/", "dir/", "dir/in", "file", "late", "late-link", "link")
	for _, path := range []string{"file", "dir/in", "late", "late-link"} {
		if text := must2(os.ReadFile(filepath.Join(to, path))); string(text) != "first" {
			t.Errorf("%s was overwritten: %q", path, text)
		}
	}
}

// TestParallel restores two names at once that are one: only one may win.
func TestParallel(t *testing.T) {
	to := filepath.Join(t.TempDir(), "to")
	s := must2(NewSink(to, SinkOptions{}))
	must(t, s.Dir([]byte("d"), dirEntry))
	var wg sync.WaitGroup
	errs := make([]error, 64)
	for i := range errs {
		wg.Go(func() { errs[i] = put(s, fmt.Sprintf("d/%d", i/2), fmt.Sprint(i)) })
	}
	wg.Wait()
	for i := 0; i < len(errs); i += 2 {
		a, b := errs[i], errs[i+1]
		if (a == nil) == (b == nil) {
			t.Fatalf("%d: %v, %v", i/2, a, b)
		}
		winner := i
		if a != nil {
			winner = i + 1
		}
		if text := must2(os.ReadFile(filepath.Join(to, "d", fmt.Sprint(i/2)))); string(text) != fmt.Sprint(winner) {
			t.Errorf("%d: %q, want %d", i/2, text, winner)
		}
	}
	must(t, s.Finish(t.Context()))
	if names := must2(os.ReadDir(filepath.Join(to, "d"))); len(names) != len(errs)/2 {
		t.Errorf("%d names", len(names))
	}
}

// TestSwappedDuringRestore: somebody puts symlinks in the place of directories.
func TestSwappedDuringRestore(t *testing.T) {
	outer := t.TempDir()
	outside := filepath.Join(outer, "outside")
	must(t, os.Mkdir(outside, 0o755))
	for name, target := range map[string]string{"absolute": outside, "relative": "../outside", "up": ".."} {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(outer, name)
			s := must2(NewSink(to, SinkOptions{}))
			for _, path := range []string{"a", "a/b", "c", "c/d"} {
				must(t, s.Dir([]byte(path), dirEntry))
			}
			open := must2(s.File([]byte("a/b/open"), manifest.Entry{Kind: "file"}))
			must(t, s.Link([]byte("a/link"), manifest.Entry{Kind: "link", Target: []byte("x")}))
			must(t, os.Rename(filepath.Join(to, "a"), filepath.Join(to, "moved")))
			must(t, os.Symlink(target, filepath.Join(to, "a")))
			must(t, os.RemoveAll(filepath.Join(to, "c/d")))
			must(t, os.Symlink(filepath.Join("..", target), filepath.Join(to, "c/d")))
			for _, err := range []error{put(s, "a/x", ""), put(s, "a/b/x", ""), put(s, "c/d/x", ""), s.Dir([]byte("a/e"), dirEntry), s.Dir([]byte("c/d/e"), dirEntry)} {
				if err == nil {
					t.Error("followed the symlink")
				}
			}
			must(t, open.Commit()) // into the directory that it began in
			must(t, s.Finish(t.Context()))
			if _, err := os.Lstat(filepath.Join(to, "moved/b/open")); err != nil {
				t.Error(err)
			}
			if info := must2(os.Stat(outside)); info.ModTime().Unix() == 1 {
				t.Error("the time of a directory outside was set")
			}
		})
	}
	got, _ := paths(t, outside, SourceOptions{})
	wantPaths(t, got, "/")
	must(t, os.RemoveAll(filepath.Join(outer, "outside")))
	if left := must2(filepath.Glob(filepath.Join(outer, "*"))); len(left) != 3 {
		t.Errorf("%q", left)
	}
}

// TestSwapRace swaps a directory back and forth as fast as it can.
func TestSwapRace(t *testing.T) {
	outer := t.TempDir()
	outside := filepath.Join(outer, "outside")
	to := filepath.Join(outer, "to")
	grow(t, outer, "d outside", "f outside/0 600 untouched")
	setMtime(t, filepath.Join(outside, "0"), 99, 0)
	s := must2(NewSink(to, SinkOptions{}))
	must(t, s.Dir([]byte("a"), dirEntry))
	must(t, os.Symlink(outside, filepath.Join(to, "link")))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = os.Rename(filepath.Join(to, "a"), filepath.Join(to, "b"))
			_ = os.Rename(filepath.Join(to, "link"), filepath.Join(to, "a"))
			_ = os.Rename(filepath.Join(to, "a"), filepath.Join(to, "link"))
			_ = os.Rename(filepath.Join(to, "b"), filepath.Join(to, "a"))
		}
	})
	done := 0
	for i := 0; done < 200 && i < 100_000; i++ {
		if s.Dir(fmt.Appendf(nil, "a/d%d", i), dirEntry) == nil {
			done++
		}
		if put(s, fmt.Sprintf("a/%d", i), "x") == nil {
			done++
		}
	}
	finished := s.Finish(t.Context())
	cancel()
	wg.Wait()
	must(t, finished)
	if done < 200 {
		t.Errorf("only %d entries were restored", done)
	}
	got, _ := paths(t, outside, SourceOptions{})
	wantPaths(t, got, "/", "0")
	info := must2(os.Stat(filepath.Join(outside, "0")))
	if text := must2(os.ReadFile(filepath.Join(outside, "0"))); string(text) != "untouched" || info.ModTime().Unix() != 99 || info.Mode() != 0o600 {
		t.Errorf("%q, %v", text, info)
	}
}

func TestDeepTree(t *testing.T) {
	to := filepath.Join(t.TempDir(), "to")
	s := must2(NewSink(to, SinkOptions{}))
	depth, name := 0, strings.Repeat("d", 15)
	for ; ; depth++ {
		err := s.Dir([]byte(strings.Repeat(name+"/", depth)+name), dirEntry)
		if errors.Is(err, core.ErrInvalid) {
			break
		}
		must(t, err)
	}
	must(t, s.Finish(t.Context()))
	if depth != manifest.PathSizeMax/16 {
		t.Errorf("stopped at %d", depth)
	}
	n := 0
	for item, err := range must2(NewSource(to, SourceOptions{Skip: func(p Problem) { t.Error(p) }})).Items(t.Context()) {
		must(t, err)
		if n++; len(item.Path) > 0 && item.Entry.Mtime != 1 {
			t.Fatalf("at depth %d: time %d", n, item.Entry.Mtime)
		}
	}
	if n != depth+1 {
		t.Errorf("%d of %d directories", n, depth+1)
	}
}

func FuzzSink(f *testing.F) {
	f.Add([]byte("d a\nf a/b\nl a/c\nd ..\nf ../x\nl /x\nf a/c/d\nd a/b"))
	f.Add([]byte("l a\nf a/x\nd a\nf a\nd a/b\nf a/b/../../../x"))
	f.Add([]byte("d x\nd x/y\nl x/y/z\nd \nf x/\x00\nf x/\xff"))
	f.Fuzz(func(t *testing.T, script []byte) {
		outer := t.TempDir()
		to := filepath.Join(outer, "to")
		s := must2(NewSink(to, SinkOptions{}))
		made := 0
		for line := range bytes.SplitSeq(script, []byte{'\n'}) {
			kind, path, _ := bytes.Cut(line, []byte{' '})
			as := map[string]manifest.Kind{"d": manifest.KindDir, "f": manifest.KindFile, "l": manifest.KindLink}[string(kind)]
			if as != "" && declareAs(s, as, string(path)) == nil && len(path) > 0 {
				made++
			}
		}
		must(t, s.Finish(t.Context()))
		if names := must2(os.ReadDir(outer)); len(names) != 1 {
			t.Fatalf("outside: %v", names)
		}
		got, skipped := paths(t, to, SourceOptions{Exclude: []string{"!*"}})
		if len(got) != made+1 || len(skipped) > 0 {
			t.Fatalf("%d declared, %q stand there, %q skipped", made, got, skipped)
		}
	})
}
