package disk

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
)

// tidied runs Tidy until there is no more to do.
func tidied(t *testing.T, s *Store) {
	t.Helper()
	for range 10000 {
		more, err := s.Tidy(t.Context())
		check(t, err)
		if !more {
			return
		}
	}
	t.Fatal("tidying never ends")
}

func packsSize(t *testing.T, dir string) (sum int64) {
	t.Helper()
	for _, n := range names(t, filepath.Join(dir, "pieces")) {
		sum += packSize(t, dir, n)
	}
	return sum
}

// wantFigures checks what is known of each pack against what the index says.
func wantFigures(t *testing.T, s *Store) {
	t.Helper()
	live := map[uint32]int64{}
	check(t, s.table.scan(scorePrefix, above(scorePrefix), func(_, value []byte) bool {
		e, err := parseEntry(value)
		check(t, err)
		live[e.Pack] += e.length()
		return true
	}))
	stored, err := s.blobs.index.packs()
	check(t, err)
	for n, p := range s.blobs.packs {
		if p.live != live[n] || stored[n] == nil || stored[n].live != live[n] || stored[n].end != p.end {
			t.Errorf("pack %d: %+v, stored %+v, live are %d bytes", n, p, stored[n], live[n])
		}
		delete(live, n)
		delete(stored, n)
	}
	if len(live)+len(stored) != 0 {
		t.Errorf("packs that are not there: live %v, stored %v", live, stored)
	}
}

func TestRoomComesBack(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, small)
	blobs := some(1, 60, 10000)
	put(t, s, blobs...)
	wantFigures(t, s)
	full := packsSize(t, dir)
	var kept []core.Blob
	for i, b := range blobs {
		if i%5 == 0 {
			kept = append(kept, b)
		} else {
			remove(t, s, b)
		}
	}
	tidied(t, s)
	wantFigures(t, s)
	if got := packsSize(t, dir); got > full/2 {
		t.Errorf("%d of %d bytes are left for a fifth of the blobs", got, full)
	}
	for _, b := range kept {
		seamtest.WantBlob(t, s.Blobs(), b)
	}
	for _, books := range []bool{true, false} {
		closed(t, s)
		if !books {
			check(t, os.RemoveAll(filepath.Join(dir, "books")))
		}
		s = opened(t, dir, small)
		seamtest.WantAll(t, s.Blobs(), kept...)
		wantFigures(t, s)
	}
	remove(t, s, kept...)
	tidied(t, s)
	seamtest.WantAll(t, s.Blobs())
	if got := packsSize(t, dir); got > 2*packSizeLeast {
		t.Errorf("%d bytes are left for nothing", got)
	}
}

// Nobody has to call Tidy: deletes give room back as they go.
func TestDeletesTidyUp(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, small)
	for round := range 20 {
		blobs := some(round*100, 12, 10000)
		put(t, s, blobs...)
		remove(t, s, blobs...)
	}
	if got := packsSize(t, dir); got > 5*packSizeLeast {
		t.Errorf("%d bytes are left for nothing", got)
	}
}

// lostBooks closes the store, removes its books, and opens it again. The packs are taken for long
// ones, whose data is not looked at.
func lostBooks(t *testing.T, s *Store) *Store {
	t.Helper()
	closed(t, s)
	check(t, os.RemoveAll(filepath.Join(s.Dir(), "books")))
	again, err := open(s.Dir(), small, world{files: osFiles{}, books: vfs.Default, doubt: 1})
	check(t, err)
	t.Cleanup(func() { _ = again.Close() })
	return again
}

func wantIn(t *testing.T, s *Store, b core.Blob, pack uint32) {
	t.Helper()
	if e, err := s.blobs.index.find(b.Score); err != nil || e.Pack != pack {
		t.Fatalf("%s lies in pack %d, %v; want %d", b.Score.Short(), e.Pack, err, pack)
	}
}

func wantNoPack(t *testing.T, s *Store, pack uint32) {
	t.Helper()
	if s.blobs.packs[pack] != nil {
		t.Fatalf("pack %d was not rewritten", pack)
	}
}

