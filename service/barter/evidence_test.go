package barter

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// handed has a receipt of that number and total arrive; so many pairs contradict each other then.
func (h *home) handed(t *testing.T, holder *home, seq, total uint64, pairs int) identity.Signed {
	t.Helper()
	s := h.sign(t, holder, func(r *pact.Receipt) { r.Seq, r.Total = seq, total })
	if _, err := h.hand(t, holder, s); err != nil {
		t.Fatal(err)
	}
	all, err := holder.now().Contradictions(h.grid)
	if err != nil || len(all) != pairs {
		t.Fatalf("after receipt %d over %d: %d pairs, want %d: %v", seq, total, len(all), pairs, err)
	}
	return s
}

// wantBlame compares what another, which gives nothing, stands for having lost.
func (h *home) wantBlame(t *testing.T, o *home, want int64) {
	t.Helper()
	if got := h.standingOf(o).Missing; got != want {
		t.Errorf("stands as if %d were lost, want %d", got, want)
	}
}

// Two receipts with one number are both kept, and prove what was signed; whoever signed them stands as if it had lost the difference.
func TestReceiptsThatContradict(t *testing.T) {
	w, _, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	hour := func() {
		w.clock.(interface{ Advance(time.Duration) }).Advance(time.Hour)
		holder.now().pass(time.Hour)
	}
	first := owner.handed(t, holder, 10, 1_000, 0)
	hour()
	owner.handed(t, holder, 11, 2_000, 0)
	if _, err := owner.hand(t, holder, first); err != nil { // late, and no other
		t.Fatal(err)
	}
	holder.wantBlame(t, owner, 0)
	owner.handed(t, holder, 9, 7_000, 0) // none of that number is kept
	line := holder.ledger(t, owner).Gave[0]
	second := owner.handed(t, holder, 10, 1_000+720*500+1, 1)
	holder.wantBlame(t, owner, 501)
	if l := holder.ledger(t, owner); l.Gave[0] != line || l.Missing != 501 || len(l.Contradictions) != 1 || len(holder.alarms) != 1 {
		t.Errorf("%+v; alarms %q", l, holder.alarms)
	}
	for range 2 {
		all, err := holder.now().Contradictions(owner.grid)
		if err != nil {
			t.Fatal(err)
		}
		c := all[0]
		if c.Agent != owner.agent() || c.Resource != core.Storage || c.Seq != 10 || c.Kept.Total != 1_000 || c.Other.Total != 361_001 || c.Differs != 360_001 || c.Lost != 501 || !c.Counts {
			t.Errorf("%+v", c)
		}
		for i, s := range []identity.Signed{first, second} {
			if c.Proof[i].Score() != s.Score() {
				t.Errorf("proof %d is another receipt", i)
			}
		}
		holder.open()
		holder.wantBlame(t, owner, 501)
	}
	// The same again is no news; of one number the two that differ most are kept.
	owner.handed(t, holder, 10, 361_001, 1)
	owner.handed(t, holder, 10, 5_000, 1)
	holder.wantBlame(t, owner, 501)
	owner.handed(t, holder, 10, math.MaxUint64, 1)
	holder.wantBlame(t, owner, pact.AmountMax)
	owner.handed(t, holder, 10, math.MaxUint64-1, 1)
	owner.handed(t, holder, 11, 1_999, 2)
	holder.wantBlame(t, owner, pact.AmountMax+1)
	if len(holder.alarms) != 1 {
		t.Errorf("alarms %q", holder.alarms)
	}
	// It fades, and stays in the ledger.
	w.clock.(interface{ Advance(time.Duration) }).Advance(15 * days)
	holder.now().pass(15 * days)
	holder.wantBlame(t, owner, pact.AmountMax/2+1)
	holder.now().pass(15 * days)
	holder.wantBlame(t, owner, 0)
	if all := holder.ledger(t, owner).Contradictions; len(all) != 2 || all[0].Counts || all[1].Counts {
		t.Errorf("%+v", all)
	}
}

// Contradictions without end take no room, and small ones push no large one out.
func TestAFloodOfContradictions(t *testing.T) {
	w, _, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	for seq := range uint64(20) {
		owner.handed(t, holder, seq+1, 0, 0)
		holder.now().pass(2 * time.Hour)
	}
	for seq := range uint64(20) {
		owner.handed(t, holder, 20-seq, 720*(20-seq), min(int(seq)+1, contradictionsMax))
	}
	all := holder.ledger(t, owner).Contradictions
	for i, c := range all {
		if c.Seq != uint64(i)+5 || c.Lost != int64(c.Seq) {
			t.Errorf("pair %d is %+v", i, c)
		}
	}
	owner.handed(t, holder, 1, 720*6, contradictionsMax)
	if all = holder.ledger(t, owner).Contradictions; all[0].Seq != 1 || all[1].Seq != 6 {
		t.Errorf("receipts %d and %d are kept, want 1 and 6", all[0].Seq, all[1].Seq)
	}
	holder.wantBlame(t, owner, 6+(6+20)*15/2)
}

