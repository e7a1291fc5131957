package sim_test

import (
	"context"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
	"github.com/grange-grid/grange/internal/sim"
)

func TestBlobsAreBlobs(t *testing.T) {
	seamtest.Blobs(t, func(*testing.T) core.Blobs { return sim.NewBlobs(0) })
}

func TestBooksAreBooks(t *testing.T) {
	seamtest.Books(t, func(*testing.T) core.Books { return sim.NewBooks() })
}

func TestBlobsAreFull(t *testing.T) {
	a, b, c := seamtest.RandomBlob(1, 100), seamtest.RandomBlob(2, 100), seamtest.RandomBlob(3, 100)
	room := int64(2 * (100 + len("note 1")))
	blobs := sim.NewBlobs(room)
	for _, blob := range []core.Blob{a, b, a} {
		if err := blobs.Put(t.Context(), blob); err != nil {
			t.Fatal(err)
		}
	}
	if err := blobs.Put(t.Context(), c); !errors.Is(err, core.ErrFull) {
		t.Fatalf("put to a full disk: %v", err)
	}
	seamtest.WantAll(t, blobs, a, b)
	if got := blobs.Used(); got != room {
		t.Errorf("%d bytes used, want %d", got, room)
	}
	blobs.Rot(a.Score)
	if err := blobs.Put(t.Context(), a); err != nil {
		t.Errorf("replace what rotted on a full disk: %v", err)
	}
	if err := blobs.Delete(t.Context(), b.Score); err != nil {
		t.Fatal(err)
	}
	if err := blobs.Put(t.Context(), c); err != nil {
		t.Errorf("put after a delete: %v", err)
	}
	seamtest.WantAll(t, blobs, a, c)
}

func TestRotIsFoundAndReplaced(t *testing.T) {
	blobs, blob := sim.NewBlobs(0), seamtest.RandomBlob(1, 100)
	if blobs.Rot(blob.Score) {
		t.Error("what is not there rots")
	}
	if err := blobs.Put(t.Context(), blob); err != nil {
		t.Fatal(err)
	}
	if !blobs.Rot(blob.Score) {
		t.Fatal("it did not rot")
	}
	if _, err := blobs.Get(t.Context(), blob.Score, nil); !errors.Is(err, core.ErrCorrupt) {
		t.Fatalf("get what has rotted: %v", err)
	}
	blob.Note = []byte("the new note")
	if err := blobs.Put(t.Context(), blob); err != nil {
		t.Fatal(err)
	}
	seamtest.WantBlob(t, blobs, blob)
	if !blobs.Lose(blob.Score) || blobs.Lose(blob.Score) {
		t.Error("it was not lost once")
	}
	seamtest.WantNoBlob(t, blobs, blob.Score)
	if got := blobs.Used(); got != 0 {
		t.Errorf("%d bytes used by nothing", got)
	}
}

func TestAwayAnswersNothing(t *testing.T) {
	blobs, blob := sim.NewBlobs(0), seamtest.RandomBlob(1, 100)
	if err := blobs.Put(t.Context(), blob); err != nil {
		t.Fatal(err)
	}
	blobs.SetAway(true)
	wantBlobsError(t, blobs, blob, core.ErrAway)
	blobs.SetAway(false)
	seamtest.WantBlob(t, blobs, blob)
}

// wantBlobsError checks that every method answers want.
func wantBlobsError(t *testing.T, b core.Blobs, blob core.Blob, want error) {
	t.Helper()
	ctx := context.Background()
	_, getErr := b.Get(ctx, blob.Score, nil)
	_, statErr := b.Stat(ctx, blob.Score)
	var allErr error
	for _, err := range b.All(ctx) {
		allErr = err
	}
	for i, err := range []error{b.Put(ctx, blob), getErr, statErr, b.Delete(ctx, blob.Score), allErr} {
		if !errors.Is(err, want) {
			t.Errorf("method %d: %v, want %v", i, err, want)
		}
	}
}

