// Package retain decides which versions of a name are kept, when new ones come by
// themselves all the time.
//
// A rule names how many of the newest versions are kept, and for how many days
// and months the last of each. It counts days and months that have a version, not
// those of the calendar: a machine that was off for a year, or whose clock is a year
// ahead, loses none by it. The newest version is kept by every rule.
//
// The package knows times alone. What a version is, and what becomes of one that is
// not kept, is the caller's affair.
package retain

import (
	"fmt"
	"slices"
	"time"

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

// Keep tells which of the versions made at times are kept, in their order. A day and a
// month are those of each time's own location.
func (r Rule) Keep(times []time.Time) []bool {
	keep := make([]bool, len(times))
	if r == (Rule{}) {
		for i := range keep {
			keep[i] = true
		}
		return keep
	}
	newest := make([]int, len(times))
	for i := range newest {
		newest[i] = i
	}
	slices.SortStableFunc(newest, func(a, b int) int { return times[b].Compare(times[a]) })
	for _, i := range newest[:min(len(newest), max(r.Last, 1))] {
		keep[i] = true
	}
	lastOfEach(keep, newest, r.Daily, func(i int) string { return times[i].Format("2006-01-02") })
	lastOfEach(keep, newest, r.Monthly, func(i int) string { return times[i].Format("2006-01") })
	return keep
}

// lastOfEach keeps the newest version of each of the n newest periods that have any.
func lastOfEach(keep []bool, newest []int, n int, period func(i int) string) {
	last := ""
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