// What is in the books as a contradiction is verified when it is read.
func TestAContradictionThatIsNone(t *testing.T) {
	w, _, _ := placedWorld(t, 3, 100)
	owner, holder := w.homes[0], w.homes[1]
	a := owner.sign(t, holder, nil)
	more := func(r *pact.Receipt) { r.Total++ }
	b := owner.sign(t, holder, more)
	forged := owner.sign(t, holder, more)
	forged.Sig[5] ^= 1
	for name, r := range map[string]twiceRecord{
		"the same":         {Kept: a, Other: a},
		"another number":   {Kept: a, Other: owner.sign(t, holder, func(r *pact.Receipt) { r.Seq++ })},
		"another provider": {Kept: a, Other: owner.sign(t, w.homes[2], more)},
		"another receiver": {Kept: a, Other: holder.sign(t, owner, more)},
		"another resource": {Kept: a, Other: owner.sign(t, holder, func(r *pact.Receipt) { r.Resource = "compute" })},
		"forged":           {Kept: a, Other: forged},
		"forged first":     {Kept: forged, Other: a},
		"nothing":          {},
	} {
		if c, err := contradiction(r); err == nil {
			t.Errorf("%s: %+v", name, c)
		}
	}
	c, err := contradiction(twiceRecord{Kept: a, Other: b})
	if err != nil || c.Differs != 1 || c.Lost != 1 {
		t.Fatalf("%+v, %v", c, err)
	}
	broken, err := change(twiceKey(owner.grid, c.Kept), twiceRecord{V: codec.Version, Kept: a, Other: forged})
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.books.Apply(broken); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.now().Ledger(owner.grid); err == nil || !strings.Contains(err.Error(), "is broken") {
		t.Errorf("a ledger with a forged receipt: %v", err)
	}
}

// A provider that says that it does not take a receipt, and keeps it, has nothing to show against who signed it.
func TestNoNumberIsUsedTwice(t *testing.T) {
	w, _, _ := placedWorld(t, 2, 3_600)
	owner, holder := w.homes[0], w.homes[1]
	w.live(t, 2)
	p, _ := owner.Of(holder.grid)
	seen := map[uint64]pact.Receipt{}
	for i, kind := range []error{core.ErrInvalid, core.ErrForbidden, core.ErrTooLarge, core.ErrNotExist, core.ErrVersion, nil, core.ErrInvalid} {
		holder.instead("POST /receipt", wire.Handle(func(_ context.Context, in receiptRequest) (receiptAnswer, error) {
			r, err := pact.OpenReceipt(in.Receipt)
			if err != nil {
				return receiptAnswer{}, err
			}
			if before, known := seen[r.Seq]; known && before != r {
				t.Errorf("two receipts with number %d:\n%+v\n%+v", r.Seq, before, r)
			}
			seen[r.Seq] = r
			if kind == nil {
				return holder.now().takeReceipt(owner.grid, owner.agent(), in.Receipt)
			}
			return receiptAnswer{}, kind
		}))
		if i == 4 { // totals begin anew, numbers do not
			w.pacts++
			p, _ = owner.Of(holder.grid)
		}
		w.clock.(interface{ Advance(time.Duration) }).Advance(time.Hour)
		if err := owner.now().sendReceipt(t.Context(), p, holder.agent()); (err == nil) != (kind == nil) {
			t.Errorf("%v: %v", kind, err)
		}
		if l := owner.ledger(t, holder).Had; i == 0 && !l[0].Answered {
			t.Errorf("what was refused is still waited for: %+v", l[0])
		}
		if i%2 == 0 {
			owner.open()
		}
	}
	if len(seen) != 7 {
		t.Errorf("%d numbers, want 7", len(seen))
	}
	holder.instead("POST /receipt", nil)
	owner.receipt(t, holder)
	if l := owner.ledger(t, holder).Had[0]; l.Receipts != 1 || l.Differs() || l.Seq != 10 {
		t.Errorf("%+v", l)
	}
}

