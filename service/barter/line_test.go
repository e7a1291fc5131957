package barter

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// A machine that lost its books, not its key, goes on from its own last receipt. What it no longer counts
// shows as a difference, on both sides, and is never made good in silence.
func TestAnOwnerThatLostItsBooks(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 3_600)
	owner, holder := w.homes[0], w.homes[1]
	w.live(t, 5)
	was := owner.ledger(t, holder).Had[0]
	owner.disk = newDiskOf(owner)
	owner.open()
	if _, unknown, err := owner.now().Learn(t.Context(), holder.grid, func(core.Score) (int64, bool) { return 3_600, true }); err != nil || unknown > 0 {
		t.Fatal(unknown, err)
	}
	w.clock.(interface{ Advance(time.Duration) }).Advance(days)
	owner.renew(t, pieces, 0)
	p, _ := owner.Of(holder.grid)
	if err := owner.now().sendReceipt(t.Context(), p, holder.agent()); err != nil {
		t.Fatal(err)
	}
	had, gave := owner.ledger(t, holder).Had[0], holder.ledger(t, owner).Gave[0]
	if had.Seq <= was.Seq || had.Total != was.Total || had.Other != was.Total+20*3_600*24 || !had.Differs() || !gave.Differs() {
		t.Errorf("had %+v, gave %+v, was %+v", had, gave, was)
	}
	w.live(t, 10)
	if had = owner.ledger(t, holder).Had[0]; had.Other != was.Total+20*3_600*24*11 || had.Total != 20*3_600*24*10 {
		t.Errorf("had %+v", had)
	}
}

// A new pact begins at nothing, though the pieces stay; the receipts of the old one go.
func TestTotalsBeginWithThePact(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 3_600)
	owner, holder := w.homes[0], w.homes[1]
	w.live(t, 5)
	w.pacts++
	if l := owner.ledger(t, holder); len(l.Had) != 0 {
		t.Errorf("a new pact has %+v", l.Had)
	}
	w.clock.(interface{ Advance(time.Duration) }).Advance(time.Hour)
	owner.renew(t, pieces, 0)
	owner.receipt(t, holder)
	w.live(t, 2)
	if had := owner.ledger(t, holder).Had[0]; had.Total != 20*3_600*48 || had.Receipts != 3 || had.Differs() {
		t.Errorf("%+v", had)
	}
	owner.checkLine(t, holder)
	// Also where the receipt is what comes first.
	w.pacts++
	w.live(t, 3)
	owner.checkLine(t, holder)
	if had := owner.ledger(t, holder).Had[0]; had.Receipts != len64(owner.receipts(t, asOwner, holder)) || had.Differs() || had.Total > 20*3_600*72 {
		t.Errorf("%+v", had)
	}
}

func len64[T any](s []T) int64 { return int64(len(s)) }

// A clock that is far off does no lasting harm: what was leased by it is kept, and shows as a difference.
func TestAClockThatIsFarOff(t *testing.T) {
	for _, by := range []time.Duration{-10 * days, 10 * days} {
		w, pieces, _ := placedWorld(t, 2, 3_600)
		owner, holder := w.homes[0], w.homes[1]
		w.live(t, 2)
		owner.clock = skewed{w.clock, by}
		owner.open()
		p := mustPlace(t, owner, 1_000)
		mustSegment(t, p, 9, 3_600, upTo(20))
		s, _ := segmentOf(9, 10, 10, 3_600)
		commit(t, p, true)
		if got := owner.everywhere(t, piecesOfSegment(s)); len(got) != 20 {
			t.Errorf("%d of the new pieces are held", len(got))
		}
		partner, _ := owner.Of(holder.grid)
		err := owner.now().sendReceipt(t.Context(), partner, holder.agent())
		if (err == nil) != (by < 0) || err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("a receipt by a clock that is %v off: %v", by, err)
		}
		owner.letGo(t, pieces[:2])
		if err := owner.now().Deliver(t.Context()); (err == nil) != (by < 0) {
			t.Errorf("a release by a clock that is %v off: %v", by, err)
		}
		if n := owner.queued(t); (n == 0) != (by < 0) {
			t.Errorf("%d releases wait", n)
		}
		owner.clock = nil
		owner.open()
		w.live(t, 3)
		had, gave := owner.ledger(t, holder).Had[0], holder.ledger(t, owner).Gave[0]
		if !had.Differs() || had.Until != w.clock.Now().Unix() || had.Live != 18*3_600 || gave.Live != 38*3_600 || owner.queued(t) != 0 {
			t.Errorf("%v: had %+v, gave %+v", by, had, gave)
		}
	}
}

