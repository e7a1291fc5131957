package barter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// tape is all that was signed between an owner's machine and its holder's, as bytes, in the order in which the holder took it.
type tape []identity.Signed

// errLost is that a request, or its answer, has not arrived.
var errLost = errors.New("lost")

// record has a holder's answers to an owner put on a tape. Of the routes in lost the next request is lost, or its answer.
func (h *home) record(owner *home, out *tape, lost map[string]bool) {
	loses := func(what string) error {
		if lost[what] {
			delete(lost, what)
			return errLost
		}
		return nil
	}
	keep := func(ctx context.Context, route string, s *identity.Signed, err error) error {
		if wire.CallerOf(ctx).Agent == owner.agent() && err == nil && s != nil {
			*out = append(*out, *s)
		}
		return cmp.Or(err, loses("the answer to a "+route))
	}
	h.instead("POST /leases", wire.Handle(func(ctx context.Context, in leaseRequest) (leaseAnswer, error) {
		if err := loses("a lease"); err != nil {
			return leaseAnswer{}, err
		}
		a, err := h.now().handleLease(ctx, in)
		if s := a.Lease; s != nil && !in.Again {
			return a, keep(ctx, "lease", s, err)
		}
		return a, err
	}))
	h.instead("POST /release", wire.Handle(func(ctx context.Context, in releaseRequest) (releaseAnswer, error) {
		if err := loses("a release"); err != nil {
			return releaseAnswer{}, err
		}
		a, err := h.now().handleRelease(ctx, in)
		a.Left = 1 << 50 // or it would take weeks
		return a, keep(ctx, "release", in.Release, err)
	}))
	h.instead("POST /receipt", wire.Handle(func(ctx context.Context, in receiptRequest) (receiptAnswer, error) {
		if err := loses("a receipt"); err != nil {
			return receiptAnswer{}, err
		}
		a, err := h.now().handleReceipt(ctx, in)
		if a.Last != nil {
			return a, err
		}
		return a, keep(ctx, "receipt", &in.Receipt, err)
	}))
}

// replayed is the books of one line, made of nothing but what was signed and the sizes of the pieces: a second reading of SPEC §6.
type replayed struct {
	pact   core.Score
	meter  pact.Meter
	ends   map[core.Score]int64
	latest int64
	last   pact.Receipt
}

func (r *replayed) under(id core.Score, at int64) {
	if r.pact != id && !r.pact.IsZero() {
		r.meter.Restart(max(at, r.latest))
		r.last = pact.Receipt{}
	}
	r.pact = id
}

// replay reads a tape into empty books. Whatever is on it was signed by who must have signed it.
func (p tape) replay(owner, holder *home, sizes map[core.Score]int64) (*replayed, error) {
	r := &replayed{ends: map[core.Score]int64{}}
	for i, s := range p {
		if lease, err := pact.OpenLease(s); err == nil {
			if lease.Holder != holder.agent() || lease.Owner != owner.grid {
				return nil, fmt.Errorf("%d: a lease between others", i)
			}
			counts := r.pact != lease.Pact
			r.under(lease.Pact, lease.From)
			for _, piece := range lease.Pieces {
				end := r.ends[piece]
				r.ends[piece] = r.meter.Lease(end, sizes[piece], lease.From, lease.Until)
				counts = counts || r.ends[piece] != end
			}
			if counts { // SPEC: else it is not among those in the order
				r.latest = max(r.latest, lease.From)
			}
			continue
		}
		if release, err := pact.OpenRelease(s); err == nil {
			if release.Agent != owner.agent() {
				return nil, fmt.Errorf("%d: a release by another", i)
			}
			for _, piece := range release.Pieces {
				r.meter.Release(r.ends[piece], sizes[piece], max(release.Time, r.latest))
				r.ends[piece] = 0
			}
			r.latest = max(r.latest, release.Time)
			continue
		}
		receipt, err := pact.OpenReceipt(s)
		if err != nil {
			return nil, fmt.Errorf("%d: neither lease nor release nor receipt: %w", i, err)
		}
		r.under(receipt.Pact, receipt.Until)
		if r.last.Seq != 0 && receipt != r.last {
			if err := receipt.Follows(r.last); err != nil {
				return nil, fmt.Errorf("%d: %w", i, err)
			}
		}
		if n := r.meter.Hours(receipt.Until); n != receipt.Total {
			return nil, fmt.Errorf("%d: a receipt over %d, where the tape comes to %d", i, receipt.Total, n)
		}
		r.last, r.latest = receipt, max(r.latest, receipt.Until)
	}
	return r, nil
}

