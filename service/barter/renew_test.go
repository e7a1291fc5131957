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
	if err := owner.now().Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := owner.until(t, holder, pieces); !slices.Equal(got, []int64{first}) {
		t.Errorf("renewed at 120 days, till %v", got)
	}
	clock.Advance(time.Second)
	if err := owner.now().Renew(t.Context()); err != nil {
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
	if err := owner.now().Renew(t.Context()); err != nil {
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
	if err := owner.now().Renew(t.Context()); !errors.Is(err, core.ErrUnreachable) {
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
	if err := owner.now().Renew(t.Context()); err != nil {
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
	for range 100 {
		clock.Advance(time.Minute)
		owner.mustLease(t, holder, data)
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
	if err := owner.now().Renew(t.Context()); err != nil {
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

func TestLearnFindsPieces(t *testing.T) {
	w, clock := simWorld(t, 3)
	owner := w.homes[0]
	var pieces []core.Piece
	for seed := range 12 { // two pages of leases
		p := mustPlace(t, owner, 1)
		mustSegment(t, p, seed, 100, upTo(20))
		commit(t, p, true)
		s, _ := segmentOf(seed, 10, 10, 100)
		for i := range 20 {
			pieces = append(pieces, core.Piece{Score: s.Piece(i), Size: 100})
		}
	}
	sizes := map[core.Score]int64{}
	for _, p := range pieces[20:] { // the first segment is not known any more
		sizes[p.Score] = p.Size
	}
	sizeOf := func(p core.Score) (int64, bool) { size, ok := sizes[p]; return size, ok }
	owner.disk = newDiskOf(owner)
	owner.open()
	clock.Advance(200 * 24 * time.Hour) // the leases have ended, and count all the same
	for range 2 {
		known, unknown := 0, 0
		for _, o := range w.homes[1:] {
			k, u, err := owner.now().Learn(t.Context(), o.grid, sizeOf)
			if err != nil {
				t.Fatal(err)
			}
			known, unknown = known+k, unknown+u
		}
		if known != 220 || unknown != 20 {
			t.Errorf("%d pieces are known, %d are not", known, unknown)
		}
	}
	owner.checkPlaced(t)
	if err := owner.now().Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What has come to be known has its size, and what is not known again keeps it.
	for _, p := range pieces[:20] {
		sizes[p.Score] = p.Size
	}
	delete(sizes, pieces[30].Score)
	total := int64(0)
	for _, o := range w.homes[1:] {
		if _, unknown, err := owner.now().Learn(t.Context(), o.grid, sizeOf); err != nil || unknown != 0 {
			t.Errorf("%d unknown, %v", unknown, err)
		}
		total += owner.now().Placed(o.grid)
		o.check(t)
	}
	if total != 24_000 {
		t.Errorf("%d bytes are placed", total)
	}
	owner.checkPlaced(t)
	for _, p := range pieces {
		if _, err := owner.now().Fetch(t.Context(), p, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := owner.now().Learn(t.Context(), core.DID{5}, sizeOf); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("learn from a stranger: %v", err)
	}
}

func TestLearnBelievesNobody(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	unknown := func(core.Score) (int64, bool) { return 0, false }
	sign := func(i int, change func(*pact.Lease)) leasesAnswer {
		l := honest(holder, owner, leaseRequest{Seconds: 100})
		l.Pieces = []core.Score{{1, byte(i), byte(i >> 8)}}
		if change != nil {
			change(&l)
		}
		s, err := pact.SignLease(holder.key, l)
		if err != nil {
			t.Fatal(err)
		}
		return leasesAnswer{Leases: append(leasesAnswer{}.Leases, s)}
	}
	var rising []leasesAnswer
	for i := range learnPagesMax + 1 {
		a := sign(i, nil)
		a.More = true
		rising = append(rising, a)
	}
	slices.SortFunc(rising, func(a, b leasesAnswer) int { return compareScores(a.Leases[0].Score(), b.Leases[0].Score()) })
	bad := sign(1, func(l *pact.Lease) { l.Owner = core.DID{3} })
	bad.Leases = append(bad.Leases, sign(2, nil).Leases...)
	slices.SortFunc(bad.Leases, func(a, b signedLease) int { return compareScores(a.Score(), b.Score()) })
	for name, c := range map[string]struct {
		page   func(n int) leasesAnswer
		max    int
		kind   error
		placed int64
	}{
		"the same for ever": {func(int) leasesAnswer { a := sign(1, nil); a.More = true; return a }, 1 << 20, core.ErrInvalid, 1},
		"empty for ever":    {func(int) leasesAnswer { return leasesAnswer{More: true} }, 1 << 20, nil, 0},
		"falling": {func(int) leasesAnswer {
			return leasesAnswer{Leases: append(rising[9].Leases[:1:1], rising[8].Leases...)}
		}, 1 << 20, core.ErrInvalid, 1},
		"rising for ever":      {func(n int) leasesAnswer { return rising[n] }, 1 << 20, core.ErrTooLarge, learnPagesMax},
		"too many unknown":     {func(n int) leasesAnswer { return rising[n] }, 100, core.ErrTooLarge, 100},
		"one bad, one good":    {func(int) leasesAnswer { return bad }, 1 << 20, core.ErrInvalid, 1},
		"another grid's":       {func(int) leasesAnswer { return sign(1, func(l *pact.Lease) { l.Grid = core.DID{3} }) }, 1 << 20, core.ErrInvalid, 0},
		"of a former pact":     {func(int) leasesAnswer { return sign(1, func(l *pact.Lease) { l.Pact = core.Score{3} }) }, 1 << 20, nil, 1},
		"with a bad signature": {func(int) leasesAnswer { a := sign(1, nil); a.Leases[0].Sig[9] ^= 1; return a }, 1 << 20, core.ErrCorrupt, 0},
	} {
		t.Run(name, func(t *testing.T) {
			owner.disk = newDiskOf(owner)
			owner.open()
			n := 0
			holder.instead("GET /leases", wire.Handle(func(context.Context, struct{}) (leasesAnswer, error) {
				n++
				return c.page(n - 1), nil
			}))
			p, _ := owner.Of(holder.grid)
			if err := owner.now().learnFrom(t.Context(), p, holder.agent(), unknown, c.max); !errors.Is(err, c.kind) {
				t.Errorf("%v, want %v", err, c.kind)
			}
			owner.mu.Lock()
			b := owner.barter
			owner.mu.Unlock()
			b.mu.Lock()
			defer b.mu.Unlock()
			if got := b.out[holder.grid].Pieces; got != c.placed {
				t.Errorf("%d pieces are placed, want %d", got, c.placed)
			}
		})
	}
}
