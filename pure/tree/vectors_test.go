package tree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// vectors is the file's form: maps and their roots, and proofs.
type vectors struct {
	Maps   []mapVector   `json:"maps"`
	Proofs []proofVector `json:"proofs"`
}

// mapVector is a map. Its records are listed, or made of the numbers from 0 on: the key is the first 8 bytes of BLAKE3("key" ‖ u64
// number), the value those of BLAKE3("value" ‖ u64 number). With Ground, only numbers count whose key's priority at level 0
// begins with the bits 111. Then every third, by the order of numbers, is removed again, if Thinned.
type mapVector struct {
	What    string         `json:"what"`
	Salt    golden.Hex     `json:"salt"`
	Records []recordVector `json:"records,omitempty"`
	Made    int            `json:"made,omitempty"`
	Ground  bool           `json:"ground,omitempty"`
	Thinned bool           `json:"thinned,omitempty"`
	Root    core.Score     `json:"root"`
	Level   int            `json:"level"`
	Count   uint64         `json:"count"`
}

type recordVector struct {
	Key   golden.Hex `json:"key"`
	Value golden.Hex `json:"value"`
}

// proofVector answers, of a map, which records there are from Lo on and before Hi.
type proofVector struct {
	Map     string         `json:"map"`
	Lo      golden.Hex     `json:"lo"`
	Hi      golden.Hex     `json:"hi"`
	Given   []recordVector `json:"given"`
	Answers []recordVector `json:"answers"`
	Proof   golden.Hex     `json:"proof"`
}

func numbered(what string, i uint64) []byte {
	h := core.ScoreOf(binary.BigEndian.AppendUint64([]byte(what), i))
	return h[:8:8]
}

// edits are those that make the map, in the order in which its vector tells them.
func (v mapVector) edits() (out []Edit) {
	for _, r := range v.Records {
		out = append(out, Edit{Key: r.Key, Value: append([]byte{}, r.Value...)})
	}
	m := Empty([SaltSize]byte(v.Salt))
	for i := uint64(0); len(out) < v.Made; i++ {
		if key := numbered("key", i); !v.Ground || m.priorityOf(0, key).hash>>61 == 7 {
			out = append(out, Edit{Key: key, Value: numbered("value", i)})
		}
	}
	for i := 0; v.Thinned && i < v.Made; i += 3 {
		out = append(out, Edit{Key: out[i].Key})
	}
	return out
}

// make makes the map, with so many edits at a time.
func (v mapVector) make(t testing.TB, most int) (Map, *rows) {
	t.Helper()
	src, m := newRows(), Empty([SaltSize]byte(v.Salt))
	for part := range slices.Chunk(v.edits(), most) {
		part = slices.Clone(part)
		slices.Reverse(part)
		slices.SortStableFunc(part, func(a, b Edit) int { return bytes.Compare(a.Key, b.Key) })
		part = slices.CompactFunc(part, func(a, b Edit) bool { return bytes.Equal(a.Key, b.Key) }) // the last counts
		m = apply(t, src, m, part)
	}
	return m, src
}

func givenOf(all []recordVector) (out []Record) {
	for _, r := range all {
		out = append(out, Record{r.Key, r.Value})
	}
	return out
}

func makeVectors(t *testing.T) (out vectors) {
	one := golden.Stream("tree salt", SaltSize)
	add := func(v mapVector) {
		v.Salt = one
		m, _ := v.make(t, 1000)
		v.Root, v.Level, v.Count = m.Root.Hash, m.Root.Level, m.Root.Count
		out.Maps = append(out.Maps, v)
	}
	add(mapVector{What: "empty"})
	add(mapVector{What: "one record", Records: []recordVector{{golden.Hex("key"), golden.Hex("value")}}})
	add(mapVector{What: "an empty value", Records: []recordVector{{golden.Hex("key"), golden.Hex{}}}})
	for _, n := range []int{2, 63, 64, 65, 1000, 10_000} { // with the anchor 63 are one node
		add(mapVector{What: fmt.Sprint(n, " records"), Made: n})
	}
	add(mapVector{What: "64 records, of which 42 are left", Made: 64, Thinned: true})
	add(mapVector{What: "10000 records, of which 6666 are left", Made: 10_000, Thinned: true})
	add(mapVector{What: "2000 ground keys", Made: 2000, Ground: true})
	prove := func(of int, lo, hi []byte, given func([]recordVector) []recordVector) {
		v := proofVector{Map: out.Maps[of].What, Lo: lo, Hi: hi, Given: []recordVector{}, Answers: []recordVector{}}
		m, src := out.Maps[of].make(t, 1000)
		rec := NewRecorder(src)
		for r, err := range (View{m, rec}).Ascend(lo, hi) {
			if err != nil {
				t.Fatal(err)
			}
			v.Answers = append(v.Answers, recordVector{r.Key, r.Value})
		}
		v.Given = append(v.Given, given(v.Answers)...)
		raw, err := rec.Proof(m, givenOf(v.Given))
		if err != nil {
			t.Fatal(err)
		}
		v.Proof = raw
		out.Proofs = append(out.Proofs, v)
	}
	none := func([]recordVector) []recordVector { return nil }
	every := func(all []recordVector) []recordVector { return all }
	prove(0, []byte("a"), []byte("b"), none)
	prove(1, []byte("a"), []byte("z"), none)
	prove(8, []byte{0x80}, []byte{0x80, 0x10}, none)
	prove(8, []byte{0x80}, []byte{0x80, 0x10}, every)
	prove(11, []byte{0x40}, []byte{0x42}, func(all []recordVector) []recordVector { return all[:len(all)/2] })
	return out
}

// Roots are the same in years, however a map comes about; so are proofs, and what they prove.
func TestVectors(t *testing.T) {
	v := golden.File(t, "tree", makeVectors)
	byName := map[string]mapVector{}
	for _, c := range v.Maps {
		byName[c.What] = c
		for _, most := range []int{7, 100_000} {
			if most == 7 && c.Made > 2000 {
				most = 333
			}
			m, _ := c.make(t, most)
			if m.Root.Hash != c.Root || m.Root.Level != c.Level || m.Root.Count != c.Count {
				t.Errorf("%s, %d edits at a time: root %v, level %d, count %d", c.What, most, m.Root.Hash, m.Root.Level, m.Root.Count)
			}
		}
	}
	for i, c := range v.Proofs {
		of := byName[c.Map]
		p, err := ParseProof(c.Proof, givenOf(c.Given))
		if err != nil || p.Root().Hash != of.Root || p.Root().Level != of.Level {
			t.Fatalf("proof %d: of %v, %v", i, p, err)
		}
		got := []Record{}
		for r, err := range (View{Map{Root: p.Root()}, p}).Ascend(c.Lo, c.Hi) {
			if err != nil {
				t.Fatalf("proof %d: %v", i, err)
			}
			got = append(got, r)
		}
		if !slices.EqualFunc(got, givenOf(c.Answers), func(a, b Record) bool { return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) }) {
			t.Errorf("proof %d answers %q", i, got)
		}
	}
}
