package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
)

// An owner who knows the format stores a forged deletion of another's blob. Where the head
// of the record around it rots, it is met in the search; the salt tells that it is forged.
func TestDataIsNeverTakenForARecord(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, Config{})
	victim := some(1, 1, 1000)[0]
	put(t, s, victim)
	_, record, _ := where(t, s, victim)
	forged, err := appendHead(nil, &salt{}, packStart+2000, header{Score: victim.Score, Gone: &place{Pack: 1, Offset: uint64(record)}})
	check(t, err)
	data := bytes.Repeat(forged, 20)
	evil := core.Blob{Score: core.ScoreOf(data), Data: data}
	after := some(2, 1, 1000)[0]
	put(t, s, evil, after)
	name, at, _ := where(t, s, evil)
	closed(t, s)
	flip(t, name, at)
	check(t, os.RemoveAll(filepath.Join(dir, "books")))
	s = opened(t, dir, Config{})
	seamtest.WantAll(t, s.Blobs(), victim, after)
}

// What is longer than a crash can leave is damage, and nothing is cut off: the pack stays as it is,
// and takes no more.
func TestALongTailIsNotCutOff(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, Config{})
	blobs := some(1, 3, 3000)
	put(t, s, blobs...)
	name, record, _ := where(t, s, blobs[2])
	closed(t, s)
	flip(t, name, record)
	size := packSize(t, dir, "001.pack")
	for _, books := range []bool{false, true} {
		if !books {
			check(t, os.RemoveAll(filepath.Join(dir, "books")))
		}
		s, err := open(dir, Config{}, world{files: osFiles{}, books: vfs.Default, doubt: 1000})
		check(t, err)
		want := Recovery{BooksNew: true, Indexed: 2, Damaged: 1}
		if books {
			want = Recovery{}
		}
		if r := s.Recovery(); r != want {
			t.Errorf("%+v, want %+v", r, want)
		}
		seamtest.WantAll(t, s.Blobs(), blobs[:2]...)
		if got := packSize(t, dir, "001.pack"); got != size {
			t.Errorf("%d bytes, want %d", got, size)
		}
		closed(t, s)
	}
}

func TestOneOfTwoPackHeadersSuffices(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, small)
	blobs := some(1, 6, 20000)
	put(t, s, blobs...)
	closed(t, s)
	first := filepath.Join(dir, "pieces", "001.pack")
	flip(t, first, 20)
	check(t, os.RemoveAll(filepath.Join(dir, "books")))
	s = opened(t, dir, small)
	seamtest.WantAll(t, s.Blobs(), blobs...)
	closed(t, s)

	// Both gone: the index still serves what is in it, as long as there is one.
	flip(t, first, packStart/2+20)
	s = opened(t, dir, small)
	for _, b := range blobs {
		seamtest.WantBlob(t, s.Blobs(), b)
	}
	var rest []core.Blob
	for _, b := range blobs {
		if name, _, _ := where(t, s, b); name != first {
			rest = append(rest, b)
		}
	}
	if len(rest) == 0 || len(rest) == len(blobs) {
		t.Fatalf("%d of %d blobs are elsewhere", len(rest), len(blobs))
	}
	closed(t, s)
	check(t, os.RemoveAll(filepath.Join(dir, "books")))
	s = opened(t, dir, small)
	seamtest.WantAll(t, s.Blobs(), rest...)
	if r := s.Recovery(); r.Damaged != 1 {
		t.Errorf("%+v", r)
	}
	for more := true; more; {
		var err error
		more, err = s.Tidy(t.Context())
		check(t, err)
	}
	closed(t, s)
	s = opened(t, dir, small)
	if r := s.Recovery(); r != (Recovery{}) {
		t.Errorf("it is looked at again: %+v", r)
	}
	if _, err := os.Stat(first); err != nil {
		t.Errorf("the damaged pack was not left alone: %v", err)
	}
	put(t, s, blobs...)
	seamtest.WantAll(t, s.Blobs(), blobs...)
}

func TestAPackOfAnotherVersionIsRefused(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, Config{})
	put(t, s, some(1, 1, 10)...)
	closed(t, s)
	name := filepath.Join(dir, "pieces", "001.pack")
	b, err := os.ReadFile(name)
	check(t, err)
	for _, at := range []int{0, packStart / 2} {
		h := b[at : at+packHeaderSize]
		copy(h, "grange pack 2\n")
		check := core.DeriveKey(packContext, h[:packTextSize+saltSize])
		copy(h[packTextSize+saltSize:], check[:])
	}
	check(t, os.WriteFile(name, b, 0o600))
	for range 2 {
		if _, err := Open(dir, Config{}); !errors.Is(err, core.ErrVersion) || !strings.Contains(err.Error(), "grange pack 2") {
			t.Errorf("%v", err)
		}
		check(t, os.RemoveAll(filepath.Join(dir, "books")))
	}
}
