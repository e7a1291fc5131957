package vault

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
)

// points is at how many moments of n something is broken off: beside the race detector, at a third of them.
func points(n int) int {
	if testing.Short() {
		return n / 3
	}
	return n
}

// bomb goes off at the nth call of anything that a put uses: it fails that call, or
// ends the context of the put.
type bomb struct {
	left   atomic.Int64
	cancel context.CancelFunc // nil: the call fails
}

var errBomb = errors.New("bomb")

func (b *bomb) tick() error {
	if b.left.Add(-1) != 0 {
		return nil
	}
	if b.cancel != nil {
		b.cancel()
		return nil
	}
	return errBomb
}

type bombBooks struct {
	core.Books
	b *bomb
}

func (k bombBooks) Get(key []byte) ([]byte, error) {
	if err := k.b.tick(); err != nil {
		return nil, err
	}
	return k.Books.Get(key)
}

func (k bombBooks) Apply(changes ...core.Change) error {
	if err := k.b.tick(); err != nil {
		return err
	}
	return k.Books.Apply(changes...)
}

type bombMarket struct {
	*market
	b *bomb
}

func (m bombMarket) Place(ctx context.Context, q core.Quality, expect int64) (Placement, error) {
	if err := m.b.tick(); err != nil {
		return nil, err
	}
	p, err := m.market.Place(ctx, q, expect)
	return bombPlacement{p, m.b}, err
}

func (m bombMarket) Held(piece core.Score) ([]core.Holding, error) {
	if err := m.b.tick(); err != nil {
		return nil, err
	}
	return m.market.Held(piece)
}

type bombPlacement struct {
	Placement
	b *bomb
}

func (p bombPlacement) Segment(ctx context.Context, s manifest.Segment, pieces [][]byte, want []int, held map[core.DID][]int) ([]int, error) {
	if err := p.b.tick(); err != nil {
		return want, err
	}
	return p.Placement.Segment(ctx, s, pieces, want, held)
}

type bombSource struct {
	Source
	b *bomb
}

func (s bombSource) Items(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for item, err := range s.Source.Items(ctx) {
			if err == nil {
				err = s.b.tick()
			}
			if !yield(item, err) {
				return
			}
		}
	}
}

// TestPutBrokenOffAnywhere makes each stage of a put fail, or ends its context, at some
// moment. The bubble finds goroutines that stay and stages that wait for each other; the put after it
// must succeed, and find what the broken one has saved.
func TestPutBrokenOffAnywhere(t *testing.T) {
	want := tree{"a": noise(1, 3<<20), "d/": nil, "z": noise(2, 3000)}
	for i := range 40 {
		want["d/"+string(rune('A'+i))] = noise(uint64(100+i), 40<<10)
	}
	var calls int64
	run := func(at int64, cancelled bool) {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			b := &bomb{}
			b.left.Store(at)
			if cancelled {
				b.cancel = cancel
			}
			m := newMarket(2)
			books := sim.NewBooks()
			home := &ourHome{m: m, secret: [32]byte{1}}
			v := New(Config{Books: bombBooks{books, b}, Clock: sim.NewClock(1), Barter: bombMarket{m, b}, Household: home})
			spread := erasure.Shape{K: 2, M: 2} // small segments, so that there are several
			out, err := v.Put(ctx, "docs", bombSource{want, b}, PutOptions{Spread: spread})
			if at == 0 {
				calls = -b.left.Load()
			} else if err == nil && !cancelled && b.left.Load() <= 0 { // a coin may make it one call fewer
				t.Errorf("call %d failed and the put did not", at)
			}
			f := &fixture{t: t, m: m, home: home, books: books, clock: sim.NewClock(1)}
			if versions, _ := v.Versions(""); err != nil && out == nil && len(versions) > 0 {
				t.Errorf("call %d: an error without outcome, and a version", at)
			}
			f.open()
			if _, err := f.v.Put(t.Context(), "docs", want, PutOptions{Spread: spread}); err != nil {
				t.Fatalf("the put after a failure at call %d: %v", at, err)
			}
			f.sameTree(want)
			f.remove(0)
			f.days(15)
			f.collect()
			if f.m.held() != 0 {
				t.Errorf("call %d: %d pieces are held for nothing", at, f.m.held())
			}
		})
	}
	run(0, false)
	if calls < 100 {
		t.Fatalf("only %d calls: the bomb is not where it should be", calls)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range points(25) {
		run(1+r.Int64N(calls), false)
		run(1+r.Int64N(calls), true)
	}
}

