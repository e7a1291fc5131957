package vault

import (
	"testing"

	"github.com/grange-grid/grange/core"
)

// become makes the vault another machine's of the household, which keeps what a household of the market
// had for it until now.
func (f *fixture) become(machine int, keeps core.DID, others ...core.DID) core.DID {
	f.t.Helper()
	f.home.machine, f.home.others = machine, others
	self := f.home.Agent()
	f.m.homes[self] = f.m.homes[keeps]
	f.m.homes[self].room = 0 // nothing is placed with it
	delete(f.m.homes, keeps)
	for _, at := range f.m.leased {
		if at[keeps] {
			delete(at, keeps)
			at[self] = true
		}
	}
	for c, err := range f.books.Scan(minePrefix, nil) {
		if err == nil {
			err = f.books.Apply(core.Change{Key: c.Key})
		}
		if err != nil {
			f.t.Fatal(err)
		}
	}
	f.open()
	return self
}

// What this machine has of another's is held for the household, as by any other; but nothing is built on it here.
func TestWhatLiesHereIsTheHouseholds(t *testing.T) {
	f := newFixture(t, 3)
	f.put(aFew())
	f.become(1, did(2), did(99))
	version, err := f.v.Find("docs", 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.v.Worth(t.Context(), version, nil)
	if err != nil || w.Survives != 1 || w.Households != 3 || w.Pieces != w.Wanted || w.Pieces != 20*w.Segments {
		t.Errorf("worth %+v, %v", w, err)
	}
	sent := f.m.sent
	for _, mend := range []bool{false, true} {
		out, err := f.v.Check(t.Context(), CheckOptions{Mend: mend})
		if err != nil || out.Bad() != nil || out.Unheld != 0 || out.Worth.Survives != 1 || out.Worth.Pieces != out.Worth.Wanted {
			t.Errorf("check: %+v, %v", out, err)
		}
	}
	if out := f.improve(plenty, map[core.DID]Standing{did(0): {}, did(1): {}}); out.Pieces != 0 || f.m.sent != sent {
		t.Errorf("another machine sees to it, and yet: %+v", out)
	}
	f.sameTree(aFew())
	for _, grid := range []core.DID{did(0), did(1)} { // with either of the others
		f.m.homes[grid].away = true
		f.sameTree(aFew())
		f.m.homes[grid].away = false
	}

	// A put does not build on what would go with this disk.
	f.m.homes[did(0)].away = true
	for piece := range f.m.leased {
		delete(f.m.leased[piece], did(0))
	}
	f.put(aFew())
	if f.m.sent == sent {
		t.Error("a put relied on pieces of this very machine")
	}
}

// What a machine that was removed has placed, the one that stays sees to: what lies here moves to others.
func TestWhatARemovedMachineHasLeft(t *testing.T) {
	f := newFixture(t, 3)
	f.put(aFew())
	self := f.become(1, did(2))
	partners := map[core.DID]Standing{did(0): {}, did(1): {}}
	if out := f.improve(plenty, partners); out.Pieces == 0 || out.Unreadable > 0 || out.Whole != out.Segments {
		t.Errorf("moved: %+v", out)
	}
	if out := f.improve(plenty, partners); out.Pieces != 0 {
		t.Errorf("moved again: %+v", out)
	}
	for piece, at := range f.m.leased {
		if at[self] {
			t.Fatalf("piece %s is still kept here", piece.Short())
		}
	}
	version, err := f.v.Find("docs", 0)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := f.v.Worth(t.Context(), version, nil); err != nil || w.Survives != 1 || w.Pieces != w.Wanted {
		t.Errorf("worth %+v, %v", w, err)
	}
	f.m.reclaim()
	f.sameTree(aFew())
}
