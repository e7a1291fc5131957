package page

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/codec"
)

type vectors struct {
	About   string          `json:"about"`
	Trees   []treeVector    `json:"trees"`
	Ends    []endVector     `json:"ends"`
	Refused []refusedVector `json:"refused"`
}

// treeVector is the list of the records "record 00000", "record 00001" and so on: Count
// of them, each with a value of Size bytes that are all the low byte of its number.
type treeVector struct {
	Count int        `json:"count"`
	Size  int        `json:"size"`
	Tree  golden.Hex `json:"tree"`
	// Pages are the scores of the pages, children before parents, as they are stored.
	Pages []golden.Hex `json:"pages"`
	// First is the page that is stored first, whole.
	First golden.Hex `json:"first,omitempty"`
}

type endVector struct {
	Level uint   `json:"level"`
	Key   string `json:"key"`
	Ends  bool   `json:"ends"`
}

type refusedVector struct {
	Why   string     `json:"why"`
	Level uint       `json:"level"`
	Page  golden.Hex `json:"page"`
}

func (v treeVector) records() []Record {
	list := make([]Record, v.Count)
	for i := range list {
		list[i] = Record{Key: fmt.Appendf(nil, "record %05d", i), Value: bytes.Repeat([]byte{byte(i)}, v.Size)}
	}
	return list
}

// made fills in what follows from Count and Size; the score of a page is its reference.
func (v treeVector) made(t *testing.T) treeVector {
	t.Helper()
	v.Pages = []golden.Hex{}
	b := NewBuilder(func(page []byte) ([]byte, error) {
		score := core.ScoreOf(page)
		if len(v.Pages) == 0 && len(page) < 256 {
			v.First = bytes.Clone(page)
		}
		v.Pages = append(v.Pages, score[:])
		return score[:], nil
	})
	for _, r := range v.records() {
		if err := b.Add(r.Key, r.Value); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if v.Tree, err = codec.Marshal(tree); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVectors(t *testing.T) {
	all := golden.File(t, "page", makeVectors)
	if len(all.Trees) < 5 || len(all.Ends) < 10 || len(all.Refused) < 5 {
		t.Fatal("vectors are missing")
	}
	for _, v := range all.Trees {
		checkTreeVector(t, v)
	}
	for _, v := range all.Ends {
		if got := ends(v.Level, []byte(v.Key), nil); got != v.Ends {
			t.Errorf("level %d, key %q: ends %v", v.Level, v.Key, got)
		}
	}
	for _, v := range all.Refused {
		if _, err := decode(v.Page, v.Level, bounds{root: true}); err == nil {
			t.Errorf("a page with %s was read", v.Why)
		}
	}
}

// checkTreeVector reads the tree of the vector, out of pages made anew but found by its scores.
func checkTreeVector(t *testing.T, v treeVector) {
	t.Helper()
	tree, err := DecodeTree(v.Tree)
	if err != nil {
		t.Fatal(err)
	}
	s := newShelf()
	build(t, s, v.records())
	if len(v.First) > 0 {
		s.pages[core.ScoreOf(v.First)] = v.First
	}
	if got := walk(t, tree, s, nil, nil); !same(got, v.records()) {
		t.Errorf("%d records of %d bytes: %d are read", v.Count, v.Size, len(got))
	}
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	all := vectors{About: "Pages, docs/SPEC.md §4. A tree's records are \"record 00000\", \"record 00001\", …: count of them, each with size bytes that are all the low byte of its number. The reference to a page is its score. tree, pages, first and page are hexadecimal."}
	for _, v := range []treeVector{{Count: 0}, {Count: 1, Size: 3}, {Count: 3, Size: 1}, {Count: 1000, Size: 20}, {Count: 20_000, Size: 8}, {Count: 40, Size: 20_000}} {
		all.Trees = append(all.Trees, v.made(t))
	}
	for level := range uint(3) {
		for i, found := 0, 0; i < 1000 && found < 4; i++ {
			key := fmt.Sprintf("key %d", i)
			if e := ends(level, []byte(key), nil); e || i < 2 {
				all.Ends = append(all.Ends, endVector{Level: level, Key: key, Ends: e})
				found++
			}
		}
	}
	refuse := func(why string, level uint, page []byte) {
		all.Refused = append(all.Refused, refusedVector{Why: why, Level: level, Page: page})
	}
	good := forge(t, 0, entry("a", "1"), entry("b", "2"))
	refuse("keys that fall", 0, forge(t, 0, entry("b", "1"), entry("a", "2")))
	refuse("one key twice", 0, forge(t, 0, entry("a", "1"), entry("a", "2")))
	refuse("no items", 0, forge(t, 0))
	refuse("another level", 1, good)
	refuse("an empty reference", 1, forge(t, 1, entry("a", "")))
	refuse("version 2", 0, bytes.Replace(good, []byte{'v', 1}, []byte{'v', 2}, 1))
	refuse("a byte too many", 0, append(bytes.Clone(good), 0))
	return all
}