// A provider that shows a receipt that we never signed is told of, once, until it takes one again.
func TestAReceiptThatWasForged(t *testing.T) {
	w, _, _ := placedWorld(t, 3, 3_600)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	w.live(t, 1)
	p, _ := owner.Of(holder.grid)
	forged := owner.sign(t, holder, func(r *pact.Receipt) { r.Total = 1 << 50 })
	forged.Sig[0] ^= 1
	alarms := 0
	for name, last := range map[string]identity.Signed{
		"a bad signature": forged, "their own": holder.sign(t, owner, nil), "one for another": owner.sign(t, other, nil), "nothing": {},
	} {
		holder.instead("POST /receipt", wire.Handle(func(context.Context, receiptRequest) (receiptAnswer, error) { return receiptAnswer{Last: &last}, nil }))
		alarms++
		for range 3 {
			w.clock.(interface{ Advance(time.Duration) }).Advance(time.Hour)
			if err := owner.now().sendReceipt(t.Context(), p, holder.agent()); err == nil {
				t.Errorf("%s: no error", name)
			}
			if !owner.ledger(t, holder).Had[0].Forged || len(owner.alarms) != alarms {
				t.Errorf("%s: %+v, alarms %q", name, owner.ledger(t, holder).Had[0], owner.alarms)
			}
			owner.open()
		}
		holder.instead("POST /receipt", nil)
		owner.receipt(t, holder)
		if owner.ledger(t, holder).Had[0].Forged {
			t.Errorf("%s: it stays", name)
		}
	}
	// One that is ours and only old is no forgery.
	var old identity.Signed
	if err := codec.Unmarshal(owner.receipts(t, asOwner, holder)[0].Value, &old, receiptLimit); err != nil {
		t.Fatal(err)
	}
	holder.instead("POST /receipt", wire.Handle(func(context.Context, receiptRequest) (receiptAnswer, error) { return receiptAnswer{Last: &old}, nil }))
	if err := owner.now().sendReceipt(t.Context(), p, holder.agent()); err == nil || owner.ledger(t, holder).Had[0].Forged {
		t.Errorf("an old one: %v", err)
	}
}

// Where the two sides count differently, the ledger says since which receipt, and which leases are not counted here.
func TestWhatIsMissing(t *testing.T) {
	w, _, _ := placedWorld(t, 2, 3_600)
	owner, holder := w.homes[0], w.homes[1]
	w.live(t, 3)
	if l := owner.ledger(t, holder); l.Had[0].Parted != 0 || len(l.Uncounted) != 0 {
		t.Fatalf("%+v", l)
	}
	owner.clock = skewed{w.clock, -10 * days}
	owner.open()
	p := mustPlace(t, owner, 1_000)
	mustSegment(t, p, 9, 3_600, upTo(20))
	s, _ := segmentOf(9, 10, 10, 3_600)
	commit(t, p, true)
	owner.clock = nil
	owner.open()
	w.live(t, 1)
	parted := w.clock.Now().Unix()
	for range 2 {
		for side, l := range map[string]LedgerLine{"owner": owner.ledger(t, holder).Had[0], "holder": holder.ledger(t, owner).Gave[0]} {
			if l.Parted != 4 || l.PartedAt != parted || l.Other-l.Total != 20*3_600*uint64(w.clock.Now().Unix()-parted+daySeconds)/3600 {
				t.Errorf("%s: %+v", side, l)
			}
		}
		w.live(t, 1)
	}
	got := owner.ledger(t, holder).Uncounted
	if len(got) != 1 || got[0].Agent != holder.agent() || got[0].Pieces != 20 || got[0].Bytes != 20*3_600 {
		t.Fatalf("%+v", got)
	}
	if c, err := holder.books.Get(leaseKey(owner.grid, got[0].Lease)); err != nil || len(c) == 0 {
		t.Errorf("the holder knows no lease %s: %v", got[0].Lease.Short(), err)
	}
	// A renewal counts again; what was lost stays a difference.
	owner.renew(t, piecesOfSegment(s), 0)
	w.live(t, 1)
	if l := owner.ledger(t, holder); l.Had[0].Parted != 4 || len(l.Uncounted) != 0 || l.Had[0].Live != 40*3_600 {
		t.Errorf("%+v", l)
	}
}

// Both sides know when something was proven last.
func TestWhenSomethingWasProven(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	want := func(at int64) {
		t.Helper()
		if had, gave := owner.ledger(t, holder).Had[0].Proven, holder.ledger(t, owner).Gave[0].Proven; had != at || gave != at {
			t.Errorf("proven at %d here and %d there, want %d", had, gave, at)
		}
	}
	want(0)
	start := w.clock.Now().Unix()
	owner.mustAudit(t, pieces)
	want(start)
	w.clock.(interface{ Advance(time.Duration) }).Advance((provenEvery - 1) * time.Second)
	owner.mustAudit(t, pieces[:1])
	want(start)
	w.clock.(interface{ Advance(time.Duration) }).Advance(time.Second)
	owner.mustAudit(t, pieces[:1])
	owner.open()
	holder.open()
	want(start + provenEvery)
	// What is lost proves nothing, nor does who does not answer.
	w.clock.(interface{ Advance(time.Duration) }).Advance(days)
	for _, p := range pieces {
		if err := holder.disk.Blobs().Delete(t.Context(), p.Score); err != nil {
			t.Fatal(err)
		}
	}
	if lost := owner.mustAudit(t, pieces); lost != len(pieces) {
		t.Errorf("%d pieces are lost, want %d", lost, len(pieces))
	}
	holder.instead("POST /prove", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { wire.WriteError(w, r, fmt.Errorf("no")) }))
	owner.mustAudit(t, pieces)
	want(start + provenEvery)
	if slices.ContainsFunc(owner.ledger(t, holder).Had, func(l LedgerLine) bool { return l.Forged }) {
		t.Error("a receipt was forged")
	}
}