// Each machine of a household has a line of its own. What two have leased stays when one gives it back, and
// counts no longer for one that its household has no more.
func TestTwoMachinesOfAHousehold(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 3_600)
	owner, holder := w.homes[0], w.homes[1]
	second := &home{w: w, grid: owner.grid, key: identity.KeyOf([32]byte{3}), days: 180}
	owner.mu.Lock()
	owner.agents = []core.DID{owner.agent(), second.agent()}
	owner.mu.Unlock()
	slices.SortFunc(pieces, func(a, b core.Piece) int { return compareScores(a.Score, b.Score) })
	w.clock.(interface{ Advance(time.Duration) }).Advance(days)
	if out, err := holder.now().lease(t.Context(), owner.grid, second.agent(), leaseRequest{Pieces: pieces[:10], Seconds: 180 * daySeconds}); err != nil || len(out.Missing) > 0 {
		t.Fatal(out, err)
	}
	holder.wantUsed(t, owner, 20*3_600, 20, 20*3_600)
	w.clock.(interface{ Advance(time.Duration) }).Advance(days)
	if gave := holder.ledger(t, owner).Gave; len(gave) != 2 || gave[0].Hours+gave[1].Hours != 3_600*24*(20+20+10) {
		t.Errorf("gave %+v", gave)
	}
	owner.letGo(t, pieces)
	holder.takesAll()
	owner.deliver(t)
	if got := holder.aside(owner); got != 10*3_600 {
		t.Errorf("%d bytes are aside, want those of one machine alone", got)
	}
	owner.receipt(t, holder)
	// The second machine is lost. The first renews what it had.
	owner.mu.Lock()
	owner.agents = nil
	owner.mu.Unlock()
	owner.renew(t, pieces, 0)
	w.clock.(interface{ Advance(time.Duration) }).Advance(days)
	for _, l := range holder.ledger(t, owner).Gave {
		if want := map[core.DID]int64{owner.agent(): 20 * 3_600}[l.Agent]; l.Live != want {
			t.Errorf("%d bytes are live for %s, want %d", l.Live, l.Agent.Short(), want)
		}
	}
	owner.receipt(t, holder)
}

// The answer to a request for a lease is lost. Before anything else goes over the line it is asked for again, and
// counts; but pieces that nobody asks for any more are let lapse, unless the books are too new to tell.
func TestALostAnswer(t *testing.T) {
	for _, learned := range []bool{true, false} {
		w, _ := simWorld(t, 2)
		owner, holder := w.homes[0], w.homes[1]
		if learned {
			if err := owner.now().noteLearned(holder.grid); err != nil {
				t.Fatal(err)
			}
		}
		real := holder.real("POST /leases")
		holder.instead("POST /leases", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			real.ServeHTTP(httptest.NewRecorder(), r)
			wire.WriteError(w, r, errors.New("lost"))
		}))
		p := mustPlace(t, owner, 1_000)
		mustSegment(t, p, 1, 100, upTo(20))
		if failed := p.Commit(t.Context(), true); len(failed) != 1 {
			t.Fatalf("commit: %v", failed)
		}
		s, _ := segmentOf(1, 10, 10, 100)
		pieces := piecesOfSegment(s)
		if len(owner.everywhere(t, pieces)) != 0 {
			t.Fatal("something is held already")
		}
		holder.wantUsed(t, owner, 2_000, 20, 2_000)
		holder.instead("POST /leases", nil)
		owner.open() // the put is over
		w.live(t, 1)
		owner.receipt(t, holder)
		want := 0
		if !learned {
			want = 20
		}
		if got := len(owner.everywhere(t, pieces)); got != want {
			t.Errorf("%d pieces are held, want %d", got, want)
		}
		owner.checkPlaced(t)
		if learned {
			w.live(t, 100) // nobody renews what nobody asks for
			if got := holder.ledger(t, owner).Gave[0]; got.Differs() || got.Live != 2_000 {
				t.Errorf("%+v", got)
			}
			w.live(t, 110)
			holder.wantUsed(t, owner, 0, 0, 0)
			for range owner.books.Scan(placedPrefix, nil) {
				t.Error("a piece is remembered")
			}
			owner.checkLine(t, holder)
		}
	}
}

// The same, and the put goes on.
func TestALostAnswerToAPutThatGoesOn(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	if err := owner.now().noteLearned(holder.grid); err != nil {
		t.Fatal(err)
	}
	real := holder.real("POST /leases")
	holder.instead("POST /leases", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		holder.instead("POST /leases", nil)
		real.ServeHTTP(httptest.NewRecorder(), r)
		wire.WriteError(w, r, errors.New("lost"))
	}))
	p := mustPlace(t, owner, 1_000)
	mustSegment(t, p, 1, 100, upTo(20))
	if failed := p.Commit(t.Context(), false); len(failed) != 1 {
		t.Fatalf("commit: %v", failed)
	}
	commit(t, p, true)
	s, _ := segmentOf(1, 10, 10, 100)
	if got := len(owner.everywhere(t, piecesOfSegment(s))); got != 20 {
		t.Errorf("%d pieces are held", got)
	}
	owner.receipt(t, holder)
	holder.wantUsed(t, owner, 2_000, 20, 2_000)
	owner.checkPlaced(t)
}

