package vault

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// someRefs returns references that are well made, from number first on.
func someRefs(first, n int) []*job {
	jobs := make([]*job, n)
	for i := range jobs {
		number := binary.BigEndian.AppendUint64(nil, uint64(first+i))
		jobs[i] = &job{ref: manifest.Ref{
			Plain: core.ScoreOf(number), Packed: core.ScoreOf(number), Size: 1000, Sealed: 1024 + 16,
			Segment: make([]byte, manifest.SegmentIDSize),
		}}
	}
	return jobs
}

// TestALongFileIsTheSameByWayOfTheBooks gathers so many references that most of them wait in the books, behind
// those of a put that was broken off and those of a reading that was given up.
func TestALongFileIsTheSameByWayOfTheBooks(t *testing.T) {
	const groups = 2*tailBatch + tailBatch/2
	f := newFixture(t, 1)
	if err := f.books.Apply(core.Change{Key: tailKey(7), Value: []byte("of a put that was broken off")}); err != nil {
		t.Fatal(err)
	}
	p := &put{v: f.v, ctx: t.Context(), segs: segmentSet{}}
	file := gathered{segs: segmentSet{}, more: tail{books: f.books}}
	if err := file.more.drop(); err != nil || f.tailed() != 0 {
		t.Fatalf("%d records of a put that was broken off, %v", f.tailed(), err)
	}
	gather := func(first, groups int) {
		t.Helper()
		for i := range groups {
			if err := p.gather(&file, someRefs(first+i*groupChunks, groupChunks)); err != nil {
				t.Fatal(err)
			}
		}
	}
	gather(1<<30, groups)
	if n := f.tailed(); n != 2*tailBatch {
		t.Errorf("%d records wait in the books, want %d", n, 2*tailBatch)
	}
	if err := file.clear(); err != nil || f.tailed() != 0 {
		t.Fatalf("%d records of a reading that was given up, %v", f.tailed(), err)
	}
	gather(0, groups)

	pages := map[string][]byte{}
	b := page.NewBuilder(func(raw []byte) ([]byte, error) {
		score := core.ScoreOf(raw)
		pages[string(score[:])] = raw
		return score[:], nil
	})
	root, entry := manifest.Entry{Kind: manifest.KindDir, Mode: 0o700}, manifest.Entry{Kind: manifest.KindFile, Size: groups * groupChunks * 1000, Mode: 0o600}
	if err := p.addEntry(b, event{entry: root}, &gathered{}); err != nil {
		t.Fatal(err)
	}
	if err := p.addEntry(b, event{path: []byte("big"), entry: entry}, &file); err != nil {
		t.Fatal(err)
	}
	tree, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	load := func(ref []byte) ([]byte, error) { return pages[string(ref)], nil }
	var got []core.Score
	for row, err := range manifest.Rows(page.Walk(tree, load, nil, nil)) {
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range row.Chunks {
			got = append(got, ref.Plain)
		}
	}
	var want []core.Score
	for _, j := range someRefs(0, groups*groupChunks) {
		want = append(want, j.ref.Plain)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d references came back of %d, or in another order", len(got), len(want))
	}
	if err := file.clear(); err != nil || f.tailed() != 0 {
		t.Errorf("%d records are left behind, %v", f.tailed(), err)
	}
}

// tailed returns how many records of a long file lie in the books.
func (f *fixture) tailed() (n int) {
	for _, err := range f.books.Scan(tailPrefix, nil) {
		if err != nil {
			f.t.Fatal(err)
		}
		n++
	}
	return n
}
