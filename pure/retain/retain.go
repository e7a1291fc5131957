// Package retain decides which versions of a name are kept, when new ones come by
// themselves all the time.
//
// A rule names how many of the newest versions are kept, and for how many days
// and months the last of each. It counts days and months that have a version, not
// those of the calendar: a machine that was off for a year, or whose clock is a year
// ahead, loses none by it. The newest version is kept by every rule.
//
// The package knows dates alone. What a version is, and what becomes of one that is
// not kept, is the caller's affair.
package retain

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
)

// Rule says how much is kept. The zero Rule keeps everything.
type Rule struct {
	// Last newest versions, whenever they were made.
	Last int
	// Daily and Monthly are of how many days, and months, the last version is kept.
	Daily, Monthly int
}

// Default is what is kept where nobody says otherwise.
var Default = Rule{Last: 7, Daily: 30, Monthly: 12}

// CountMax bounds each number of a Rule.
const CountMax = 100_000

// Valid refuses a rule whose numbers are out of range. Errors: core.ErrInvalid.
func (r Rule) Valid() error {
	for _, n := range []struct {
		name  string
		count int
	}{{"last", r.Last}, {"daily", r.Daily}, {"monthly", r.Monthly}} {
		if n.count < 0 || n.count > CountMax {
			return fmt.Errorf("%s is %d, and must be 0 to %d: %w", n.name, n.count, CountMax, core.ErrInvalid)
		}
	}
	return nil
}

// Made is when a version was made: in seconds since 1970, and on which date, wherever
// its maker lives.
type Made struct {
	Unix             int64
	Year, Month, Day int
}

// Keep tells which of the versions are kept, in their order.
func (r Rule) Keep(made []Made) []bool {
	keep := make([]bool, len(made))
	if r == (Rule{}) {
		for i := range keep {
			keep[i] = true
		}
		return keep
	}
	newest := make([]int, len(made))
	for i := range newest {
		newest[i] = i
	}
	slices.SortStableFunc(newest, func(a, b int) int { return cmp.Compare(made[b].Unix, made[a].Unix) })
	for _, i := range newest[:min(len(newest), max(r.Last, 1))] {
		keep[i] = true
	}
	lastOfEach(keep, newest, r.Daily, func(i int) [3]int { return [3]int{made[i].Year, made[i].Month, made[i].Day} })
	lastOfEach(keep, newest, r.Monthly, func(i int) [3]int { return [3]int{made[i].Year, made[i].Month} })
	return keep
}

// lastOfEach keeps the newest version of each of the n newest periods that have any.
func lastOfEach(keep []bool, newest []int, n int, period func(i int) [3]int) {
	var last [3]int
	for _, i := range newest {
		if n == 0 {
			return
		}
		if p := period(i); p != last {
			keep[i], last = true, p
			n--
		}
	}
}
