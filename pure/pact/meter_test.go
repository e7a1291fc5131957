package pact

import (
	"errors"
	"math"
	"math/big"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func TestMeter(t *testing.T) {
	var m Meter
	want := func(at, live int64, seconds string, hours uint64) {
		t.Helper()
		if got := m.Seconds(at).String(); got != seconds || m.Hours(at) != hours || m.Live(at) != live {
			t.Errorf("at %d: %d live, %s byte-seconds, %d byte-hours; want %d, %s, %d", at, m.Live(at), got, m.Hours(at), live, seconds, hours)
		}
	}
	end := func(got, days int64) int64 {
		t.Helper()
		if got != days*day {
			t.Errorf("it ends at %d, want day %d", got, days)
		}
		return got
	}
	want(1_000, 0, "0", 0)
	a := end(m.Lease(0, 10, 1_000, 10*day-5), 10)
	want(1_000, 10, "0", 0)
	want(1_360, 10, "3600", 1)
	b := end(m.Lease(0, 5, 2_000, day+1), 2)
	want(2_000, 15, "10000", 2)
	a = end(m.Lease(a, 10, 3_000, 10*day), 10) // earlier than promised: nothing new
	a = end(m.Lease(a, 10, 3_000, 20*day), 20)
	want(4_000, 15, "40000", 11)
	want(2*day, 10, "2572000", 714)
	want(3*day, 10, "3436000", 954)
	m.Settle(3 * day)
	want(3*day, 10, "3436000", 954)
	b = end(m.Lease(b, 5, day, 4*day), 4) // by a clock that is behind: no gap, and no second twice
	want(4*day, 10, "5164000", 1434)
	b = end(m.Lease(b, 5, 5*day, 6*day), 6) // after its end: a gap
	want(6*day, 10, "7324000", 2034)
	m.Release(b, 5, 5*day+100)
	want(6*day, 10, "6892500", 1914)
	m.Release(a, 10, 21*day) // after its end
	want(30*day, 0, "18988500", 5274)
	if end := m.Lease(0, 10, 30*day, 30*day+1); end != 31*day { // or short leases would be free
		t.Errorf("a lease of a second counts until %d", end)
	}
	m.Restart(30*day + 10)
	want(30*day+10, 10, "0", 0)
	want(40*day, 0, "863900", 239)
}

func TestMeterAtItsLimits(t *testing.T) {
	var m Meter
	end := m.Lease(0, AmountMax, 1, TimeMax)
	if got := m.Hours(TimeMax); got != math.MaxUint64 {
		t.Errorf("%d byte-hours", got)
	}
	if got := m.Hours(0); got != 0 {
		t.Errorf("%d byte-hours before it began", got)
	}
	m.Release(end, AmountMax, TimeMax)
	if s := m.State(); len(s.Sum) > sumDigitsMax {
		t.Errorf("a sum of %d digits", len(s.Sum))
	}
	m = Meter{}
	for i := range int64(MeterEndsMax) {
		if m.Lease(0, 1, 1, (i+1)*day) == 0 {
			t.Fatalf("day %d does not count", i)
		}
	}
	if m.Lease(0, 1, 1, 10*MeterEndsMax*day) != 0 || m.Lease(0, 1, 1, day) == 0 {
		t.Error("a day too many counts, or one that is known does not")
	}
	if again, err := m.State().Meter(); err != nil || again.Live(0) != MeterEndsMax+1 {
		t.Errorf("read again: %v", err)
	}
}

func TestMeterStateIsChecked(t *testing.T) {
	for _, s := range []MeterState{
		{Sum: ""},
		{Sum: "+1"},
		{Sum: "01"},
		{Sum: "-0"},
		{Sum: "1e3"},
		{Sum: "x"},
		{Sum: " 1"},
		{Sum: "11111111111111111111111111111111111111111"},
		{Sum: "0", Ends: []MeterEnd{{0, 1}}},
		{Sum: "0", Ends: []MeterEnd{{-day, 1}}},
		{Sum: "0", Ends: []MeterEnd{{day + 1, 1}}},
		{Sum: "0", Ends: []MeterEnd{{day, 0}}},
		{Sum: "0", Ends: []MeterEnd{{day, AmountMax + 1}}},
		{Sum: "0", Ends: []MeterEnd{{day, -AmountMax - 1}}},
		{Sum: "0", Ends: []MeterEnd{{day, 1}, {day, 1}}},
		{Sum: "0", Ends: []MeterEnd{{2 * day, 1}, {day, 1}}},
		{Sum: "0", Ends: []MeterEnd{{math.MaxInt64 / day * day, 1}}},
		{Sum: "0", Ends: make([]MeterEnd, MeterEndsMax+1)},
	} {
		if _, err := s.Meter(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%.60v: %v", s, err)
		}
	}
}

// counted is a piece on both sides of a line, and by the plain rule.
type counted struct {
	size int64
	ends [2]int64
	// begun and until are the last stretch of the plain rule, done what those before come to.
	begun, until, done int64
}

func (c *counted) seconds(at int64) int64 {
	return c.done + c.size*(min(at, c.until)-min(at, c.begun))
}

// TestMetersAgree: both sides get the same leases and releases, settle what is past whenever they
// like, and come to the same totals, which never fall and are what each piece comes to by itself.
func TestMetersAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sides := [2]*Meter{{}, {}}
		pieces := []*counted{{size: 1}, {size: 7}, {size: 1 << 20}}
		now, last := int64(100*day), new(big.Int)
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			p := pieces[rapid.IntRange(0, len(pieces)-1).Draw(t, "piece")]
			now += rapid.Int64Range(0, 2*day).Draw(t, "time")
			switch rapid.SampledFrom([]string{"lease", "release", "settle", "restart", "receipt"}).Draw(t, "event") {
			case "lease":
				from := now - rapid.Int64Range(0, day).Draw(t, "behind")
				until := from + rapid.Int64Range(1, 5*day).Draw(t, "length")
				for i, s := range sides {
					p.ends[i] = s.Lease(p.ends[i], p.size, from, until)
				}
				switch to := (until + day - 1) / day * day; {
				case to <= p.until:
				case p.until < from:
					p.done += p.size * (p.until - p.begun)
					p.begun, p.until = from, to
				default:
					p.until = to
				}
			case "release":
				for i, s := range sides {
					s.Release(p.ends[i], p.size, now)
					p.ends[i] = 0
				}
				p.done += p.size * (min(now, p.until) - p.begun)
				p.begun, p.until = 0, 0
			case "settle":
				sides[rapid.IntRange(0, 1).Draw(t, "side")].Settle(now)
			case "restart":
				i := rapid.IntRange(0, 1).Draw(t, "side")
				m, err := sides[i].State().Meter()
				if err != nil || !reflect.DeepEqual(m.State(), sides[i].State()) {
					t.Fatalf("read again: %v", err)
				}
				sides[i] = m
			case "receipt":
				var want, live int64
				for _, p := range pieces {
					want += p.seconds(now)
					if p.until > now {
						live += p.size
					}
				}
				a, b := sides[0].Seconds(now), sides[1].Seconds(now)
				if a.Cmp(b) != 0 || a.Cmp(big.NewInt(want)) != 0 || a.Cmp(last) < 0 {
					t.Fatalf("%s and %s byte-seconds, want %d, at least %s", a, b, want, last)
				}
				if sides[0].Live(now) != live || sides[1].Live(now) != live {
					t.Fatalf("%d and %d bytes live, want %d", sides[0].Live(now), sides[1].Live(now), live)
				}
				last = a
			}
		}
	})
}
