package grange_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

// In a bubble nothing takes time but waiting, so what a put takes is what it was made to wait.
func TestLimits(t *testing.T) {
	const size = 1 << 20
	for why, c := range map[string]struct {
		anna, bo    string
		least, most time.Duration // of a put, 2 MB with its spare at one household
	}{
		"none":            {"", "", 0, time.Second},
		"up":              {"[limits]\nup = 100_000\n", "", 10 * time.Second, 40 * time.Second},
		"down":            {"", "[limits]\ndown = 100_000\n", 10 * time.Second, 40 * time.Second},
		"the other ways":  {"[limits]\ndown = 100_000\n", "[limits]\nup = 100_000\n", 0, 2 * time.Second},
		"slower than all": {"[limits]\nup = 10_000\n", "", 100 * time.Second, 400 * time.Second},
	} {
		t.Run(why, func(t *testing.T) {
			bubble(t, func(w *world) {
				anna, bo := w.found("anna"), w.found("bo")
				anna.configure(c.anna)
				bo.configure(c.bo)
				anna.run()
				bo.run()
				w.befriend(anna, bo)
				w.later(time.Minute)
				begun := time.Now()
				want := randomTree(1, size)
				anna.put("tree", want)
				if took := time.Since(begun); took < c.least || took > c.most {
					w.t.Errorf("a put of %d bytes took %v, want %v to %v", size, took, c.least, c.most)
				}
				anna.mustHave("tree", want)
			})
		})
	}
}

func TestQuietHours(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		const wall = "15:04"
		now := time.Now().Local()
		from, to := now.Add(-90*time.Minute).Format(wall), now.Add(7*time.Hour).Format(wall)
		dir := filepath.Join(t.TempDir(), "docs")
		must(t, os.Mkdir(dir, 0o755))
		anna := w.households("anna", "bo")[0]
		anna.configure("[limits]\non_battery = true\nquiet = \"" + from + "-" + to + "\"\n")
		anna.run()
		_, err := anna.Keep(t.Context(), grange.Keeping{Path: grange.Path(dir)})
		must(t, err)
		w.later(7*time.Hour - 2*time.Minute)
		if k := anna.kept(); k.Version != 0 || anna.Waits() != "quiet until "+to {
			t.Errorf("before its end: %+v, waits %q", k, anna.Waits())
		}
		anna.put("by hand", tree{"a": "what a person asks for is done"})
		w.later(4 * time.Minute)
		if k := anna.kept(); k.Version == 0 || anna.Waits() != "" {
			t.Errorf("after its end: %+v, waits %q", k, anna.Waits())
		}
		w.later(15*time.Hour + 27*time.Minute)
		last := anna.kept().Stored
		w.later(3 * time.Hour)
		if k := anna.kept(); anna.Waits() == "" || !k.Stored.Equal(last) || time.Since(last) < 3*time.Hour {
			t.Errorf("the next day: %+v, waits %q", k, anna.Waits())
		}
	})
}

func TestReserve(t *testing.T) {
	w := newWorld(t)
	anna := w.found("anna")
	_, total, err := anna.Space()
	must(t, err)
	usual := max(total/20, 1<<30)
	for text, want := range map[string]int64{"": usual, "[limits]\nreserve = 1\n": usual, "[limits]\nreserve = 9_000_000_000_000_000\n": 9e15} {
		anna.configure(text)
		if got, err := anna.Reserve(); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	anna.configure("[limits]\nreserve = 9_000_000_000_000_000\n")
	anna.run()
	bo := w.found("bo")
	bo.run()
	w.befriend(anna, bo)
	if out, err := bo.Put(t.Context(), "tree", tree{"a": "b"}.fs(), nil); err == nil || !strings.Contains(out.Refused["anna"], "said no") {
		t.Errorf("a partner gets what is reserved: %+v, %v", out, err)
	}
}
