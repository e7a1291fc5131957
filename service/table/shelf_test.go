package table

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/tree"
)

var shelfSalt = [tree.SaltSize]byte{7}

func openShelf(t testing.TB, from core.Records, prefix string) *shelf {
	t.Helper()
	s, err := newShelves().open(from, []byte(prefix), shelfSalt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shelve makes edits, "-" being a removal, and writes them.
func shelve(t testing.TB, books core.Books, s *shelf, edits map[string]string) {
	t.Helper()
	var list []tree.Edit
	for _, k := range slices.Sorted(maps.Keys(edits)) {
		e := tree.Edit{Key: []byte(k)}
		if v := edits[k]; v != "-" {
			e.Value = []byte(v)
		}
		list = append(list, e)
	}
	r, changes, err := s.apply(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := books.Apply(changes...); err != nil {
		t.Fatal(err)
	}
	s.done(r)
}

// shelved is all that a shelf has, by its nodes.
func shelved(t testing.TB, s *shelf) map[string]string {
	t.Helper()
	out := map[string]string{}
	for r, err := range s.view().Ascend(nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		out[string(r.Key)] = string(r.Value)
	}
	return out
}

// built is the root of a tree that is built of its records at once.
func built(t testing.TB, books core.Books, prefix string, have map[string]string) core.Score {
	t.Helper()
	s := openShelf(t, books, prefix)
	records := func(yield func(tree.Record, error) bool) {
		for _, k := range slices.Sorted(maps.Keys(have)) {
			if !yield(tree.Record{Key: []byte(k), Value: []byte(have[k])}, nil) {
				return
			}
		}
	}
	if err := s.build(records, books.Apply); err != nil {
		t.Fatal(err)
	}
	return s.m.Root.Hash
}

// wantShelf compares a tree, opened anew so that no cache helps, with what it should have.
func wantShelf(t testing.TB, from core.Records, prefix string, root core.Score, have map[string]string) {
	t.Helper()
	s := openShelf(t, from, prefix)
	if s.m.Root.Hash != root || s.m.Len() != uint64(len(have)) {
		t.Fatalf("tree %s has %d records and the root %v, want %d and %v", prefix, s.m.Len(), s.m.Root.Hash, len(have), root)
	}
	if got := shelved(t, s); !maps.Equal(got, have) {
		t.Fatalf("tree %s has %d records, want %d, or they differ", prefix, len(got), len(have))
	}
}

// Two trees beside each other are edited at random; what lies there is what a tree has that is built at once.
func TestShelfIsTheTree(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		books := sim.NewBooks()
		prefixes := []string{"t/a/", "t/b/"}
		have := []map[string]string{{}, {}}
		var open []*shelf
		for _, p := range prefixes {
			open = append(open, openShelf(t, books, p))
		}
		for step := range 30 {
			i := rnd.IntN(2)
			edits := map[string]string{}
			for range 1 + rnd.IntN(1<<rnd.IntN(11)) {
				k := fmt.Sprintf("%04x", rnd.IntN(4000))
				edits[k] = []string{"-", "", fmt.Sprint(step, seed)}[rnd.IntN(3)]
			}
			shelve(t, books, open[i], edits)
			for k, v := range edits {
				if have[i][k] = v; v == "-" {
					delete(have[i], k)
				}
			}
		}
		for i, p := range prefixes {
			root := built(t, books, "u/"+p, have[i])
			wantShelf(t, books, p, root, have[i])
			wantShelf(t, books, "u/"+p, root, have[i])
			for k := range 4000 {
				key := fmt.Sprintf("%04x", k)
				got, err := open[i].get([]byte(key))
				if want, ok := have[i][key]; ok != (err == nil) || string(got) != want || err != nil && !errors.Is(err, core.ErrNotExist) {
					t.Fatalf("get %s: %q, %v; want %q", key, got, err, want)
				}
			}
			gone := map[string]string{}
			for k := range have[i] {
				gone[k] = "-"
			}
			shelve(t, books, open[i], gone)
			wantShelf(t, books, p, tree.Empty(shelfSalt).Root.Hash, nil)
			for c, err := range books.Scan([]byte(p), nil) {
				if err != nil || c.Key[len(p)] != rootKey {
					t.Errorf("a tree without records has %q, %v", c.Key, err)
				}
			}
		}
	}
}

// Whoever reads a snapshot sees one state, while another writes.
func TestShelfOnSnapshot(t *testing.T) {
	books := sim.NewBooks()
	s := openShelf(t, books, "t/")
	var wg sync.WaitGroup
	for round := range 20 {
		edits := map[string]string{}
		for i := range 500 {
			edits[fmt.Sprintf("%03d", i)] = fmt.Sprint(round)
		}
		shelve(t, books, s, edits)
		root := s.m.Root.Hash
		snap, err := books.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		read, err := s.open(snap, []byte("t/"), shelfSalt)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			n := 0
			for r, err := range read.view().Ascend(nil, nil) {
				if n++; err != nil || string(r.Value) != fmt.Sprint(round) {
					t.Errorf("round %d: %s=%s, %v", round, r.Key, r.Value, err)
					break
				}
			}
			if n != 500 || read.m.Root.Hash != root {
				t.Errorf("round %d: %d records, root %v, want %v", round, n, read.m.Root.Hash, root)
			}
			if err := snap.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// What has rotted, has gone or is too much is told from what was written, by reader and writer, and where it is.
func TestShelfRot(t *testing.T) {
	have := map[string]string{}
	for i := range 3000 {
		have[fmt.Sprintf("%05d", i)] = strings.Repeat("v", 20)
	}
	at := func(level byte, key string) []byte { return append(append([]byte("t/"), level), key...) }
	for _, c := range []struct {
		what   string
		change func(books core.Books) core.Change
	}{
		{"a value", func(core.Books) core.Change { return core.Change{Key: at(0, "01500"), Value: []byte("rot")} }},
		{"a record less", func(core.Books) core.Change { return core.Change{Key: at(0, "01500")} }},
		{"a record more", func(core.Books) core.Change { return core.Change{Key: at(0, "01500x"), Value: []byte("v")} }},
		{"a value too long", func(core.Books) core.Change { return core.Change{Key: at(0, "01500"), Value: make([]byte, 5000)} }},
		{"the anchor's hash", func(core.Books) core.Change {
			return core.Change{Key: at(1, ""), Value: appendChild(nil, core.Score{1}, 5)}
		}},
		{"the anchor's count", func(b core.Books) core.Change {
			raw, err := b.Get(at(1, ""))
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)-1]++
			return core.Change{Key: at(1, ""), Value: raw}
		}},
		{"an entry cut short", func(core.Books) core.Change { return core.Change{Key: at(1, ""), Value: make([]byte, 32)} }},
		{"a root of another tree", func(core.Books) core.Change {
			return core.Change{Key: at(rootKey, ""), Value: appendChild([]byte{2}, core.Score{1}, 3001)}
		}},
		{"a root's count", func(b core.Books) core.Change {
			raw, err := b.Get(at(rootKey, ""))
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)-1]++
			return core.Change{Key: at(rootKey, ""), Value: raw}
		}},
		{"a root of a level that there is not", func(core.Books) core.Change {
			return core.Change{Key: at(rootKey, ""), Value: appendChild([]byte{200}, core.Score{1}, 3001)}
		}},
		{"an empty root", func(core.Books) core.Change { return core.Change{Key: at(rootKey, ""), Value: []byte{}} }},
	} {
		books := sim.NewBooks()
		shelve(t, books, openShelf(t, books, "t/"), have)
		if err := books.Apply(c.change(books)); err != nil {
			t.Fatal(err)
		}
		s, err := newShelves().open(books, []byte("t/"), shelfSalt)
		if err == nil {
			for _, failed := range s.view().Ascend(nil, nil) {
				err = failed
			}
		}
		if !errors.Is(err, core.ErrCorrupt) || !strings.Contains(err.Error(), `tree "t/"`) {
			t.Errorf("%s: reading: %v", c.what, err)
		}
		if s == nil {
			continue
		}
		var edits []tree.Edit
		for _, k := range slices.Sorted(maps.Keys(have)) {
			edits = append(edits, tree.Edit{Key: []byte(k), Value: []byte("w")})
		}
		if _, _, err := s.apply(edits); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: writing: %v", c.what, err)
		}
	}
}

