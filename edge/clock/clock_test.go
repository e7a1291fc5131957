package clock_test

import (
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
	"github.com/grange-grid/grange/edge/clock"
)

// The suite runs in a synctest bubble, where the real clock is a fake one.
func TestSystemIsAClock(t *testing.T) {
	seamtest.Clock(t, func(*testing.T) (core.Clock, func(time.Duration)) {
		return clock.System{}, time.Sleep
	})
}

func TestNowHasNoMonotonicReading(t *testing.T) {
	now := clock.System{}.Now()
	if strings.Contains(now.String(), "m=") {
		t.Fatalf("%v would hide a jump of the wall clock", now)
	}
	if year := now.Year(); year < 2024 {
		t.Fatalf("the year is %d", year)
	}
}