// check compares them with those that have lived through it.
func (r *replayed) check(t *rapid.T, l *line, holder, owner *home, at int64) {
	t.Helper()
	for _, at := range []int64{max(at, r.latest), at + 10*daySeconds, at + 1000*daySeconds} {
		if x, y := r.meter.Seconds(at), l.meter.Seconds(at); x.Cmp(y) != 0 || r.meter.Live(at) != l.meter.Live(at) {
			t.Fatalf("up to %d: %s byte-seconds and %d live by the tape, %s and %d in the books", at, x, r.meter.Live(at), y, l.meter.Live(at))
		}
	}
	if want := l.last(holder.agent(), owner.agent()); r.last != want {
		t.Fatalf("the last receipt is\n%+v by the tape,\n%+v in the books", r.last, want)
	}
	for piece, end := range r.ends {
		var held heldRecord
		if _, err := holder.now().read(heldKey(owner.grid, piece), &held); err != nil {
			t.Fatal(err)
		}
		if n := held.count(owner.agent()); max(n, at) != max(end, at) {
			t.Fatalf("piece %s counts until %d by the tape, %d in the books", piece.Short(), end, n)
		}
	}
}

// trader is a pair in one of its two directions.
type trader struct {
	pair
	tape  tape
	lost  map[string]bool
	sizes map[core.Score]int64
}

func newTrader(t *rapid.T, clock *sim.Clock, owner, holder *home) *trader {
	s := &trader{pair: pair{t: t, clock: clock, owner: owner, holder: holder}, lost: map[string]bool{}, sizes: map[core.Score]int64{}}
	for seed := 1; seed <= 4; seed++ {
		seg, _ := segmentOf(seed, 1, 3, 100*seed)
		for i := range 4 {
			s.sizes[seg.Piece(i)] = int64(100 * seed)
		}
	}
	if err := owner.now().noteLearned(holder.grid); err != nil {
		t.Fatal(err)
	}
	holder.record(owner, &s.tape, s.lost)
	return s
}

func (s *trader) loses(*rapid.T) {
	what := rapid.SampledFrom([]string{"a lease", "a release", "a receipt"}).Draw(s.t, "what")
	if rapid.Bool().Draw(s.t, "the answer") {
		what = "the answer to " + what
	}
	s.lost[what] = true
}

func (s *trader) send() error {
	p, _ := s.owner.Of(s.holder.grid)
	return errors.Join(s.owner.now().Deliver(s.ctx()), s.owner.now().sendReceipt(s.ctx(), p, s.holder.agent()))
}

// receipt is one that arrives.
func (s *trader) receipt(*rapid.T) {
	clear(s.lost)
	if err := s.send(); err != nil {
		s.t.Fatal(err)
	}
}

// settle ends with a receipt, when nothing is lost any more.
func (s *trader) settle() {
	s.receipt(nil)
	s.owner.checkLine(s.t, s.holder)
	r, err := s.tape.replay(s.owner, s.holder, s.sizes)
	if err != nil {
		s.t.Fatal(err)
	}
	now := s.clock.Now().Unix()
	for side, by := range map[*side]*home{&asHolder: s.holder, &asOwner: s.owner} {
		with := s.owner
		if by == s.owner {
			with = s.holder
		}
		l, err := by.now().lineOf(*side, with.grid, with.agent())
		if err != nil {
			s.t.Fatal(err)
		}
		r.check(s.t, l, s.holder, s.owner, now)
	}
}

