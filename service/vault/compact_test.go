package vault

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/erasure"
)

// Files of a hundred kilobytes, of which every fifth stays.
func sparseTrees() (before, after tree) {
	before, after = tree{"d/": nil}, tree{"d/": nil}
	for i := range 60 {
		name := fmt.Sprintf("d/%02d", i)
		before[name] = noise(uint64(i), 100<<10)
		if i%5 == 0 {
			after[name] = before[name]
		}
	}
	return before, after
}

// middling has several segments where small would have one for each file.
var middling = PutOptions{Spread: erasure.Shape{K: 2, M: 2}, SkipSame: true}

// sparse puts two trees, of which the first is removed.
func (f *fixture) sparse() (left tree) {
	f.t.Helper()
	before, after := sparseTrees()
	for _, tr := range []tree{before, after} {
		if _, err := f.v.Put(f.t.Context(), "docs", tr, middling); err != nil {
			f.t.Fatal(err)
		}
	}
	f.remove(1)
	return after
}

func (f *fixture) compact(budget int64) *Compacted {
	f.t.Helper()
	out, err := f.v.Compact(f.t.Context(), budget, nil)
	if err != nil {
		f.t.Fatalf("compact: %v", err)
	}
	return out
}

// bytes returns what all promised pieces come to.
func (f *fixture) bytes() (sum int) {
	for piece, grids := range f.m.leased {
		for grid := range grids {
			sum += len(f.m.homes[grid].pieces[piece])
		}
	}
	return sum
}

func TestCompactEmptiesSegments(t *testing.T) {
	f := newFixture(t, 2)
	want := f.sparse()
	f.days(15)
	f.collect()
	before, version := f.bytes(), must1(f.v.Find("docs", 0))
	saves := f.home.saves
	out := f.compact(plenty)
	if out.Versions != 1 || out.Sparse < 3 || out.More || out.Bytes == 0 || out.Bytes > 4*1300<<10 || f.home.saves != saves+1 {
		t.Errorf("%+v", out)
	}
	now := must1(f.v.Find("docs", 0))
	if string(now.Key()) != string(version.Key()) || now.Time != version.Time || string(now.Tree.Root) == string(version.Tree.Root) {
		t.Errorf("%+v, and it was %+v", now, version)
	}
	f.collect()
	f.m.reclaim()
	if after := f.bytes(); after > before/2 {
		t.Errorf("%d bytes are held, and it was %d", after, before)
	}
	f.sameTree(want)
	f.open()
	f.sameTree(want)
	f.wantIndexed(t)
	if again := f.compact(plenty); *again != (Compacted{}) {
		t.Errorf("again: %+v", again)
	}
	put, err := f.v.Put(t.Context(), "docs", want, middling)
	if err != nil || !put.Unchanged {
		t.Errorf("the same tree is another: %+v, %v", put, err)
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCompactWithinABudget(t *testing.T) {
	f := newFixture(t, 2)
	want := f.sparse()
	if out := f.compact(1000); !out.More || out.Versions != 0 || out.Bytes != 0 {
		t.Errorf("%+v", out)
	}
	f.v.waiting.Add(1)
	if out := f.compact(plenty); !out.More || out.Versions != 0 {
		t.Errorf("a put waits: %+v", out)
	}
	f.v.waiting.Add(-1)
	for range 10 {
		out := f.compact(2 << 20)
		if !out.More {
			break
		}
		if out.Versions != 1 {
			t.Fatalf("%+v", out)
		}
	}
	if out := f.compact(plenty); out.Sparse != 0 {
		t.Errorf("left: %+v", out)
	}
	f.sameTree(want)
}

func TestCompactLeavesAloneWhatItMust(t *testing.T) {
	for name, spoil := range map[string]func(f *fixture){
		"used by another machine": func(f *fixture) {
			version := must1(f.v.Find("docs", 0))
			uses := must1(f.v.knownUses(version))
			version.Agent, version.Name = did(100), "theirs"
			f.home.others = []core.DID{did(100)}
			if err := f.v.record(version, uses); err != nil {
				f.t.Fatal(err)
			}
		},
		"not placed by us": func(f *fixture) {
			for c := range f.books.Scan(minePrefix, nil) {
				f.apply(core.Change{Key: c.Key})
			}
		},
	} {
		f := newFixture(t, 2)
		want := f.sparse()
		spoil(f)
		if out := f.compact(plenty); *out != (Compacted{}) {
			t.Errorf("%s: %+v", name, out)
		}
		f.sameTree(want)
	}
	f := newFixture(t, 2)
	want := f.sparse()
	root := must1(f.v.Find("docs", 0)).Tree.Root
	f.m.homes[did(0)].room = 0 // what takes their place would be at one household
	if out, err := f.v.Compact(t.Context(), plenty, nil); !errors.Is(err, errNoBetter) || out.Versions != 0 {
		t.Errorf("for worse: %+v, %v", out, err)
	}
	if string(must1(f.v.Find("docs", 0)).Tree.Root) != string(root) {
		t.Error("it was rewritten for worse")
	}
	f.sameTree(want)
}

// TestCompactBrokenOffAnywhere makes each call fail at some time. The version is whole at any moment, and
// nothing stays that nobody needs.
func TestCompactBrokenOffAnywhere(t *testing.T) {
	var calls int64
	run := func(at int64) {
		f := newFixture(t, 2)
		want := f.sparse()
		f.days(15)
		b := &bomb{}
		b.left.Store(at)
		v := New(Config{Books: bombBooks{f.books, b}, Clock: f.clock, Barter: bombMarket{f.m, b}, Household: f.home})
		_, err := v.Compact(t.Context(), plenty, nil)
		if at == 0 {
			calls = -b.left.Load()
		} else if err == nil && b.left.Load() <= 0 {
			t.Errorf("call %d failed, and the compaction did not", at)
		}
		f.open()
		f.sameTree(want)
		f.collect()
		f.m.reclaim()
		f.sameTree(want)
		f.compact(plenty)
		f.days(15)
		f.collect()
		f.m.reclaim()
		f.sameTree(want)
		if left := f.bytes(); left > 3<<20 {
			t.Errorf("call %d: %d bytes are held", at, left)
		}
		f.remove(0)
		f.days(15)
		f.collect()
		if f.m.held() != 0 {
			t.Errorf("call %d: %d pieces are left", at, f.m.held())
		}
	}
	run(0)
	if calls < 50 {
		t.Fatalf("only %d calls: the bomb is not where it should be", calls)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range points(20) {
		run(1 + r.Int64N(calls))
	}
}
