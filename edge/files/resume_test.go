//go:build unix

package files

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

var someID = core.ScoreOf([]byte("what is restored"))

// again is a restore that is cut off and begun again.
type again struct {
	t        *testing.T
	dest     string
	s        *Sink
	problems []string
}

func (a *again) open(id core.Score, single bool) {
	a.t.Helper()
	var err error
	a.s, err = NewSink(a.dest, SinkOptions{ID: id, Single: single, Skip: func(p Problem) { a.problems = append(a.problems, p.Error()) }})
	must(a.t, err)
}

// kill ends the process, as far as its locks go.
func (a *again) kill() {
	a.t.Helper()
	must(a.t, a.s.close())
}

func aFileOf(text string) manifest.Entry {
	return manifest.Entry{Kind: manifest.KindFile, Mode: 0o640, Mtime: 1_600_000_000, Nsec: 5, Size: uint64(len(text))}
}

func aDirOf(mode uint64) manifest.Entry {
	return manifest.Entry{Kind: manifest.KindDir, Mode: mode, Mtime: 1_500_000_000}
}

// file restores one as the vault does: what is found there and right is passed over, up to a
// byte that is wrong. It returns how much that was.
func (a *again) file(path, text string, stop bool) (kept int, err error) {
	e := aFileOf(text)
	if found := a.s.Found([]byte(path), e); found != nil {
		b, err := io.ReadAll(found)
		must(a.t, err)
		must(a.t, found.Close())
		for kept < min(len(b), len(text)) && b[kept] == text[kept] {
			kept++
		}
	}
	p, err := a.s.File([]byte(path), e)
	if err != nil {
		return kept, err
	}
	must(a.t, p.Pass(uint64(kept)))
	rest := text[kept:]
	if stop {
		rest = rest[:len(rest)/2]
	}
	if rest != "" {
		if _, err := p.Write([]byte(rest)); err != nil {
			return kept, errors.Join(err, p.Abort())
		}
	}
	if stop { // it is killed here
		return kept, p.file.Close()
	}
	return kept, p.Commit()
}

func (a *again) want(path, text string, stop bool, wantKept int) {
	a.t.Helper()
	if kept, err := a.file(path, text, stop); err != nil || kept != wantKept {
		a.t.Errorf("%s: %d bytes were there, %v; want %d", path, kept, err, wantKept)
	}
}

func (a *again) names() []string {
	a.t.Helper()
	var out []string
	must(a.t, filepath.WalkDir(a.dest, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(a.dest, path)
		out = append(out, rel)
		return err
	}))
	return out[1:]
}