// balance is what a home has given to another less what it has had of it, in byte-hours, as its ledger has it.
func (h *home) balance(t *rapid.T, with *home) (sum int64) {
	l, err := h.now().Ledger(with.grid)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range l.Gave {
		sum += int64(line.Hours)
	}
	for _, line := range l.Had {
		sum -= int64(line.Hours)
	}
	return sum
}

// Two households that keep pieces for each other, while requests and answers are lost, clocks differ, machines are started anew and the pact is ended and made
// anew: what was signed, read into empty books, makes the books that both have, and the balances of the two sum to zero.
func TestWhatWasSignedMakesTheBooks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		clock := sim.NewClock(1)
		w := newWorld(t, clock, 2)
		defer w.end()
		a, b := newTrader(rt, clock, w.homes[0], w.homes[1]), newTrader(rt, clock, w.homes[1], w.homes[0])
		actions := map[string]func(*rapid.T){
			"pass": a.pass, "pact": func(*rapid.T) { // it has ended after notice, so that all that was under way has arrived
				a.receipt(nil)
				b.receipt(nil)
				w.pacts++
			},
			"start": func(t *rapid.T) { rapid.SampledFrom(w.homes).Draw(t, "who").open() },
		}
		for name, s := range map[string]*trader{"a": a, "b": b} {
			for what, do := range map[string]func(*rapid.T){
				"place": s.place, "place again": s.place, "release": s.release, "deliver": s.deliver, "renew": s.renew, "due": s.due,
				"tidy": s.tidy, "lose": s.loses, "skew": s.skew,
				"receipt": func(*rapid.T) { _ = s.send() },
			} {
				actions[name+" "+what] = do
			}
		}
		rt.Repeat(actions)
		for _, s := range []*trader{a, b} {
			s.owner.clock = nil
			s.owner.open()
			s.owner.now().Saw(s.holder.agent())
		}
		clock.Advance(2 * days) // no date is ahead any more
		for range 2 {
			a.settle()
			b.settle()
			clock.Advance(time.Hour)
		}
		if x, y := w.homes[0].balance(rt, w.homes[1]), w.homes[1].balance(rt, w.homes[0]); x+y != 0 {
			rt.Fatalf("the balances %d and %d do not sum to zero", x, y)
		}
	})
}

// A tape on which anything is missing or forged does not make the same books.
func TestATapeThatWasChanged(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	var all tape
	holder.record(owner, &all, nil)
	p := mustPlace(t, owner, 100_000)
	sizes := map[core.Score]int64{}
	for seed := 1; seed <= 3; seed++ {
		mustSegment(t, p, seed, 3_600, upTo(20))
		commit(t, p, seed == 3)
		s, _ := segmentOf(seed, 10, 10, 3_600)
		for i := range 20 {
			sizes[s.Piece(i)] = 3_600
		}
		if seed > 1 {
			owner.letGo(t, piecesOfSegment(s)[:2])
			owner.deliver(t)
		}
		w.clock.(*sim.Clock).Advance(days)
		owner.receipt(t, holder)
	}
	if len(all) != 8 {
		t.Fatalf("%d were signed, want 3 leases, 2 releases and 3 receipts", len(all))
	}
	if _, err := all.replay(owner, holder, sizes); err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if _, err := slices.Concat(all[:i], all[i+1:]).replay(owner, holder, sizes); err == nil {
			if _, err := pact.OpenReceipt(all[i]); err != nil { // each receipt says all that those before do
				t.Errorf("without %d the tape is as good", i)
			}
		}
		forged := slices.Clone(all)
		forged[i].Sig = slices.Clone(all[i].Sig)
		forged[i].Sig[0] ^= 1
		if _, err := forged.replay(owner, holder, sizes); err == nil {
			t.Errorf("with %d forged the tape is as good", i)
		}
	}
}
