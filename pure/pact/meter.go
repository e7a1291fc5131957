package pact

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/grange-grid/grange/core"
)

const (
	// hour is the unit of time of a receipt for storage, in seconds.
	hour = 60 * 60
	// sumDigitsMax bounds the text of a meter's sum; 2^53 bytes for 8,000 years have 28 digits.
	sumDigitsMax = 40
	// MeterEndsMax is the most days on which something that a Meter counts can end: twice DaysMax.
	// Only a holder whose leases are of no sensible date comes near it; what ends on yet
	// another day is not counted.
	MeterEndsMax = 2 * DaysMax
)

// Meter counts the byte-seconds of one line of storage: those of each piece from the date of its first
// lease until its release, or the midnight (UTC) after its last lease ends, whichever comes
// first. Both sides of the line have one, and feed it with the same signed leases and releases in
// the same order; so they are equal to the byte-second, whatever their clocks say. Days are
// what keeps it small: how long a piece counts is one date, kept beside the piece, and the meter
// knows how many bytes end on each day. The zero Meter is that of a new line.
type Meter struct {
	// sum is what has ended comes to, less size times beginning of what has not.
	sum big.Int
	// ends is the bytes that end at a date. What is moved after its end has been settled
	// leaves less than nothing there, which the sum has.
	ends map[int64]int64
}

// MeterEnd is how many bytes cease to count at a date.
type MeterEnd struct {
	At    int64 `json:"at"`
	Bytes int64 `json:"bytes"`
}

// MeterState is a Meter as it is stored.
type MeterState struct {
	// Sum is in byte-seconds, in decimal.
	Sum string `json:"sum"`
	// Ends rise.
	Ends []MeterEnd `json:"ends"`
}

// State returns what a Meter is restored from.
func (m *Meter) State() MeterState {
	s := MeterState{Sum: m.sum.String(), Ends: make([]MeterEnd, 0, len(m.ends))}
	for at, n := range m.ends {
		s.Ends = append(s.Ends, MeterEnd{at, n})
	}
	slices.SortFunc(s.Ends, func(a, b MeterEnd) int { return cmp.Compare(a.At, b.At) })
	return s
}

// Meter restores a Meter. Errors: core.ErrInvalid.
func (s MeterState) Meter() (*Meter, error) {
	m := &Meter{}
	if len(s.Sum) > sumDigitsMax || len(s.Ends) > MeterEndsMax {
		return nil, fmt.Errorf("meter: %w: a sum of %d digits, %d ends", core.ErrInvalid, len(s.Sum), len(s.Ends))
	}
	if _, ok := m.sum.SetString(s.Sum, 10); !ok || m.sum.String() != s.Sum {
		return nil, fmt.Errorf("meter: %w: sum %q", core.ErrInvalid, s.Sum)
	}
	last := int64(0)
	for _, e := range s.Ends {
		if e.At <= last || e.At%day != 0 || e.At > CountedUntil(TimeMax) || e.Bytes == 0 || e.Bytes > AmountMax || e.Bytes < -AmountMax {
			return nil, fmt.Errorf("meter: %w: %d bytes end at %d", core.ErrInvalid, e.Bytes, e.At)
		}
		last = e.At
		m.add(e.At, e.Bytes)
	}
	return m, nil
}

// CountedUntil returns until when a piece counts under a lease with that end: the midnight after it, or it.
func CountedUntil(until int64) int64 { return (until + day - 1) / day * day }

// Lease counts a piece of size bytes under one more lease. end is until when it counts so far, 0 if it
// never did or was released; until when it counts now is returned.
func (m *Meter) Lease(end, size, from, until int64) int64 {
	to := CountedUntil(until)
	if to <= end {
		return end
	}
	if _, known := m.ends[to]; !known && len(m.ends) >= MeterEndsMax {
		return end
	}
	if end < from {
		m.move(size, -from)
	} else {
		m.add(end, -size)
	}
	m.add(to, size)
	return to
}

// Release ends a piece at a date, unless it ended before. The date is not before that of any lease or
// receipt so far: the caller sees to that.
func (m *Meter) Release(end, size, at int64) {
	if end == 0 {
		return
	}
	m.add(end, -size)
	m.move(size, min(at, end))
}

// Restart makes the total up to a date nothing, and what counts go on from there: a new pact
// begins between the two.
func (m *Meter) Restart(at int64) { m.sum.Sub(&m.sum, m.Seconds(at)) }

// Settle forgets the days up to a date, which have gone into the sum. Nothing that is counted changes.
func (m *Meter) Settle(at int64) {
	for end, n := range m.ends {
		if end <= at {
			m.move(n, end)
			delete(m.ends, end)
		}
	}
}

// Live returns the bytes that count at a date.
func (m *Meter) Live(at int64) (n int64) {
	for end, size := range m.ends {
		if end > at {
			n += size
		}
	}
	return n
}

// Seconds returns the byte-seconds up to a date, which is not before what was settled or began.
func (m *Meter) Seconds(at int64) *big.Int {
	total := new(big.Int).Set(&m.sum)
	for end, n := range m.ends {
		total.Add(total, product(n, min(end, at)))
	}
	return total
}

// Hours returns Seconds as a receipt has it: in byte-hours, rounded down; the greatest number
// there is if there are more, and 0 for less than nothing.
func (m *Meter) Hours(at int64) uint64 {
	total := m.Seconds(at)
	if total.Sign() < 0 {
		return 0
	}
	total.Div(total, big.NewInt(hour))
	if !total.IsUint64() {
		return math.MaxUint64
	}
	return total.Uint64()
}

func (m *Meter) add(end, size int64) {
	if m.ends == nil {
		m.ends = map[int64]int64{}
	}
	if m.ends[end] += size; m.ends[end] == 0 {
		delete(m.ends, end)
	}
}

func (m *Meter) move(size, at int64) { m.sum.Add(&m.sum, product(size, at)) }

func product(size, at int64) *big.Int { return new(big.Int).Mul(big.NewInt(size), big.NewInt(at)) }
