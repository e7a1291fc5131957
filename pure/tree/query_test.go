package tree

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
)

// ask runs one question, whose kind and bounds are drawn, and returns the answer as text.
func ask(v View, kind int, lo, hi string, limit int) (string, error) {
	collect := func(all iter.Seq2[Record, error]) (string, error) {
		out, n := "", 0
		for r, err := range all {
			if err != nil {
				return "", err
			}
			out += fmt.Sprintf("%s=%s ", r.Key, r.Value)
			if n++; n == limit {
				break
			}
		}
		return out, nil
	}
	bound := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	switch kind {
	case 0:
		value, err := v.Get([]byte(lo))
		if errors.Is(err, core.ErrNotExist) {
			return "none", nil
		}
		return string(value), err
	case 1:
		return collect(v.Ascend(bound(lo), bound(hi)))
	case 2:
		return collect(v.Descend(bound(lo), bound(hi)))
	case 3:
		n, err := v.Count(bound(lo), bound(hi))
		return fmt.Sprint(n), err
	default:
		r, err := v.Nth(uint64(limit * 7))
		if errors.Is(err, core.ErrNotExist) {
			return "none", nil
		}
		return fmt.Sprintf("%s=%s", r.Key, r.Value), err
	}
}

// askPlain is what a sorted list answers.
func askPlain(have map[string]string, kind int, lo, hi string, limit int) string {
	keys := slices.Sorted(maps.Keys(have))
	in := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k < lo || hi != "" && k >= hi })
	list := func(keys []string) (out string) {
		for _, k := range keys[:min(len(keys), limit)] {
			out += fmt.Sprintf("%s=%s ", k, have[k])
		}
		return out
	}
	switch kind {
	case 0:
		if v, ok := have[lo]; ok {
			return v
		}
		return "none"
	case 1:
		return list(in)
	case 2:
		slices.Reverse(in)
		return list(in)
	case 3:
		return fmt.Sprint(len(in))
	default:
		if n := limit * 7; n < len(keys) {
			return fmt.Sprintf("%s=%s", keys[n], have[keys[n]])
		}
		return "none"
	}
}

// Every answer is the one of a sorted list; the same question over what its proof brings has the same answer, and any
// other question has its right one, or is not proven.
func TestAnswersAreProven(t *testing.T) {
	sizes := []int{0, 1, 2, 63, 64, 65, 500, 5000, 30000}
	kinds := []string{"get", "ascend", "descend", "count", "nth"}
	for s, size := range sizes {
		rnd := rand.New(rand.NewPCG(uint64(s), 2))
		have := map[string]string{}
		for range size {
			have[fmt.Sprintf("%06d", rnd.IntN(4*size))] = fmt.Sprint(rnd.IntN(1000))
		}
		m, src := naive(t, salt, have)
		type question struct {
			kind   int
			lo, hi string
			limit  int
		}
		draw := func() question {
			q := question{kind: rnd.IntN(len(kinds)), limit: 1 + rnd.IntN(80)}
			lo := rnd.IntN(4*size + 3)
			q.lo, q.hi = fmt.Sprintf("%06d", lo), fmt.Sprintf("%06d", lo+rnd.IntN(300))
			if q.kind != 0 && rnd.IntN(6) == 0 {
				q.lo = ""
			}
			if rnd.IntN(6) == 0 {
				q.hi = ""
			}
			return q
		}
		other, unproven := draw(), 0
		for range 150 {
			q := draw()
			want := askPlain(have, q.kind, q.lo, q.hi, q.limit)
			rec := NewRecorder(src)
			got, err := ask(View{m, rec}, q.kind, q.lo, q.hi, q.limit)
			if err != nil || got != want {
				t.Fatalf("%d records, %s of %+v: %q, %v, want %q", size, kinds[q.kind], q, got, err, want)
			}
			given := drawGiven(rnd, have)
			raw, err := rec.Proof(m, given)
			if err != nil {
				t.Fatal(err)
			}
			p, err := ParseProof(raw, given)
			if err != nil {
				t.Fatalf("%d records, %s of %+v: %v", size, kinds[q.kind], q, err)
			}
			if p.Root().Hash != m.Root.Hash || p.Root().Level != m.Root.Level {
				t.Fatalf("%d records, %s: the proof is of %v, not %v", size, kinds[q.kind], p.Root(), m.Root)
			}
			client := View{Map{Root: Ref{Level: m.Root.Level, Hash: m.Root.Hash}}, p}
			if got, err := ask(client, q.kind, q.lo, q.hi, q.limit); err != nil || got != want {
				t.Fatalf("%d records, %s of %+v over the proof: %q, %v, want %q", size, kinds[q.kind], q, got, err, want)
			}
			got, err = ask(client, other.kind, other.lo, other.hi, other.limit)
			switch {
			case errors.Is(err, ErrNotProven):
				unproven++
			case err != nil || got != askPlain(have, other.kind, other.lo, other.hi, other.limit):
				t.Fatalf("%d records, %s of %+v over the proof of another: %q, %v", size, kinds[other.kind], other, got, err)
			}
			other = q
		}
		if size > 500 && unproven < 100 {
			t.Errorf("%d records: only %d of 150 other questions were not proven", size, unproven)
		}
	}
}

