package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/erasure"
)

// stamped is a tree whose files have stamps, and which counts what is read of it.
type stamped struct {
	tree
	stamps map[string]Stamp
	opened []string
}

// newStamped stamps all files as changed at a time in seconds.
func newStamped(tr tree, at int64) *stamped {
	s := &stamped{tree: tr, stamps: map[string]Stamp{}}
	for name, b := range tr {
		s.stamps[name] = Stamp{Size: uint64(len(b)), Mtime: at, Ctime: at * 1e9, Inode: 1}
	}
	return s
}

func (s *stamped) Items(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for item, err := range s.tree.Items(ctx) {
			if open := item.Open; open != nil {
				name := string(item.Path)
				item.Stamp = s.stamps[name]
				item.Open = func() (File, error) {
					s.opened = append(s.opened, name)
					f, err := open()
					if err != nil {
						return nil, err
					}
					f.(*memFile).stamp = s.stamps[name]
					return f, nil
				}
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// read puts the tree and returns which files were opened.
func (f *fixture) read(s *stamped) []string {
	f.t.Helper()
	s.opened = nil
	f.put(s)
	return s.opened
}

func wantRead(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q were read, want %q", what, got, want)
	}
}

// files counts the records of what files were.
func (f *fixture) files() int {
	n := 0
	for range f.books.Scan(filePrefix, nil) {
		n++
	}
	return n
}

func TestOnlyWhatHasChangedIsReadAgain(t *testing.T) {
	f := newFixture(t, 2)
	now := f.v.c.Clock.Now().Unix()
	tr := tree{"a": noise(1, 2<<20), "d/": nil, "d/b": []byte("b"), "d.txt": []byte("b"), "empty": {}, "link -> a": nil}
	s := newStamped(tr, now-100)
	wantRead(t, "first", f.read(s), "a", "d/b", "d.txt", "empty")
	f.open()
	wantRead(t, "again", f.read(s))
	f.sameTree(tr)

	for name, change := range map[string]func(*Stamp){
		"size":  func(s *Stamp) { s.Size++ },
		"mtime": func(s *Stamp) { s.Mtime-- },
		"nsec":  func(s *Stamp) { s.Nsec++ },
		"ctime": func(s *Stamp) { s.Ctime++ },
		"inode": func(s *Stamp) { s.Inode++ },
		"dev":   func(s *Stamp) { s.Dev++ },
	} {
		stamp := s.stamps["d/b"]
		change(&stamp)
		s.stamps["d/b"] = stamp
		if name == "size" { // it is what is read that counts
			tr["d/b"] = []byte("bb")
		}
		wantRead(t, name, f.read(s), "d/b")
		wantRead(t, name+", again", f.read(s))
		f.sameTree(tr)
	}
	delete(tr, "d/b")
	delete(tr, "empty")
	wantRead(t, "less", f.read(s))
	if f.files() != 2 {
		t.Errorf("%d files are remembered, want those 2 that are there", f.files())
	}
	f.sameTree(tr)
	f.m.leased = map[core.Score]map[core.DID]bool{} // all holders have lost everything
	wantRead(t, "what is held no more", f.read(s), "a", "d.txt")
	f.sameTree(tr)
}

func TestFilesThatMayBeChangingAreReadAgain(t *testing.T) {
	f := newFixture(t, 2)
	now := f.v.c.Clock.Now().Unix()
	s := newStamped(tree{"fresh": []byte("1"), "future": []byte("2"), "old": []byte("3"), "put back": []byte("4"), "unknown": []byte("5")}, now-3)
	s.stamps["fresh"] = Stamp{Size: 1, Mtime: now - 2, Ctime: (now - 2) * 1e9}
	s.stamps["future"] = Stamp{Size: 1, Mtime: now + 1e6, Ctime: (now - 9) * 1e9}
	s.stamps["put back"] = Stamp{Size: 1, Mtime: now - 1e6, Ctime: now * 1e9}
	s.stamps["unknown"] = Stamp{}
	f.read(s)
	want := []string{"fresh", "future", "put back", "unknown"}
	wantRead(t, "again", f.read(s), want...)
	if f.files() != 1 {
		t.Errorf("%d files are remembered, want 1", f.files())
	}
}

func TestFileOfManyRecordsIsRemembered(t *testing.T) {
	f := newFixture(t, 2)
	c := f.v.newFileCache("docs")
	stamp := Stamp{Size: 1, Mtime: 5, Ctime: 5}
	for _, n := range []int{0, 1, 1024, 1025, 5000, 2048, 0} {
		if _, _, err := c.find([]byte("a/file")); err != nil {
			t.Fatal(err)
		}
		want := cachedFile{stamp, noise(1, n*core.ScoreSize)}
		if err := errors.Join(c.set([]byte("a/file"), want), c.end()); err != nil {
			t.Fatal(err)
		}
		c = f.v.newFileCache("docs")
		if _, known, err := c.find([]byte("a")); known || err != nil {
			t.Errorf("%d chunks: the directory: %v, %v", n, known, err)
		}
		got, known, err := c.find([]byte("a/file"))
		if err != nil || !known || got.stamp != stamp || !bytes.Equal(got.plains, want.plains) {
			t.Errorf("%d chunks: %d bytes, %v, %v", n, len(got.plains), known, err)
		}
		if records := 1 + max(0, n-1)/1024; f.files() != records {
			t.Errorf("%d chunks in %d records, want %d", n, f.files(), records)
		}
		c = f.v.newFileCache("docs")
	}
}

func TestNamesDoNotShareWhatIsRemembered(t *testing.T) {
	f := newFixture(t, 2)
	s := newStamped(tree{"a": []byte("a")}, 5)
	for _, name := range []string{"docs", "docs2", "doc"} {
		for range 2 {
			if _, err := f.v.Put(t.Context(), name, s, PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	wantRead(t, "three names", s.opened, "a", "a", "a")
	if f.files() != 3 {
		t.Errorf("%d records, want 3", f.files())
	}
}

func TestBrokenRecordOfAFile(t *testing.T) {
	f := newFixture(t, 2)
	tr := tree{"a": noise(1, 100), "b": noise(2, 100)}
	s := newStamped(tr, 5)
	f.put(s)
	good := map[string][]byte{}
	for r := range f.books.Scan(filePrefix, nil) {
		good[string(r.Key)] = r.Value
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 { // whatever stands there, what is stored is right or read anew
		for key, value := range good {
			bad := bytes.Clone(value)
			if at := r.IntN(len(bad)); at < len(bad)-core.ScoreSize { // a score that is another file's would be believed
				bad[at] ^= 1 << r.IntN(8)
			} else {
				bad = bad[:at]
			}
			if err := f.books.Apply(core.Change{Key: []byte(key), Value: bad}); err != nil {
				t.Fatal(err)
			}
		}
		f.put(s)
	}
	f.sameTree(tr)
}

func TestPutThatFindsNothingChanged(t *testing.T) {
	f := newFixture(t, 2)
	s := newStamped(tree{"a": noise(1, 1<<20), "b": []byte("b")}, 5)
	put := func(want uint64, unchanged bool) *Put {
		t.Helper()
		out, err := f.v.Put(t.Context(), "docs", s, PutOptions{SkipSame: true})
		if err != nil || out.Version.Seq != want || out.Unchanged != unchanged {
			t.Fatalf("%v, version %d, unchanged %v; want version %d, %v", err, out.Version.Seq, out.Unchanged, want, unchanged)
		}
		return out
	}
	put(1, false)
	if out := put(1, true); out.Worth.Survives != 1 || out.Placed != out.Wanted || out.Same != 1<<20+1 {
		t.Errorf("%+v", out)
	}
	s.stamps["b"] = Stamp{Size: 1, Mtime: 6} // touched, and the same
	put(1, true)
	s.tree["b"] = []byte("c")
	s.stamps["b"] = Stamp{Size: 1, Mtime: 7}
	put(2, false)
	f.put(s) // a plain put makes a version all the same
	put(3, true)
	f.home.deaf = true
	if out, err := f.v.Put(t.Context(), "docs", s, PutOptions{SkipSame: true}); out == nil || !errors.Is(err, core.ErrPartly) {
		t.Errorf("nobody can be told: %v, %v", out, err)
	}
	f.home.deaf = false
	put(3, true)
	f.m.homes[did(2)] = &fakeHome{pieces: map[core.Score][]byte{}, room: -1}
	f.m.homes[did(0)].away = true
	if out, err := f.v.Put(t.Context(), "docs", s, PutOptions{SkipSame: true}); err == nil || out == nil || !out.Unchanged {
		t.Errorf("a holder that cannot be told: %v, %v", out, err)
	}
}

// TestBrokenPutIsNotReadAgain breaks a put off again and again: what the broken ones have placed
// is not read by the last.
func TestBrokenPutIsNotReadAgain(t *testing.T) {
	f := newFixture(t, 2)
	tr := tree{}
	for i := range 40 {
		tr[fmt.Sprintf("%02d", i)] = noise(uint64(i), 1<<20)
	}
	s := newStamped(tr, 5)
	spread := PutOptions{Spread: erasure.Shape{K: 2, M: 2}}
	for n := range 30 {
		ctx, cancel := context.WithCancel(t.Context())
		broken := &stopping{s, 5 + n, cancel}
		_, err := f.v.Put(ctx, "docs", broken, spread)
		cancel()
		if err == nil {
			t.Fatalf("put %d was not broken off", n)
		}
	}
	s.opened = nil
	out, err := f.v.Put(t.Context(), "docs", s, spread)
	if err != nil || out.Version.Seq != 1 {
		t.Fatal(err)
	}
	f.sameTree(tr)
	if len(s.opened) > 30 || slices.Contains(s.opened, "00") { // 34 files were read before; the last of them were on their way
		t.Errorf("%q were read again", s.opened)
	}
}

// stopping ends a context before the nth file.
type stopping struct {
	*stamped
	n    int
	stop context.CancelFunc
}

func (s *stopping) Items(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		left := s.n
		for item, err := range s.stamped.Items(ctx) {
			if left--; left < 0 {
				s.stop()
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// BenchmarkReputUnchanged stores a tree of 100,000 files again that have not changed; its baseline
// reads them all.
func BenchmarkReputUnchanged(b *testing.B) {
	tr := tree{}
	for i := range 100_000 {
		dir := fmt.Sprintf("%03d/", i/100)
		tr[dir] = nil
		tr[fmt.Sprintf("%s%02d", dir, i%100)] = []byte(strings.Repeat(fmt.Sprintf("file %d ", i), 300))
	}
	f := benchFixture(b)
	s := newStamped(tr, 5)
	f.benchPut(b, s)
	for _, c := range []struct {
		name string
		src  Source
	}{{"unchanged", s}, {"baseline", tr}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.v.Put(b.Context(), "docs", c.src, PutOptions{SkipSame: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
