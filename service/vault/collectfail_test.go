package vault

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/grange-grid/grange/core"
)

// TestCollectBrokenOffAnywhere makes each call that a collection, or an undoing, makes fail at some time, or the
// machine stop there. The next one ends it; and nothing that is used is given up meanwhile.
func TestCollectBrokenOffAnywhere(t *testing.T) {
	live := tree{"a": noise(1, 3<<20), "c": noise(3, 100)}
	gone := tree{"a": noise(1, 3<<20), "b": noise(2, 3<<20)}
	var calls int64
	run := func(at int64, undo bool) {
		f := newFixture(t, 2)
		f.putSmall(gone)
		f.putSmall(live)
		f.remove(1)
		if undo {
			f.collect()
		}
		b := &bomb{}
		b.left.Store(at)
		v := New(Config{
			Books: bombBooks{f.books, b}, Clock: f.clock, Barter: bombMarket{f.m, b}, Household: f.home,
		})
		var err error
		if undo {
			_, err = v.Undo(t.Context(), "docs")
		} else {
			_, err = v.Collect(t.Context())
		}
		if at == 0 {
			calls = -b.left.Load()
		} else if b.left.Load() <= 0 && err == nil && !undo { // an undoing does without the index
			t.Errorf("call %d failed, and the collection did not", at)
		}
		f.open()
		f.sameTree(live)
		f.collect()
		f.wantIndexed(t)
		if numbers := f.numbers(); len(numbers) == 1 { // what is removed can be brought back wherever it stopped
			f.m.homes[did(0)].away = true
			f.undo(1)
			f.m.homes[did(0)].away = false
		}
		f.m.reclaim()
		f.wantNumbers(2, 1)
		f.remove(2)
		f.sameTree(gone)
		f.remove(1)
		f.collect()
		if f.m.held() != 0 {
			t.Errorf("call %d: %d pieces are left", at, f.m.held())
		}
	}
	for _, undo := range []bool{false, true} {
		run(0, undo)
		if calls < 10 {
			t.Fatalf("only %d calls: the bomb is not where it should be", calls)
		}
		r := rand.New(rand.NewPCG(1, 2))
		for range points(40) {
			run(1+r.Int64N(calls), undo)
		}
	}
}

func (m bombMarket) Release(ctx context.Context, hs []core.Holding) error {
	if err := m.b.tick(); err != nil {
		_ = m.market.Release(ctx, hs[:len(hs)/2]) // it may have come half way
		return err
	}
	return m.market.Release(ctx, hs)
}

func (m bombMarket) Renew(ctx context.Context, pieces []core.Score) ([]core.Score, error) {
	if err := m.b.tick(); err != nil {
		_, _ = m.market.Renew(ctx, pieces[:len(pieces)/2])
		return nil, err
	}
	return m.market.Renew(ctx, pieces)
}
