package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/pure/policy"
)

// size is a number of bytes, as grange.ParseSize reads it.
type size int64

// UnmarshalText reads a size.
func (s *size) UnmarshalText(text []byte) (err error) {
	*(*int64)(s), err = grange.ParseSize(string(text))
	return err
}

// share is a size, or a percentage of the room, "20%", at most so much: "20%,200GB".
type share struct {
	set     bool
	bytes   int64 // of a percentage the most; 0 sets no bound
	percent int64 // -1 where it is bytes
}

// UnmarshalText reads a size or a percentage.
func (s *share) UnmarshalText(text []byte) error {
	*s = share{set: true, percent: -1}
	part, most, bounded := strings.Cut(string(text), ",")
	number, ok := strings.CutSuffix(strings.TrimSpace(part), "%")
	if !ok {
		return (*size)(&s.bytes).UnmarshalText(text)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 8)
	if err != nil || n > 100 {
		return fmt.Errorf("%.40q is no percentage; one is 0%% to 100%%", part)
	}
	if s.percent = int64(n); !bounded {
		return nil
	}
	if err := (*size)(&s.bytes).UnmarshalText([]byte(most)); err != nil || s.bytes > 0 {
		return err
	}
	return fmt.Errorf("%.40q gives nothing at all; that is 0", text)
}

// part is a member's part of what each other offers, in percent, "20%", or "even", which is 0; nil: nothing was said.
type part struct{ percent *uint }

// UnmarshalText reads one.
func (p *part) UnmarshalText(text []byte) error {
	percent := uint(0)
	if string(text) != "even" {
		number, ok := strings.CutSuffix(string(text), "%")
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 8)
		if !ok || err != nil || n < 1 || n > 100 {
			return fmt.Errorf("%.40q is no part of what each offers; one is 1%% to 100%%, or even", text)
		}
		percent = uint(n)
	}
	p.percent = &percent
	return nil
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
	unit, times := t[len(number):], time.Duration(1)
	switch unit {
	case "d":
		unit, times = "h", 24
	case "w":
		unit, times = "h", 7*24
	}
	n, err := time.ParseDuration(number + unit)
	if strings.Trim(number, "0123456789.") != "" || err != nil || n > math.MaxInt64/times || n*times < time.Second {
		return fmt.Errorf("%.40q is no time; times are like 30m, 12h, 7d or 2w", t)
	}
	*s = span(n * times)
	return nil
}

// days is a number of whole days, "365d" or "52w"; 0 where nothing is said.
type days uint

// UnmarshalText reads days.
func (d *days) UnmarshalText(text []byte) error {
	var s span
	number, unit := strings.TrimRight(string(text), "dw"), strings.TrimLeft(string(text), "0123456789")
	if (unit == "d" || unit == "w") && len(number) > len("99999") {
		return fmt.Errorf("%.40q is too long; ten years are 3650d", text)
	}
	if err := s.UnmarshalText(text); err != nil || time.Duration(s)%day != 0 {
		return fmt.Errorf("%.40q are no days; some are like 30d or 52w", text)
	}
	*d = days(time.Duration(s) / day)
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

// ahead is what is left of a time, such that 365 days are still so many a moment later.
func ahead(d time.Duration) time.Duration {
	if d < day {
		return d
	}
	return d.Round(time.Hour)
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
