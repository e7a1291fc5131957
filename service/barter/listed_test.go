package barter

import (
	"testing"

	"github.com/grange-grid/grange/core"
)

// What lies at a machine that its household has removed is lost, and counts as that.
func TestWhatLiesAtARemovedMachineIsGivenUp(t *testing.T) {
	w, pieces, _ := placedWorld(t, 3, 100)
	owner, gone, stays := w.homes[0], w.homes[1], w.homes[2]
	check := func(when string, here, bytes int) {
		t.Helper()
		if err := owner.now().tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if held := owner.everywhere(t, pieces); len(held) != here {
			t.Errorf("%s: %d pieces are held, want %d", when, len(held), here)
		}
		if got := owner.now().Placed(gone.grid); got != int64(bytes) {
			t.Errorf("%s: %d bytes lie there, want %d", when, got, bytes)
		}
	}
	check("before", 20, 1000)
	gone.mu.Lock()
	gone.agents = []core.DID{{1}} // a new machine, after a recovery
	gone.mu.Unlock()
	check("after", 10, 0)
	check("once more", 10, 0)
	owner.open()
	check("after a restart", 10, 0)
	if got := owner.now().Placed(stays.grid); got != 1000 {
		t.Errorf("%d bytes lie at the other one", got)
	}
}