// Edits that were not written change nothing.
func TestShelfFull(t *testing.T) {
	books := sim.NewBooks()
	s := openShelf(t, books, "t/")
	have := map[string]string{"a": "1", "b": "2"}
	shelve(t, books, s, have)
	root := s.m.Root.Hash
	books.SetFull(true)
	_, changes, err := s.apply([]tree.Edit{{Key: []byte("a"), Value: []byte("3")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := books.Apply(changes...); !errors.Is(err, core.ErrFull) {
		t.Fatalf("full books: %v", err)
	}
	books.SetFull(false)
	wantShelf(t, books, "t/", root, have)
	shelve(t, books, s, map[string]string{"b": "-", "c": ""})
	wantShelf(t, books, "t/", s.m.Root.Hash, map[string]string{"a": "1", "c": ""})
	if _, _, err := s.apply([]tree.Edit{{Key: []byte("b")}, {Key: []byte("a")}}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("edits that do not rise: %v", err)
	}
}

// The cache stays within its bytes, and keeps what is used.
func TestNodeCache(t *testing.T) {
	c := nodeCache{most: 100_000}
	used, err := tree.NewNode(0, []tree.Entry{{Key: []byte("used")}})
	if err != nil {
		t.Fatal(err)
	}
	c.put(used)
	for i := range 5000 {
		n, err := tree.NewNode(0, []tree.Entry{{Key: fmt.Appendf(nil, "%d", i)}})
		if err != nil {
			t.Fatal(err)
		}
		c.put(n)
		if c.get(used.Hash()) != used || c.get(n.Hash()) != n {
			t.Fatalf("what is used is gone after %d", i)
		}
	}
	if n := len(c.nodes); n*(used.Size()+cachedOverhead) > c.most || n < 100 {
		t.Errorf("%d nodes of %d bytes are kept in %d", n, used.Size(), c.most)
	}
	if c.get(core.Score{1}) != nil {
		t.Error("a node that nobody put")
	}
}

// Whatever lies where a tree should be is refused as corrupt, or is that tree.
func FuzzShelf(f *testing.F) {
	have := map[string]string{}
	for i := range 200 {
		have[fmt.Sprintf("%03d", i)] = "v"
	}
	books := sim.NewBooks()
	shelve(f, books, openShelf(f, books, "t/"), have)
	root := openShelf(f, books, "t/").m.Root.Hash
	for c, err := range books.Scan([]byte("t/"), nil) {
		if err != nil {
			f.Fatal(err)
		}
		if at := c.Key[2]; at == rootKey || at == 1 {
			f.Add(c.Key[2:], c.Value)
		}
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		state, err := books.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		other := sim.NewBooks()
		for c := range state.Scan(nil, nil) {
			if err := other.Apply(c); err != nil {
				t.Fatal(err)
			}
		}
		if err := other.Apply(core.Change{Key: append([]byte("t/"), key...), Value: append([]byte{}, value...)}); err != nil {
			t.Fatal(err)
		}
		s, err := newShelves().open(other, []byte("t/"), shelfSalt)
		n := 0
		if err == nil {
			for r, failed := range s.view().Ascend(nil, nil) {
				if err = failed; err == nil && s.m.Root.Hash == root && have[string(r.Key)] != string(r.Value) {
					t.Fatalf("%q is %q", r.Key, r.Value)
				}
				n++
			}
		}
		if err != nil && !errors.Is(err, core.ErrCorrupt) {
			t.Fatalf("neither a tree nor corrupt: %v", err)
		}
		if err == nil && s.m.Root.Hash == root && n != len(have) {
			t.Fatalf("%d records of %d", n, len(have))
		}
	})
}
