package barter

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/pact"
)

// until returns the dates of the leases over pieces at a machine, each once.
func (h *home) until(t *testing.T, at *home, pieces []core.Piece) []int64 {
	t.Helper()
	var out []int64
	for _, p := range pieces {
		held, err := h.now().Held(p.Score)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range held {
			if g.Agent == at.agent() {
				out = append(out, g.Until)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestRenewWhatHasRunForAThird(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 100)
	clock := w.clock.(interface{ Advance(time.Duration) })
	owner, holder := w.homes[0], w.homes[1]
	first := w.clock.Now().Unix() + 180*daySeconds
	if got := owner.until(t, holder, pieces); !slices.Equal(got, []int64{first}) {
		t.Fatalf("leases end at %v, want %d", got, first)
	}
	clock.Advance(60 * 24 * time.Hour)
	if err := owner.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := owner.until(t, holder, pieces); !slices.Equal(got, []int64{first}) {
		t.Errorf("renewed at 120 days, till %v", got)
	}
	clock.Advance(time.Second)
	if err := owner.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := owner.until(t, holder, pieces); !slices.Equal(got, []int64{first + 60*daySeconds + 1}) {
		t.Errorf("renewed below 120 days, till %v", got)
	}
	holder.wantUsed(t, owner, 2_000, 20, 2_000)
	holder.check(t)
	owner.checkPlaced(t)
	// Also what has lapsed comes back.
	clock.Advance(400 * 24 * time.Hour)
	if err := owner.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := owner.until(t, holder, pieces); len(got) != 1 || got[0] != w.clock.Now().Unix()+180*daySeconds {
		t.Errorf("renewed after its end, till %v", got)
	}
}

func TestRenewTellsWhatIsMissing(t *testing.T) {
	w, pieces, _ := placedWorld(t, 4, 100)
	owner, losing, away, good := w.homes[0], w.homes[1], w.homes[2], w.homes[3]
	w.clock.(interface{ Advance(time.Duration) }).Advance(100 * 24 * time.Hour)
	var lost core.Score
	for _, p := range pieces {
		if losing.disk.Blobs().Lose(p.Score) {
			lost = p.Score
			break
		}
	}
	w.net.Down(away.agent())
	if err := owner.now().renewDue(t.Context()); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("renew: %v", err)
	}
	later := w.clock.Now().Unix() + 180*daySeconds
	if got := owner.until(t, good, pieces); !slices.Equal(got, []int64{later}) {
		t.Errorf("one holder's failure kept another's leases at %v", got)
	}
	if got := owner.until(t, losing, pieces); !slices.Equal(got, []int64{later - 100*daySeconds, later}) {
		t.Errorf("leases of the one that lost a piece end at %v", got)
	}
	var r placedRecord
	if _, err := owner.now().read(placedKey(lost, losing.agent()), &r); err != nil || r.Fails != 1 {
		t.Errorf("the record of the missing piece says %+v: %v", r, err)
	}
	// A machine that its household does not list any more is not asked.
	good.mu.Lock()
	good.agents = []core.DID{{9}}
	good.mu.Unlock()
	w.net.Up(away.agent())
	w.clock.(interface{ Advance(time.Duration) }).Advance(100 * 24 * time.Hour)
	if err := owner.now().renewDue(t.Context()); err != nil {
		t.Errorf("renew: %v", err)
	}
	if got := owner.until(t, good, pieces); !slices.Equal(got, []int64{later}) {
		t.Errorf("leases of a machine that was removed end at %v", got)
	}
}

// TestRunRenewsSoon: a machine that runs for an hour a day must renew in that hour, a failure is
// tried again within the next, and a date that jumps stops nothing.
func TestRunRenewsSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		owner, holder := w.homes[0], w.homes[1]
		owner.days, holder.days = 2, 2 // renewed when 32 hours are left
		p := mustPlace(t, owner, 100)
		mustSegment(t, p, 1, 10, upTo(10))
		commit(t, p, true)
		var asked atomic.Int64
		var refuse atomic.Bool
		real := holder.real("POST /leases")
		holder.instead("POST /leases", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if refuse.Load() {
				wire.WriteError(w, r, core.ErrForbidden)
				return
			}
			real.ServeHTTP(w, r)
		}))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		run := func() {
			go func() { ended <- owner.now().Run(ctx) }()
		}
		step := func(d time.Duration, want int64) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := asked.Load(); got != want {
				t.Errorf("asked %d times, want %d", got, want)
			}
		}
		time.Sleep(17 * time.Hour)
		run()
		step(9*time.Minute, 0)
		refuse.Store(true)
		step(2*time.Minute, 1)
		step(59*time.Minute, 2)
		refuse.Store(false)
		step(time.Hour, 3)
		step(12*time.Hour, 3) // looked at, and far from due
		step(12*time.Hour, 4)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		w.end()
	})
}

func TestRunEndsGrants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		owner, holder := w.homes[0], w.homes[1]
		owner.mustPut(t, holder, owner.mustAsk(t, holder, 1_000), bytesOf(1, 1_000))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- holder.now().Run(ctx) }()
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if !holder.has(t, bytesOf(1, 1_000)) {
			t.Error("dropped before a tick")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if holder.has(t, bytesOf(1, 1_000)) {
			t.Error("kept after its grant has ended")
		}
		cancel()
		<-ended
		w.end()
	})
}

