package steward

import (
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

var theEntropy = [32]byte(golden.Stream("steward entropy", 32))

func split(t testing.TB, entropy [32]byte, k, n uint, seed string) []Share {
	t.Helper()
	out, err := Split(entropy, k, n, [32]byte(golden.Stream(seed, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Any k shares, in any order, give the phrase; fewer, whatever they are put together with, do not.
func TestAnyOfThemSuffice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.UintRange(2, 12).Draw(t, "n")
		k := rapid.UintRange(2, n).Draw(t, "k")
		entropy := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "entropy"))
		seed := [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed"))
		shares, err := Split(entropy, k, n, seed)
		if err != nil {
			t.Fatal(err)
		}
		some := rapid.Permutation(shares).Draw(t, "order")[:rapid.UintRange(k, n).Draw(t, "how many")]
		if got, err := Combine(append(some, some[0])); err != nil || got != entropy {
			t.Fatalf("%d of %d: %v", len(some), n, err)
		}
		few := some[:k-1]
		if _, err := Combine(few); !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("%d of %d: %v", k-1, k, err)
		}
		// With a number of shares that is claimed to be less, what comes out is another phrase, or none.
		for i := range few {
			few[i].K = max(2, k-1)
		}
		if _, err := Combine(few); k > 2 && !errors.Is(err, core.ErrCorrupt) {
			t.Fatalf("%d of %d that say they suffice: %v", k-1, k, err)
		}
	})
}

func TestSharesThatDoNotFit(t *testing.T) {
	mine, again := split(t, theEntropy, 2, 3, "a"), split(t, theEntropy, 2, 3, "b")
	other := split(t, [32]byte(golden.Stream("another", 32)), 2, 3, "a")
	false1 := mine[1]
	false1.Halves[1] = again[1].Halves[1]
	huge := mine[1]
	huge.Halves[0] = Value([]byte(strings.Repeat("\xff", 32)))
	for _, c := range []struct {
		shares []Share
		kind   error
		text   string
	}{
		{nil, core.ErrInvalid, "there is none"},
		{mine[:1], core.ErrInvalid, "1 of 2 that are needed; any 2 of the 3 stewards have them"},
		{[]Share{mine[0], mine[0]}, core.ErrInvalid, "1 of 2 that are needed"},
		{[]Share{mine[0], again[1]}, core.ErrInvalid, "two splittings of the same phrase"},
		{[]Share{mine[0], other[1]}, core.ErrInvalid, "one is of " + mine[0].Grid.Short() + ", another of " + other[1].Grid.Short()},
		{[]Share{mine[0], mine[1], false1}, core.ErrInvalid, "two with number 2, which differ"},
		{[]Share{mine[0], false1}, core.ErrCorrupt, "one of them is false"},
		{[]Share{mine[0], huge}, core.ErrInvalid, "not below the order"},
	} {
		if _, err := Combine(c.shares); !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v, want %q", err, c.text)
		}
	}
	for _, c := range [][2]uint{{0, 0}, {1, 1}, {1, 3}, {3, 2}, {2, 33}} {
		if _, err := Split(theEntropy, c[0], c[1], [32]byte{1}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%d of %d: %v", c[0], c[1], err)
		}
	}
}

// What a person has is words or lines, wrapped and spaced in any way.
func TestSecret(t *testing.T) {
	shares := split(t, theEntropy, 2, 3, "a")
	lines := make([]string, len(shares))
	for i, s := range shares {
		var err error
		if lines[i], err = s.Line(); err != nil {
			t.Fatal(err)
		}
		if len(lines[i]) > LineSizeMax {
			t.Errorf("a line of %d", len(lines[i]))
		}
		if back, err := Parse(lines[i]); err != nil || back != s {
			t.Errorf("%v, %v", back, err)
		}
	}
	wrapped := "\n  " + strings.ToLower(lines[2][:40]) + "\n" + lines[2][40:] + "\n\n" + lines[0] + "\n"
	for _, text := range []string{identity.Phrase(theEntropy), lines[0] + "\n" + lines[1], wrapped, strings.Join(lines, " ")} {
		if got, err := Secret(text); err != nil || got != theEntropy {
			t.Errorf("%v", err)
		}
	}
	garbled := []byte(lines[1])
	garbled[60] ^= 1
	for text, want := range map[string]error{
		"":                                 core.ErrInvalid,
		"lamp otter":                       core.ErrInvalid,
		lines[0]:                           core.ErrInvalid,
		lines[0] + string(garbled):         core.ErrCorrupt,
		lines[0] + lines[1][:50]:           core.ErrCorrupt,
		Prefix:                             core.ErrCorrupt,
		strings.Repeat("A", TextSizeMax+1): core.ErrInvalid,
		Prefix + strings.Repeat("A", TextSizeMax): core.ErrTooLarge,
	} {
		if _, err := Secret(text); !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", text, err, want)
		}
	}
}

