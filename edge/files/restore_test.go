//go:build unix

package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

func TestRestoreRealTree(t *testing.T) {
	from := filepath.Join(goSource(t), "net")
	to := filepath.Join(t.TempDir(), "to")
	wantNoProblems(t, restore(t, from, to, SourceOptions{}))
	wantEqual(t, from, to)
	out, err := exec.Command("diff", "-r", "--no-dereference", from, to).CombinedOutput() // not by our own word alone
	if err != nil {
		t.Errorf("diff: %v\n%s", err, out)
	}
}

// oddTree has one of everything that a tree may hold.
func oddTree(t *testing.T) string {
	dir := tree(t, "d empty", "f nothing", "f d/full 600 text", "f bin/run 4755 #!", "d drop 3777", "d locked", "f locked/in 400 x",
		"d locked/deep", "f locked/deep/er 444 y", "f no/read 644 z", "l dangling gone/away", "l absolute /etc/passwd", "l up ../../..", "l self self",
		"l d/dir-link ../locked", "f \xff\xfe\x80 644 bytes", "l l\xff \xfe\xff", "f "+strings.Repeat("n", 255)+" 644 long", "f new\nline 644 x",
		"f "+strings.Repeat("é", 127)+" 644 long", "f .grangeignore", "f ~$%\\weird:*?<>| 644 x", "f -rf", "d "+strings.Repeat("m", 255))
	long := filepath.Join(dir, strings.Repeat("m", 255), strings.Repeat("k", 255))
	must(t, os.WriteFile(long, []byte("below"), 0o644))
	must(t, os.Link(filepath.Join(dir, "d/full"), filepath.Join(dir, "hard")))
	sparse := must2(os.Create(filepath.Join(dir, "sparse")))
	must2(sparse.WriteAt([]byte("end"), 3<<20))
	must(t, sparse.Close())
	setMtime(t, long, 1, 0)
	setMtime(t, filepath.Join(dir, "nothing"), -62_135_596_799+53_000_000_000, 999_999_999)
	setMtime(t, filepath.Join(dir, "d/full"), 1_234_567_890, 123_456_789)
	setMtime(t, filepath.Join(dir, "empty"), 0, 1)
	setMtime(t, filepath.Join(dir, "d"), 86_400, 5)
	must(t, os.Chmod(filepath.Join(dir, "no"), 0o711))
	must(t, os.Chmod(filepath.Join(dir, "locked/deep"), 0o555))
	must(t, os.Chmod(filepath.Join(dir, "locked"), 0o555))
	must(t, os.Chmod(dir, 0o550))
	setMtime(t, dir, 42, 42)
	return dir
}

// unlock lets the test's directory be removed by those who are not root.
func unlock(t *testing.T, dirs ...string) {
	t.Cleanup(func() {
		for _, dir := range dirs {
			_ = os.Chmod(dir, 0o700)
			_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
				if d != nil && d.IsDir() {
					_ = os.Chmod(path, 0o700)
				}
				return nil
			})
		}
	})
}

func TestRestoreOddTree(t *testing.T) {
	from := oddTree(t)
	to := filepath.Join(t.TempDir(), "to")
	unlock(t, from, to)
	wantNoProblems(t, restore(t, from, to, SourceOptions{}))
	wantEqual(t, from, to)
	for path, want := range map[string]fs.FileMode{
		"bin/run": 0o755, "drop": fs.ModeDir | fs.ModeSticky | 0o777, "locked": fs.ModeDir | 0o555, "no": fs.ModeDir | 0o711, "locked/in": 0o400, "": fs.ModeDir | 0o550,
	} {
		if got := must2(os.Stat(filepath.Join(to, path))).Mode(); got != want {
			t.Errorf("%q: mode %v, want %v", path, got, want)
		}
	}
	if target := must2(os.Readlink(filepath.Join(to, "absolute"))); target != "/etc/passwd" {
		t.Errorf("absolute: %q", target)
	}
	if got := must2(os.Stat(filepath.Join(to, "d"))).ModTime(); got.Unix() != 86_400 || got.Nanosecond() != 5 {
		t.Errorf("d: time %v", got)
	}
}

