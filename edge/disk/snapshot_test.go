package disk

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/grange-grid/grange/core"
)

// A store that is closed closes the snapshots that were left open, of all its books, and what was there is there again.
func TestSnapshotsEndWithTheStore(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, Config{})
	apart, err := s.Separate("apart", true)
	check(t, err)
	var left []core.Snapshot
	for _, b := range []core.Books{s.Books(), apart} {
		check(t, b.Apply(core.Change{Key: []byte("k"), Value: []byte("v")}))
		snap, err := b.Snapshot()
		check(t, err)
		left = append(left, snap)
	}
	closed(t, s)
	for _, snap := range left {
		if _, err := snap.Get([]byte("k")); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("get of a snapshot after the store: %v", err)
		}
		check(t, snap.Close())
	}
	if _, err := apart.Snapshot(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a snapshot of a closed store: %v", err)
	}
	s = opened(t, dir, Config{})
	if got, err := s.Books().Get([]byte("k")); err != nil || string(got) != "v" {
		t.Errorf("the record: %q, %v", got, err)
	}
}