func TestASharePrintsNoSecret(t *testing.T) {
	s := split(t, theEntropy, 2, 2, "a")[0]
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v", s), fmt.Sprintf("%x", s.Halves), fmt.Sprintf("%d", s.Halves[0])} {
		if !strings.Contains(text, hidden) || strings.Contains(text, fmt.Sprintf("%x", [32]byte(s.Halves[0]))) {
			t.Error(text)
		}
	}
}

// vectors are shares of a phrase.
type vectors struct {
	About string `json:"about"`
	// Phrase is split by K, N and Seed; how a seed is used is this implementation's own business.
	Phrase string     `json:"phrase"`
	Grid   core.DID   `json:"grid"`
	K      uint       `json:"k"`
	N      uint       `json:"n"`
	Seed   golden.Hex `json:"seed"`
	// Shares are the CBOR in the Lines.
	Shares []golden.Hex `json:"shares"`
	Lines  []string     `json:"lines"`
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "steward", makeVectors)
	for i := range v.Lines {
		if codec.Line(Prefix, v.Shares[i]) != v.Lines[i] {
			t.Errorf("line %d is not the share's bytes", i)
		}
		got, err := Secret(v.Lines[i] + "\n" + v.Lines[(i+1)%5] + "\n" + v.Lines[(i+3)%5])
		if err != nil || identity.Phrase(got) != v.Phrase || identity.RootOf(got).DID() != v.Grid {
			t.Error(i, err)
		}
	}
	if got := interpolate(t, v.Lines[1], v.Lines[4], v.Lines[2]); identity.Phrase(got) != v.Phrase {
		t.Error("by other arithmetic it is another phrase")
	}
}

// interpolate combines shares as SPEC says it, with the arithmetic of math/big.
func interpolate(t *testing.T, lines ...string) (out [32]byte) {
	t.Helper()
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	var shares []Share
	for _, line := range lines {
		s, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		shares = append(shares, s)
	}
	for half := range 2 {
		sum := new(big.Int)
		for _, s := range shares {
			little := slices.Clone(s.Halves[half][:])
			slices.Reverse(little)
			term := new(big.Int).SetBytes(little)
			for _, o := range shares {
				if o.Index != s.Index {
					below := big.NewInt(int64(o.Index) - int64(s.Index))
					term.Mul(term, big.NewInt(int64(o.Index))).Mul(term, new(big.Int).ModInverse(below.Mod(below, order), order))
				}
			}
			sum.Add(sum, term).Mod(sum, order)
		}
		raw := sum.FillBytes(make([]byte, 16))
		slices.Reverse(raw)
		copy(out[16*half:], raw)
	}
	return out
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	seed := golden.Stream("steward seed", 32)
	v := vectors{
		About: "Shares of a phrase, docs/SPEC.md §2.1: any 3 of the 5 give it.", Phrase: identity.Phrase(theEntropy), Grid: identity.RootOf(theEntropy).DID(),
		K: 3, N: 5, Seed: seed,
	}
	for _, s := range split(t, theEntropy, v.K, v.N, "steward seed") {
		line, err := s.Line()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := codec.ParseLine(Prefix, line, LineSizeMax)
		if err != nil {
			t.Fatal(err)
		}
		v.Lines, v.Shares = append(v.Lines, line), append(v.Shares, raw)
	}
	return v
}

func FuzzSecret(f *testing.F) {
	v := golden.Read[vectors](f, "steward")
	f.Add(strings.Join(v.Lines, "\n"))
	f.Add(v.Phrase)
	f.Add(v.Lines[0] + v.Lines[1][:100])
	f.Fuzz(func(t *testing.T, text string) {
		shares, err := ParseAll(text)
		if err != nil {
			return
		}
		for _, s := range shares {
			line, err := s.Line()
			if err != nil {
				t.Fatal(err)
			}
			if back, err := Parse(line); err != nil || back != s {
				t.Fatal(back, err)
			}
		}
		_, _ = Combine(shares) // it ends, without a panic
	})
}
