package vault

import (
	"testing"
	"time"
)

// What was stored while the clock was a day ahead, and removed, is not the newest when it is brought back.
func TestWhatIsBroughtBackIsNotNewer(t *testing.T) {
	f := newFixture(t, 2)
	f.clock.Jump(24 * time.Hour)
	f.put(tree{"a": noise(1, 1000)})
	f.remove(1)
	f.clock.Jump(-24 * time.Hour)
	f.put(tree{"a": noise(2, 1000)})
	if _, err := f.v.Undo(t.Context(), "docs"); err != nil {
		t.Fatal(err)
	}
	version, err := f.v.Find("docs", 0)
	if err != nil || version.Seq != 2 {
		t.Errorf("the newest is %d, %v; want 2", version.Seq, err)
	}
	f.sameTree(tree{"a": noise(2, 1000)})
}
