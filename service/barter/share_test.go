package barter

import (
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
)

// friendsWorld has a holder (home 0) that shares 80000 bytes evenly among four friends, who have 20000 each, and a fifth (home 5) that has
// no pact with it yet. The first friend's are in 20 pieces, the others' in one.
func friendsWorld(t *testing.T) (w *world, pieces []core.Piece, data [][]byte) {
	t.Helper()
	w, _ = simWorld(t, 6)
	holder, first, fifth := w.homes[0], w.homes[1], w.homes[5]
	holder.mustRules(t, "pact even")
	holder.given = 80_000
	if err := holder.now().SetOffer(80_000); err != nil {
		t.Fatal(err)
	}
	holder.without[fifth.grid] = true
	for _, o := range w.homes[2:] {
		first.without[o.grid] = true
	}
	_, pieces = placedBy(t, first, 1, upTo(20))
	for i, o := range w.homes[2:5] {
		data = append(data, bytesOf(100+i, 20_000))
		o.mustPut(t, holder, o.mustAsk(t, holder, 20_000), data[i])
		o.mustLease(t, holder, data[i])
	}
	return w, pieces, data
}

// A fifth friend joins: what is leased survives, and renewals shrink until each has its share.
func TestAFifthFriendJoins(t *testing.T) {
	w, pieces, data := friendsWorld(t)
	clock := w.clock.(interface{ Advance(time.Duration) })
	holder, first, second, fifth := w.homes[0], w.homes[1], w.homes[2], w.homes[5]
	end := w.clock.Now().Unix() + 180*daySeconds
	holder.wantUsed(t, first, 20_000, 20, 80_000)
	holder.mu.Lock()
	holder.without[fifth.grid] = false
	holder.mu.Unlock()
	clock.Advance(61 * 24 * time.Hour)
	_, err := fifth.ask(t, holder, 16_000)
	wantDenial(t, err, 0, "no room here now")
	// The one piece of the second friend is more than its share.
	_, err = second.lease(t, holder, nil, data[0])
	wantDenial(t, err, 16_000, "your share is 16 kB now, and you have 20 kB")
	// Of the first's 20 pieces of 1000 bytes 16 are renewed, once.
	for range 2 {
		if err := first.now().renewDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		renewed := w.clock.Now().Unix() + 180*daySeconds
		if got := first.until(t, holder, pieces); !slices.Equal(got, []int64{end, renewed}) {
			t.Fatalf("leases end at %v, want %d and %d", got, end, renewed)
		}
		n := 0
		for _, p := range pieces {
			if first.until(t, holder, []core.Piece{p})[0] == renewed {
				n++
			}
		}
		if n != 16 {
			t.Errorf("%d of 20 pieces are renewed", n)
		}
	}
	holder.wantUsed(t, first, 20_000, 20, 80_000)
	holder.check(t)
	first.reads(t, pieces, 20)
	// When the dates have come what is beyond is set aside, and after that the fifth has its share.
	holder.runs(t, 136*days)
	holder.wantUsed(t, first, 16_000, 16, 16_000)
	holder.wantUsed(t, second, 0, 0, 16_000)
	first.reads(t, pieces, 16)
	_ = fifth.mustAsk(t, holder, 16_000)
	if err := first.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	holder.wantUsed(t, first, 16_000, 16, 32_000)
	holder.check(t)
}

// As long as nobody asks for it, what is beyond a share is renewed as ever.
func TestWhatIsLentIsRenewed(t *testing.T) {
	w, pieces, data := friendsWorld(t)
	holder, first, second := w.homes[0], w.homes[1], w.homes[2]
	holder.mu.Lock()
	holder.without[w.homes[5].grid] = false
	holder.mu.Unlock()
	w.clock.(interface{ Advance(time.Duration) }).Advance(61 * 24 * time.Hour)
	if err := first.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := first.until(t, holder, pieces); !slices.Equal(got, []int64{w.clock.Now().Unix() + 180*daySeconds}) {
		t.Errorf("leases end at %v", got)
	}
	second.mustLease(t, holder, data[0])
}
