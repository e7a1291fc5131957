package policy

import (
	"fmt"
	"math"
)

const (
	kilobyte = 1_000
	megabyte = 1_000 * kilobyte
	gigabyte = 1_000 * megabyte
	terabyte = 1_000 * gigabyte
)

const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
)

// Bytes returns n bytes as a person reads them: decimal units, a tenth of the
// unit where there are less than ten of it, rounded to nearest. From a tenth of
// it on the unit is GB, up to 1 TB. Examples: "0 B", "1.5 kB", "99 MB", "0.4 GB",
// "4 GB", "412 GB", "1.5 TB".
func Bytes(n int64) string { return bytesText(n, nearest) }

// bytesDown never says more than n: what somebody may ask for.
func bytesDown(n int64) string { return bytesText(n, down) }

// bytesUp never says less than n: what somebody needs.
func bytesUp(n int64) string { return bytesText(n, up) }

type rounding int

const (
	nearest rounding = iota
	down
	up
)

// round returns the multiple of step that r chooses for n ≥ 0; at the very end
// of the numbers, where rounding up would overflow, the one below.
func (r rounding) round(n, step int64) int64 {
	rest := n % step
	low := n - rest
	if rest == 0 || r == down || r == nearest && rest < step/2 || low > math.MaxInt64-step {
		return low
	}
	return low + step
}

func bytesText(n int64, r rounding) string {
	if n < 0 {
		return "-" + bytesText(-max(n, -math.MaxInt64), r)
	}
	step, _, _ := bytesUnit(n)
	n = r.round(n, step)
	_, unit, name := bytesUnit(n) // rounding may have carried n into the next unit
	if tenths := n % unit * 10 / unit; unit > 1 && tenths != 0 {
		return fmt.Sprintf("%d.%d %s", n/unit, tenths, name)
	}
	return fmt.Sprintf("%d %s", n/unit, name)
}

// bytesUnit says how n bytes are written: in which unit, to which step of bytes.
func bytesUnit(n int64) (step, unit int64, name string) {
	switch {
	case n < kilobyte:
		return 1, 1, "B"
	case n < 10*kilobyte:
		return kilobyte / 10, kilobyte, "kB"
	case n < megabyte:
		return kilobyte, kilobyte, "kB"
	case n < 10*megabyte:
		return megabyte / 10, megabyte, "MB"
	case n < gigabyte/10:
		return megabyte, megabyte, "MB"
	case n < 10*gigabyte:
		return gigabyte / 10, gigabyte, "GB"
	case n < terabyte:
		return gigabyte, gigabyte, "GB"
	case n < 10*terabyte:
		return terabyte / 10, terabyte, "TB"
	}
	return terabyte, terabyte, "TB"
}

// span returns n ≥ 1 seconds in the largest unit of which there are two.
func span(n int64, r rounding) string {
	unit, name := int64(1), "seconds"
	switch {
	case n >= 2*day:
		unit, name = day, "days"
	case n >= 2*hour:
		unit, name = hour, "hours"
	case n >= 2*minute:
		unit, name = minute, "minutes"
	case n == 1:
		name = "second"
	}
	return fmt.Sprintf("%d %s", r.round(n, unit)/unit, name)
}

// date returns the day of a time in seconds since 1970, in UTC: "2027-01-15". Package time has the clock, which is no business of
// a pure room. Source of the arithmetic: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
func date(seconds int64) string {
	days := seconds / day
	if seconds%day < 0 {
		days--
	}
	const (
		era      = 146_097 // days of 400 years
		yearZero = 719_468 // days from 1 March of the year 0 to 1970
	)
	days += yearZero
	eras := days / era
	if days%era < 0 {
		eras--
	}
	of := days - eras*era
	year := (of - of/1_460 + of/36_524 - of/146_096) / 365
	of -= 365*year + year/4 - year/100
	month := (5*of + 2) / 153
	of -= (153*month+2)/5 - 1
	year += eras * 400
	if month += 3; month > 12 {
		month, year = month-12, year+1
	}
	return fmt.Sprintf("%04d-%02d-%02d", year, month, of)
}
