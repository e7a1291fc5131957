package table

import (
	"encoding/binary"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/disk"
	"github.com/grange-grid/grange/pure/tree"
)

var benchRows = flag.Int("rows", 1_000_000, "records of the trees that are measured")

// benchKeys are n keys of 16 bytes that look random, in their order.
func benchKeys(n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		h := core.ScoreOf(binary.BigEndian.AppendUint64(nil, uint64(i)))
		out[i] = h[:16:16]
	}
	slices.SortFunc(out, slices.Compare)
	return out
}

func benchValue(i uint64) []byte {
	h := core.ScoreOf(binary.BigEndian.AppendUint64([]byte("value"), i))
	return append(h[:], h[:]...)
}

// benchBooks are books over pebble, in memory where that can be had.
func benchBooks(b *testing.B) core.Books {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "grange-shelf-")
	if err != nil {
		dir = b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	at := filepath.Join(dir, "store")
	if err := disk.Create(at, make([]byte, 32)); err != nil {
		b.Fatal(err)
	}
	s, err := disk.Open(at, disk.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s.Books()
}

var benchPrefix = append([]byte("t/"), make([]byte, 36)...)

// benchShelf is a shelf with so many records of 16 and 64 bytes.
func benchShelf(b *testing.B, books core.Books, keys [][]byte) *shelf {
	b.Helper()
	s, err := newShelves().open(books, benchPrefix, shelfSalt)
	if err != nil {
		b.Fatal(err)
	}
	records := func(yield func(tree.Record, error) bool) {
		for i, k := range keys {
			if !yield(tree.Record{Key: k, Value: benchValue(uint64(i))}, nil) {
				return
			}
		}
	}
	if err := s.build(records, books.Apply); err != nil {
		b.Fatal(err)
	}
	return s
}

func BenchmarkShelf(b *testing.B) {
	keys := benchKeys(*benchRows)
	books := benchBooks(b)
	s := benchShelf(b, books, keys)
	rnd := rand.New(rand.NewPCG(1, 1))
	step := func(b *testing.B, n int) int {
		edits := map[int]bool{}
		for len(edits) < n {
			edits[rnd.IntN(len(keys))] = true
		}
		var list []tree.Edit
		for i := range edits {
			list = append(list, tree.Edit{Key: keys[i], Value: benchValue(rnd.Uint64())})
		}
		slices.SortFunc(list, func(a, b tree.Edit) int { return slices.Compare(a.Key, b.Key) })
		r, changes, err := s.apply(list)
		if err == nil {
			err = books.Apply(changes...)
		}
		if err != nil {
			b.Fatal(err)
		}
		s.done(r)
		size := 0
		for _, c := range changes {
			size += len(c.Key) + len(c.Value)
		}
		return size
	}
	for _, c := range []struct {
		name string
		n    int
	}{{"one", 1}, {"batch", 1000}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			bytes := 0
			for b.Loop() {
				bytes += step(b, c.n)
			}
			b.ReportMetric(float64(b.N*c.n)/b.Elapsed().Seconds(), "edits/s")
			b.ReportMetric(float64(bytes)/float64(b.N*c.n), "B-written/edit")
		})
	}
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.get(keys[rnd.IntN(len(keys))]); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
	})
}
