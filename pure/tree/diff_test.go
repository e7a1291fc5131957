package tree

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
)

// text is a value as it is told in these tests; "-" is none.
func text(value []byte) string {
	if value == nil {
		return "-"
	}
	return string(value)
}

func valueOf(have map[string]string, key string) string {
	if v, ok := have[key]; ok {
		return v
	}
	return "-"
}

// drawMap draws a map of some of so many keys.
func drawMap(rnd *rand.Rand, keys int) map[string]string {
	out := map[string]string{}
	for range rnd.IntN(keys + 1) {
		out[fmt.Sprintf("%05x", rnd.IntN(keys))] = []string{"", "1", "2"}[rnd.IntN(3)]
	}
	return out
}

// changed is a map with some changes, near each other or not.
func changed(rnd *rand.Rand, have map[string]string, keys int) map[string]string {
	out := maps.Clone(have)
	start, near := rnd.IntN(keys), rnd.IntN(2) == 0
	for i := range rnd.IntN(1 << rnd.IntN(9)) {
		k := rnd.IntN(keys)
		if near {
			k = (start + i) % keys
		}
		key := fmt.Sprintf("%05x", k)
		if out[key] = []string{"-", "1", "3", "4"}[rnd.IntN(4)]; out[key] == "-" {
			delete(out, key)
		}
	}
	return out
}

func keysOf(all ...map[string]string) []string {
	keys := map[string]bool{}
	for _, m := range all {
		for k := range m {
			keys[k] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

func TestDiffAndMerge(t *testing.T) {
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 5))
		keys := 1 << rnd.IntN(14)
		base := drawMap(rnd, keys)
		ours, theirs := changed(rnd, base, keys), changed(rnd, base, keys)
		if seed%10 == 0 {
			theirs = drawMap(rnd, keys)
		}
		view := func(have map[string]string) View {
			m, src := naive(t, salt, have)
			return View{m, src}
		}
		b, o, th := view(base), view(ours), view(theirs)
		var got, want []string
		for d, err := range Diff(o, th) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %s %s", d.Key, text(d.A), text(d.B)))
		}
		for _, k := range keysOf(ours, theirs) {
			if x, y := valueOf(ours, k), valueOf(theirs, k); x != y {
				want = append(want, fmt.Sprintf("%s %s %s", k, x, y))
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d differences, want %d, or they differ", seed, len(got), len(want))
		}

		asked := 0
		edits, err := Merge(b, o, th, func(key, base, ours, theirs []byte) ([]byte, error) {
			if asked++; text(ours) == text(theirs) {
				t.Errorf("seed %d: asked about %s, which is %s in both", seed, key, ours)
			}
			if text(ours) == "-" {
				return theirs, nil
			}
			return append([]byte(text(base)+"|"), text(theirs)...), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		merged, conflicts := map[string]string{}, 0
		for _, k := range keysOf(base, ours, theirs) {
			x, y, z := valueOf(base, k), valueOf(ours, k), valueOf(theirs, k)
			v := y
			switch {
			case x == y:
				v = z
			case x != z && y != z:
				if conflicts++; y == "-" {
					v = z
				} else {
					v = x + "|" + z
				}
			}
			if v != "-" {
				merged[k] = v
			}
		}
		out := apply(t, o.Src.(*rows), o.Map, edits)
		if m, _ := naive(t, salt, merged); out.Root.Hash != m.Root.Hash || asked != conflicts {
			t.Fatalf("seed %d: %d edits and %d conflicts, want %d, or another map", seed, len(edits), asked, conflicts)
		}
	}
}

// Only nodes that differ are gone into.
func TestDiffIsAsLongAsTheChange(t *testing.T) {
	m, src, all := build(t, 100_000, 8)
	for _, n := range []int{0, 1, 10, 100} {
		var edits []Edit
		for i := range n {
			e := all[(i+1)*997]
			e.Value = []byte("other")
			if i%3 == 1 {
				e.Value = nil
			}
			edits = append(edits, e)
		}
		other := &rows{}
		for _, l := range src.levels {
			other.levels = append(other.levels, slices.Clone(l))
		}
		after := apply(t, other, m, edits)
		src.loads, other.loads = 0, 0
		found := 0
		for _, err := range Diff(View{m, src}, View{after, other}) {
			if err != nil {
				t.Fatal(err)
			}
			found++
		}
		// A node of each level, and another where a record that went moves an edge.
		if most := 6 * n; found != n || src.loads > most || other.loads > most {
			t.Errorf("%d changes: %d found, through %d and %d nodes, of %d at most", n, found, src.loads, other.loads, most)
		}
	}
}

func TestDiffFails(t *testing.T) {
	a, srcA := naive(t, salt, map[string]string{"a": "1"})
	b, srcB := naive(t, salt, map[string]string{"a": "2"})
	other := b
	other.Salt[0]++
	missing := View{b, &Proof{}}
	no := func(_, _, _, _ []byte) ([]byte, error) { return nil, core.ErrInvalid }
	for _, c := range []struct {
		with View
		want error
	}{{View{other, srcB}, core.ErrInvalid}, {missing, ErrNotProven}} {
		var err error
		for _, err = range Diff(View{a, srcA}, c.with) {
			break
		}
		if !errors.Is(err, c.want) {
			t.Errorf("diff: %v, want %v", err, c.want)
		}
		if _, err := Merge(View{a, srcA}, c.with, View{b, srcB}, no); !errors.Is(err, c.want) {
			t.Errorf("merge with ours: %v, want %v", err, c.want)
		}
		if _, err := Merge(View{a, srcA}, View{b, srcB}, c.with, no); !errors.Is(err, c.want) {
			t.Errorf("merge with theirs: %v, want %v", err, c.want)
		}
	}
	c, srcC := naive(t, salt, map[string]string{"a": "3"})
	if _, err := Merge(View{a, srcA}, View{b, srcB}, View{c, srcC}, no); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a conflict that cannot be resolved: %v", err)
	}
}
