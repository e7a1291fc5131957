package vault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

const plenty = 1 << 40

func aFew() tree { return tree{"a": noise(1, 12<<20), "b": noise(2, 100)} }

// here has all households of the market stand well with ours.
func (f *fixture) here() map[core.DID]Standing {
	out := map[core.DID]Standing{}
	for grid, home := range f.m.homes {
		out[grid] = Standing{}
		if home.away {
			out[grid] = Standing{Away: time.Hour}
		}
	}
	return out
}

func (f *fixture) improve(budget int64, partners map[core.DID]Standing) *Improved {
	f.t.Helper()
	out, err := f.v.Improve(f.t.Context(), ImproveOptions{Budget: budget, Partners: partners})
	if err != nil {
		f.t.Fatalf("improve: %v", err)
	}
	return out
}

// spreads returns how each segment's pieces are spread, the greatest share first, and fails the test
// if a piece is held twice.
func (f *fixture) spreads() map[string]int {
	f.t.Helper()
	out := map[string]int{}
	for c, err := range f.books.Scan(stateKey([]byte(manifest.SegmentPrefix)), nil) {
		if err != nil {
			f.t.Fatal(err)
		}
		s, err := manifest.DecodeSegment(c.Value)
		if err != nil {
			f.t.Fatal(err)
		}
		held, err := f.v.heldOf(s, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		var shares []int
		all := 0
		for _, set := range held {
			shares = append(shares, set.len())
			all += set.len()
		}
		if all != held.distinct() {
			f.t.Errorf("%d holdings of %d pieces", all, held.distinct())
		}
		slices.Sort(shares)
		slices.Reverse(shares)
		out[fmt.Sprint(shares)]++
	}
	return out
}

func (f *fixture) wantSpread(want string) {
	f.t.Helper()
	if got := f.spreads(); len(got) != 1 || got[want] == 0 {
		f.t.Errorf("segments are spread so: %v; want all %s", got, want)
	}
}

func (f *fixture) wantSurvives(want int) {
	f.t.Helper()
	version, err := f.v.Find("docs", 0)
	if err != nil {
		f.t.Fatal(err)
	}
	if w, err := f.v.Worth(f.t.Context(), version, nil); err != nil || w.Survives != want {
		f.t.Errorf("it survives %d, %v; want %d", w.Survives, err, want)
	}
}

// hand gives n pieces of each segment from one household to another.
func (f *fixture) hand(n int, from, to core.DID) {
	f.t.Helper()
	for c := range f.books.Scan(stateKey([]byte(manifest.SegmentPrefix)), nil) {
		s, err := manifest.DecodeSegment(c.Value)
		if err != nil {
			f.t.Fatal(err)
		}
		left := n
		for _, piece := range scores(s) {
			if left > 0 && f.m.leased[piece][from] {
				f.m.homes[to].pieces[piece] = f.m.homes[from].pieces[piece]
				f.m.leased[piece] = map[core.DID]bool{to: true}
				delete(f.m.homes[from].pieces, piece)
				left--
			}
		}
	}
}

func (f *fixture) join(n int) core.DID {
	f.m.homes[did(n)] = &fakeHome{pieces: map[core.Score][]byte{}, room: -1}
	return did(n)
}

func TestImproveEvensWhatPartialMendsLeft(t *testing.T) {
	for name, improve := range map[string]func(f *fixture){
		"improve": func(f *fixture) {
			if out := f.improve(plenty, f.here()); out.More || out.Bytes == 0 || len(f.m.aside) != out.Pieces {
				f.t.Errorf("%+v, %d pieces were given up", out, len(f.m.aside))
			}
		},
		"check and mend": func(f *fixture) {
			if out, err := f.v.Check(f.t.Context(), CheckOptions{Mend: true}); err != nil || len(f.m.aside) != out.Mended.Pieces {
				f.t.Errorf("%+v, %v, %d pieces were given up", out, err, len(f.m.aside))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 2)
			files := aFew()
			f.put(files)
			f.hand(3, did(1), did(0))
			f.wantSpread("[13 7]")
			f.wantSurvives(0)
			improve(f)
			f.m.reclaim()
			f.wantSpread("[10 10]")
			f.wantSurvives(1)
			for _, away := range []core.DID{did(0), did(1)} {
				f.m.homes[away].away = true
				f.sameTree(files)
				f.m.homes[away].away = false
			}
			if out := f.improve(plenty, f.here()); out.Pieces != 0 || out.Bytes != 0 {
				t.Errorf("again: %+v", out)
			}
		})
	}
}

func TestImproveWhenHouseholdsJoin(t *testing.T) {
	f := newFixture(t, 2)
	files := someTree()
	f.put(files)
	f.join(5)
	if out := f.improve(plenty, f.here()); out.Pieces != 0 { // any one of two, any one of three
		t.Errorf("moved for nothing: %+v", out)
	}
	f.join(6)
	// 20 MiB a time: five pieces from each of two, of a few segments.
	for rounds := 0; ; rounds++ {
		out := f.improve(20<<20, f.here())
		if out.Bytes > 20<<20 || rounds > 20 {
			t.Fatalf("round %d: %+v", rounds, out)
		}
		if !out.More {
			break
		}
	}
	f.m.reclaim()
	f.wantSpread("[5 5 5 5]")
	f.wantSurvives(2)
	f.m.homes[did(0)].away, f.m.homes[did(5)].away = true, true
	f.sameTree(files)
	if out := f.improve(1<<10, map[core.DID]Standing{did(0): {Leaving: true}}); !out.More || out.Bytes != 0 {
		t.Errorf("beyond the budget: %+v", out)
	}
}