// A deletion is kept as long as there is a record that it hides: whatever packs were rewritten, and
// with the books lost, nothing comes back. Six blobs fill a pack.
func TestNothingIsResurrected(t *testing.T) {
	s := opened(t, made(t), small)
	one, two, three, four := some(1, 6, 10000), some(11, 6, 10000), some(21, 5, 10000), some(31, 5, 10000)
	put(t, s, one...)
	put(t, s, two[0])
	remove(t, s, one[5]) // the deletion is in pack 2
	put(t, s, two[1:]...)
	wantIn(t, s, one[0], 1)
	put(t, s, three...)
	wantIn(t, s, two[4], 2)
	wantIn(t, s, three[0], 3)
	remove(t, s, two...)
	tidied(t, s)
	wantNoPack(t, s, 2)
	put(t, s, four...)
	remove(t, s, append(three, four...)...)
	tidied(t, s)
	wantNoPack(t, s, 3)
	s = lostBooks(t, s)
	seamtest.WantAll(t, s.Blobs(), one[:5]...)
}

// A deletion that moved behind a record does not hide it.
func TestWhatWasPutAgainStays(t *testing.T) {
	s := opened(t, made(t), small)
	one, two, three := some(1, 6, 10000), some(11, 6, 10000), some(21, 4, 10000)
	put(t, s, one...)
	put(t, s, two[0])
	remove(t, s, one[5])
	put(t, s, two[1:]...)
	put(t, s, three[0], one[5])
	put(t, s, three[1:]...)
	wantIn(t, s, one[5], 3)
	remove(t, s, two...)
	tidied(t, s)
	wantNoPack(t, s, 2)
	wantIn(t, s, one[5], 3)
	s = lostBooks(t, s)
	seamtest.WantAll(t, s.Blobs(), append(one, three...)...)
	seamtest.WantBlob(t, s.Blobs(), one[5])
}

// The rotten record that a Put replaced has no deletion of its own. The one of its
// successor must hide it, even when the successor's pack is long gone.
func TestRotIsNotResurrected(t *testing.T) {
	for _, lost := range []bool{false, true} {
		s := opened(t, made(t), small)
		one, two, three := some(1, 6, 10000), some(11, 4, 10000), some(21, 7, 10000)
		put(t, s, one...)
		name, _, data := where(t, s, one[5])
		flip(t, name, data)
		put(t, s, one[5])
		wantIn(t, s, one[5], 2)
		put(t, s, two...)
		put(t, s, three[:2]...)
		wantIn(t, s, three[1], 3)
		if lost {
			s = lostBooks(t, s)
			wantIn(t, s, one[5], 2)
		}
		remove(t, s, one[5])
		remove(t, s, append(two, three[0])...)
		tidied(t, s)
		wantNoPack(t, s, 2)
		put(t, s, three[2:]...)
		remove(t, s, three...)
		tidied(t, s)
		wantNoPack(t, s, 3)
		wantIn(t, s, one[0], 1)
		s = lostBooks(t, s)
		seamtest.WantAll(t, s.Blobs(), one[:5]...)
	}
}

// Deletions go as well, once the pack is gone that has what they hide.
func TestDeletionsDoNotPileUp(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, small)
	for round := range 10 {
		blobs := some(round*1000, 300, 100)
		put(t, s, blobs...)
		scores := make([]core.Score, len(blobs))
		for i, b := range blobs {
			scores[i] = b.Score
		}
		check(t, s.Blobs().Delete(t.Context(), scores...))
	}
	tidied(t, s)
	var gone int64
	for _, p := range s.blobs.packs {
		gone += p.gone
	}
	if gone > 2*packSizeLeast {
		t.Errorf("%d bytes of deletions for nothing, in %d packs", gone, len(s.blobs.packs))
	}
}

// What has rotted moves as it is, and is found to be rotten afterwards.
func TestRotMoves(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, small)
	blobs := some(1, 7, 10000)
	put(t, s, blobs...)
	name, _, data := where(t, s, blobs[0])
	flip(t, name, data+5000)
	remove(t, s, blobs[1:5]...)
	tidied(t, s)
	if now, _, _ := where(t, s, blobs[0]); now == name {
		t.Fatal("the pack was not rewritten")
	}
	if _, err := s.Blobs().Get(t.Context(), blobs[0].Score, nil); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("get what had rotted: %v", err)
	}
	put(t, s, blobs[0])
	seamtest.WantBlob(t, s.Blobs(), blobs[0])
}

