package main

import (
	"math"
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

func TestShares(t *testing.T) {
	for text, want := range map[string]share{
		"20%": {true, 0, 20}, "0%": {true, 0, 0}, "100 %": {true, 0, 100}, "50GB": {true, 50e9, -1}, "0": {true, 0, -1},
		"20%,200GB": {true, 200e9, 20}, "100%,1B": {true, 1, 100},
	} {
		var s share
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("share %q is %+v, %v; want %+v", text, s, err, want)
		}
	}
	for _, text := range []string{"", "%", "101%", "-1%", "1.5%", "20%%", "a lot", "20%,", "20%,200", "20%,0", "20%,10%", "200GB,20%"} {
		var s share
		if s.UnmarshalText([]byte(text)) == nil {
			t.Errorf("share %q is %+v", text, s)
		}
	}
}

func TestSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90s": 90 * time.Second, "30m": 30 * time.Minute, "12h": 12 * time.Hour, "7d": 7 * day, "2w": 14 * day, "1.5h": 90 * time.Minute,
		"": 0, "7": 0, "0d": 0, "-1d": 0, "7y": 0, "7dd": 0, "0.5s": 0, "1d2h": 0, "1h2d": 0, "999999w": 0,
	} {
		var s span
		err := s.UnmarshalText([]byte(text))
		if time.Duration(s) != want || (err != nil) != (want == 0) {
			t.Errorf("time %q is %v, %v; want %v", text, time.Duration(s), err, want)
		}
	}
}

func TestDays(t *testing.T) {
	for text, want := range map[string]days{"1d": 1, "365d": 365, "52w": 364, "48h": 2, "": 0, "12h": 0, "365": 0, "0d": 0, "1.5d": 0, "-1d": 0} {
		var d days
		if err := d.UnmarshalText([]byte(text)); d != want || (err != nil) != (want == 0) {
			t.Errorf("days %q are %d, %v; want %d", text, d, err, want)
		}
	}
}

func TestSpreads(t *testing.T) {
	for text, want := range map[string]spread{
		"10+10": {10, 10}, "3+0": {3, 0}, "11+1": {11, 1}, "": {}, "10": {}, "+": {}, "0+3": {}, "10+": {}, "a+b": {}, "1+2+3": {}, "-1+2": {}, "256+1": {},
	} {
		var s spread
		if err := s.UnmarshalText([]byte(text)); s != want || (err == nil) != (want != spread{}) {
			t.Errorf("spread %q is %v, %v; want %v", text, s, err, want)
		}
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 14210: "14,210", 1234567: "1,234,567", -1000: "-1,000", math.MinInt64: "-9,223,372,036,854,775,808"} {
		if got := number(n); got != want {
			t.Errorf("number %d is %q, want %q", n, got, want)
		}
	}
	if count(1, "file", "files") != "1 file" || count(0, "file", "files") != "0 files" || count(14210, "file", "files") != "14,210 files" {
		t.Error("files are counted wrong")
	}
	for d, want := range map[time.Duration]string{
		-time.Hour: "less than a minute", 59 * time.Second: "less than a minute", 90 * time.Second: "1 min", 3 * time.Hour: "3 h", 47 * time.Hour: "47 h", 50 * time.Hour: "2 days",
	} {
		if got := age(d); got != want {
			t.Errorf("age of %v is %q, want %q", d, got, want)
		}
	}
	now := time.Date(2026, 2, 14, 15, 4, 0, 0, time.Local)
	if got := date(now, now) + "|" + date(now.AddDate(-1, 0, 0), now) + "|" + moment(now, now) + "|" + moment(now.AddDate(1, 0, 0), now); got != "14 Feb|14 Feb 2025|14 Feb 15:04|14 Feb 2027" {
		t.Errorf("dates %s", got)
	}
	if got := list(nil) + "|" + list([]string{"bo"}) + "|" + list([]string{"bo", "cleo"}) + "|" + list([]string{"bo", "cleo", "dan"}); got != "|bo|bo and cleo|bo, cleo and dan" {
		t.Errorf("lists %s", got)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		p    grange.Progress
		d    time.Duration
		want string
	}{
		{grange.Progress{Stage: "reading", Bytes: 11e8, Of: 1774193548}, 458 * time.Second, "[###########-------]  62%  1.1 GB  2.4 MB/s  reading"},
		{grange.Progress{Stage: "reading", Of: 100}, 0, "[------------------]   0%  reading"},
		{grange.Progress{Stage: "reading", Bytes: 100, Of: 100}, 0, "[##################]  100%  100 B  reading"},
		{grange.Progress{Stage: "reading", Bytes: 300, Of: 100}, time.Second, "[##################]  100%  300 B  300 B/s  reading"},
		{grange.Progress{Stage: "reading", Bytes: -5, Of: 100}, time.Second, "[------------------]   0%  reading"},
		{grange.Progress{Stage: "asking bo\x1b[2J"}, time.Hour, "asking bo?[2J"},
	} {
		if got := bar(c.p, c.d); got != c.want {
			t.Errorf("bar of %+v after %v:\n%q, want\n%q", c.p, c.d, got, c.want)
		}
	}
}
