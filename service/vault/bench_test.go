package vault

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/manifest"
)

// The benchmarks run over a market in memory: what they measure is the vault's own
// work, with two households. The trees are noise, which does not compress, so that
// zstd does not hide the rest.

func benchFixture(b *testing.B) *fixture {
	b.Helper()
	m := newMarket(2)
	f := &fixture{m: m, home: &ourHome{m: m, secret: [32]byte{1}}, books: sim.NewBooks(), clock: sim.NewClock(1)}
	f.open()
	return f
}

var benchTrees = []struct {
	name string
	make func() tree
}{
	{"large", func() tree { return tree{"a": noise(1, 32<<20), "b": noise(2, 32<<20)} }},
	{"small", func() tree {
		tr := tree{}
		all := noise(3, 16<<20)
		for i := range 4096 {
			tr[fmt.Sprintf("%04d", i)] = all[i<<12:][:4<<10]
		}
		return tr
	}},
}

func (f *fixture) benchPut(b *testing.B, tr Source) manifest.Version {
	b.Helper()
	out, err := f.v.Put(context.Background(), "docs", tr, PutOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return out.Version
}

func BenchmarkPut(b *testing.B) {
	for _, t := range benchTrees {
		b.Run(t.name, func(b *testing.B) {
			tr := t.make()
			_, size, _ := tr.Count(context.Background())
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				benchFixture(b).benchPut(b, tr)
			}
		})
	}
}

// BenchmarkReput stores again what is there.
func BenchmarkReput(b *testing.B) {
	for _, t := range benchTrees {
		b.Run(t.name, func(b *testing.B) {
			tr := t.make()
			_, size, _ := tr.Count(context.Background())
			f := benchFixture(b)
			f.benchPut(b, tr)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				f.benchPut(b, tr)
			}
		})
	}
}

func BenchmarkRestore(b *testing.B) {
	for _, t := range benchTrees {
		b.Run(t.name, func(b *testing.B) {
			tr := t.make()
			_, size, _ := tr.Count(context.Background())
			f := benchFixture(b)
			version := f.benchPut(b, tr)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				f.open()
				_, err := f.v.Restore(context.Background(), version, RestoreOptions{}, func(bool, core.Score) (Sink, error) { return drain{}, nil })
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWorth is what status costs for each version.
func BenchmarkWorth(b *testing.B) {
	f := benchFixture(b)
	version := f.benchPut(b, tree{"a": noise(1, 64<<20)})
	b.ReportAllocs()
	for b.Loop() {
		w, err := f.v.Worth(context.Background(), version, nil)
		if err != nil || !w.Readable {
			b.Fatal(err, w)
		}
	}
}

// drain is a Sink that keeps nothing.
type drain struct{}

func (drain) Dir([]byte, manifest.Entry) error              { return nil }
func (drain) Link([]byte, manifest.Entry) error             { return nil }
func (drain) File([]byte, manifest.Entry) (SinkFile, error) { return drainFile{io.Discard}, nil }
func (drain) Found([]byte, manifest.Entry) io.ReadCloser    { return nil }

type drainFile struct{ io.Writer }

func (drainFile) Pass(uint64) error { return nil }
func (drainFile) Commit() error     { return nil }
func (drainFile) Abort()            {}
