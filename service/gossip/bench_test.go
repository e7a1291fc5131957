package gossip

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/clock"
	"github.com/grange-grid/grange/edge/disk"
	"github.com/grange-grid/grange/pure/feed"
)

// The benchmarks run over pebble on the disk.
const (
	benchRows    = 1_000_000 // of 16 bytes of key and 64 of value
	benchWriters = 16
	benchAuthors = 1_000_000
	benchChanged = 100
)

// pebble opens books on a disk of their own.
func pebble(b *testing.B, name string) core.Books {
	b.Helper()
	dir := filepath.Join(b.TempDir(), name)
	if err := disk.Create(dir, nil); err != nil {
		b.Fatal(err)
	}
	store, err := disk.Open(dir, disk.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	return store.Books()
}

func took(f func()) time.Duration {
	begun := clock.System{}.Now()
	f()
	return clock.System{}.Now().Sub(begun)
}

func perSecond(n int, d time.Duration) float64 { return float64(n) / d.Seconds() }

// BenchmarkJoin has an agent fetch a million operations from another, both on this machine, and puts records of the same
// size into pebble, in batches of the same size, to compare.
func BenchmarkJoin(b *testing.B) {
	w := newWorld(b)
	from := w.add("anna")
	from.books = pebble(b, "from")
	from.reopen()
	drafts := make([]Draft, 5000)
	row := uint64(0)
	for i := range benchRows / len(drafts) {
		for j := range drafts {
			row++
			text := make([]byte, 80)
			binary.BigEndian.PutUint64(text, row*0x9e3779b97f4a7c15)
			drafts[j] = Draft{Kind: feed.Put, Payload: text}
		}
		if _, err := from.Append(b.Context(), table, keyOf(fmt.Sprint("writer ", i%benchWriters)), drafts...); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		b.StopTimer()
		raw := took(func() { rawPuts(b) })
		to := w.add(fmt.Sprint("reader ", b.Elapsed()))
		to.books = pebble(b, "to")
		to.reopen()
		b.StartTimer()
		var st Stats
		join := took(func() { st = to.syncWith(from) })
		if st.Operations != benchRows {
			b.Fatalf("%+v", st)
		}
		b.ReportMetric(perSecond(benchRows, join), "rows/s")
		b.ReportMetric(perSecond(benchRows, raw), "raw-puts/s")
		b.ReportMetric(float64(st.Bytes)/benchRows, "B/row")
	}
}

// rawPuts writes as many records into pebble as a join does.
func rawPuts(b *testing.B) {
	books := pebble(b, "raw")
	const batch = 25_000
	value := make([]byte, opFixed+feed.SaltSize+80)
	for i := range uint64(benchRows) / batch {
		changes := make([]core.Change, batch)
		for j := range changes {
			n := (i*batch + uint64(j)) * 0x9e3779b97f4a7c15
			v := binary.BigEndian.AppendUint64(append([]byte{}, value[8:]...), n)
			changes[j] = core.Change{Key: opKey(uint32(n), n), Value: v}
		}
		if err := books.Apply(changes...); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIntake takes batches that are in memory already.
func BenchmarkIntake(b *testing.B) {
	w := newWorld(b)
	from := w.add("anna")
	var want []want
	for i := range 4 {
		for range 5 {
			from.putAs(keyOf(fmt.Sprint("writer ", i)), make80(5000)...)
		}
	}
	for st, err := range from.Frontier(table) {
		w.must(err)
		want = append(want, wantOf(st))
	}
	var answers []answered
	for len(want) > 0 {
		out, err := from.serve(b.Context(), from.topics[table], want)
		w.must(err)
		answers = append(answers, answered{want, out})
		if want = append(want[:0:0], want[out.Done:]...); out.Next != 0 {
			want[0].from = out.Next
		}
	}
	b.ResetTimer()
	rows, spent := 0, time.Duration(0)
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		to := w.add(fmt.Sprint("reader ", i))
		to.books = pebble(b, "to")
		to.reopen()
		b.StartTimer()
		spent += took(func() {
			for _, a := range answers {
				in, err := to.take(to.topics[table], core.DID{}, check(table, a).runs)
				w.must(err)
				for _, l := range in.landed {
					rows += l.ops
				}
			}
		})
	}
	b.ReportMetric(perSecond(rows, spent), "rows/s")
}

func wantOf(st Standing) want { return want{st.Author, 1, st.Seq} }

func make80(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("%080d", i)
	}
	return texts
}

// BenchmarkReconcile compares two frontiers of a million authors, of whom 100 have another state.
func BenchmarkReconcile(b *testing.B) {
	w := newWorld(b)
	x, y := w.add("anna"), w.add("bert")
	for _, n := range []*node{x, y} {
		n.books = pebble(b, n.name)
		var changes []core.Change
		for i := range benchAuthors {
			author := core.ScoreOf(binary.BigEndian.AppendUint64(nil, uint64(i)))
			r := feedRecord{number: uint32(i), tip: feed.Tip{Seq: 1, ID: core.ScoreOf(author[:])}}
			if n == x && i%(benchAuthors/benchChanged) == 0 {
				r.tip = feed.Tip{Seq: 2, ID: core.ScoreOf(r.tip.ID[:])}
			}
			changes = append(changes, core.Change{Key: didKey(feedPrefix, table, core.DID(author)), Value: r.bytes()})
			if len(changes) == 50_000 {
				w.must(n.books.Apply(changes...))
				changes = changes[:0]
			}
		}
		n.reopen()
	}
	for b.Loop() {
		s := &session{s: y.Service, t: y.topics[table], peer: x.key.DID()}
		found := 0
		w.must(s.reconcile(b.Context(), func(items []feed.Item) error { found += len(items); return nil }))
		if found != benchChanged {
			b.Fatalf("%d were found", found)
		}
		b.ReportMetric(float64(s.stats.Compared), "B")
		b.ReportMetric(float64(s.stats.Trips), "round-trips")
	}
}

// BenchmarkAppend signs and writes 5,000 operations at once.
func BenchmarkAppend(b *testing.B) {
	w := newWorld(b)
	a := w.add("anna")
	a.books = pebble(b, "anna")
	a.reopen()
	texts := make80(5000)
	for b.Loop() {
		a.put(texts...)
	}
	b.ReportMetric(perSecond(b.N*len(texts), b.Elapsed()), "rows/s")
}
