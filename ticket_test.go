package grange_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

// ticket makes a ticket of the newest version.
func (m *machine) ticket(name string, life time.Duration) string {
	m.w.t.Helper()
	line, x, err := m.Ticket(m.w.t.Context(), grange.Ref{Name: name}, life)
	if err != nil || x.Name != name || !strings.HasPrefix(line, "GRANGE-TICKET:") {
		m.w.t.Fatalf("%s makes a ticket: %+v, %v", m.name, x, err)
	}
	return line
}

// byTicket restores with a ticket, as somebody whom nobody knows.
func (w *world) byTicket(line string) (tree, error) {
	w.t.Helper()
	dest := filepath.Join(w.t.TempDir(), "dest")
	c := w.config("")
	_, err := grange.RestoreTicket(w.t.Context(), grange.Config{Peers: c.Peers, Log: c.Log}, line, dest, nil)
	if _, missing := os.Stat(dest); err != nil && missing == nil && !errors.Is(err, grange.ErrPartly) {
		w.t.Errorf("something was written with %v", err)
	}
	got := tree{}
	_ = filepath.WalkDir(dest, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			text, _ := os.ReadFile(path)
			rel, _ := filepath.Rel(dest, path)
			got[filepath.ToSlash(rel)] = string(text)
		}
		return nil
	})
	return got, err
}

// mustRead fails the test unless a ticket reads that tree.
func (w *world) mustRead(what, line string, want tree) {
	w.t.Helper()
	if got, err := w.byTicket(line); err != nil || !maps.Equal(got, want) {
		w.t.Fatalf("%s: %d files, want %d: %v", what, len(got), len(want), err)
	}
}

func (w *world) mustNotRead(what, line string, kind error) {
	w.t.Helper()
	if got, err := w.byTicket(line); !errors.Is(err, kind) || len(got) > 0 {
		w.t.Errorf("%s: %d files, %v, want %v", what, len(got), err, kind)
	}
}

// A ticket is read while its owner is off, also of what was removed, for as long as it is good and no longer.
func TestTicket(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo", "dan")
		anna, bo, cleo, dan := homes[0], homes[1], homes[2], homes[3]
		first, second := randomTree(1, 100_000), randomTree(2, 50_000)
		anna.put("tree", first)
		long := anna.ticket("tree", 12*time.Hour)
		anna.put("tree", second)
		short := anna.ticket("tree", time.Hour)
		if _, err := anna.Remove(t.Context(), grange.Ref{Name: "tree"}); err != nil {
			t.Fatal(err)
		}
		w.later(2 * time.Hour) // what nothing uses is given up, and the short one lapses
		w.mustRead("while its owner is on", long, first)
		w.mustNotRead("an hour late", short, grange.ErrRefused)
		all, err := anna.Tickets(t.Context(), "")
		if err != nil || len(all) != 1 || all[0].Number != 1 || all[0].Until.Sub(all[0].Time) != 12*time.Hour {
			t.Errorf("what is good: %+v, %v", all, err)
		}
		anna.stop()
		w.later(time.Hour)
		w.mustRead("while its owner is off", long, first)
		bo.stop()
		w.mustRead("with two holders of three", long, first)
		dan.stop()
		w.mustNotRead("with one of three", long, grange.ErrUnreachable)
		cleo.stop()
		w.mustNotRead("with nobody", long, grange.ErrUnreachable)
		for _, m := range []*machine{bo, cleo, dan} {
			m.open()
			m.run()
		}
		w.mustRead("when they are back", long, first)
		w.later(9 * time.Hour)
		w.mustNotRead("when it has lapsed", long, grange.ErrRefused)
	})
}

// A household that was recovered keeps what its tickets read, and those that the lost machine has made count no more.
func TestTicketsOfALostMachine(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo")
		anna, bo, cleo := homes[0], homes[1], homes[2]
		want := randomTree(1, 100_000)
		anna.put("tree", want)
		line := anna.ticket("tree", 0)
		anna.stop()
		again, _ := w.recover(anna, bo, "anna again")
		again.run()
		w.later(time.Minute)
		w.mustNotRead("of a machine that was removed", line, grange.ErrRefused)
		fresh := again.ticket("tree", 0)
		w.mustRead("of the new one", fresh, want)
		// The new machine has the other's in its state, and stops it too.
		if stopped, err := again.StopTickets(t.Context(), "tree"); err != nil || len(stopped) != 2 || stopped[1].Until.Sub(stopped[1].Time) != grange.DefaultTicketLife {
			t.Errorf("stopped %+v, %v", stopped, err)
		}
		w.mustNotRead("that was stopped", fresh, grange.ErrRefused)
		if _, err := again.StopTickets(t.Context(), "tree"); err == nil {
			t.Error("stopped twice")
		}
		cleo.stop()
		again.mustHave("tree", want)
	})
}

// The household's other machine has pieces too, and honours a ticket like any holder, until it was stopped.
func TestTicketAtOurOtherMachine(t *testing.T) {
	bubble(t, func(w *world) {
		anna := w.households("anna")[0]
		w.laptop(anna)
		docs := randomTree(1, 20_000)
		anna.put("docs", docs)
		w.later(time.Minute)
		line, other := anna.ticket("docs", time.Hour), anna.ticket("docs", time.Hour)
		w.later(time.Minute)
		anna.stop()
		w.mustRead("from the laptop", line, docs)
		anna.open()
		anna.run()
		if out, err := anna.StopTickets(w.t.Context(), "docs"); err != nil || len(out) != 2 {
			w.t.Fatalf("stopped %+v, %v", out, err)
		}
		w.later(time.Minute)
		anna.stop()
		w.mustNotRead("stopped", other, grange.ErrRefused)
	})
}

// What a holder gives is not believed: whatever it answers, it costs time and no byte.
func TestTicketAndASpoiler(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		bad := w.found("bad")
		s := bad.spoiled()
		bad.run()
		homes := w.households("anna", "bo", "cleo")
		w.befriend(homes[0], bad)
		want := randomTree(1, 300_000)
		homes[0].put("tree", want)
		line := homes[0].ticket("tree", 0)
		for name, how := range spoils {
			for _, route := range []string{"GET /pieces", "POST /ticket"} {
				s.set(route, how)
				w.mustRead(name+" at "+route, line, want)
				if s.set("", nil) == 0 {
					t.Errorf("%s at %s: it was not asked", name, route)
				}
			}
		}
		if _, err := w.byTicket("GRANGE-TICKET:AAAA"); !errors.Is(err, grange.ErrCorrupt) {
			t.Errorf("garbled: %v", err)
		}
	})
}
