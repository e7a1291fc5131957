package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/grange-grid/grange/pure/policy"
)

// size is a number of bytes: "10GB", "1.5 TB", "512MiB", "4096B". Only nothing goes without
// a unit: who writes 50 hardly means bytes.
type size int64

// units are what a size may end with. Decimal ones may do without their B.
var units = map[string]int64{
	"B": 1,
	"K": 1e3, "KB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "T": 1e12, "TB": 1e12,
	"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
}

// UnmarshalText reads a size.
func (s *size) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	number := strings.TrimRight(t, "kmgtibKMGTIB ")
	unit, ok := units[strings.ToUpper(strings.TrimSpace(t[len(number):]))]
	if t == "0" {
		*s = 0
		return nil
	}
	n, err := decimal(number, unit)
	if number == t && err == nil {
		return fmt.Errorf("%.40q has no unit; sizes are like 50GB or 512MiB", t)
	}
	if !ok || err != nil {
		return fmt.Errorf("%.40q is no size; sizes are like 50GB or 512MiB", t)
	}
	*s = size(n)
	return nil
}

// decimal returns a number such as "1.5" times unit, rounded down.
func decimal(number string, unit int64) (int64, error) {
	whole, fraction, _ := strings.Cut(number, ".")
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil || strings.HasPrefix(number, "+") {
		return 0, strconv.ErrSyntax
	}
	if unit > 0 && n > uint64(math.MaxInt64/unit) {
		return 0, strconv.ErrRange
	}
	sum := int64(n) * unit
	const digitsMax = 9
	if !strings.Contains(number, ".") {
		return sum, nil
	}
	part, err := strconv.ParseUint(fraction, 10, 32)
	if err != nil || len(fraction) > digitsMax || strings.HasPrefix(fraction, "+") {
		return 0, strconv.ErrSyntax
	}
	rest := int64(float64(part) / math.Pow10(len(fraction)) * float64(unit))
	if sum > math.MaxInt64-rest {
		return 0, strconv.ErrRange
	}
	return sum + rest, nil
}

// share is a size, or a percentage of the room.
type share struct {
	set     bool
	bytes   int64
	percent int64 // -1 where it is bytes
}

// UnmarshalText reads "20%" or a size.
func (s *share) UnmarshalText(text []byte) error {
	*s = share{set: true, percent: -1}
	if number, ok := strings.CutSuffix(strings.TrimSpace(string(text)), "%"); ok {
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 8)
		if err != nil || n > 100 {
			return fmt.Errorf("%.40q is no percentage; one is 0%% to 100%%", text)
		}
		s.percent = int64(n)
		return nil
	}
	return (*size)(&s.bytes).UnmarshalText(text)
}

// versionNumber is the number of a version.
type versionNumber uint64

// UnmarshalText reads a number.
func (v *versionNumber) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || n == 0 {
		return fmt.Errorf("%.40q is no version; versions have numbers from 1 on", text)
	}
	*v = versionNumber(n)
	return nil
}

// span is a duration in whole seconds: "30m", "12h", "7d", "2w".
type span time.Duration

const day = 24 * time.Hour

// UnmarshalText reads a duration.
func (s *span) UnmarshalText(text []byte) error {
	t := strings.TrimSpace(string(text))
	number := strings.TrimRight(t, "smhdw")
	unit := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": day, "w": 7 * day}[t[len(number):]]
	n, err := decimal(number, int64(unit))
	if unit == 0 || err != nil || n < int64(time.Second) {
		return fmt.Errorf("%.40q is no time; times are like 30m, 12h, 7d or 2w", t)
	}
	*s = span(n)
	return nil
}

// spread is k+m.
type spread struct{ data, parity int }

// UnmarshalText reads "10+10".
func (s *spread) UnmarshalText(text []byte) error {
	data, parity, _ := strings.Cut(string(text), "+")
	k, err := strconv.ParseUint(data, 10, 8)
	m, err2 := strconv.ParseUint(parity, 10, 8)
	if err := errors.Join(err, err2); err != nil || k == 0 {
		return fmt.Errorf("%.40q is no spread; one is like 10+10: data pieces, spare pieces", text)
	}
	*s = spread{int(k), int(m)}
	return nil
}

// level is how much is logged.
type level slog.Level

// UnmarshalText reads a level's name.
func (l *level) UnmarshalText(text []byte) error {
	for _, known := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if strings.EqualFold(known.String(), string(text)) {
			*l = level(known)
			return nil
		}
	}
	return fmt.Errorf("%.40q is no level; levels are debug, info, warn and error", text)
}

// amount returns bytes for a person, in decimal units.
func amount(n int64) string { return policy.Bytes(n) }

// number returns n with a comma between thousands.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// count returns "1 file" or "14,210 files".
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// date returns the day of t as it is written on screen.
func date(t, now time.Time) string {
	t = t.Local()
	if t.Year() == now.Local().Year() {
		return t.Format("2 Jan")
	}
	return t.Format("2 Jan 2006")
}

// moment returns the day and the minute, or of other years the day.
func moment(t, now time.Time) string {
	t = t.Local()
	if t.Year() == now.Local().Year() {
		return t.Format("2 Jan 15:04")
	}
	return t.Format("2 Jan 2006")
}

// age returns how long d is, in one unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 2*day:
		return fmt.Sprintf("%d h", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/day)
}

// list returns "bo", "bo and cleo", "bo, cleo and dan".
func list(names []string) string { return series(names, " and ") }

// either returns "bo", "bo or cleo", "bo, cleo or dan".
func either(names []string) string { return series(names, " or ") }

func series(names []string, last string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	end := len(names) - 1
	return strings.Join(names[:end], ", ") + last + names[end]
}
