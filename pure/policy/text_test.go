package policy

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestBytes(t *testing.T) {
	tests := []struct {
		n                 int64
		down, nearest, up string
	}{
		{0, "0 B", "0 B", "0 B"},
		{1, "1 B", "1 B", "1 B"},
		{999, "999 B", "999 B", "999 B"},
		{1_000, "1 kB", "1 kB", "1 kB"},
		{1_049, "1 kB", "1 kB", "1.1 kB"},
		{1_050, "1 kB", "1.1 kB", "1.1 kB"},
		{9_999, "9.9 kB", "10 kB", "10 kB"},
		{999_499, "999 kB", "999 kB", "1 MB"},
		{999_500, "999 kB", "1 MB", "1 MB"},
		{1 << 20, "1 MB", "1 MB", "1.1 MB"},
		{9_960_000, "9.9 MB", "10 MB", "10 MB"},
		{99_499_999, "99 MB", "99 MB", "0.1 GB"},
		{99_500_000, "99 MB", "0.1 GB", "0.1 GB"},
		{100_000_000, "0.1 GB", "0.1 GB", "0.1 GB"},
		{400_000_000, "0.4 GB", "0.4 GB", "0.4 GB"},
		{400_000_001, "0.4 GB", "0.4 GB", "0.5 GB"},
		{999_000_000, "0.9 GB", "1 GB", "1 GB"},
		{4_000_000_000, "4 GB", "4 GB", "4 GB"},
		{9_999_999_999, "9.9 GB", "10 GB", "10 GB"},
		{412_300_000_000, "412 GB", "412 GB", "413 GB"},
		{999_999_999_999, "999 GB", "1 TB", "1 TB"},
		{1_550_000_000_000, "1.5 TB", "1.6 TB", "1.6 TB"},
		{math.MaxInt64, "9223372 TB", "9223372 TB", "9223372 TB"},
		{-1_500, "-1.5 kB", "-1.5 kB", "-1.5 kB"},
		{math.MinInt64, "-9223372 TB", "-9223372 TB", "-9223372 TB"},
	}
	for _, test := range tests {
		if got := bytesDown(test.n); got != test.down {
			t.Errorf("%d down: %q, want %q", test.n, got, test.down)
		}
		if got := Bytes(test.n); got != test.nearest {
			t.Errorf("%d: %q, want %q", test.n, got, test.nearest)
		}
		if got := bytesUp(test.n); got != test.up {
			t.Errorf("%d up: %q, want %q", test.n, got, test.up)
		}
	}
}

// What is too much never reads like what there is.
func TestBytesTellApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		left := rapid.Int64Range(0, 1<<53).Draw(t, "left")
		needed := left + rapid.Int64Range(1, 1<<53).Draw(t, "more")
		if bytesDown(left) == bytesUp(needed) {
			t.Fatalf("%d and %d both read %q", left, needed, bytesDown(left))
		}
	})
}

func TestSpan(t *testing.T) {
	tests := []struct {
		n        int64
		down, up string
	}{
		{1, "1 second", "1 second"},
		{119, "119 seconds", "119 seconds"},
		{121, "2 minutes", "3 minutes"},
		{2*hour - 1, "119 minutes", "120 minutes"},
		{47 * hour, "47 hours", "47 hours"},
		{180*day + 1, "180 days", "181 days"},
	}
	for _, test := range tests {
		if got := span(test.n, down); got != test.down {
			t.Errorf("%d down: %q, want %q", test.n, got, test.down)
		}
		if got := span(test.n, up); got != test.up {
			t.Errorf("%d up: %q, want %q", test.n, got, test.up)
		}
	}
}

func TestDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.OneOf(rapid.Int64Range(-60_000_000_000, 250_000_000_000), rapid.Int64Range(0, 4_000_000_000)).Draw(t, "seconds")
		if got, want := date(seconds), time.Unix(seconds, 0).UTC().Format(time.DateOnly); got != want {
			t.Fatalf("%d is %s, want %s", seconds, got, want)
		}
	})
}
