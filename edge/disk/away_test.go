package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
)

// mounted returns a directory, and one on another disk that keeps its pieces.
func mounted(t *testing.T) (dir string, c Config) {
	t.Helper()
	disk := t.TempDir()
	c = Config{PiecesDir: filepath.Join(disk, "mnt"), Owner: "did:key:zMe", PackSizeMax: packSizeLeast}
	check(t, os.Mkdir(c.PiecesDir, 0o700))
	check(t, MarkPieces(c.PiecesDir, c.Owner))
	return made(t), c
}

// unmount leaves the empty mount point.
func unmount(t *testing.T, c Config) {
	t.Helper()
	check(t, os.Rename(c.PiecesDir, c.PiecesDir+".away"))
	check(t, os.Mkdir(c.PiecesDir, 0o700))
}

func mount(t *testing.T, c Config) {
	t.Helper()
	check(t, os.Remove(c.PiecesDir)) // fails if anything was left in the mount point
	check(t, os.Rename(c.PiecesDir+".away", c.PiecesDir))
}

func wantAway(t *testing.T, s *Store, b core.Blob) {
	t.Helper()
	ctx := context.Background()
	_, getErr := s.Blobs().Get(ctx, b.Score, nil)
	_, statErr := s.Blobs().Stat(ctx, b.Score)
	_, freeErr := s.Free()
	_, tidyErr := s.Tidy(ctx)
	var allErr error
	for _, err := range s.Blobs().All(ctx) {
		allErr = err
	}
	for i, err := range []error{s.Blobs().Put(ctx, b), getErr, statErr, s.Blobs().Delete(ctx, b.Score), allErr, freeErr, tidyErr} {
		if !errors.Is(err, core.ErrAway) || errors.Is(err, core.ErrCorrupt) || errors.Is(err, core.ErrNotExist) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestBlobsOnAnotherDiskAreBlobs(t *testing.T) {
	seamtest.Blobs(t, func(t *testing.T) core.Blobs {
		dir, c := mounted(t)
		return opened(t, dir, c).Blobs()
	})
}

func TestADiskGoesAndComesBack(t *testing.T) {
	dir, c := mounted(t)
	s := opened(t, dir, c)
	blobs := some(1, 10, 10000)
	put(t, s, blobs...)
	if got := names(t, filepath.Join(dir, "pieces")); len(got) != 0 {
		t.Errorf("pieces/ has %q", got)
	}
	for range 2 {
		unmount(t, c)
		wantAway(t, s, blobs[0])
		check(t, s.Books().Apply(core.Change{Key: []byte("k"), Value: []byte("v")}))
		mount(t, c)
		seamtest.WantAll(t, s.Blobs(), blobs...)
		seamtest.WantBlob(t, s.Blobs(), blobs[9])
		blobs = append(blobs, some(100+len(blobs), 1, 10000)...)
		put(t, s, blobs[len(blobs)-1])
	}
	closed(t, s)

	// Away when the agent starts.
	unmount(t, c)
	s = opened(t, dir, c)
	wantAway(t, s, blobs[0])
	mount(t, c)
	for _, b := range blobs {
		seamtest.WantBlob(t, s.Blobs(), b)
	}
	closed(t, s)

	// The books were lost while it was away.
	unmount(t, c)
	check(t, os.RemoveAll(filepath.Join(dir, "books")))
	s = opened(t, dir, c)
	wantAway(t, s, blobs[0])
	mount(t, c)
	seamtest.WantAll(t, s.Blobs(), blobs...)
}

// The disk goes between the look at the marker and the write.
func TestADiskGoesInBetween(t *testing.T) {
	for _, at := range []string{"open", "write", "sync", "read"} {
		dir, c := mounted(t)
		s, f := faulty(t, dir, c)
		blobs := some(1, 2, 100)
		put(t, s, blobs[0])
		gone := false
		f.setFail(func(op, _ string) error {
			if op == at && !gone {
				gone = true
				unmount(t, c)
			}
			return when(gone && op != "open")
		})
		var err error
		if at == "read" {
			_, err = s.Blobs().Get(t.Context(), blobs[0].Score, nil)
		} else {
			err = s.Blobs().Put(t.Context(), blobs[1])
		}
		if !errors.Is(err, core.ErrAway) || errors.Is(err, core.ErrCorrupt) {
			t.Errorf("gone at %s: %v", at, err)
		}
		f.setFail(nil)
		mount(t, c)
		seamtest.WantBlob(t, s.Blobs(), blobs[0])
		put(t, s, blobs[1])
		closed(t, s)
		seamtest.WantAll(t, opened(t, dir, c).Blobs(), blobs...)
	}
}

// No pack is begun in the mount point of a disk that has just gone.
func TestNoPackInTheMountPoint(t *testing.T) {
	dir, c := mounted(t)
	s, f := faulty(t, dir, c)
	gone := false
	f.setFail(func(op, name string) error {
		if op == "open" && name == "001.pack" && !gone {
			gone = true
			unmount(t, c)
		}
		return nil
	})
	blob := some(1, 1, 100)[0]
	if err := s.Blobs().Put(t.Context(), blob); !errors.Is(err, core.ErrAway) {
		t.Errorf("%v", err)
	}
	f.setFail(nil)
	mount(t, c)
	put(t, s, blob)
	seamtest.WantBlob(t, s.Blobs(), blob)
}

func TestAMarkerNamesItsOwner(t *testing.T) {
	dir, c := mounted(t)
	check(t, MarkPieces(c.PiecesDir, c.Owner))
	if err := MarkPieces(c.PiecesDir, "did:key:zOther"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another's marker: %v", err)
	}
	for _, owner := range []string{"", "two\nlines", string(make([]byte, textSizeMax))} {
		if err := MarkPieces(t.TempDir(), owner); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("owner %.10q: %v", owner, err)
		}
	}
	if err := MarkPieces(filepath.Join(dir, "missing"), "me"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	blob := some(1, 1, 100)[0]
	other := c
	other.Owner = "did:key:zOther"
	s := opened(t, dir, other)
	wantAway(t, s, blob)
	closed(t, s)
	marker := filepath.Join(c.PiecesDir, "grange-pieces")
	text, err := os.ReadFile(marker)
	check(t, err)
	if string(text) != "grange pieces 1\ndid:key:zMe\n" {
		t.Errorf("marker: %q", text)
	}
	check(t, os.WriteFile(marker, text[:20], 0o600)) // a crash while it was written
	check(t, MarkPieces(c.PiecesDir, c.Owner))
	put(t, opened(t, dir, c), blob)
}