// A record whose head has rotted cannot be moved, but it can be read where it lies: its pack stays.
func TestAPackThatIsNotUnderstoodStays(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, small)
	blobs := some(1, 8, 10000)
	put(t, s, blobs...)
	name, record, _ := where(t, s, blobs[0])
	flip(t, name, record)
	check(t, s.Blobs().Delete(t.Context(), blobs[1].Score, blobs[2].Score, blobs[3].Score, blobs[4].Score))
	_, err := s.Tidy(t.Context())
	for range 3 {
		if err == nil {
			_, err = s.Tidy(t.Context())
		}
	}
	if _, statErr := os.Stat(name); statErr != nil {
		t.Errorf("it was removed: %v", statErr)
	}
	seamtest.WantAll(t, s.Blobs(), append([]core.Blob{blobs[0]}, blobs[5:]...)...)
	seamtest.WantBlob(t, s.Blobs(), blobs[0])
}

// However tidying is cut short, nothing is lost and it can go on.
func TestTidyIsCutShort(t *testing.T) {
	for n := 1; n <= 40; n++ {
		dir := made(t)
		s, f := faulty(t, dir, small)
		blobs := some(1, 14, 10000)
		put(t, s, blobs...)
		f.setFail(func(op, _ string) error { return when(op == "read") }) // Delete's own tidying gets nowhere
		for i := range 14 {
			if i%3 != 0 {
				check(t, s.Blobs().Delete(t.Context(), blobs[i].Score))
			}
		}
		count := 0
		f.setFail(func(op, _ string) error {
			count++
			return when(count >= n)
		})
		for range 50 {
			if more, err := s.Tidy(t.Context()); err != nil || !more {
				break
			}
		}
		f.setFail(nil)
		closed(t, s)
		if n%2 == 0 {
			check(t, os.RemoveAll(filepath.Join(dir, "books")))
		}
		s = opened(t, dir, small)
		var kept []core.Blob
		for i := 0; i < 14; i += 3 {
			kept = append(kept, blobs[i])
			seamtest.WantBlob(t, s.Blobs(), blobs[i])
		}
		seamtest.WantAll(t, s.Blobs(), kept...)
		tidied(t, s)
		seamtest.WantAll(t, s.Blobs(), kept...)
		wantFigures(t, s)
		if got := packsSize(t, dir); got > 3*packSizeLeast {
			t.Errorf("cut short at %d: %d bytes are left", n, got)
		}
		closed(t, s)
	}
}

func TestTidyEnds(t *testing.T) {
	s := opened(t, made(t), Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Tidy(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if more, err := s.Tidy(t.Context()); more || err != nil {
		t.Errorf("nothing to tidy: %t, %v", more, err)
	}
}

func TestTidyOnAFullDisk(t *testing.T) {
	dir := made(t)
	s, f := faulty(t, dir, small)
	blobs := some(1, 14, 10000)
	put(t, s, blobs...)
	f.free = blobSpare
	f.setFail(func(op, _ string) error {
		if op == "write" {
			return syscall.ENOSPC
		}
		return nil
	})
	if err := s.Blobs().Delete(t.Context(), blobs[0].Score); !errors.Is(err, core.ErrFull) {
		t.Fatalf("delete where nothing can be written: %v", err)
	}
	seamtest.WantBlob(t, s.Blobs(), blobs[0])
	f.setFail(nil)
	remove(t, s, blobs[:5]...)
	if _, err := s.Tidy(t.Context()); !errors.Is(err, core.ErrFull) {
		t.Errorf("tidy with no room: %v", err)
	}
	seamtest.WantAll(t, s.Blobs(), blobs[5:]...)
	remove(t, s, blobs[5:7]...) // now a whole pack is dead, and needs no room to go
	f.free = 0
	tidied(t, s)
	seamtest.WantAll(t, s.Blobs(), blobs[7:]...)
}
