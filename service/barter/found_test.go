package barter

import (
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
)

// A machine that is lost had given some pieces up. Who comes after it finds them aside: what is needed of them is
// renewed, the rest is released in its books too.
func TestWhatIsFoundAside(t *testing.T) {
	w, pieces, data := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	owner.mustRelease(t, holder, 6, false, data[:6]...)
	sizes := map[core.Score]int64{}
	for _, p := range pieces[1:] { // the first is in no segment table
		sizes[p.Score] = p.Size
	}
	owner.disk = newDiskOf(owner)
	owner.open()
	if found, err := owner.now().Found(); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	learn := func() {
		t.Helper()
		known, unknown, err := owner.now().Learn(t.Context(), holder.grid, func(p core.Score) (int64, bool) { size, ok := sizes[p]; return size, ok })
		if err != nil || known+unknown != len(owner.everywhere(t, pieces)) {
			t.Fatal(known, unknown, err)
		}
	}
	learn()
	if err := owner.now().GiveUpFound(); err != nil { // by who had asked before this was found
		t.Fatal(err)
	}
	if got := len(owner.everywhere(t, pieces)); got != 20 {
		t.Errorf("%d pieces are held before anybody has looked, want 20", got)
	}
	if found, err := owner.now().Found(); !found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	owner.renew(t, pieces[3:], 0)
	if err := owner.now().GiveUpFound(); err != nil {
		t.Fatal(err)
	}
	want := append(slices.Clone(pieces[:1]), pieces[3:]...)
	if got := len(owner.everywhere(t, want)); got != 18 || len(owner.everywhere(t, pieces)) != 18 {
		t.Errorf("%d pieces are held, want 18", got)
	}
	if found, err := owner.now().Found(); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	owner.checkPlaced(t)
	if got := holder.aside(owner); got != 300 {
		t.Errorf("%d bytes are aside, want 300", got)
	}
	learn() // which is no news: these books have given up what is aside
	if found, err := owner.now().Found(); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if got := len(owner.everywhere(t, pieces)); got != 18 {
		t.Errorf("%d pieces are held, want 18", got)
	}
	owner.renew(t, pieces, 0) // it was a mistake
	if got := len(owner.everywhere(t, pieces)); got != 20 || holder.aside(owner) != 0 {
		t.Errorf("%d pieces are held, want 20", got)
	}
	owner.checkPlaced(t)
	holder.check(t)
}

// An alarm of a holder is looked into.
func TestAnAlarmIsLookedInto(t *testing.T) {
	w, _, data := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	holder.runs(t, 2*days)
	owner.mustRelease(t, holder, 20, true, data...)
	owner.deliver(t)
	if found, err := owner.now().Found(); !found || err != nil || len(owner.alarms) != 1 {
		t.Errorf("found %v, %v; alarms %q", found, err, owner.alarms)
	}
}
