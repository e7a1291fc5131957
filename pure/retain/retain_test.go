package retain

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15", text)
	if err != nil {
		panic(err)
	}
	return t
}

// kept is Rule.Keep for times.
func (r Rule) kept(times []time.Time) []bool {
	made := make([]Made, len(times))
	for i, t := range times {
		made[i] = Made{t.Unix(), t.Year(), int(t.Month()), t.Day()}
	}
	return r.Keep(made)
}

func TestKeep(t *testing.T) {
	times := []time.Time{
		at("2026-11-21 12"), at("2026-11-21 11"), at("2026-11-21 10"), at("2026-11-20 23"), at("2026-11-20 01"),
		at("2026-10-31 08"), at("2026-10-01 08"), at("2025-10-01 08"),
	}
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{Rule{}, "11111111"},
		{Rule{Last: 2}, "11000000"},
		{Rule{Last: 100}, "11111111"},
		{Rule{Daily: 1}, "10000000"},
		{Rule{Daily: 2}, "10010000"},
		{Rule{Daily: 4}, "10010110"},
		{Rule{Monthly: 2}, "10000100"},
		{Rule{Monthly: 3}, "10000101"},
		{Rule{Last: 2, Daily: 2, Monthly: 3}, "11010101"},
	} {
		if got := text(c.rule.kept(times)); got != c.want {
			t.Errorf("%+v: %s, want %s", c.rule, got, c.want)
		}
	}
	if got := (Rule{Last: 1}).kept(nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}
}

func text(keep []bool) string {
	out := make([]byte, len(keep))
	for i, k := range keep {
		out[i] = '0'
		if k {
			out[i] = '1'
		}
	}
	return string(out)
}

func TestDaysAreThoseOfTheMaker(t *testing.T) {
	late := at("2026-11-20 23")
	times := []time.Time{late.Add(2 * time.Hour), late}
	if got := text(Rule{Daily: 2}.kept(times)); got != "11" {
		t.Errorf("in UTC: %s", got)
	}
	east := time.FixedZone("east", 3*60*60)
	for i := range times {
		times[i] = times[i].In(east)
	}
	if got := text(Rule{Daily: 2}.kept(times)); got != "10" {
		t.Errorf("in the east both are of one day: %s", got)
	}
}

func TestRulesOutOfRange(t *testing.T) {
	for _, r := range []Rule{{Last: -1}, {Daily: CountMax + 1}, {Monthly: -1}} {
		if err := r.Valid(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if err := Default.Valid(); err != nil {
		t.Error(err)
	}
}

// Thinning may run at any time, any number of times, and in any order of the versions.
func TestKeepIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rule := Rule{
			Last: rapid.IntRange(0, 5).Draw(t, "last"), Daily: rapid.IntRange(0, 5).Draw(t, "daily"), Monthly: rapid.IntRange(0, 5).Draw(t, "monthly"),
		}
		hours := rapid.SliceOfN(rapid.IntRange(0, 24*120), 1, 60).Draw(t, "hours")
		var times []time.Time
		for _, h := range hours {
			times = append(times, at("2026-01-01 00").Add(time.Duration(h)*time.Hour))
		}
		kept := left(rule, times)
		if len(kept) == 0 {
			t.Fatal("nothing is kept")
		}
		newest := slices.MaxFunc(times, time.Time.Compare)
		if !slices.ContainsFunc(kept, newest.Equal) {
			t.Fatal("the newest is not kept")
		}
		if again := left(rule, kept); !slices.Equal(again, kept) {
			t.Fatalf("thinned again: %v of %v", again, kept)
		}
		turned := slices.Clone(times)
		slices.Reverse(turned)
		other := left(rule, turned)
		slices.SortFunc(other, time.Time.Compare)
		slices.SortFunc(kept, time.Time.Compare)
		if !slices.Equal(other, kept) {
			t.Fatalf("in another order: %v, not %v", other, kept)
		}
		if rule != (Rule{}) && len(kept) > max(1, rule.Last)+rule.Daily+rule.Monthly {
			t.Fatalf("%+v keeps %d", rule, len(kept))
		}
	})
}

func left(rule Rule, times []time.Time) []time.Time {
	var out []time.Time
	for i, keep := range rule.kept(times) {
		if keep {
			out = append(out, times[i])
		}
	}
	return out
}
