package place

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

// survivesByForce tries every set of households that may vanish.
func survivesByForce(k int, counts []int) int {
	total := 0
	for _, c := range counts {
		total += c
	}
	if total < k {
		return -1
	}
	fatal := len(counts) + 1 // size of the smallest set whose loss is fatal
	for set := range 1 << len(counts) {
		size, left := 0, total
		for i, c := range counts {
			if set>>i&1 == 1 {
				size++
				left -= c
			}
		}
		if left < k {
			fatal = min(fatal, size)
		}
	}
	return fatal - 1
}

func heldOf(counts []int) map[core.DID]int {
	held := make(map[core.DID]int)
	for i, c := range counts {
		held[did(i)] = c
	}
	return held
}

func TestWorthBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(1, 10).Draw(t, "k")
		counts := rapid.SliceOfN(rapid.IntRange(1, 10), 0, 9).Draw(t, "counts")
		w := WorthOf(k, heldOf(counts))
		want := survivesByForce(k, counts)
		if w.Survives != want {
			t.Fatalf("k = %d, %v: survives %d, by force %d", k, counts, w.Survives, want)
		}
		if w.Readable != (want >= 0) || w.Spare != (want >= 1) || w.Households != len(counts) {
			t.Fatalf("k = %d, %v: %+v", k, counts, w)
		}
	})
}

// Every spread of 10+10 over n households that have room survives what is promised of
// it: any half for n = 2, 4, 5, 10 and 20, any ⌈n/2⌉−1 for other n up to 12.
func TestWorthOfTenAndTen(t *testing.T) {
	survives := map[int]int{1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2, 7: 3, 8: 3, 9: 4, 10: 5, 11: 5, 12: 5, 20: 10}
	half := map[int]bool{2: true, 4: true, 5: true, 10: true, 20: true}
	for n, want := range survives {
		if rule := (n+1)/2 - 1; half[n] {
			if want != n/2 {
				t.Errorf("the table breaks the rule at n = %d", n)
			}
		} else if want != rule {
			t.Errorf("the table breaks the rule at n = %d", n)
		}
		for turn := range n {
			give, _ := Spread(20, homes(n, 20), turn)
			held := make(map[core.DID]int)
			counts := make([]int, 0, n)
			for d, pieces := range give {
				held[d] = len(pieces)
				counts = append(counts, len(pieces))
			}
			w := WorthOf(10, held)
			if w != (Worth{Readable: true, Spare: want > 0, Survives: want, Households: n}) {
				t.Errorf("n = %d, turn %d: %+v, want survives %d", n, turn, w, want)
			}
			if n <= 12 && survivesByForce(10, counts) != want {
				t.Errorf("n = %d, turn %d: by force %d, want %d", n, turn, survivesByForce(10, counts), want)
			}
		}
	}
}

func TestWorthTable(t *testing.T) {
	tests := []struct {
		name   string
		k      int
		counts []int
		want   Worth
		text   string
	}{
		{"nothing", 1, nil, Worth{false, false, -1, 0}, "not readable without your disk"},
		{"one short", 10, []int{5, 4}, Worth{false, false, -1, 2}, "not readable without your disk"},
		{"one copy", 10, []int{10}, Worth{true, false, 0, 1}, "survives your disk"},
		{"12 of 20 pieces", 10, []int{3, 3, 3, 3}, Worth{true, false, 0, 4}, "survives your disk"},
		{"two", 10, []int{10, 10}, Worth{true, true, 1, 2}, "survives your disk and any one household"},
		{"four", 10, []int{5, 5, 5, 5}, Worth{true, true, 2, 4}, "survives your disk and any two households"},
		{"who holds none does not count", 10, []int{5, 0, 5, -3}, Worth{true, false, 0, 2}, "survives your disk"},
		{"many", 1, []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, Worth{true, true, 13, 14}, "survives your disk and any 13 households"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := WorthOf(test.k, heldOf(test.counts))
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if got.String() != test.text {
				t.Errorf("got %q, want %q", got, test.text)
			}
		})
	}
}

func TestWorthMin(t *testing.T) {
	a := WorthOf(10, heldOf([]int{5, 5, 5, 5}))
	b := WorthOf(10, heldOf([]int{7, 7, 6}))
	none := WorthOf(10, heldOf([]int{9}))
	if got := a.Min(b); got != (Worth{true, true, 1, 3}) || got != b.Min(a) {
		t.Errorf("got %+v", got)
	}
	if got := a.Min(none); got != (Worth{false, false, -1, 1}) || got != none.Min(a) {
		t.Errorf("got %+v", got)
	}
}
