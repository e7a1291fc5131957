package vault

import (
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
)

// TestRecallAfterATheft has a thief with our key remove all and give up all, here and where we do not know of it.
func TestRecallAfterATheft(t *testing.T) {
	f := newFixture(t, 2)
	want := aFew()
	f.put(want)
	steal := func(also bool) {
		var all []core.Holding
		for piece, grids := range f.m.leased {
			for grid := range grids {
				all = append(all, core.Holding{Score: piece, Grid: grid, Agent: grid})
			}
		}
		if err := f.m.Release(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		if also {
			f.remove(0)
			f.collect()
		}
	}
	steal(false)
	f.m.homes[did(0)].away, f.m.homes[did(1)].away = true, true
	if err := f.v.Recall(t.Context()); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("nobody can be asked: %v", err)
	}
	f.m.homes[did(0)].away, f.m.homes[did(1)].away = false, false
	if err := f.v.Recall(t.Context()); err != nil {
		t.Error(err)
	}
	f.m.reclaim()
	f.sameTree(want)

	steal(true)
	f.undo(1)
	if err := f.v.Recall(t.Context()); err != nil {
		t.Error(err)
	}
	f.m.reclaim()
	f.sameTree(want)

	steal(false)
	f.m.reclaim() // two weeks later
	if err := f.v.Recall(t.Context()); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("all is gone: %v", err)
	}
}
