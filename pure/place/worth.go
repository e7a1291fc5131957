package place

import (
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
)

// Worth is what a placement is good for, apart from the owner's own disk.
type Worth struct {
	// Readable says that at least k pieces are held.
	Readable bool
	// Spare says that any one household may vanish.
	Spare bool
	// Survives is how many households may vanish, whichever they are; -1 when not
	// readable.
	Survives int
	// Households is how many hold at least one piece.
	Households int
}

// WorthOf returns what a segment of k data pieces is worth that is held so: the
// number of different pieces that each household has. A piece that two households have
// must be counted for one of them only, or the result is too good.
//
// The worst case is that those with most pieces vanish, so the figure is exact:
// the largest number s for which what is left without the s largest is at
// least k.
func WorthOf(k int, held map[core.DID]int) Worth {
	counts := make([]int, 0, len(held))
	left := 0
	for _, n := range held {
		if n > 0 {
			counts = append(counts, n)
			left += n
		}
	}
	w := Worth{Readable: left >= k, Survives: -1, Households: len(counts)}
	if !w.Readable {
		return w
	}
	w.Survives = 0
	slices.SortFunc(counts, func(a, b int) int { return b - a })
	for _, n := range counts {
		if left -= n; left < k {
			break
		}
		w.Survives++
	}
	w.Spare = w.Survives > 0
	return w
}

// Min returns what two segments are worth together: a version is worth what
// the worst of its segments is.
func (w Worth) Min(v Worth) Worth {
	return Worth{
		Readable:   w.Readable && v.Readable,
		Spare:      w.Spare && v.Spare,
		Survives:   min(w.Survives, v.Survives),
		Households: min(w.Households, v.Households),
	}
}

// String returns it for a person: "survives your disk", "survives your disk and
// any one household", "survives your disk and any two households" and so on; and "not readable without your disk".
func (w Worth) String() string {
	switch {
	case !w.Readable:
		return "not readable without your disk"
	case w.Survives <= 0:
		return "survives your disk"
	case w.Survives == 1:
		return "survives your disk and any one household"
	}
	return fmt.Sprintf("survives your disk and any %s households", number(w.Survives))
}

func number(n int) string {
	words := [...]string{"no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"}
	if n < len(words) {
		return words[n]
	}
	return fmt.Sprint(n)
}
