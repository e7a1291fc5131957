package page

import "testing"

const benchRecords = 20_000

func BenchmarkBuild(b *testing.B) {
	list := numbered(benchRecords)
	b.ReportAllocs()
	for b.Loop() {
		build(b, newShelf(), list)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

func BenchmarkWalk(b *testing.B) {
	s := newShelf()
	tree := build(b, s, numbered(benchRecords))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := drain(b, tree, s.load, nil, nil); n != benchRecords || err != nil {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchRecords, "ns/record")
}

func BenchmarkGet(b *testing.B) {
	s := newShelf()
	list := numbered(benchRecords)
	tree := build(b, s, list)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Get(tree, s.load, list[benchRecords/3].Key); err != nil {
			b.Fatal(err)
		}
	}
}