func TestImproveReplacesWhoIsAwayOrLeaves(t *testing.T) {
	for name, gone := range map[string]Standing{"away": {Away: ReplaceAfter}, "leaving": {Leaving: true}} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 3)
			files := aFew()
			f.put(files)
			saves := f.home.saves
			f.m.homes[did(2)].away = gone.Away > 0
			f.m.homes[did(2)].room = 0
			standing := f.here()
			standing[did(2)] = Standing{Away: ReplaceAfter - time.Second}
			if out := f.improve(plenty, standing); out.Pieces != 0 {
				t.Errorf("too soon: %+v", out)
			}
			standing[did(2)] = gone
			out := f.improve(plenty, standing)
			if out.Pieces == 0 || out.Whole != out.Segments || len(f.m.aside) != out.Pieces || f.home.saves != saves+1 {
				t.Errorf("%+v, %d pieces were given up", out, len(f.m.aside))
			}
			f.wantSpread("[10 10]")
			f.m.reclaim()
			f.sameTree(files)
		})
	}
}

// TestImproveGivesUpWhatIsHeldTwice has a household come back whose pieces were made again, and one
// copy of a piece where nobody knows why.
func TestImproveGivesUpWhatIsHeldTwice(t *testing.T) {
	f := newFixture(t, 2)
	files := aFew()
	f.put(files)
	for piece, at := range f.m.leased {
		if at[did(1)] {
			at[did(0)] = true
			f.m.homes[did(0)].pieces[piece] = f.m.homes[did(1)].pieces[piece]
		}
	}
	standing := f.here()
	standing[did(1)] = Standing{Away: time.Hour}
	f.improve(plenty, standing)
	if len(f.m.aside) > 0 {
		for _, at := range f.m.aside {
			if at[did(0)] {
				t.Fatal("given up where the other is away")
			}
		}
	}
	f.improve(plenty, f.here())
	f.m.reclaim()
	f.wantSpread("[10 10]")
	f.sameTree(files)
}

func TestImproveMakesWayForAPut(t *testing.T) {
	f := newFixture(t, 2)
	f.put(aFew())
	f.hand(3, did(1), did(0))
	f.v.waiting.Add(1)
	if out := f.improve(plenty, f.here()); !out.More || out.Pieces != 0 {
		t.Errorf("%+v", out)
	}
	f.v.waiting.Add(-1)
	if out := f.improve(plenty, f.here()); out.More {
		t.Errorf("%+v", out)
	}
}

func TestImproveWhereNobodyTakes(t *testing.T) {
	f := newFixture(t, 3)
	f.put(aFew())
	standing := f.here()
	standing[did(2)] = Standing{Leaving: true}
	for _, home := range f.m.homes {
		home.room = 0
	}
	if out := f.improve(plenty, standing); out.Pieces != 0 || out.More || len(f.m.aside) > 0 {
		t.Errorf("%+v", out)
	}
	if _, err := f.v.Improve(t.Context(), ImproveOptions{}); err != nil {
		t.Errorf("with nothing: %v", err)
	}
}

// TestImproveBrokenOffAnywhere makes each call fail at some time. The version survives no less for it at
// any moment, and the next time ends it.
func TestImproveBrokenOffAnywhere(t *testing.T) {
	files := aFew()
	var calls int64
	run := func(at int64) {
		f := newFixture(t, 3)
		f.put(files)
		f.join(7)
		standing := f.here()
		b := &bomb{}
		b.left.Store(at)
		v := New(Config{Books: bombBooks{f.books, b}, Clock: f.clock, Barter: bombMarket{f.m, b}, Household: f.home})
		_, err := v.Improve(t.Context(), ImproveOptions{Budget: plenty, Partners: standing})
		if at == 0 {
			calls = -b.left.Load()
		} else if err == nil && b.left.Load() <= 0 {
			t.Errorf("call %d failed, and the improvement did not", at)
		}
		f.open()
		version, err := f.v.Find("docs", 0)
		if err != nil {
			t.Fatal(err)
		}
		if w, err := f.v.Worth(t.Context(), version, nil); err != nil || w.Survives < 1 {
			t.Errorf("call %d: %+v, %v", at, w, err)
		}
		f.sameTree(files)
		f.improve(plenty, standing)
		f.m.reclaim()
		f.wantSpread("[5 5 5 5]")
		f.sameTree(files)
	}
	run(0)
	if calls < 100 {
		t.Fatalf("only %d calls: the bomb is not where it should be", calls)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range points(12) {
		run(1 + r.Int64N(calls))
	}
}

func TestImproveGoesOnWithoutAManifest(t *testing.T) {
	f := newFixture(t, 2)
	f.put(aFew())
	if _, err := f.v.Put(t.Context(), "other", tree{"x": noise(3, 1000)}, PutOptions{}); err != nil {
		t.Fatal(err)
	}
	other, err := f.v.Find("other", 0)
	if err != nil {
		t.Fatal(err)
	}
	f.hand(3, did(1), did(0))
	f.apply(core.Change{Key: usesKey(other.Key())})
	for _, id := range other.Segments {
		f.apply(core.Change{Key: stateKey(manifest.SegmentKey(id))})
	}
	if out, err := f.v.Improve(context.Background(), ImproveOptions{Budget: plenty, Partners: f.here()}); err != nil || out.Pieces == 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestImproveLeavesOtherMachinesSegments(t *testing.T) {
	f := newFixture(t, 2)
	f.put(aFew())
	f.hand(3, did(1), did(0))
	for c := range f.books.Scan(minePrefix, nil) {
		f.apply(core.Change{Key: c.Key})
	}
	if out := f.improve(plenty, f.here()); out.Pieces != 0 || len(f.m.aside) > 0 {
		t.Errorf("%+v", out)
	}
}