// A holder cannot make up a lease that was not asked for, nor make one count that was.
func TestALeaseThatIsMadeUp(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 3_600)
	owner, holder := w.homes[0], w.homes[1]
	w.live(t, 3)
	before := owner.ledger(t, holder).Had[0]
	slices.SortFunc(pieces, func(a, b core.Piece) int { return compareScores(a.Score, b.Score) })
	for name, lie := range map[string]func(l *pact.Lease){
		"from long ago":      func(l *pact.Lease) { l.From -= 1000 * daySeconds },
		"from ahead":         func(l *pact.Lease) { l.From += 3 * daySeconds },
		"over other pieces":  func(l *pact.Lease) { l.Pieces = []core.Score{{1}, {2}} },
		"over larger pieces": func(l *pact.Lease) { l.Bytes = 1 << 40 },
		"of another owner":   func(l *pact.Lease) { l.Owner = core.DID{1} },
	} {
		holder.instead("POST /leases", wire.Handle(func(_ context.Context, in leaseRequest) (leaseAnswer, error) {
			if !in.Again {
				return leaseAnswer{}, errors.New("lost")
			}
			l := honest(holder, owner, leaseRequest{Pieces: pieces, Seconds: 180 * daySeconds})
			lie(&l)
			s, err := pact.SignLease(holder.key, l)
			return leaseAnswer{Lease: &s, Sizes: slices.Repeat([]int64{1 << 20}, len(l.Pieces))}, err
		}))
		if _, err := owner.now().Renew(t.Context(), scoresOf(pieces)); err != nil {
			t.Errorf("%s: renew: %v", name, err)
		}
		p, _ := owner.Of(holder.grid)
		if err := owner.now().sendReceipt(t.Context(), p, holder.agent()); err != nil {
			t.Errorf("%s: receipt: %v", name, err)
		}
		if got := owner.ledger(t, holder).Had[0]; got.Hours != before.Hours || got.Live != before.Live || got.Total != before.Total {
			t.Errorf("%s: %+v, want %+v", name, got, before)
		}
	}
}

// What was answered to one machine is told to nobody else, nor when there is a later lease.
func TestAnAnswerIsAskedForAgain(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	a, b := bytesOf(1, 1_000), bytesOf(2, 2_000)
	owner.mustPut(t, holder, owner.mustAsk(t, holder, 10_000), a)
	id := []byte("the first")
	again := func(from *home, id []byte) leaseAnswer {
		t.Helper()
		var out leaseAnswer
		if err := from.client.Call(t.Context(), holder.agent(), "POST", "/leases", leaseRequest{Pieces: []core.Piece{}, ID: id, Again: true}, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := again(owner, id); out.Lease != nil {
		t.Errorf("before it was asked: %+v", out)
	}
	in := leaseRequest{Pieces: []core.Piece{{Score: core.ScoreOf(a)}}, Seconds: 180 * daySeconds, ID: id}
	var first leaseAnswer
	if err := owner.client.Call(t.Context(), holder.agent(), "POST", "/leases", in, &first); err != nil || first.Lease == nil || !slices.Equal(first.Sizes, []int64{1_000}) {
		t.Fatalf("%+v, %v", first, err)
	}
	if out := again(owner, id); out.Lease == nil || out.Lease.Score() != first.Lease.Score() || !slices.Equal(out.Sizes, []int64{1_000}) {
		t.Errorf("%+v", out)
	}
	holder.open()
	if out := again(owner, id); out.Lease == nil || out.Lease.Score() != first.Lease.Score() {
		t.Errorf("after a restart: %+v", out)
	}
	for name, out := range map[string]leaseAnswer{"another": again(other, id), "another name": again(owner, []byte("first")), "no name": again(owner, nil)} {
		if out.Lease != nil || len(out.Sizes) > 0 {
			t.Errorf("%s: %+v", name, out)
		}
	}
	for _, bad := range []leaseRequest{
		{Pieces: in.Pieces, Seconds: 1, ID: id, Again: true},
		{Pieces: []core.Piece{}, ID: id, Again: true, Close: [][]byte{id}},
		{Pieces: in.Pieces, Seconds: 1, ID: make([]byte, 17)},
	} {
		if err := owner.client.Call(t.Context(), holder.agent(), "POST", "/leases", bad, &leaseAnswer{}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	owner.mustPut(t, holder, owner.mustAsk(t, holder, 10_000), b)
	owner.mustLease(t, holder, b)
	if out := again(owner, id); out.Lease != nil {
		t.Errorf("after a later one: %+v", out)
	}
}

// Run sends a receipt within a day, and one each day.
func TestRunSendsReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		owner, holder := w.homes[0], w.homes[1]
		p := mustPlace(t, owner, 1_000)
		mustSegment(t, p, 1, 3_600, upTo(10))
		commit(t, p, true)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		for _, h := range w.homes {
			go func() { ended <- h.now().Run(ctx) }()
		}
		time.Sleep(73 * time.Hour)
		synctest.Wait()
		if n := len(holder.receipts(t, asHolder, owner)); n != 4 { // the first after some minutes
			t.Errorf("%d receipts", n)
		}
		owner.checkLine(t, holder)
		cancel()
		for range w.homes {
			<-ended
		}
		w.end()
	})
}
