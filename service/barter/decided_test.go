package barter

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
)

// written counts the decisions that are in the books.
func (h *home) written() (n int) {
	for range h.books.Scan(whyPrefix, nil) {
		n++
	}
	return n
}

// While Run runs, what was decided is written down within a second, when somebody reads it, and when Run ends.
func TestDecisionsAreWrittenBySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		defer w.end()
		owner, holder := w.homes[0], w.homes[1]
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = holder.now().Run(ctx)
		}()
		synctest.Wait()
		ask := func() {
			_, _ = holder.now().ask(owner.grid, owner.agent(), askRequest{Ask: core.Ask{Resource: "moon", Amount: time.Now().UnixNano()}})
		}
		want := func(n int) {
			t.Helper()
			if got := holder.written(); got != n {
				t.Errorf("%d decisions are in the books, want %d", got, n)
			}
		}
		ask()
		ask()
		synctest.Wait()
		want(0)
		time.Sleep(writeEvery)
		synctest.Wait()
		want(1) // the second was like the first
		time.Sleep(sameDenial * time.Second)
		ask()
		want(1)
		if got := holder.decisions(t, owner); len(got) != 2 || got[0].ID != 2 {
			t.Errorf("decisions %+v", got)
		}
		want(2)
		time.Sleep(sameDenial * time.Second)
		ask()
		want(2)
		if d, err := holder.now().Decision(3); err != nil || d.Ask.Resource != "moon" {
			t.Errorf("%+v, %v", d, err)
		}
		time.Sleep(sameDenial * time.Second)
		ask()
		cancel()
		<-ended
		want(4)
		time.Sleep(sameDenial * time.Second)
		ask()
		want(5)
		synctest.Wait()
	})
}

// An allowance that is lost in no crash has its decision in the books with it; a denial may be lost, and no number that was in the
// books comes again.
func TestADecisionIsWrittenWithItsAllowance(t *testing.T) {
	for _, kept := range []bool{false, true} {
		w, _ := simWorld(t, 2)
		eater, farm := w.homes[0], w.homes[1]
		farm.giving(10, 10)
		wantKilos := func(amount int64) error {
			farm.now().decided.wake = make(chan struct{}, 1) // as while Run runs
			p, _ := farm.Of(eater.grid)
			in := askRequest{Ask: kilos(amount)}
			in.Why = p.why()
			_, err := farm.now().ask(eater.grid, eater.agent(), in)
			return err
		}
		want := func(ids ...uint64) {
			t.Helper()
			farm.open()
			var got []uint64
			for _, d := range farm.decisions(t, eater) {
				got = append(got, d.ID)
			}
			if !slices.Equal(got, ids) {
				t.Errorf("kept %v: decisions %v, want %v", kept, got, ids)
			}
		}
		if err := wantKilos(3); err != nil {
			t.Error(err)
		}
		want(1)
		if err := wantKilos(20); !errors.Is(err, core.ErrRefused) {
			t.Errorf("20 kg: %v", err)
		}
		if err := wantKilos(2); err != nil {
			t.Error(err)
		}
		want(3, 1)
		farm.disk.CrashAfter(0, kept)
		if err := wantKilos(1); err == nil {
			t.Error("granted in a crash")
		}
		farm.disk.Restart()
		if kept {
			want(4, 3, 1)
		} else {
			want(3, 1)
		}
		if f := farm.flowWith(t, eater); len(f.Granted) != len(farm.decisions(t, eater)) {
			t.Errorf("kept %v: %d allowances, %d decisions", kept, len(f.Granted), len(farm.decisions(t, eater)))
		}
	}
}

// Of too many those go that belong to who has most, and of those with as many, one of each in turn.
func TestTooMany(t *testing.T) {
	x, y, z := core.DID{1}, core.DID{2}, core.DID{3}
	for _, c := range []struct {
		counts, want map[core.DID]int
		n            int
	}{
		{map[core.DID]int{}, map[core.DID]int{}, 0},
		{map[core.DID]int{x: 3}, map[core.DID]int{}, -1},
		{map[core.DID]int{x: 3, y: 5, z: 1}, map[core.DID]int{y: 2}, 2},
		{map[core.DID]int{x: 3, y: 5, z: 1}, map[core.DID]int{y: 3, x: 1}, 4},
		{map[core.DID]int{x: 3, y: 5, z: 1}, map[core.DID]int{y: 3, x: 2}, 5},
		{map[core.DID]int{x: 1, y: 1, z: 1}, map[core.DID]int{x: 1, y: 1, z: 1}, 3},
	} {
		left := maps.Clone(c.counts)
		if got := tooMany(left, c.n); !maps.Equal(got, c.want) {
			t.Errorf("%d of %v: %v, want %v", c.n, c.counts, got, c.want)
		}
		for grid, n := range c.want {
			if left[grid] != c.counts[grid]-n {
				t.Errorf("%d of %v leave %v", c.n, c.counts, left)
			}
		}
	}
}

// Who the partners are is remembered for a second where they are many, and all else is as it is at once: the sums are those
// that a look at each account gives.
func TestManyPartners(t *testing.T) {
	w, clock := simWorld(t, 40)
	holder := w.homes[0]
	b := holder.now()
	check := func() {
		t.Helper()
		asker := w.homes[1]
		p, _ := holder.Of(asker.grid)
		b.enroll(clock.Now().Unix())
		b.mu.Lock()
		defer b.mu.Unlock()
		got := map[int64]int{}
		for _, o := range b.others(p, clock.Now().Unix()) {
			got[o.Used]++
		}
		want, sum := map[int64]int{}, sums{}
		for grid, a := range b.accounts {
			sum.used += a.used.Bytes
			for _, g := range a.grants {
				sum.promised += g.amount
				sum.unsent += g.amount - g.taken
			}
			if a.seat.in == b.roster && grid != asker.grid {
				want[a.taken()]++
			}
		}
		if !maps.Equal(got, want) || sum != b.sums {
			t.Errorf("others use %v, want %v; sums %+v, want %+v", got, want, b.sums, sum)
		}
	}
	check()
	for i, o := range w.homes[1:] {
		grant := o.mustAsk(t, holder, int64(1_000*(i+1)))
		check()
		if i%3 > 0 {
			o.mustPut(t, holder, grant, bytesOf(i, 700))
			check()
		}
		if i%3 > 1 {
			_, _ = o.lease(t, holder, [][]byte{grant}, bytesOf(i, 700))
			check()
		}
	}
	clock.Advance(2 * time.Hour)
	_, _ = b.Offer() // the grants have ended
	check()
	if _, used := b.Offer(); used != 13*700 {
		t.Errorf("%d bytes are used", used)
	}
}
