package feed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"pgregory.net/rapid"
)

func itemOf(n, seq int) Item {
	author := core.ScoreOf(binary.BigEndian.AppendUint64(nil, uint64(n)))
	return Item{Author: core.DID(author), Seq: uint64(seq), ID: core.ScoreOf(author[:seq])}
}

func sketchOf(key Key, from, to int, items ...Item) *Sketch {
	s := NewSketch(key, from, to)
	for _, i := range items {
		s.Add(i)
	}
	return s
}

func marks(key Key, items ...Item) (out []Mark) {
	for _, i := range items {
		out = append(out, key.MarkOf(i))
	}
	slices.SortFunc(out, func(a, b Mark) int { return bytes.Compare(a[:], b[:]) })
	return out
}

func sorted(m []Mark) []Mark {
	slices.SortFunc(m, func(a, b Mark) int { return bytes.Compare(a[:], b[:]) })
	return m
}

// TestSketchFindsTheDifference, be it sent at once or in two parts.
func TestSketchFindsTheDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := Key(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
		both, ours, theirs := rapid.IntRange(0, 300).Draw(t, "both"), rapid.IntRange(0, 40).Draw(t, "ours"), rapid.IntRange(0, 40).Draw(t, "theirs")
		var a, b, onlyA, onlyB []Item
		for i := range both {
			a, b = append(a, itemOf(i, 1)), append(b, itemOf(i, 1))
		}
		for i := range ours {
			onlyA = append(onlyA, itemOf(1000+i, 2))
		}
		for i := range theirs {
			onlyB = append(onlyB, itemOf(1000+i, 1+i%2)) // some authors with another seq, some equal
		}
		onlyA, onlyB = without(onlyA, onlyB), without(onlyB, onlyA)
		a, b = append(a, onlyA...), append(b, onlyB...)
		const size = 400
		cut := rapid.IntRange(0, size).Draw(t, "cut")
		sent, err := ParseSketch(key, 0, sketchOf(key, 0, cut, b...).Bytes())
		if err != nil {
			t.Fatal(err)
		}
		rest, err := ParseSketch(key, cut, sketchOf(key, cut, size, b...).Bytes())
		if err != nil || !sent.Join(rest) || sent.Len() != size {
			t.Fatal(err)
		}
		s := sketchOf(key, 0, size, a...)
		if !s.Subtract(sent) {
			t.Fatal("not of the same symbols")
		}
		first, second, whole, err := s.Peel()
		if err != nil || !whole || !slices.Equal(sorted(first), marks(key, onlyA...)) || !slices.Equal(sorted(second), marks(key, onlyB...)) {
			t.Fatalf("%d and %d of %d and %d, whole %v, %v", len(first), len(second), len(onlyA), len(onlyB), whole, err)
		}
	})
}

func without(items, others []Item) []Item {
	return slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return slices.Contains(others, i) })
}

// TestSketchesAreSmall: 400 symbols do for 100 authors of whom each peer has another state, at any size of the sets.
func TestSketchesAreSmall(t *testing.T) {
	rnd, failed := rand.New(rand.NewPCG(1, 2)), 0
	const rounds = 300
	for range rounds {
		var key Key
		binary.BigEndian.PutUint64(key[:], rnd.Uint64())
		s, o := NewSketch(key, 0, 400), NewSketch(key, 0, 400)
		for i := range 100 {
			s.Add(itemOf(i, 1))
			o.Add(itemOf(i, 2))
		}
		s.Subtract(o)
		if first, second, whole, err := s.Peel(); err != nil {
			t.Fatal(err)
		} else if !whole {
			failed++
		} else if len(first) != 100 || len(second) != 100 {
			t.Fatal(len(first), len(second))
		}
	}
	if failed > rounds/100 {
		t.Errorf("400 symbols did not do for 200 items in %d of %d rounds", failed, rounds)
	}
	if size := len(NewSketch(Key{}, 0, 400).Bytes()); size != 400*17 {
		t.Errorf("an empty sketch has %d bytes", size)
	}
}

func TestSketchesThatLie(t *testing.T) {
	key := Key{1}
	good := sketchOf(key, 0, 20, itemOf(1, 1), itemOf(2, 1))
	raw := good.Bytes()
	for name, b := range map[string][]byte{
		"cut":                    raw[:len(raw)-1],
		"a count with a zero":    append(bytes.Clone(raw[:16]), 0x80, 0),
		"more symbols than most": bytes.Repeat(make([]byte, 17), SymbolsMax+1),
	} {
		if _, err := ParseSketch(key, 0, b); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, o := range []*Sketch{NewSketch(Key{2}, 0, 20), NewSketch(key, 1, 21), NewSketch(key, 0, 21)} {
		if sketchOf(key, 0, 20).Subtract(o) {
			t.Error("subtracted what is of other symbols")
		}
		if o.from != 20 && sketchOf(key, 0, 20).Join(o) {
			t.Error("joined what does not follow")
		}
	}
	// One symbol says an item that the others do not: it comes out of it again and again.
	m := key.MarkOf(itemOf(1, 1))
	check, seed := key.seed(m)
	s := NewSketch(key, 0, 64)
	s.symbols[next(0, &seed, 64)].add(m, check, 1)
	if _, _, _, err := s.Peel(); !errors.Is(err, ErrSketch) {
		t.Errorf("an item that is nowhere else: %v", err)
	}
}

func TestItem(t *testing.T) {
	i := itemOf(1, 2)
	i.Forked = 3
	b := i.Bytes()
	if got, err := ParseItem(b[:]); err != nil || got != i {
		t.Fatal(got, err)
	}
	for name, i := range map[string]Item{"no id": {Seq: 1}, "no seq": {ID: core.Score{1}}, "past its fork": {Seq: 3, ID: core.Score{1}, Forked: 3}} {
		b := i.Bytes()
		if _, err := ParseItem(b[:]); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseItem(b[1:]); !errors.Is(err, core.ErrInvalid) {
		t.Error(err)
	}
}

// TestTheNextSymbolIsTheLeast: the estimate by a root is made exact.
func TestTheNextSymbolIsTheLeast(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200_000 {
		at, seed := rnd.IntN(SymbolsMax-1), rnd.Uint64()
		z := seed + 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		x := uint64(at+1) * uint64(at+2) << 30 / ((z^z>>31)>>34 + 1)
		n := uint64(next(at, &seed, SymbolsMax))
		if n <= uint64(at) || n < SymbolsMax && (n+1)*(n+2) <= x || n*(n+1) > x {
			t.Fatalf("after %d comes %d", at, n)
		}
	}
}

func FuzzSketch(f *testing.F) {
	f.Add(sketchOf(Key{}, 0, 8, itemOf(1, 1)).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSketch(Key{}, 0, b)
		if err != nil {
			return
		}
		if again := s.Bytes(); !bytes.Equal(again, b) {
			t.Fatalf("%x was read as %x", b, again)
		}
		first, second, _, _ := s.Peel()
		if len(first)+len(second) > s.Len() {
			t.Fatal("more items than symbols")
		}
	})
}

func BenchmarkSketch(b *testing.B) {
	i, s := itemOf(1, 1), NewSketch(Key{}, 0, 400)
	for b.Loop() {
		i.Seq++
		s.Add(i)
	}
}