func TestResume(t *testing.T) {
	a := &again{t: t, dest: filepath.Join(t.TempDir(), "to")}
	unlock(t, a.dest)
	a.open(someID, false)
	must(t, a.s.Dir(nil, aDirOf(0o550)))
	must(t, a.s.Dir([]byte("d"), aDirOf(0o500)))
	a.want("d/whole", "all of it", false, 0)
	a.want("half", "one half, and the other", true, 0)
	must(t, a.s.Link([]byte("link"), manifest.Entry{Kind: manifest.KindLink, Target: []byte("d")}))
	a.kill()
	if len(a.names()) != 4 { // killed: a mark, d, d/whole, the half
		t.Errorf("%q", a.names())
	}

	if _, err := NewSink(a.dest, SinkOptions{ID: core.ScoreOf([]byte("other"))}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("something else goes on with it: %v", err)
	}
	if _, err := NewSink(a.dest, SinkOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("something without a name goes on with it: %v", err)
	}

	// The second gives the directories their modes, but one file cannot be had.
	a.open(someID, false)
	must(t, a.s.Dir(nil, aDirOf(0o550)))
	must(t, a.s.Dir([]byte("d"), aDirOf(0o500)))
	a.want("d/whole", "all of it", false, 9)
	p, err := a.s.File([]byte("half"), aFileOf("one half, and the other"))
	must(t, err)
	must(t, p.Abort())
	must(t, a.s.Link([]byte("link"), manifest.Entry{Kind: manifest.KindLink, Target: []byte("d")}))
	must(t, a.s.Finish(context.Background()))

	a.open(someID, false)
	must(t, a.s.Dir(nil, aDirOf(0o550)))
	must(t, a.s.Dir([]byte("d"), aDirOf(0o500)))
	a.want("d/whole", "all of it", false, 9)
	a.want("half", "one half, and the other", false, 11)
	must(t, a.s.Link([]byte("link"), manifest.Entry{Kind: manifest.KindLink, Target: []byte("d")}))
	must(t, a.s.Finish(context.Background()))
	if got, want := a.names(), []string{"d", "d/whole", "half", "link"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for path, want := range map[string]fs.FileMode{"": fs.ModeDir | 0o550, "d": fs.ModeDir | 0o500, "half": 0o640} {
		if info := must2(os.Stat(filepath.Join(a.dest, path))); info.Mode() != want {
			t.Errorf("%q: mode %v, want %v", path, info.Mode(), want)
		}
	}
	if got := string(must2(os.ReadFile(filepath.Join(a.dest, "half")))); got != "one half, and the other" {
		t.Errorf("%q", got)
	}
	if info := must2(os.Stat(a.dest)); info.ModTime().Unix() != 1_500_000_000 {
		t.Errorf("the root's time is %v", info.ModTime())
	}
	if _, err := NewSink(a.dest, SinkOptions{ID: someID}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a restore that has ended is gone on with: %v", err)
	}
	if len(a.problems) > 0 {
		t.Errorf("%q", a.problems)
	}
}

func TestResumeOfOneFile(t *testing.T) {
	a := &again{t: t, dest: filepath.Join(t.TempDir(), "film")}
	a.open(someID, true)
	a.want("other name", "0123456789", true, 0)
	a.open(someID, true)
	a.want("other name", "0123456789", true, 5)
	must(t, a.s.Abort())
	a.open(core.ScoreOf([]byte("other")), true)
	a.want("other name", "abc", true, 0) // beside the first
	must(t, a.s.Abort())
	a.open(someID, true)
	a.want("other name", "0123456789", false, 7)
	must(t, a.s.Finish(context.Background()))
	if got := string(must2(os.ReadFile(a.dest))); got != "0123456789" {
		t.Errorf("%q", got)
	}
}

// TestResumeOverwritesNothing has somebody put things where a restore is to go on.
// Two that go on with one restore would rename each other's files away.
func TestTwoRestoresToOnePlace(t *testing.T) {
	a := &again{t: t, dest: filepath.Join(t.TempDir(), "to")}
	a.open(someID, false)
	must(t, a.s.Dir(nil, aDirOf(0o700)))
	a.want("half", "one half, and the other", true, 0)
	if _, err := NewSink(a.dest, SinkOptions{ID: someID}); !errors.Is(err, core.ErrBusy) {
		t.Errorf("a second restore of the same: %v", err)
	}
	must(t, a.s.Abort())
	a.open(someID, false)
	must(t, a.s.Dir(nil, aDirOf(0o700)))
	a.want("half", "one half, and the other", false, 11)
	must(t, a.s.Finish(context.Background()))
	if got := a.names(); !slices.Equal(got, []string{"half"}) {
		t.Errorf("%q", got)
	}

	one := &again{t: t, dest: filepath.Join(t.TempDir(), "one")}
	one.open(someID, true)
	first, err := one.s.File([]byte("f"), aFileOf("text"))
	must(t, err)
	two := &again{t: t, dest: one.dest}
	two.open(someID, true)
	if _, err := two.s.File([]byte("f"), aFileOf("text")); !errors.Is(err, core.ErrBusy) {
		t.Errorf("a second restore of the same file: %v", err)
	}
	must(t, two.s.Abort())
	must2(first.Write([]byte("text")))
	must(t, first.Commit())
	must(t, one.s.Finish(context.Background()))
	if got := string(must2(os.ReadFile(one.dest))); got != "text" {
		t.Errorf("%q", got)
	}
}

func TestResumeOverwritesNothing(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.Mkdir(outside, 0o755))
	a := &again{t: t, dest: filepath.Join(t.TempDir(), "to")}
	a.open(someID, false)
	a.want("changed", "as it was", false, 0)
	a.want("rotten", "as it was", false, 0)
	a.want("part", "0123456789", true, 0)
	must(t, os.WriteFile(filepath.Join(a.dest, "changed"), []byte("my own work"), 0o600))
	rotten := filepath.Join(a.dest, "rotten")
	must(t, os.WriteFile(rotten, []byte("as it isn"), 0o600))
	setMtime(t, rotten, 1_600_000_000, 5)
	grow(t, a.dest, "l dir "+outside, "l file "+outside+"/file", "d taken")
	part := filepath.Join(a.dest, a.s.partName("part"))
	must(t, os.Remove(part))
	must(t, os.Symlink(filepath.Join(outside, "part"), part))

	a.kill()
	a.open(someID, false)
	for _, path := range []string{"changed", "rotten", "file", "taken", "part"} {
		if _, err := a.file(path, "as it was", false); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := a.s.Dir([]byte("dir"), aDirOf(0o755)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a symlink for a directory: %v", err)
	}
	if found := a.s.Found([]byte("dir/x"), aFileOf("x")); found != nil {
		t.Error("found behind a symlink that leads out")
	}
	if found := a.s.Found([]byte("../outside"), aFileOf("x")); found != nil {
		t.Error("found outside")
	}
	if _, err := a.file("dir/x", "x", false); err == nil {
		t.Error("written behind a symlink")
	}
	must(t, a.s.Finish(context.Background()))
	if got := string(must2(os.ReadFile(filepath.Join(a.dest, "changed")))); got != "my own work" {
		t.Errorf("%q", got)
	}
	if entries := must2(os.ReadDir(outside)); len(entries) > 0 {
		t.Errorf("%v was written outside", entries)
	}
}

func TestAbortOfNothingLeavesNothing(t *testing.T) {
	a := &again{t: t, dest: filepath.Join(t.TempDir(), "to")}
	a.open(someID, false)
	must(t, a.s.Dir([]byte("d"), aDirOf(0o755)))
	p, err := a.s.File([]byte("d/f"), aFileOf("text"))
	must(t, err)
	must(t, p.Abort())
	must(t, a.s.Abort())
	if _, err := os.Lstat(a.dest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %q", err, a.names())
	}
}
