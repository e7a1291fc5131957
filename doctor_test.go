package grange_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/edge/clock"
)

// skewed is a clock that is wrong.
type skewed struct {
	clock.System
	ahead time.Duration
}

func (s skewed) Now() time.Time { return s.System.Now().Add(s.ahead) }

// faults returns what a doctor finds, as "what fault" each, and all its texts.
func (m *machine) faults() (faults, texts string) {
	m.w.t.Helper()
	found, err := m.Doctor(m.w.t.Context())
	if err != nil {
		m.w.t.Fatal(err)
	}
	for _, e := range found {
		if e.Fault != "" {
			faults += e.What + " " + e.Fault + "; "
		}
		texts += e.What + ": " + e.Text + "\n"
	}
	return strings.TrimSuffix(faults, "; "), texts
}

func TestDoctor(t *testing.T) {
	bubble(t, func(w *world) {
		all := w.households("anna", "bo", "cleo")
		anna, bo, cleo := all[0], all[1], all[2]
		w.later(time.Minute)
		if faults, texts := anna.faults(); faults != "" || !strings.Contains(texts, "network: bo, cleo answered\n") || !strings.Contains(texts, "clock: as partners' clocks, to ") {
			t.Errorf("all is well: %q\n%s", faults, texts)
		}
		cleo.stop()
		if faults, texts := anna.faults(); faults != "" || !strings.Contains(texts, "network: bo answered; cleo could not be reached\n") {
			t.Errorf("one is away: %q\n%s", faults, texts)
		}
		bo.stop()
		if faults, _ := anna.faults(); faults != "network all.away" {
			t.Errorf("all are away: %q", faults)
		}
		anna.stop()
		anna.open()
		if faults, _ := anna.faults(); faults != "machine not.running; network all.away" {
			t.Errorf("not running: %q", faults)
		}
	})
}

func TestDoctorAndTheClock(t *testing.T) {
	for ahead, want := range map[time.Duration]string{
		0: "", 4 * time.Minute: "", -4 * time.Minute: "",
		2 * time.Hour: "it is 2h0m0s ahead of partners' clocks", -26 * time.Hour: "it is 26h0m0s behind partners' clocks",
	} {
		bubble(t, func(w *world) {
			all := w.households("anna", "bo", "cleo")
			anna := all[0]
			anna.stop()
			c := anna.config()
			c.Clock = skewed{ahead: ahead}
			a, err := grange.Open(w.t.Context(), c)
			must(w.t, err)
			anna.Agent = a
			anna.run()
			w.later(10 * time.Second)
			faults, texts := anna.faults()
			if want == "" && faults != "" || want != "" && (faults != "clock clock" || !strings.Contains(texts, "clock: "+want)) {
				w.t.Errorf("%v ahead: %q\n%s", ahead, faults, texts)
			}
		})
	}
}

func TestDoctorAndTheDisk(t *testing.T) {
	w := newWorld(t)
	anna := w.found("anna")
	anna.configure("[limits]\nreserve = 9_000_000_000_000_000\n")
	if faults, _ := anna.faults(); faults != "machine not.running; network no.partner; disk disk.full" {
		t.Errorf("no room: %q", faults)
	}
	anna.configure("")
	other := filepath.Join(t.TempDir(), "other")
	must(t, os.Mkdir(other, 0o700))
	must(t, anna.KeepOn(t.Context(), other))
	anna.stop()
	must(t, os.Rename(other, other+" unmounted"))
	anna.open()
	if faults, _ := anna.faults(); !strings.HasSuffix(faults, "disk disk.away") {
		t.Errorf("a disk that is not there: %q", faults)
	}
}
