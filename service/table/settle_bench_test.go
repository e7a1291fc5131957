package table

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/disk"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// BenchmarkSettle takes operations that have come: rows a second, without an index and with three.
func BenchmarkSettle(b *testing.B) {
	for _, indexes := range []int{0, 3} {
		b.Run(fmt.Sprintf("indexes=%d", indexes), func(b *testing.B) { benchmarkSettle(b, indexes) })
	}
}

// benchmarkTables are on a disk, but for the operations, which are in memory.
func benchmarkTables(b *testing.B, key identity.Key) (*Tables, *logs) {
	b.Helper()
	dir := benchDir(b) + "/agent"
	if err := disk.Create(dir, []byte("key")); err != nil {
		b.Fatal(err)
	}
	store, err := disk.Open(dir, disk.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	books, err := store.Separate("tables", true)
	if err != nil {
		b.Fatal(err)
	}
	clock := sim.NewClock(1)
	feeds := &logs{clock: clock, feeds: map[core.DID]map[core.DID][]feed.Logged{}}
	t, err := New(Config{Key: key, Books: books, Feeds: feeds, Clock: clock})
	if err != nil {
		b.Fatal(err)
	}
	return t, feeds
}

func benchmarkSettle(b *testing.B, indexes int) {
	key := identity.KeyOf([32]byte{1})
	t, feeds := benchmarkTables(b, key)
	d := table.Definition{Name: "posts", Attest: []core.DID{key.DID()}}
	for _, fields := range []string{"tags,time", "author,time", "time"}[:indexes] {
		d.Indexes = append(d.Indexes, index(fields))
	}
	d.GrantWrite(table.Grant{Who: key.DID()})
	id, err := t.Create(b.Context(), d, func(core.DID) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	var all []feed.Logged
	sig := [64]byte{}
	for i := range b.N {
		hash := core.ScoreOf(binary.BigEndian.AppendUint64(nil, uint64(i)))
		payload, err := table.PutPayload(hash[:16], nil, doc(b, map[string]any{"tags": []string{fmt.Sprint("#", i%50)}, "time": i, "author": fmt.Sprint("a", i%100)}))
		if err != nil {
			b.Fatal(err)
		}
		h := feed.Header{Topic: id, Author: key.DID(), Seq: uint64(i + 1), Kind: feed.Put, Size: uint32(len(payload)), Clock: uint64(i + 1)}
		if i > 0 {
			h.Prev = all[i-1].ID
		}
		o := feed.Operation{Header: h, Sig: sig}
		all = append(all, feed.Logged{Operation: o, ID: o.ID(), Sealed: feed.Sealed{Payload: payload}})
	}
	feeds.feeds[id][key.DID()] = all
	t.Landed(id, key.DID())
	b.ResetTimer()
	if err := t.Settle(b.Context(), id); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	info, err := t.Info(id)
	if err != nil || info.Checkpoint.Rows.Count != uint64(b.N) {
		b.Fatalf("%d rows of %d: %v", info.Checkpoint.Rows.Count, b.N, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
