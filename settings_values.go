package grange

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/service/barter"
)

// The values of config.toml. Each refuses what makes no sense while the file is read, so
// that the error has its line.

// absolutePath is a path that means the same wherever the agent is started.
type absolutePath string

// UnmarshalText reads a path.
func (p *absolutePath) UnmarshalText(text []byte) error {
	if !filepath.IsAbs(string(text)) {
		return fmt.Errorf("%q is not an absolute path", text)
	}
	*p = absolutePath(text)
	return nil
}

// amount is a number of bytes.
type amount int64

// UnmarshalText reads a number.
func (a *amount) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no number of bytes; one is like 20_000_000_000", text)
	}
	*a = amount(n)
	return nil
}

// rateMin is the least limit: with less, connections would be taken for dead.
const rateMin = 10_000

// rate is bytes a second; 0 is no limit.
type rate int64

// UnmarshalText reads a number.
func (r *rate) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n != 0 && n < rateMin {
		return fmt.Errorf("%q is no limit; one is in bytes a second, at least %d, like 2_000_000", text, rateMin)
	}
	*r = rate(n)
	return nil
}

// unitName is what a resource is counted in.
type unitName string

// UnmarshalText reads a name.
func (u *unitName) UnmarshalText(text []byte) error {
	if !pact.IsUnit(string(text)) {
		return fmt.Errorf("%q is no unit; one is like kg or hours", text)
	}
	*u = unitName(text)
	return nil
}

// checkResource tells whether a household can name a resource so: what pacts allow, and no word that the file policy has.
func checkResource(name string) error {
	table := policyTable(nil)
	_, known := table.Resources[core.Resource(name)]
	_, decides := table.Policies[name]
	switch {
	case !isResource(name):
		return fmt.Errorf("%q is no resource's name; one is of a-z, 0-9, -, . and _", name)
	case known || decides || slices.Contains([]string{"from", string(core.Idle), string(core.Normal), string(core.Prompt)}, name):
		return fmt.Errorf("%q means something else already", name)
	}
	return nil
}

// offers are amounts of resources, by name.
type offers map[string]flowAmount

func (o offers) amounts() map[core.Resource]int64 {
	out := map[core.Resource]int64{}
	for name, n := range o {
		out[core.Resource(name)] = int64(n)
	}
	return out
}

// flowAmount is an amount in a resource's unit.
type flowAmount int64

// UnmarshalText reads a number.
func (f *flowAmount) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil || n < 0 || n > pact.AmountMax {
		return fmt.Errorf("%q is no amount; one is a whole number like 50, at most %d", text, int64(pact.AmountMax))
	}
	*f = flowAmount(n)
	return nil
}

// checkOffer tells whether an offer of a resource makes sense.
func checkOffer(name string, units map[string]unitName) error {
	_, known := policyTable(units).Resources[core.Resource(name)]
	switch {
	case name == string(core.Storage):
		return errors.New("what is given of storage is set by: grange offer")
	case !known:
		return fmt.Errorf("%q is not known here; [resources] can name it, with its unit", name)
	}
	return nil
}

// hours are a part of each day, "22:30-07:00": from one minute up to another, maybe over midnight.
type hours struct{ from, to time.Duration }

// UnmarshalText reads two times of day.
func (h *hours) UnmarshalText(text []byte) error {
	from, to, _ := strings.Cut(string(text), "-")
	var err, err2 error
	h.from, err = timeOfDay(from)
	h.to, err2 = timeOfDay(to)
	if errors.Join(err, err2) != nil || h.from == h.to {
		return fmt.Errorf(`%q are no hours; some are like "22:30-07:00"`, text)
	}
	return nil
}

// MarshalText writes them as they are read.
func (h hours) MarshalText() ([]byte, error) {
	return []byte(clockTime(h.from) + "-" + clockTime(h.to)), nil
}

func timeOfDay(text string) (time.Duration, error) {
	t, err := time.Parse("15:04", strings.TrimSpace(text))
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, err
}

func clockTime(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", d/time.Hour, d%time.Hour/time.Minute)
}

// now tells whether a time is in the hours, as a clock on the wall there shows it.
func (h hours) now(t time.Time) bool {
	t = t.Local()
	day := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	if h.from <= h.to {
		return h.from <= day && day < h.to
	}
	return h.from <= day || day < h.to
}

// reserve returns what of a disk with so many bytes nobody gets.
func (s limitSettings) reserve(total int64) int64 {
	return max(barter.Reserve(total), int64(s.Reserve))
}