// stream is a tree of one file that is made as it is read.
type stream struct{ size int64 }

func (s stream) Single() bool                                         { return true }
func (s stream) Count(context.Context) (files, size int64, err error) { return 1, s.size, nil }

func (s stream) Items(context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		e := manifest.Entry{Kind: manifest.KindFile, Mode: 0o644, Size: uint64(s.size)}
		_ = yield(Item{Entry: manifest.Entry{Kind: manifest.KindDir, Mode: 0o755}}, nil) &&
			yield(Item{Path: []byte("film"), Entry: e, Open: func() (File, error) {
				return &memFile{Reader: io.LimitReader(rand.NewChaCha8([32]byte{9}), s.size), e: e}, nil
			}}, nil)
	}
}

// peakBarter keeps nothing of what it is given, and measures.
type peakBarter struct {
	*market
	peak *uint64
}

func (m peakBarter) Place(ctx context.Context, q core.Quality, expect int64) (Placement, error) {
	p, err := m.market.Place(ctx, q, expect)
	return &peakPlacement{p.(*fakePlacement), m}, err
}

type peakPlacement struct {
	*fakePlacement
	m peakBarter
}

// Segment is called by two placers at once; the fake's lock serves.
func (p *peakPlacement) Segment(ctx context.Context, s manifest.Segment, pieces [][]byte, want []int, held map[core.DID][]int) ([]int, error) {
	left, err := p.fakePlacement.Segment(ctx, s, pieces, want, held)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.fakePlacement.m.homes {
		clear(h.pieces)
	}
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	*p.m.peak = max(*p.m.peak, stats.HeapAlloc)
	return left, err
}

// TestMemoryOfAPutIsFlat stores files of several sizes: what is alive at the worst moment must not grow
// with the file but for its Refs.
func TestMemoryOfAPutIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("stores a gigabyte")
	}
	peak := func(size int64) uint64 {
		var peak uint64
		m := newMarket(2)
		f := &fixture{t: t, m: m, home: &ourHome{m: m, secret: [32]byte{1}}, books: sim.NewBooks(), clock: sim.NewClock(1)}
		v := New(Config{Books: f.books, Clock: sim.NewClock(1), Barter: peakBarter{m, &peak}, Household: f.home})
		if _, err := v.Put(t.Context(), "film", stream{size}, PutOptions{}); err != nil {
			t.Fatal(err)
		}
		return peak
	}
	small, large := peak(192<<20), peak(1<<30)
	// The books are in memory here: 3,500 chunks, 105 segments and 2,100 leases come to 5 MiB.
	if t.Logf("%d MiB at 192 MiB, %d MiB at 1 GiB", small>>20, large>>20); large > small+32<<20 || large > 192<<20 {
		t.Errorf("%d MiB are alive while 1 GiB is stored, and %d MiB while 192 MiB are", large>>20, small>>20)
	}
}

// oddSource is a Source of given items.
type oddSource []Item

func (s oddSource) Single() bool                                         { return false }
func (s oddSource) Count(context.Context) (files, size int64, err error) { return 0, 0, nil }

func (s oddSource) Items(context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		for _, item := range s {
			if !yield(item, nil) {
				return
			}
		}
	}
}

func dirItem(path string) Item {
	return Item{Path: []byte(path), Entry: manifest.Entry{Kind: manifest.KindDir, Mode: 0o755}}
}