// A lease that promises nothing new is not kept, or a partner could fill the disk with leases.
func TestLeasesDoNotPileUp(t *testing.T) {
	w, clock := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	data := bytesOf(1, 1_000)
	owner.mustPut(t, holder, owner.mustAsk(t, holder, 1_000), data)
	owner.mustLease(t, holder, data)
	b := holder.now()
	kept := func() int64 {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.account(owner.grid).used.Leases
	}
	one := kept()
	first := clock.Now().Unix() + 180*daySeconds
	for range 100 {
		clock.Advance(time.Minute)
		out, err := owner.lease(t, holder, nil, data)
		if err != nil {
			t.Fatal(err)
		}
		// It must not say more than what is kept does.
		if l, err := b.openOwn(mustMarshal(t, *out.Lease), owner.grid); err != nil || l.Until != first || l.From != clock.Now().Unix() {
			t.Fatalf("a lease from %d until %d, %v; want it until %d", l.From, l.Until, err, first)
		}
	}
	if one == 0 || kept() != one {
		t.Errorf("%d bytes of leases, after a hundred more %d", one, kept())
	}
	clock.Advance(60 * 24 * time.Hour)
	owner.mustLease(t, holder, data)
	if kept() != 2*one {
		t.Errorf("a renewal was not kept")
	}
	holder.check(t)
	// The first ended long ago; the second has not for so long.
	clock.Advance((180 + 45) * 24 * time.Hour)
	if err := b.tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if kept() != one {
		t.Errorf("%d bytes of leases are kept, want %d", kept(), one)
	}
	holder.check(t)
	if !holder.has(t, data) {
		t.Error("the piece went with its lease")
	}
	// And there is a limit.
	b.mu.Lock()
	b.account(owner.grid).used.Leases = leaseBytesMin + holder.given/leaseShare
	b.mu.Unlock()
	if _, err := owner.lease(t, holder, nil, data); !errors.Is(err, core.ErrRefused) {
		t.Errorf("a lease beyond the limit: %v", err)
	}
}

// A later lease never takes back what an earlier one promised.
func TestALaterLeaseTakesNothingBack(t *testing.T) {
	w, clock := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	a, b := bytesOf(1, 100), bytesOf(2, 100)
	owner.mustPut(t, holder, owner.mustAsk(t, holder, 1_000), a, b)
	owner.mustLease(t, holder, a)
	first := clock.Now().Unix() + 180*daySeconds
	pieces := []core.Piece{{Score: core.ScoreOf(a)}, {Score: core.ScoreOf(b)}}
	slices.SortFunc(pieces, func(a, b core.Piece) int { return compareScores(a.Score, b.Score) })
	if _, err := holder.now().lease(t.Context(), owner.grid, owner.agent(), leaseRequest{Pieces: pieces, Seconds: 1}); err != nil {
		t.Fatal(err)
	}
	for data, want := range map[string]int64{string(a): first, string(b): clock.Now().Unix() + 1} {
		var r heldRecord
		if _, err := holder.now().read(heldKey(owner.grid, core.ScoreOf([]byte(data))), &r); err != nil || r.Until != want {
			t.Errorf("held until %d, want %d: %v", r.Until, want, err)
		}
	}
	// The owner's books keep the later date as well, and follow a machine to another household.
	record := func(grid core.DID, until int64) {
		s := signedLease{By: holder.agent(), Body: []byte{byte(until)}}
		l := pact.Lease{Holder: holder.agent(), Grid: grid, From: 1, Until: until}
		if err := owner.now().recordPlaced(taking{signed: s, lease: l, pieces: []takenPiece{{Piece: core.Piece{Score: core.ScoreOf(a), Size: 100}, counts: 100}}}); err != nil {
			t.Fatal(err)
		}
	}
	record(holder.grid, 200)
	record(holder.grid, 100)
	if held, err := owner.now().Held(core.ScoreOf(a)); err != nil || len(held) != 1 || held[0].Until != 200 {
		t.Errorf("held %+v, %v", held, err)
	}
	record(core.DID{5}, 100)
	if x, y := owner.now().Placed(holder.grid), owner.now().Placed(core.DID{5}); x != 0 || y != 100 {
		t.Errorf("%d and %d bytes are placed", x, y)
	}
	owner.checkPlaced(t)
}

// The owner keeps the leases that it was given until they end.
func TestOurLeasesAreKeptUntilTheyEnd(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 10)
	owner := w.homes[0]
	clock := w.clock.(interface{ Advance(time.Duration) })
	kept := func() (n int) {
		for c, err := range owner.disk.Books().Scan(takenPrefix, nil) {
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Value) > 0 {
				n++
			}
		}
		return n
	}
	clock.Advance(100 * 24 * time.Hour)
	if err := owner.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		days time.Duration
		want int
	}{{0, 2}, {79, 2}, {2, 1}, {200, 0}} {
		clock.Advance(c.days * 24 * time.Hour)
		if err := owner.now().tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := kept(); got != c.want {
			t.Errorf("%d leases are kept, want %d", got, c.want)
		}
	}
	if held := owner.holders(t, pieces[0].Score); len(held) != 1 {
		t.Error("with the lease went where the piece lies")
	}
}
