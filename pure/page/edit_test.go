package page

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func TestEditEqualsBuilding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := someList(t)
		s := newShelf()
		before := build(t, s, list)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "edits"), 3))
		edits := map[string][]byte{}
		for range rapid.SampledFrom([]int{0, 1, 2, 10, 1000}).Draw(t, "changes") {
			key := someBytes(rng, 14, 256)
			if len(list) > 0 && rng.IntN(2) == 0 {
				key = list[rng.IntN(len(list))].Key
			}
			edits[string(key)] = nil
			if rng.IntN(2) == 0 {
				edits[string(key)] = someBytes(rng, 200, 256)
			}
		}
		var changes []core.Change
		for k, v := range edits {
			changes = append(changes, core.Change{Key: []byte(k), Value: v})
		}
		slices.SortFunc(changes, func(a, b core.Change) int { return bytes.Compare(a.Key, b.Key) })
		var after []Record
		for _, r := range list {
			if _, ok := edits[string(r.Key)]; !ok {
				after = append(after, r)
			}
		}
		for k, v := range edits {
			if v != nil {
				after = append(after, Record{Key: []byte(k), Value: v})
			}
		}
		want := build(t, newShelf(), sorted(after))
		got, err := Edit(before, s.load, s.store, changes)
		if err != nil {
			t.Fatal(err)
		}
		if got.Level != want.Level || got.Count != want.Count || !bytes.Equal(got.Root, want.Root) {
			t.Fatalf("edited: level %d, %d records, root %x; built: level %d, %d records, root %x",
				got.Level, got.Count, got.Root, want.Level, want.Count, want.Root)
		}
	})
}

// A leaf that ends because the next record would not fit does not end there once
// that record is gone or smaller.
func TestEditJoinsLeavesThatSizeKeptApart(t *testing.T) {
	large := make([]byte, 20_000)
	list := []Record{{[]byte("a"), large}, {[]byte("b"), large}, {[]byte("c"), large}, {[]byte("d"), []byte("small")}}
	for _, value := range [][]byte{nil, []byte("small")} {
		s := newShelf()
		before := build(t, s, list)
		if before.Level == 0 {
			t.Fatal("one leaf")
		}
		after := []Record{list[0], list[1], {[]byte("c"), value}, list[3]}
		if value == nil {
			after = slices.Delete(after, 2, 3)
		}
		got, err := Edit(before, s.load, s.store, []core.Change{{Key: []byte("c"), Value: value}})
		if err != nil {
			t.Fatal(err)
		}
		if want := build(t, newShelf(), after); got.Level != 0 || !bytes.Equal(got.Root, want.Root) {
			t.Errorf("level %d, root %x, want %x", got.Level, got.Root, want.Root)
		}
	}
}

func TestOneEditAmongManyChangesAHandfulOfPages(t *testing.T) {
	list := numbered(100_000)
	s := newShelf()
	before := build(t, s, list)
	pages := len(s.pages)
	worst, worstLoads, sum := 0, 0, 0
	const edits = 60
	for n := range edits {
		at := n * (len(list) - 1) / (edits - 1)
		changed := slices.Clone(list)
		var change core.Change
		switch n % 3 {
		case 0:
			change = core.Change{Key: list[at].Key, Value: []byte("another")}
			changed[at].Value = change.Value
		case 1:
			change = core.Change{Key: list[at].Key}
			changed = slices.Delete(changed, at, at+1)
		default:
			change = core.Change{Key: append(bytes.Clone(list[at].Key), 0), Value: []byte("one more")}
			changed = slices.Insert(changed, at+1, Record{Key: change.Key, Value: change.Value})
		}
		s.fresh, s.loads = 0, 0
		edited, err := Edit(before, s.load, s.store, []core.Change{change})
		if err != nil {
			t.Fatal(err)
		}
		worst, worstLoads, sum = max(worst, s.fresh), max(worstLoads, s.loads), sum+s.fresh
		if n%20 != 0 { // one of each kind
			continue
		}
		s.fresh = 0
		if built := build(t, s, changed); !bytes.Equal(built.Root, edited.Root) || built.Count != edited.Count {
			t.Fatalf("edit %d: not the tree that the builder makes", n)
		}
		if s.fresh != 0 {
			t.Fatalf("edit %d: the builder made %d pages more", n, s.fresh)
		}
	}
	t.Logf("%d pages, level %d; one edit changes %.1f in the mean, %d at worst; it loads %d at worst",
		pages, before.Level, float64(sum)/edits, worst, worstLoads)
	if worst > 10 {
		t.Errorf("one edit changed %d of %d pages, want a handful", worst, pages)
	}
	if worstLoads > pages/20 {
		t.Errorf("one edit loaded %d of %d pages", worstLoads, pages)
	}
}

func TestEditRefuses(t *testing.T) {
	s := newShelf()
	tree := build(t, s, numbered(10))
	twice := []core.Change{{Key: []byte("a"), Value: []byte{}}, {Key: []byte("a")}}
	if _, err := Edit(tree, s.load, s.store, twice); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("changes of one key: %v", err)
	}
	for _, lie := range []uint64{9, 1} {
		wrong := tree
		wrong.Count = lie
		var all []core.Change
		for _, r := range numbered(10) {
			all = append(all, core.Change{Key: r.Key})
		}
		if _, err := Edit(wrong, s.load, s.store, all); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("all of 10 records deleted where the count is %d: %v", lie, err)
		}
	}
	gone := fmt.Errorf("the disk: %w", core.ErrAway)
	if _, err := Edit(tree, func([]byte) ([]byte, error) { return nil, gone }, s.store, twice[:1]); !errors.Is(err, core.ErrAway) {
		t.Errorf("pages that do not load: %v", err)
	}
}
