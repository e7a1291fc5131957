package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
)

var salt = [SaltSize]byte{1, 2, 3}

// sorted makes edits of a set of them; "-" is a removal.
func sorted(edits map[string]string) []Edit {
	var out []Edit
	for _, k := range slices.Sorted(maps.Keys(edits)) {
		e := Edit{Key: []byte(k)}
		if v := edits[k]; v != "-" {
			e.Value = []byte(v)
		}
		out = append(out, e)
	}
	return out
}

func apply(t testing.TB, src *rows, m Map, edits []Edit) Map {
	t.Helper()
	out, err := Apply(src, m, edits)
	if err != nil {
		t.Fatal(err)
	}
	src.write(out.Changes)
	return out.Map
}

// However a map came about, it is the one that is made of its records at once.
func TestHistoryDoesNotShow(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		src, m, have := newRows(), Empty(salt), map[string]string{}
		keys := 50 << rnd.IntN(9)
		for step := range 60 {
			edits := map[string]string{}
			most := 1 << rnd.IntN(10)
			start, removes := rnd.IntN(keys), rnd.IntN(3)
			for i := range 1 + rnd.IntN(most) {
				k := rnd.IntN(keys)
				if seed%3 == 0 { // one part after the other
					k = (start + i) % keys
				}
				key := fmt.Sprintf("%05x", k)
				if rnd.IntN(3) < removes {
					edits[key] = "-"
				} else {
					edits[key] = fmt.Sprint(rnd.IntN(3))
				}
			}
			m = apply(t, src, m, sorted(edits))
			for k, v := range edits {
				if v == "-" {
					delete(have, k)
				} else {
					have[k] = v
				}
			}
			want, wantRows := naive(t, salt, have)
			if m.Root.Hash != want.Root.Hash || m.Root.Level != want.Root.Level || m.Root.Count != want.Root.Count {
				t.Fatalf("seed %d, step %d: %d records: root %v, want %v", seed, step, len(have), m.Root, want.Root)
			}
			if !sameRows(src, wantRows) {
				t.Fatalf("seed %d, step %d: the rows are others", seed, step)
			}
		}
	}
}

// All that was added is removed again.
func TestEmptyAgain(t *testing.T) {
	src, m := newRows(), Empty(salt)
	var all []Edit
	for i := range 5000 {
		all = append(all, Edit{Key: binary.BigEndian.AppendUint32(nil, uint32(i)), Value: []byte("x")})
	}
	m = apply(t, src, m, all)
	if m.Root.Level < 2 {
		t.Fatalf("5000 records make a root of level %d", m.Root.Level)
	}
	for i := range all {
		all[i].Value = nil
	}
	m = apply(t, src, m, all)
	if m.Root.Hash != Empty(salt).Root.Hash || !sameRows(src, newRows()) {
		t.Errorf("what is left is %v", m.Root)
	}
}

func BenchmarkApplyOne(b *testing.B) {
	src, m := newRows(), Empty(salt)
	key := func(i uint64) []byte { return binary.BigEndian.AppendUint64(make([]byte, 8), i*0x9e3779b97f4a7c15) }
	var all []Edit
	for i := range uint64(100_000) {
		all = append(all, Edit{Key: key(i), Value: make([]byte, 64)})
	}
	slices.SortFunc(all, func(a, b Edit) int { return slices.Compare(a.Key, b.Key) })
	m = apply(b, src, m, all)
	cache := &cached{src: src, nodes: map[string]*Node{}}
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		out, err := Apply(cache, m, []Edit{{Key: key(i % 100_000), Value: binary.BigEndian.AppendUint64(make([]byte, 56), i)}})
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range out.Changes {
			src.levels[c.Level][src.at(c.Level, c.Key)] = c.Entry
		}
		cache.add(out.Nodes)
		m = out.Map
	}
}

// cached keeps all nodes above the leaves, by their first keys.
type cached struct {
	src   *rows
	nodes map[string]*Node
}

func (c *cached) Node(ref Ref) (*Node, error) {
	k := string(ref.Lo) + fmt.Sprint(ref.Level)
	if n := c.nodes[k]; n != nil && n.Hash() == ref.Hash {
		return n, nil
	}
	n, err := c.src.Node(ref)
	if err == nil {
		c.nodes[k] = n
	}
	return n, err
}

func (c *cached) add(nodes []Placed) {
	for _, p := range nodes {
		c.nodes[string(p.Ref.Lo)+fmt.Sprint(p.Ref.Level)] = p.Node
	}
}

// A map that is built of its records at once is the one that edits make.
func TestBuild(t *testing.T) {
	for _, size := range []int{0, 1, 63, 64, 65, 500, 4095, 4096, 4097, 4159, 4160, 4161, 9000, 70_000} {
		rnd := rand.New(rand.NewPCG(uint64(size), 3))
		have := map[string]string{}
		for i := range size {
			have[fmt.Sprintf("%x/%06d", rnd.IntN(9), i)] = fmt.Sprint(i)
		}
		want, wantRows := naive(t, salt, have)
		src := newRows()
		b := NewBuilder(salt, func(c Change) error {
			for len(src.levels) <= c.Level {
				src.levels = append(src.levels, nil)
			}
			src.levels[c.Level] = append(src.levels[c.Level], c.Entry)
			return nil
		})
		for _, r := range sorted(have) {
			if err := b.Add(r); err != nil {
				t.Fatal(err)
			}
		}
		m, err := b.Done()
		if err != nil || m.Root.Hash != want.Root.Hash || m.Root.Level != want.Root.Level || m.Root.Count != want.Root.Count || m.Salt != salt {
			t.Fatalf("%d records: root %v, want %v: %v", size, m.Root, want.Root, err)
		}
		if !sameRows(src, wantRows) {
			t.Errorf("%d records: the rows are others", size)
		}
	}
	b := NewBuilder(salt, func(Change) error { return nil })
	if err := errors.Join(b.Add(Record{Key: []byte("b")}), b.Add(Record{Key: []byte("c")})); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "a", "c"} {
		if err := b.Add(Record{Key: []byte(key)}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("a builder takes %q after c: %v", key, err)
		}
	}
}
