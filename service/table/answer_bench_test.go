package table

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// BenchmarkAnswer is 32 posts by tag, asked of a table of -rows rows by somebody who has its checkpoint, and by somebody who has nothing: what comes
// above the rows (operations with their signatures and documents), and how long it takes to answer and to verify.
func BenchmarkAnswer(b *testing.B) {
	all := map[core.DID]*Tables{}
	anna, id := benchmarkTable(b, *benchRows, all)
	reader := &Tables{c: Config{Wire: lines{core.DID{1}, all}}}
	q, err := table.ParseQuestion(`tags = "#7" order -time limit 32`)
	if err != nil {
		b.Fatal(err)
	}
	for _, reads := range []string{"empty", "held"} {
		got, err := reader.Ask(b.Context(), id, anna.c.Key.DID(), q, nil)
		if err != nil || len(got.Rows) != 32 {
			b.Fatalf("%d rows: %v", len(got.Rows), err)
		}
		rows := 0
		for _, r := range got.Answer.Rows {
			for _, s := range r {
				rows += len(s)
			}
		}
		b.Run(reads, func(b *testing.B) {
			for b.Loop() {
				if _, err := got.Answer.Verify(id, q, table.Known{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(got.Bytes-rows), "B-above-rows")
			b.ReportMetric(float64(got.ProofBytes()), "B-proof")
			b.ReportMetric(float64(got.Trips), "trips")
		})
	}
	b.Run("answer", func(b *testing.B) {
		for b.Loop() {
			if _, err := anna.Query(b.Context(), id, q, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// benchmarkTable makes a table of so many rows, each with one of 100 tags.
func benchmarkTable(b *testing.B, rows int, all map[core.DID]*Tables) (*Tables, core.DID) {
	b.Helper()
	key := identity.KeyOf([32]byte{1})
	t, feeds := benchmarkTables(b, key)
	all[key.DID()] = t
	d := table.Definition{Name: "posts", Attest: []core.DID{key.DID()}, Indexes: []table.Index{index("tags,time")}, Read: table.Reading{All: true}}
	d.GrantWrite(table.Grant{Who: key.DID()})
	id, err := t.Create(b.Context(), d, func(core.DID) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	var drafts []Draft
	for i := range rows {
		hash := core.ScoreOf(binary.BigEndian.AppendUint64(nil, uint64(i)))
		payload, err := table.PutPayload(hash[:16], nil, doc(b, map[string]any{"tags": []string{fmt.Sprint("#", i%100)}, "time": i}))
		if err != nil {
			b.Fatal(err)
		}
		drafts = append(drafts, Draft{Kind: feed.Put, Payload: payload})
	}
	if _, err := feeds.Append(b.Context(), id, key, drafts); err != nil {
		b.Fatal(err)
	}
	t.Landed(id, key.DID())
	if err := t.Settle(b.Context(), id); err != nil {
		b.Fatal(err)
	}
	return t, id
}
