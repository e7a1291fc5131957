package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/disk"
	"github.com/grange-grid/grange/pure/tree"
)

var benchRows = flag.Int("rows", 1_000_000, "records of the tree that is measured")

// benchTree is a tree of rows records, with keys of 16 bytes and values of 64, over pebble in a folder in memory, where there is one.
type benchTree struct {
	b     *testing.B
	dir   string
	store *disk.Store
	books core.Books
	*shelf
	rnd *rand.Rand
}

// benchKey is the ith key of all in their order.
func benchKey(i int) []byte {
	key := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(i)*(^uint64(0)/uint64(*benchRows)))
	h := core.ScoreOf(key)
	return append(key, h[:8]...)
}

func benchValue(i uint64) []byte {
	h := core.ScoreOf(binary.BigEndian.AppendUint64([]byte("value"), i))
	return append(h[:], h[:]...)
}

// benchPrefix is as long as that of a table's tree.
var benchPrefix = append([]byte("t/"), make([]byte, 34)...)

func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "grange-shelf-")
	if err != nil {
		dir = b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (t *benchTree) open() {
	var err error
	if t.store, err = disk.Open(t.dir, disk.Config{}); err != nil {
		t.b.Fatal(err)
	}
	t.books = t.store.Books()
	if t.shelf, err = newShelves().open(t.books, benchPrefix, shelfSalt); err != nil {
		t.b.Fatal(err)
	}
}

func (t *benchTree) records(yield func(tree.Record, error) bool) {
	for i := range *benchRows {
		if !yield(tree.Record{Key: benchKey(i), Value: benchValue(uint64(i))}, nil) {
			return
		}
	}
}

// edit makes so many edits at random and writes them. It returns how long the new root took, and all; and the bytes.
func (t *benchTree) edit(n int, make func() tree.Edit) (root, all time.Duration, size int) {
	var edits []tree.Edit
	for range n {
		edits = append(edits, make())
	}
	slices.SortFunc(edits, func(a, b tree.Edit) int { return bytes.Compare(a.Key, b.Key) })
	edits = slices.CompactFunc(edits, func(a, b tree.Edit) bool { return bytes.Equal(a.Key, b.Key) })
	begun := time.Now()
	r, changes, err := t.apply(edits)
	root = time.Since(begun)
	if err == nil {
		err = t.books.Apply(changes...)
	}
	if err != nil {
		t.b.Fatal(err)
	}
	t.done(r)
	all = time.Since(begun)
	for _, c := range changes {
		size += len(c.Key) + len(c.Value)
	}
	return root, all, size
}

func (t *benchTree) update() tree.Edit {
	return tree.Edit{Key: benchKey(t.rnd.IntN(*benchRows)), Value: benchValue(t.rnd.Uint64())}
}

func (t *benchTree) insert() tree.Edit {
	e := t.update()
	e.Key[15]++
	return e
}

// BenchmarkShelf measures a tree on the shelf, beside pebble itself with the same records. Rates are of one writer; "root" is until
// the new root is known, "all" until it is written.
func BenchmarkShelf(b *testing.B) {
	t := newBenchTree(b)
	begun := time.Now()
	if err := t.build(t.records, t.books.Apply); err != nil {
		b.Fatal(err)
	}
	took := time.Since(begun)
	b.Run("build", func(b *testing.B) {
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(float64(*benchRows)/took.Seconds(), "rows/s")
		b.ReportMetric(took.Seconds(), "s")
	})
	b.Run("proof", t.proofs)
	b.Run("get", t.gets)
	for _, c := range []struct {
		name string
		n    int
		make func() tree.Edit
	}{{"update-1", 1, t.update}, {"insert-1", 1, t.insert}, {"update-1000", 1000, t.update}, {"insert-1000", 1000, t.insert}} {
		b.Run(c.name, func(b *testing.B) {
			t.b = b
			var root, all time.Duration
			size := 0
			for b.Loop() {
				r, a, s := t.edit(c.n, c.make)
				root, all, size = root+r, all+a, size+s
			}
			edits := float64(b.N * c.n)
			b.ReportMetric(edits/root.Seconds(), "roots/s")
			b.ReportMetric(edits/all.Seconds(), "edits/s")
			b.ReportMetric(float64(size)/edits, "B/edit")
		})
	}
	b.Run("warm", t.warm)
}

// warm measures edits of a tree whose nodes are all in memory and which is not written, as others measure theirs.
func (t *benchTree) warm(b *testing.B) {
	all := newShelves()
	all.bare.most, all.upper.most = 1<<40, 1<<40
	t.shelves = all
	for i := range *benchRows { // fetch all leaves
		if i%20 == 0 {
			if _, _, err := t.apply([]tree.Edit{{Key: benchKey(i), Value: []byte{}}}); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint("update-", n), func(b *testing.B) {
			t.b = b
			var root time.Duration
			for b.Loop() {
				var edits []tree.Edit
				for range n {
					edits = append(edits, t.update())
				}
				slices.SortFunc(edits, func(a, b tree.Edit) int { return bytes.Compare(a.Key, b.Key) })
				edits = slices.CompactFunc(edits, func(a, b tree.Edit) bool { return bytes.Equal(a.Key, b.Key) })
				begun := time.Now()
				r, _, err := t.apply(edits)
				if err != nil {
					b.Fatal(err)
				}
				t.done(r)
				root += time.Since(begun)
			}
			b.ReportMetric(float64(b.N*n)/root.Seconds(), "roots/s")
		})
	}
}

// BenchmarkShelfMemory measures the memory of a process that uses a tree.
func BenchmarkShelfMemory(b *testing.B) {
	t := newBenchTree(b)
	if err := t.build(t.records, t.books.Apply); err != nil {
		b.Fatal(err)
	}
	t.memory(b)
}

func newBenchTree(b *testing.B) *benchTree {
	b.Helper()
	t := &benchTree{b: b, dir: filepath.Join(benchDir(b), "store"), rnd: rand.New(rand.NewPCG(1, 1))}
	if err := disk.Create(t.dir, make([]byte, 32)); err != nil {
		b.Fatal(err)
	}
	t.open()
	b.Cleanup(func() { t.store.Close() })
	return t
}

// proofs measures what proofs take, above the records that are asked for.
func (t *benchTree) proofs(b *testing.B) {
	sum, n := map[string]int{}, 0
	measure := func(name string, given func() []tree.Record, ask func(v tree.View) error) {
		rec := tree.NewRecorder(t.shelf)
		err := ask(tree.View{Map: t.m, Src: rec})
		var raw []byte
		if err == nil {
			raw, err = rec.Proof(t.m, given())
		}
		if err != nil {
			b.Fatal(err)
		}
		sum[name] += len(raw)
	}
	none := func() []tree.Record { return nil }
	for b.Loop() {
		n++
		key := benchKey(t.rnd.IntN(*benchRows - 40))
		no := slices.Clone(key)
		no[15]++
		var given []tree.Record
		measure("point-B", func() []tree.Record { return given }, func(v tree.View) error {
			value, err := v.Get(key)
			given = []tree.Record{{Key: key, Value: value}}
			return err
		})
		measure("absent-B", none, func(v tree.View) error {
			if _, err := v.Get(no); !errors.Is(err, core.ErrNotExist) {
				return fmt.Errorf("get of what is not there: %w", err)
			}
			return nil
		})
		measure("rank-B", none, func(v tree.View) error { _, err := v.Rank(key); return err })
		measure("count-B", none, func(v tree.View) error { _, err := v.Count(key, benchKey(t.rnd.IntN(*benchRows))); return err })
		given = nil
		measure("32-rows-B", func() []tree.Record { return given }, func(v tree.View) error {
			for r, err := range v.Ascend(key, nil) {
				if err != nil {
					return err
				}
				if given = append(given, r); len(given) == 32 {
					break
				}
			}
			return nil
		})
	}
	for name, bytes := range sum {
		b.ReportMetric(float64(bytes)/float64(n), name)
	}
}

// gets measures gets beside those of pebble itself, turn by turn.
func (t *benchTree) gets(b *testing.B) {
	o := &pebble.Options{CacheSize: 32 << 20, MemTableSize: 4 << 20, FormatMajorVersion: pebble.FormatValueSeparation, Logger: quiet{}}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	raw, err := pebble.Open(filepath.Join(benchDir(b), "raw"), o)
	if err != nil {
		b.Fatal(err)
	}
	defer raw.Close()
	batch := raw.NewBatch()
	for r := range t.records {
		if err := batch.Set(r.Key, r.Value, nil); err != nil {
			b.Fatal(err)
		}
		if batch.Count() == buildBatch {
			if err := batch.Commit(pebble.Sync); err != nil {
				b.Fatal(err)
			}
			batch = raw.NewBatch()
		}
	}
	if err := batch.Commit(pebble.Sync); err != nil {
		b.Fatal(err)
	}
	var ours, theirs time.Duration
	const turn = 500
	for b.Loop() {
		keys := make([][]byte, turn)
		for i := range keys {
			keys[i] = benchKey(t.rnd.IntN(*benchRows))
		}
		begun := time.Now()
		for _, key := range keys {
			if _, err := t.get(key); err != nil {
				b.Fatal(err)
			}
		}
		ours += time.Since(begun)
		for i := range keys {
			keys[i] = benchKey(t.rnd.IntN(*benchRows))
		}
		begun = time.Now()
		for _, key := range keys {
			value, closer, err := raw.Get(key)
			if err != nil {
				b.Fatal(err)
			}
			_ = bytes.Clone(value)
			closer.Close()
		}
		theirs += time.Since(begun)
	}
	b.ReportMetric(float64(turn*b.N)/ours.Seconds(), "gets/s")
	b.ReportMetric(float64(turn*b.N)/theirs.Seconds(), "pebble-gets/s")
	b.ReportMetric(100*theirs.Seconds()/ours.Seconds(), "%-of-pebble")
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

func (quiet) Fatalf(format string, args ...any) { panic(fmt.Errorf(format, args...)) }

// memory measures the most memory that the process takes while a tree is used that was opened anew, with the
// collector as the program has it.
func (t *benchTree) memory(b *testing.B) {
	if err := t.store.Close(); err != nil {
		b.Fatal(err)
	}
	t.shelf = nil
	defer debug.SetGCPercent(debug.SetGCPercent(25))
	debug.FreeOSMemory()
	idle := resident("VmRSS:")
	if os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) != nil {
		b.Skip("this system does not tell the most memory")
	}
	t.open()
	t.b = b
	for b.Loop() {
		t.edit(1000, t.update)
		for range 1000 {
			t.edit(1, t.update)
			if _, err := t.view().Get(benchKey(t.rnd.IntN(*benchRows))); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(idle)/1024, "MiB-before")
	b.ReportMetric(float64(resident("VmHWM:"))/1024, "MiB-most")
}

// resident is a line of what Linux says of the process's memory, in KiB; 0 elsewhere.
func resident(line string) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), line)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(fields[0])
	return n
}
