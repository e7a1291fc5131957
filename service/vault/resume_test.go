package vault

import (
	"bytes"
	"io"
	"testing"

	"github.com/grange-grid/grange/core"
)

func TestRestoreFetchesWhatIsNotThere(t *testing.T) {
	f := newFixture(t, 2)
	files := someTree()
	version := f.put(files).Version
	restore := func(s *shelf, wantKept int) int {
		t.Helper()
		f.open()
		before := f.m.fetched
		out, err := f.v.Restore(t.Context(), version, RestoreOptions{}, func(bool, core.Score) (Sink, error) { return s, nil })
		if err != nil || int(out.Kept) < wantKept-1<<20 || int(out.Kept) > wantKept {
			t.Fatalf("%+v, %v; want %d kept", out, err, wantKept)
		}
		if out.Files != int64(version.Files) || out.Bytes != int64(version.Bytes) {
			t.Errorf("%d files of %d bytes, want %d of %d", out.Files, out.Bytes, version.Files, version.Bytes)
		}
		if diff := diffTrees(files, s.got); diff != "" {
			t.Error(diff)
		}
		return f.m.fetched - before
	}
	all := restore(&shelf{got: tree{}}, 0)
	left, size := tree{}, 0
	for path, b := range files {
		if len(b) > 0 {
			left[path] = b
			size += len(b)
		}
	}
	s := &shelf{got: tree{}, left: left}
	if n := restore(s, size); n >= all/8 {
		t.Errorf("%d pieces were fetched, and %d where nothing was there", n, all)
	}
	if s.shut != len(left) {
		t.Errorf("%d of %d files were closed", s.shut, len(left))
	}
	// The first half of one, another with a flipped byte, one that is longer.
	half := files["big"][:len(files["big"])/2]
	flipped := bytes.Clone(files["twin"])
	flipped[0] ^= 1
	more := append(bytes.Clone(files["text"]), "more"...)
	restore(&shelf{got: tree{}, left: tree{"big": half, "twin": flipped, "dir/one": {}, "text": more}}, len(half)+len(files["text"]))
}

func TestWhatIsRestoredHasANameOfItsOwn(t *testing.T) {
	f := newFixture(t, 2)
	seen := map[core.Score]int{}
	id := func(path string) {
		t.Helper()
		version, err := f.v.Find("docs", 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.v.Restore(t.Context(), version, RestoreOptions{Path: path}, func(_ bool, id core.Score) (Sink, error) {
			seen[id]++
			return &shelf{got: tree{}}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f.put(tree{"d/": nil, "d/a": []byte("a")})
	id("")
	id("d")
	id("d/a")
	f.put(tree{"d/": nil, "d/a": []byte("a")}) // the very same tree
	id("d")
	f.put(tree{"d/": nil, "d/a": []byte("b")})
	id("d")
	if len(seen) != 4 {
		t.Errorf("%d names, want 4: %v", len(seen), seen)
	}
}

// TestARangeFetchesWhatItNeeds reads a few bytes of a large file.
func TestARangeFetchesWhatItNeeds(t *testing.T) {
	f := newFixture(t, 2)
	files := someTree()
	version := f.put(files).Version
	big := files["big"]
	for _, at := range []int{0, len(big) / 2, len(big) - 100} {
		f.open()
		before := f.m.fetched
		r, err := f.v.FS(t.Context(), version).Open("big")
		if err != nil {
			t.Fatal(err)
		}
		opened := f.m.fetched - before
		got := make([]byte, 100)
		if _, err := r.(io.ReaderAt).ReadAt(got, int64(at)); err != nil || !bytes.Equal(got, big[at:at+100]) {
			t.Errorf("at %d: %v", at, err)
		}
		if n := f.m.fetched - before - opened; opened > 6 || n > 4 { // a chunk lies in two pieces at most, and so does a page
			t.Errorf("at %d: %d pieces to open it, %d to read", at, opened, n)
		}
	}
}
