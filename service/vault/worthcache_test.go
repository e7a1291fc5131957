package vault

import (
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
)

func TestWorthIsLookedUpOnce(t *testing.T) {
	f := newFixture(t, 3)
	f.put(someTree())
	version, err := f.v.Find("docs", 0)
	if err != nil {
		t.Fatal(err)
	}
	gone := map[core.DID]bool{}
	look := func(survives int, afresh bool) {
		t.Helper()
		before := f.m.asked
		w, err := f.v.Worth(t.Context(), version, func(grid core.DID) bool { return gone[grid] })
		if err != nil || w.Survives != survives {
			t.Errorf("worth %+v, %v; want to survive %d", w, err, survives)
		}
		if asked := f.m.asked > before; asked != afresh {
			t.Errorf("looked at the pieces: %v, want %v", asked, afresh)
		}
	}
	look(1, true)
	f.m.still = true
	look(1, false)
	gone[did(0)] = true
	look(0, true)
	look(0, false)
	delete(gone, did(0))
	look(1, true)
	f.m.changes++
	look(1, true)
	f.clock.Advance(worthAge - time.Second)
	look(1, false)
	f.clock.Advance(time.Second)
	look(1, true)
	if err := f.v.TakeOver(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	look(1, true)
	look(1, false)
}