// TestUnprivileged runs itself again without root's rights, which no mode stops.
func TestUnprivileged(t *testing.T) {
	if os.Getuid() == 0 {
		dir := must2(os.MkdirTemp("", "files-test-"))
		defer os.RemoveAll(dir)
		must(t, os.Chmod(dir, 0o777))
		binary := filepath.Join(dir, "files.test")
		must(t, os.WriteFile(binary, must2(os.ReadFile(must2(os.Executable()))), 0o755))
		cmd := exec.Command(binary, "-test.v", "-test.run=^(TestUnprivileged|TestRestoreOddTree)$")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TMPDIR="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		if err != nil || strings.Count(string(out), "--- PASS: TestUnprivileged") != 1 || strings.Count(string(out), "--- PASS: TestRestoreOddTree") != 1 {
			t.Fatalf("as uid 65534: %v\n%s", err, out)
		}
		return
	}
	from := tree(t, "f a 644 a", "f closed 000 x", "f shut/x", "f listed/x", "f z 644 z", "f own/CACHEDIR.TAG 000 x", "f own/y", "f ig/.grangeignore 000 *", "f ig/x")
	to := filepath.Join(t.TempDir(), "to")
	unlock(t, from, to)
	must(t, os.Chmod(filepath.Join(from, "shut"), 0o000))
	must(t, os.Chmod(filepath.Join(from, "listed"), 0o444))
	var denied []string
	for _, p := range restore(t, from, to, SourceOptions{}) {
		if !errors.Is(p, fs.ErrPermission) {
			t.Error(p)
		}
		denied = append(denied, string(p.Path))
	}
	wantPaths(t, denied, "closed", "ig/.grangeignore", "ig/.grangeignore", "listed", "own/CACHEDIR.TAG", "shut")
	for path, want := range map[string]fs.FileMode{"shut": 0o000, "listed": 0o444, "z": 0o644, "own/y": 0o644, "ig/x": 0o644} {
		if info, err := os.Lstat(filepath.Join(to, path)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", path, info, err)
		}
	}
	if _, err := NewSource(filepath.Join(from, "shut", "x"), SourceOptions{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("below shut: %v", err)
	}
	for _, err := range must2(NewSource(filepath.Join(from, "shut"), SourceOptions{})).Items(t.Context()) {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("shut: %v", err)
		}
	}
	// A destination that somebody else owns takes neither mode nor time.
	var problems []string
	sink := must2(NewSink(filepath.Join(to, "again"), SinkOptions{Skip: func(p Problem) { problems = append(problems, p.Error()) }}))
	must(t, sink.Dir([]byte("d"), manifest.Entry{Kind: "dir", Mode: 0o700, Mtime: 1 << 60}))
	must(t, sink.Link([]byte("l"), manifest.Entry{Kind: "link", Target: []byte("x")}))
	must(t, os.Chmod(filepath.Join(to, "again"), 0o500))
	must(t, sink.Finish(context.Background()))
	if len(problems) != 2 || !strings.Contains(problems[0], `"l": make symlink`) || !strings.Contains(problems[1], `"d": set time`) {
		t.Errorf("problems: %q", problems)
	}
}

func TestDestination(t *testing.T) {
	dir := tree(t, "d empty 755", "f full/x", "f file", "l link empty", "l dangling gone")
	for dest, want := range map[string]error{
		"empty": nil, "new": nil, "link": nil, "full": fs.ErrExist, "file": fs.ErrExist, "no/new": fs.ErrNotExist, "dangling": fs.ErrNotExist,
	} {
		sink, err := NewSink(filepath.Join(dir, dest), SinkOptions{})
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", dest, err, want)
		}
		if err == nil {
			must(t, sink.Abort())
		}
	}
	for dest, want := range map[string]error{"empty": fs.ErrExist, "file": fs.ErrExist, "dangling": fs.ErrExist, "no/new": fs.ErrNotExist} {
		if _, err := NewSink(filepath.Join(dir, dest), SinkOptions{Single: true}); !errors.Is(err, want) {
			t.Errorf("single %s: %v, want %v", dest, err, want)
		}
	}
	got, _ := paths(t, dir, SourceOptions{})
	wantPaths(t, got, "/", "dangling", "empty/", "file", "full/", "full/x", "link")
}

