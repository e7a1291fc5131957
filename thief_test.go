package grange_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// rob has a thief who has m's key, and speaks for it while it is off, release everything at a holder. It
// returns how many pieces that was.
func (w *world) rob(m *machine, at target) int {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(m.dir, "agent.key"))
	must(w.t, err)
	stolen, err := identity.ParseAgentKey(raw)
	must(w.t, err)
	key := identity.KeyOf(stolen.Seed)
	thief := w.raw("a thief", m.did)
	var pieces []core.Score
	for _, s := range message[leasesOf](w.t, thief.do(at, "GET", "/leases", nil)).Leases {
		lease, err := pact.OpenLease(s)
		must(w.t, err)
		pieces = append(pieces, lease.Pieces...)
	}
	slices.SortFunc(pieces, func(a, b core.Score) int { return bytes.Compare(a[:], b[:]) })
	pieces = slices.Compact(pieces)
	release, err := pact.SignRelease(key, pact.Release{Owner: m.house, Agent: m.did, Pieces: pieces, Time: time.Now().Unix()})
	must(w.t, err)
	out := message[releasedOf](w.t, thief.do(at, "POST", "/release", fields{"release": release}))
	if !out.Alarm {
		w.t.Errorf("everything is released, and that is no alarm: %+v", out)
	}
	return out.Aside
}

// A thief with the key of a machine gives everything up at all holders, after the machine itself was made to remove
// it. After 13 days of running all of it comes back.
func TestSimRansom(t *testing.T) {
	days(t)
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo", "dan")
		anna := homes[0]
		docs, photos := randomTree(1, 300_000), randomTree(2, 100_000)
		anna.put("docs", docs)
		anna.put("photos", photos)
		w.later(25 * time.Hour) // what is released on the day it came is no theft
		gone, err := anna.Remove(t.Context(), grange.Ref{Name: "photos"})
		if err != nil || len(gone) != 1 {
			t.Fatalf("removed: %+v, %v", gone, err)
		}
		w.later(time.Minute)
		var to []target
		for _, m := range homes[1:] {
			to = append(to, m.target())
		}
		anna.stop()
		anna.open()
		for _, at := range to {
			if n := w.rob(anna, at); n == 0 {
				t.Error("nothing was there to rob")
			}
		}
		anna.stop()
		w.later(13 * 24 * time.Hour)
		for _, m := range homes[1:] {
			if l := m.ledger(anna); l.Keeps == 0 || l.Aside != l.Keeps {
				t.Errorf("%s keeps %d bytes, %d of them aside", m.name, l.Keeps, l.Aside)
			}
		}
		anna.open()
		anna.run()
		w.later(time.Minute)
		if out, err := anna.Undo(t.Context(), ""); err != nil || len(out.Versions) != 1 || len(out.Lost) > 0 {
			t.Errorf("undone: %+v, %v", out, err)
		}
		check, err := anna.Check(t.Context(), "", &grange.CheckOptions{Mend: true})
		if err != nil || check.Worth.Survives != 1 || check.Worth.Pieces != check.Worth.Wanted || check.Mended.Pieces != 0 {
			t.Errorf("and looked after: %+v, %+v, %v", check, check.Mended, err)
		}
		for _, m := range homes[1:] {
			if l := m.ledger(anna); l.Aside != 0 {
				t.Errorf("%s has %d bytes aside", m.name, l.Aside)
			}
		}
		w.later(2 * 24 * time.Hour)
		anna.mustHave("docs", docs)
		anna.mustHave("photos", photos)
	})
}

// A machine that runs hears within a day that somebody with its key has given everything up, and takes back what its
// versions need by itself.
func TestSimRobbedMachineTakesItsOwnBack(t *testing.T) {
	days(t)
	bubble(t, func(w *world) {
		homes := w.households("anna", "bo", "cleo", "dan")
		anna := homes[0]
		docs := randomTree(1, 300_000)
		anna.put("docs", docs)
		w.later(25 * time.Hour)
		var to []target
		for _, m := range homes[1:] {
			to = append(to, m.target())
		}
		anna.stop()
		anna.open()
		for _, at := range to {
			if n := w.rob(anna, at); n == 0 {
				w.t.Error("nothing was there to rob")
			}
		}
		anna.run()
		w.later(26 * time.Hour)
		for _, m := range homes[1:] {
			if l := m.ledger(anna); l.Keeps == 0 || l.Aside != 0 {
				w.t.Errorf("%s keeps %d bytes, %d of them aside", m.name, l.Keeps, l.Aside)
			}
		}
		anna.mustHave("docs", docs)
	})
}

// A holder whose clock is a year ahead, and one who is a day behind, reclaim nothing.
func TestSimClocksApart(t *testing.T) {
	days(t)
	bubble(t, func(w *world) {
		t := w.t
		anna, bo, cleo := w.found("anna"), w.found("bo"), w.found("cleo")
		for _, m := range []*machine{bo, cleo} {
			m.stop()
			m.clock = &houseClock{}
			m.open()
		}
		anna.run()
		bo.run()
		cleo.run()
		w.befriend(anna, bo)
		w.befriend(anna, cleo)
		docs, more := randomTree(1, 100_000), randomTree(2, 50_000)
		anna.put("docs", docs)
		bo.clock.set(365 * 24 * time.Hour)
		cleo.clock.set(-24 * time.Hour)
		w.later(2 * 24 * time.Hour)
		anna.put("more", more)
		for _, m := range []*machine{bo, cleo} {
			if l := m.ledger(anna); l.Aside != 0 || l.Keeps == 0 {
				t.Errorf("%s keeps %d bytes, %d of them aside", m.name, l.Keeps, l.Aside)
			}
			m.restart()
		}
		w.later(15 * 24 * time.Hour)
		for _, m := range []*machine{bo, cleo} {
			if l := m.ledger(anna); l.Aside != 0 || l.Keeps != anna.pact(m).Has {
				t.Errorf("%s keeps %d bytes, %d of them aside; anna has %d there", m.name, l.Keeps, l.Aside, anna.pact(m).Has)
			}
		}
		for _, m := range []*machine{bo, cleo} {
			w.without(m, func() {
				anna.mustHave("docs", docs)
				anna.mustHave("more", more)
			})
			w.later(10 * time.Minute)
		}
		if check, err := anna.Check(t.Context(), "", nil); err != nil || check.Worth.Survives != 1 {
			t.Errorf("a check finds %+v, %v", check, err)
		}
	})
}
