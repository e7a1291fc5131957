package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/manifest"
)

// crowd is a tree of n files of a kilobyte, a hundred in a directory, made as they are asked for.
type crowd int

func (c crowd) Single() bool { return false }
func (c crowd) Count(context.Context) (files, size int64, err error) {
	return int64(c), int64(c) << 10, nil
}

func (c crowd) Items(context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if !yield(dirItem(""), nil) {
			return
		}
		for i := range int(c) {
			dir := fmt.Sprintf("%06d", i/100)
			if i%100 == 0 && !yield(dirItem(dir), nil) {
				return
			}
			stamp := Stamp{Size: 1 << 10, Inode: uint64(i) + 1}
			e := manifest.Entry{Kind: manifest.KindFile, Mode: 0o644, Size: stamp.Size}
			open := func() (File, error) {
				return &memFile{Reader: io.LimitReader(numbers(i), int64(e.Size)), e: e, stamp: stamp}, nil
			}
			if !yield(Item{Path: fmt.Appendf(nil, "%s/%02d", dir, i%100), Entry: e, Open: open, Stamp: stamp}, nil) {
				return
			}
		}
	}
}

// numbers reads one number, over and over.
type numbers int

func (n numbers) Read(b []byte) (int, error) {
	for i := 0; i < len(b); i += 8 {
		binary.BigEndian.PutUint32(b[i:min(i+8, len(b)):len(b)][:min(4, len(b)-i)], uint32(n))
	}
	return len(b), nil
}

// forgetful are books that keep nothing of chunks and files, as they would be on a disk.
type forgetful struct{ core.Books }

func (b forgetful) Apply(changes ...core.Change) error {
	var kept []core.Change
	for _, c := range changes {
		if !bytes.HasPrefix(c.Key, chunkPrefix) && !bytes.HasPrefix(c.Key, filePrefix) {
			kept = append(kept, c)
		}
	}
	return b.Books.Apply(kept...)
}

// TestMemoryOfManyFilesIsFlat stores trees of small files: what is alive at the worst moment must not
// grow with their number.
func TestMemoryOfManyFilesIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("stores 440,000 files")
	}
	peak := func(files crowd) uint64 {
		var peak uint64
		m := newMarket(2)
		home := &ourHome{m: m, secret: [32]byte{1}}
		v := New(Config{Books: forgetful{sim.NewBooks()}, Clock: sim.NewClock(1 << 30), Barter: peakBarter{m, &peak}, Household: home})
		out, err := v.Put(t.Context(), "docs", files, PutOptions{})
		if err != nil || out.Version.Files != uint64(files) {
			t.Fatalf("%+v, %v", out, err)
		}
		return peak
	}
	few, many := peak(40_000), peak(400_000)
	if t.Logf("%d MiB at 40,000 files, %d MiB at 400,000", few>>20, many>>20); many > few+32<<20 || many > 192<<20 {
		t.Errorf("%d MiB are alive while 400,000 files are stored, and %d MiB while 40,000 are", many>>20, few>>20)
	}
}