func put(s *Sink, path, text string) error {
	p, err := s.File([]byte(path), manifest.Entry{Kind: "file", Mode: 0o644, Size: uint64(len(text))})
	if err != nil {
		return err
	}
	if _, err := p.Write([]byte(text)); err != nil {
		return errors.Join(err, p.Abort())
	}
	return p.Commit()
}

var dirEntry = manifest.Entry{Kind: "dir", Mode: 0o755, Mtime: 1}

func TestPartSize(t *testing.T) {
	to := filepath.Join(t.TempDir(), "to")
	s := must2(NewSink(to, SinkOptions{}))
	entry := manifest.Entry{Kind: "file", Mode: 0o644, Size: 5}
	p := must2(s.File([]byte("short"), entry))
	must2(p.Write([]byte("four")))
	if err := p.Commit(); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("short: %v", err)
	}
	if err := p.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("twice: %v", err)
	}
	must(t, p.Abort())
	p = must2(s.File([]byte("long"), entry))
	must2(p.Write([]byte("four")))
	if n, err := p.Write([]byte("56")); n != 0 || !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("long: %d, %v", n, err)
	}
	must(t, p.Abort())
	must(t, p.Abort())
	must(t, put(s, "short", "now it is whole"))
	must(t, s.Finish(t.Context()))
	got, _ := paths(t, to, SourceOptions{})
	wantPaths(t, got, "/", "short")
}

func TestAbort(t *testing.T) {
	dir := t.TempDir()
	to := filepath.Join(dir, "to")
	s := must2(NewSink(to, SinkOptions{}))
	for _, path := range []string{"a", "a/b", "a/c", "d", "d/e"} {
		must(t, s.Dir([]byte(path), dirEntry))
	}
	must(t, put(s, "a/b/kept", "x"))
	must(t, s.Link([]byte("link"), manifest.Entry{Kind: "link", Target: []byte("x")}))
	p := must2(s.File([]byte("d/e/"+strings.Repeat("n", 255)), manifest.Entry{Kind: "file", Size: 3}))
	must2(p.Write([]byte("12")))
	if names := must2(os.ReadDir(filepath.Join(to, "d/e"))); len(names) != 1 || !strings.HasPrefix(names[0].Name(), ".grange-") || !strings.HasSuffix(names[0].Name(), ".part") {
		t.Errorf("meanwhile: %v", names)
	}
	if err := s.Finish(t.Context()); !errors.Is(err, core.ErrPartly) {
		t.Errorf("finish with a file open: %v", err)
	}
	must(t, s.Abort())
	got, _ := paths(t, to, SourceOptions{})
	wantPaths(t, got, "/", "a/", "a/b/", "a/b/kept")
	if err := p.Commit(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("commit: %v", err)
	}
	for _, err := range []error{s.Dir([]byte("z"), dirEntry), s.Link([]byte("z"), dirEntry), put(s, "z", ""), s.Finish(t.Context()), s.Dir(nil, dirEntry)} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	}

	s = must2(NewSink(filepath.Join(dir, "gone"), SinkOptions{}))
	must(t, s.Dir([]byte("a"), dirEntry))
	must(t, s.Abort())
	single := must2(NewSink(filepath.Join(dir, "gone2"), SinkOptions{Single: true}))
	must2(single.File([]byte("x"), manifest.Entry{Kind: "file", Size: 3}))
	must(t, single.Abort())
	must(t, os.Mkdir(filepath.Join(dir, "was"), 0o700))
	must(t, must2(NewSink(filepath.Join(dir, "was"), SinkOptions{})).Abort())
	names := must2(filepath.Glob(filepath.Join(dir, "*")))
	if !slices.Equal(names, []string{to, filepath.Join(dir, "was")}) {
		t.Errorf("left: %q", names)
	}
	if hidden := must2(filepath.Glob(filepath.Join(dir, ".*"))); len(hidden) != 0 {
		t.Errorf("left: %q", hidden)
	}
}

func TestFinishEnded(t *testing.T) {
	to := filepath.Join(t.TempDir(), "to")
	s := must2(NewSink(to, SinkOptions{}))
	must(t, put(s, "x", "x"))
	must(t, s.Link([]byte("y"), manifest.Entry{Kind: "link", Target: []byte("x")}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Finish(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	got, _ := paths(t, to, SourceOptions{})
	wantPaths(t, got, "/", "x")
}
