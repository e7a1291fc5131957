package page

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func differences(t tester, a, b Tree, load Load) []Difference {
	t.Helper()
	var out []Difference
	for d, err := range Diff(a, b, load) {
		if err != nil {
			t.Fatal(err)
		}
		if len(out) > 0 && bytes.Compare(out[len(out)-1].Key, d.Key) >= 0 {
			t.Fatal("keys that do not rise", out[len(out)-1].Key, d.Key)
		}
		out = append(out, d)
	}
	return out
}

func TestDiffTellsWhatDiffers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newShelf()
		before := someList(t)
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "edits"), 3))
		var after []Record
		want := map[string]Difference{}
		rarity := rapid.SampledFrom([]int{2, 20, 2000}).Draw(t, "rarity")
		for _, r := range before {
			switch n := rng.IntN(rarity); {
			case n == 0:
				want[string(r.Key)] = Difference{Key: r.Key, Old: r.Value}
			case n == 1 && len(r.Value) > 0:
				changed := Record{Key: r.Key, Value: bytes.Clone(r.Value)}
				changed.Value[0] ^= 1
				want[string(r.Key)] = Difference{Key: r.Key, Old: r.Value, New: changed.Value}
				after = append(after, changed)
			default:
				after = append(after, r)
			}
		}
		got := differences(t, build(t, s, before), build(t, s, after), s.load)
		if len(got) != len(want) {
			t.Fatalf("%d differences, want %d", len(got), len(want))
		}
		for _, d := range got {
			w, ok := want[string(d.Key)]
			if !ok || !bytes.Equal(d.Old, w.Old) || !bytes.Equal(d.New, w.New) || (d.New == nil) != (w.New == nil) || d.Old == nil {
				t.Fatalf("difference %x: %x, %x; want %x, %x", d.Key, d.Old, d.New, w.Old, w.New)
			}
		}
		for _, d := range differences(t, build(t, s, after), build(t, s, before), s.load) {
			if w := want[string(d.Key)]; !bytes.Equal(d.New, w.Old) || !bytes.Equal(d.Old, w.New) || (d.Old == nil) != (w.New == nil) {
				t.Fatalf("the other way, %x: %x, %x", d.Key, d.Old, d.New)
			}
		}
	})
}

func TestDiffLoadsNoMoreThanItNeeds(t *testing.T) {
	s := newShelf()
	list := numbered(50_000)
	before := build(t, s, list)
	changed := append([]Record(nil), list...)
	changed[31_000].Value = []byte("changed")
	after := build(t, s, changed)
	loads := 0
	counting := func(ref []byte) ([]byte, error) { loads++; return s.load(ref) }
	if got := differences(t, before, after, counting); len(got) != 1 || !bytes.Equal(got[0].Key, list[31_000].Key) {
		t.Errorf("differences: %v", got)
	}
	if all := len(s.pages); loads > all/10 {
		t.Errorf("%d pages loaded of %d", loads, all)
	}
	if got := differences(t, after, after, s.load); len(got) != 0 {
		t.Errorf("a tree differs from itself: %v", got)
	}
	if got := differences(t, build(t, s, nil), after, s.load); len(got) != len(list) || got[0].Old != nil {
		t.Errorf("%d differences from nothing", len(got))
	}
}

func TestDiffReturnsErrors(t *testing.T) {
	s := newShelf()
	a, b := build(t, s, numbered(50)), build(t, s, numbered(60))
	lost := func([]byte) ([]byte, error) { return nil, core.ErrNotExist }
	last := func(x, y Tree, load Load) (err error) {
		for _, err = range Diff(x, y, load) {
		}
		return err
	}
	if err := last(a, b, lost); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("lost pages: %v", err)
	}
	bad := b
	bad.Root = nil
	if last(bad, a, s.load) == nil || last(a, bad, s.load) == nil {
		t.Error("a tree without a root passes")
	}
	// A page that is none, in the place of either.
	for _, ref := range [][]byte{a.Root, b.Root} {
		spoilt := func(r []byte) ([]byte, error) {
			if bytes.Equal(r, ref) {
				return []byte{0xff}, nil
			}
			return s.load(r)
		}
		if err := last(a, b, spoilt); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("a spoilt page: %v", err)
		}
	}
	for range Diff(a, b, s.load) { // and it can be left
		break
	}
}