// drawGiven draws records to travel beside a proof, some of which are of the map.
func drawGiven(rnd *rand.Rand, have map[string]string) (out []Record) {
	if rnd.IntN(3) == 0 {
		return nil
	}
	share := rnd.IntN(4)
	for _, k := range slices.Sorted(maps.Keys(have)) {
		switch rnd.IntN(4) - share {
		case 0:
			out = append(out, Record{[]byte(k), []byte(have[k] + "other")})
		case -1, -2, -3:
			out = append(out, Record{[]byte(k), []byte(have[k])})
		}
	}
	return out
}

// What is given is not written again, and nothing else that is given stands in for it.
func TestGivenRecords(t *testing.T) {
	have := map[string]string{}
	for i := range 3000 {
		have[fmt.Sprintf("%06d", i)] = fmt.Sprint("value ", i)
	}
	m, src := naive(t, salt, have)
	rec := NewRecorder(src)
	var given []Record
	for r, err := range (View{m, rec}).Ascend([]byte("001000"), []byte("001032")) {
		if err != nil {
			t.Fatal(err)
		}
		given = append(given, r)
	}
	full, err := rec.Proof(m, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := rec.Proof(m, given)
	if err != nil {
		t.Fatal(err)
	}
	// A given record costs a byte; one in full a byte too, two for how much its key shares and goes on, one for the value's length.
	if saved := len(full) - len(raw); saved < 32*(len("value 1000")+3) {
		t.Errorf("32 given records of %d bytes save %d", len(given[0].Key)+len(given[0].Value), saved)
	}
	with := func(i int, r Record) []Record {
		out := slices.Clone(given)
		out[i] = r
		return out
	}
	for _, c := range []struct {
		what  string
		raw   []byte
		given []Record
	}{
		{"none given", raw, nil},
		{"one too few", raw, given[:31]},
		{"in full though given", full, given},
		{"keys that do not rise", raw, with(1, given[0])},
		{"an empty key", raw, with(0, Record{})},
		{"another key", raw, with(31, Record{[]byte("0009"), given[31].Value})},
	} {
		if p, err := ParseProof(c.raw, c.given); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, %v", c.what, p, err)
		}
		if _, err := rec.Proof(m, with(1, given[0])); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("a proof beside records whose keys do not rise: %v", err)
		}
	}
	for _, other := range [][]Record{
		with(5, Record{given[5].Key, []byte("forged")}),
		with(5, Record{[]byte("001005x"), given[5].Value}),
	} {
		if p, err := ParseProof(raw, other); err != nil || p.Root().Hash == m.Root.Hash {
			t.Errorf("another record is proven: %v", err)
		}
	}
}

// No byte of a proof can be another: it is then none, or of another root.
func TestEveryByteCounts(t *testing.T) {
	have := map[string]string{}
	for i := range 3000 {
		have[fmt.Sprintf("%06d", 7*i)] = fmt.Sprint(i)
	}
	m, src := naive(t, salt, have)
	rec := NewRecorder(src)
	if _, err := ask(View{m, rec}, 1, "007001", "", 10); err != nil {
		t.Fatal(err)
	}
	given := []Record{{[]byte("007014"), []byte("1002")}, {[]byte("007021"), []byte("another")}, {[]byte("007028"), []byte("1004")}}
	raw, err := rec.Proof(m, given)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			other := slices.Clone(raw)
			other[i] ^= 1 << bit
			if p, err := ParseProof(other, given); err == nil && p.Root().Hash == m.Root.Hash {
				t.Fatalf("bit %d of byte %d of %d can be another", bit, i, len(raw))
			}
		}
	}
	for i := range raw {
		if _, err := ParseProof(raw[:i], given); err == nil {
			t.Fatalf("the first %d bytes of %d are a proof", i, len(raw))
		}
	}
	if _, err := ParseProof(append(raw, 0), given); err == nil {
		t.Fatal("a byte more is a proof")
	}
}

func FuzzParseProof(f *testing.F) {
	have := map[string]string{}
	for i := range 500 {
		have[fmt.Sprintf("%06d", i)] = fmt.Sprint(i)
	}
	m, src := naive(f, salt, have)
	given := []Record{{[]byte("000101"), []byte("101")}, {[]byte("000102"), []byte("another")}, {[]byte("000110"), []byte("110")}}
	for kind := range 10 {
		beside := given
		if kind >= 5 {
			beside, kind = nil, kind-5
		}
		rec := NewRecorder(src)
		if _, err := ask(View{m, rec}, kind, "000100", "000120", 5); err != nil {
			f.Fatal(err)
		}
		raw, err := rec.Proof(m, beside)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, beside != nil)
	}
	f.Fuzz(func(t *testing.T, raw []byte, beside bool) {
		var some []Record
		if beside {
			some = given
		}
		p, err := ParseProof(raw, some)
		if err != nil {
			return
		}
		for kind := range 5 {
			got, err := ask(View{Map{Root: p.Root()}, p}, kind, "000100", "000120", 5)
			if err == nil && p.Root().Hash == m.Root.Hash && got != askPlain(have, kind, "000100", "000120", 5) {
				t.Fatalf("a proof of the root has the answer %q", got)
			}
		}
	})
}