func TestCrashKeepsWhatWasAcknowledged(t *testing.T) {
	for _, reached := range []bool{false, true} {
		d := sim.NewDisk(0)
		a, b := seamtest.RandomBlob(1, 100), seamtest.RandomBlob(2, 100)
		d.CrashAfter(2, reached)
		if err := d.Blobs().Put(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if err := d.Books().Apply(core.Change{Key: []byte("a"), Value: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		if d.Crashed() {
			t.Fatal("it crashed too soon")
		}
		if err := d.Blobs().Put(t.Context(), b); !errors.Is(err, sim.ErrCrashed) || !d.Crashed() {
			t.Fatalf("the third write: %v", err)
		}
		wantBlobsError(t, d.Blobs(), a, sim.ErrCrashed)
		if _, err := d.Books().Get([]byte("a")); !errors.Is(err, sim.ErrCrashed) {
			t.Fatalf("get after the crash: %v", err)
		}
		if err := d.Books().Apply(); !errors.Is(err, sim.ErrCrashed) {
			t.Fatalf("apply after the crash: %v", err)
		}
		d.Restart()
		if got, err := d.Books().Get([]byte("a")); err != nil || string(got) != "1" {
			t.Errorf("the record: %q, %v", got, err)
		}
		if reached {
			seamtest.WantAll(t, d.Blobs(), a, b)
		} else {
			seamtest.WantAll(t, d.Blobs(), a)
		}
	}
}

func TestCrashWithinDeleteAndApply(t *testing.T) {
	d := sim.NewDisk(0)
	a, b := seamtest.RandomBlob(1, 100), seamtest.RandomBlob(2, 100)
	for _, blob := range []core.Blob{a, b} {
		if err := d.Blobs().Put(t.Context(), blob); err != nil {
			t.Fatal(err)
		}
	}
	d.CrashAfter(0, true)
	if err := d.Blobs().Delete(t.Context(), a.Score, b.Score); !errors.Is(err, sim.ErrCrashed) {
		t.Fatal(err)
	}
	d.Restart()
	seamtest.WantAll(t, d.Blobs(), b)
	d.CrashAfter(0, false)
	if err := d.Books().Apply(core.Change{Key: []byte("k"), Value: []byte("v")}); !errors.Is(err, sim.ErrCrashed) {
		t.Fatal(err)
	}
	d.Restart()
	if _, err := d.Books().Get([]byte("k")); !errors.Is(err, core.ErrNotExist) {
		t.Fatalf("a write that did not reach the disk: %v", err)
	}
}

func TestWhoeverUsesTheDiskIsToldFirst(t *testing.T) {
	d := sim.NewDisk(0)
	dead := 0
	d.OnCrash(func() { dead++ })
	d.CrashAfter(1, false)
	for range 2 {
		if dead != 0 {
			t.Fatal("it crashed too soon")
		}
		_ = d.Books().Apply(core.Change{Key: []byte("k"), Value: []byte("v")})
	}
	d.Crash()
	if dead != 1 {
		t.Fatalf("one crash was told %d times", dead)
	}
	d.Restart()
	if d.Crash(); dead != 2 {
		t.Fatalf("two crashes were told %d times", dead)
	}
}

func TestBooksRunFull(t *testing.T) {
	b := sim.NewBooks()
	b.FullAfter(2)
	for i, want := range []error{nil, nil, core.ErrFull, core.ErrFull} {
		if err := b.Apply(core.Change{Key: []byte{byte(i)}, Value: []byte("v")}); !errors.Is(err, want) {
			t.Errorf("value %d: %v, want %v", i, err, want)
		}
	}
	if err := b.Apply(core.Change{Key: []byte{0}}); err != nil {
		t.Errorf("delete: %v", err)
	}
	b.SetFull(false)
	if err := b.Apply(core.Change{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestFullBooksTakeDeletesOnly(t *testing.T) {
	b := sim.NewBooks()
	if err := b.Apply(core.Change{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	b.SetFull(true)
	if err := b.Apply(core.Change{Key: []byte("k")}, core.Change{Key: []byte("l"), Value: []byte("v")}); !errors.Is(err, core.ErrFull) {
		t.Fatalf("apply to full books: %v", err)
	}
	if _, err := b.Get([]byte("k")); err != nil {
		t.Errorf("half of a refused Apply was made: %v", err)
	}
	if err := b.Apply(core.Change{Key: []byte("k")}); err != nil {
		t.Errorf("delete from full books: %v", err)
	}
}