func fileItem(path, text string) Item {
	e := manifest.Entry{Kind: manifest.KindFile, Mode: 0o644, Size: uint64(len(text))}
	return Item{Path: []byte(path), Entry: e, Open: func() (File, error) {
		return &memFile{Reader: bytes.NewReader([]byte(text)), e: e}, nil
	}}
}

func TestWhatAManifestCannotHoldIsAProblemOfItsOwn(t *testing.T) {
	f := newFixture(t, 2)
	badDir := dirItem("bad")
	badDir.Entry.Mode = 0o170000
	badLink := Item{Path: []byte("link"), Entry: manifest.Entry{Kind: manifest.KindLink, Target: bytes.Repeat([]byte("x"), 5000)}}
	longest := bytes.Repeat([]byte("n"), manifest.PathSizeMax)
	src := oddSource{dirItem(""), badDir, fileItem("bad/below", "x"), fileItem("bad.txt", "stays"), badLink, fileItem(string(longest), "at the limit"), fileItem(string(longest)+"n", "past it"), fileItem("z", "stays too")}
	out, err := f.v.Put(t.Context(), "docs", src, PutOptions{})
	if !errors.Is(err, core.ErrPartly) || out == nil {
		t.Fatalf("put: %v", err)
	}
	var paths []string
	for _, p := range out.Problems {
		paths = append(paths, string(p.Path))
	}
	if !slices.Equal(paths, []string{"bad", "link", string(longest) + "n"}) {
		t.Errorf("problems with %.100q", paths)
	}
	f.sameTree(tree{"bad.txt": []byte("stays"), string(longest): []byte("at the limit"), "z": []byte("stays too")})
}

func TestSourcesThatAreNoTrees(t *testing.T) {
	for name, src := range map[string]oddSource{
		"nothing":       {},
		"no root":       {fileItem("a", "a")},
		"two roots":     {dirItem(""), dirItem("")},
		"out of order":  {dirItem(""), fileItem("b", "b"), fileItem("a", "a")},
		"a file twice":  {dirItem(""), fileItem("a", "a"), fileItem("a", "a")},
		"a root a file": {fileItem("", "a")},
	} {
		f := newFixture(t, 2)
		if out, err := f.v.Put(t.Context(), "docs", src, PutOptions{}); out != nil || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, out, err)
		}
		f.put(tree{"a": []byte("a")})
	}
}

func TestSmallTrees(t *testing.T) {
	for name, want := range map[string]tree{
		"empty": {}, "an empty directory": {"d/": nil}, "an empty file": {"f": {}}, "a link": {"l -> nowhere": nil},
	} {
		f := newFixture(t, 2)
		out := f.put(want)
		files := 0
		if name == "an empty file" {
			files = 1
		}
		if int(out.Version.Files) != files || out.Version.Bytes != 0 || out.Worth.Survives != 1 {
			t.Errorf("%s: %+v, worth %+v", name, out.Version, out.Worth)
		}
		f.sameTree(want)
	}
}

func TestSpreads(t *testing.T) {
	want := tree{"noise": noise(1, 7<<20), "zeros": make([]byte, 5<<20), "small": []byte("s")}
	for _, shape := range []erasure.Shape{{K: 1}, {K: 2, M: 1}, {K: 10}, {K: 1, M: 10}, {K: 10, M: 10}} {
		for households := 1; households <= 3; households++ {
			f := newFixture(t, households)
			out, err := f.v.Put(t.Context(), "docs", want, PutOptions{Spread: shape})
			if err != nil || out.Placed != out.Wanted || !out.Worth.Readable {
				t.Fatalf("%v at %d: %v, %+v", shape, households, err, out)
			}
			pieces := shape.Total()
			switch {
			case households == 1:
				pieces = shape.K
			case shape.K == 1:
				pieces = min(pieces, households)
			}
			if out.Wanted != pieces*out.Worth.Segments || uint64(f.m.sent) != out.Version.Stored {
				t.Errorf("%v at %d: %d pieces of %d segments, %d bytes stored, %d sent", shape, households, out.Wanted, out.Worth.Segments, out.Version.Stored, f.m.sent)
			}
			f.sameTree(want)
		}
	}
}
