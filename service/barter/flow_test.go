package barter

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/policy"
)

const potatoes core.Resource = "potatoes"

// giving has a home give so much of potatoes to each partner, of so much in all.
func (h *home) giving(each, total int64) {
	h.mu.Lock()
	h.flows, h.offers = map[core.Resource]int64{potatoes: each}, map[core.Resource]int64{potatoes: total}
	h.mu.Unlock()
	h.open()
}

func kilos(amount int64) core.Ask {
	return core.Ask{Resource: potatoes, Amount: amount, Seconds: 7 * daySeconds, Quality: core.Normal}
}

func (h *home) mustWant(t *testing.T, of *home, amount int64) Allowance {
	t.Helper()
	out, err := h.now().Ask(t.Context(), of.grid, kilos(amount))
	if err != nil || out.Amount != amount || len(out.ID) != grantIDSize || out.Until != h.time().Now().Unix()+7*daySeconds {
		t.Fatalf("asked for %d kg: %+v, %v", amount, out, err)
	}
	return out
}

func (h *home) mustHave(t *testing.T, of *home, amount int64, total uint64) {
	t.Helper()
	got, waits, err := h.now().Had(t.Context(), of.grid, potatoes, amount)
	if err != nil || waits || got != total {
		t.Fatalf("signed for %d kg: %d in all, %v, %v; want %d", amount, got, waits, err, total)
	}
}

// flowWith is what a home's ledger says of potatoes.
func (h *home) flowWith(t *testing.T, of *home) LedgerFlow {
	t.Helper()
	for _, f := range h.ledger(t, of).Flows {
		if f.Resource == potatoes {
			return f
		}
	}
	t.Fatal("the ledger has no potatoes")
	return LedgerFlow{}
}

func TestAnAllowanceIsDrawnByReceipts(t *testing.T) {
	w, clock := simWorld(t, 2)
	eater, farm := w.homes[0], w.homes[1]
	farm.giving(10, 50)
	first := eater.mustWant(t, farm, 4)
	clock.Advance(time.Hour)
	second := eater.mustWant(t, farm, 5)
	_, err := eater.now().Ask(t.Context(), farm.grid, kilos(2))
	wantDenial(t, err, 1, "1 kg of potatoes left of your 10 kg of potatoes; 2 kg of potatoes needed")
	eater.mustHave(t, farm, 6, 6)
	for _, h := range []*home{eater, farm} { // also over a restart
		h.open()
	}
	theirs, ours := eater.flowWith(t, farm), farm.flowWith(t, eater)
	if theirs.Gives != 10 || theirs.Has != 6 || len(theirs.Allowed) != 2 || theirs.Allowed[0].Drawn != 4 || theirs.Allowed[1].Drawn != 2 || len(theirs.Had) != 1 || theirs.Had[0].Total != 6 || !theirs.Had[0].Answered {
		t.Errorf("who had it: %+v", theirs)
	}
	if ours.Given != 10 || ours.Used != 9 || len(ours.Granted) != 2 || ours.Granted[0].Drawn != 4 || ours.Granted[1].Drawn != 2 || len(ours.Gave) != 1 || ours.Gave[0].Total != 6 || ours.Gave[0].Differs() {
		t.Errorf("who gave it: %+v", ours)
	}
	if string(ours.Granted[0].ID) != string(first.ID) || string(theirs.Allowed[1].ID) != string(second.ID) || ours.Granted[0].Agent != eater.agent() {
		t.Errorf("%+v and %+v", ours.Granted, theirs.Allowed)
	}
}

// run lets time pass for all, by their own count too.
func (w *world) run(d time.Duration) {
	for _, h := range w.homes {
		h.now().startRunning()
	}
	w.clock.(interface{ Advance(time.Duration) }).Advance(d)
	for _, h := range w.homes {
		h.now().pass(d)
	}
}

// From its end on an allowance counts as what was drawn of it, until 30 days after it began; what was had beyond counts from its receipt on.
func TestWhatCountsOfAFlow(t *testing.T) {
	w, _ := simWorld(t, 2)
	eater, farm := w.homes[0], w.homes[1]
	farm.giving(10, 50)
	eater.mustWant(t, farm, 8)
	eater.mustHave(t, farm, 3, 3)
	want := func(used, had int64) {
		t.Helper()
		if ours, theirs := farm.flowWith(t, eater), eater.flowWith(t, farm); ours.Used != used || theirs.Has != had {
			t.Errorf("%d are used, want %d; %d were had, want %d", ours.Used, used, theirs.Has, had)
		}
	}
	want(8, 3)
	w.run(7*days - time.Second)
	want(8, 3)
	w.run(time.Second)
	want(3, 3)
	eater.mustHave(t, farm, 5, 8)
	want(8, 8)
	eater.mustWant(t, farm, 2)
	_, err := eater.now().Ask(t.Context(), farm.grid, kilos(1))
	wantDenial(t, err, 0, "0 kg of potatoes left of your 10 kg of potatoes")
	w.run(22 * days)
	want(8, 8)
	w.run(days) // 30 after the first
	want(5, 5)
	eater.open()
	farm.open()
	want(5, 5)
	w.run(7 * days)
	want(0, 0)
	eater.mustWant(t, farm, 10)
}

// A date that nobody agrees with ends no allowance; the provider's own count does.
func TestAClockThatJumpsEndsNoAllowance(t *testing.T) {
	w, clock := simWorld(t, 2)
	eater, farm := w.homes[0], w.homes[1]
	farm.giving(10, 50)
	eater.mustWant(t, farm, 8)
	farm.doubted = true
	clock.Jump(1000 * days)
	if f := farm.flowWith(t, eater); f.Used != 8 || len(f.Granted) != 1 {
		t.Errorf("after a jump: %+v", f)
	}
	clock.Jump(-3000 * days)
	farm.doubted = false
	if f := farm.flowWith(t, eater); len(f.Granted) != 1 {
		t.Errorf("after a jump back: %+v", f)
	}
	w.run(7 * days)
	if f := farm.flowWith(t, eater); f.Used != 0 || len(f.Granted) != 0 {
		t.Errorf("after a week of running: %+v", f)
	}
}

// Who signs for what nobody gave has nothing left itself, and takes nothing from others.
func TestWhoSignsForTooMuch(t *testing.T) {
	w, _ := simWorld(t, 3)
	liar, eater, farm := w.homes[0], w.homes[1], w.homes[2]
	farm.giving(10, 20)
	liar.mustHave(t, farm, flowTotalMax, flowTotalMax)
	if _, waits, err := liar.now().Had(t.Context(), farm.grid, potatoes, 1); waits || !errors.Is(err, core.ErrInvalid) {
		t.Errorf("beyond all: %v", err)
	}
	_, err := liar.now().Ask(t.Context(), farm.grid, kilos(1))
	wantDenial(t, err, 0, "0 kg of potatoes left of your 10 kg of potatoes")
	eater.mustWant(t, farm, 10)
	if f := farm.flowWith(t, liar); f.Used != flowTotalMax {
		t.Errorf("%+v", f)
	}
	// A new pact begins anew, and what was had counts on.
	w.pacts++
	liar.mustHave(t, farm, flowTotalMax, flowTotalMax)
	if f := farm.flowWith(t, liar); f.Used != 2*flowTotalMax || f.Gave[0].Total != flowTotalMax {
		t.Errorf("%+v", f)
	}
}

// Hostile receipts draw nothing.
func TestReceiptsThatDrawNothing(t *testing.T) {
	w, clock := simWorld(t, 3)
	eater, farm, guest := w.homes[0], w.homes[1], w.homes[2]
	farm.giving(10, 50)
	farm.vias[guest.grid] = &Via{Grid: eater.grid, Pact: pactOf(eater.grid, farm.grid), Offered: 100, Share: 100, Until: math.MaxInt64}
	eater.mustWant(t, farm, 8)
	sign := func(of *home, edit func(*pact.Receipt)) identity.Signed {
		return of.sign(t, farm, func(r *pact.Receipt) {
			r.Resource, r.Seq, r.Total = potatoes, 2, 3
			if edit != nil {
				edit(r)
			}
		})
	}
	first := sign(eater, nil)
	if out, err := eater.hand(t, farm, first); err != nil || out.Last != nil || out.Total != 3 {
		t.Fatalf("%+v, %v", out, err)
	}
	before, _ := farm.books.Get(flowKey(asHolder, eater.grid, potatoes))
	for name, c := range map[string]struct {
		from *home
		s    identity.Signed
		kind error // nil: answered with the last
	}{
		"over the limit":     {eater, sign(eater, func(r *pact.Receipt) { r.Seq, r.Total = 3, flowTotalMax+1 }), core.ErrInvalid},
		"the most":           {eater, sign(eater, func(r *pact.Receipt) { r.Seq, r.Total = 3, math.MaxUint64 }), core.ErrInvalid},
		"less":               {eater, sign(eater, func(r *pact.Receipt) { r.Seq, r.Total = 3, 2 }), nil},
		"an old one":         {eater, sign(eater, func(r *pact.Receipt) { r.Seq, r.Total = 1, 9 }), nil},
		"the same number":    {eater, sign(eater, func(r *pact.Receipt) { r.Total = 9 }), nil},
		"before the last":    {eater, sign(eater, func(r *pact.Receipt) { r.Seq, r.Total, r.Until = 3, 9, r.Until-1 }), nil},
		"from ahead":         {eater, sign(eater, func(r *pact.Receipt) { r.Seq, r.Total, r.Until = 3, 9, r.Until+3*daySeconds }), core.ErrInvalid},
		"an unknown kind":    {eater, sign(eater, func(r *pact.Receipt) { r.Seq, r.Resource = 3, "moon" }), core.ErrInvalid},
		"another pact's":     {eater, sign(eater, func(r *pact.Receipt) { r.Seq, r.Pact = 3, core.Score{7} }), core.ErrInvalid},
		"another provider's": {eater, sign(eater, func(r *pact.Receipt) { r.Seq, r.Provider = 3, core.DID{7} }), core.ErrInvalid},
		"somebody else's":    {guest, first, core.ErrInvalid},
		"a guest's":          {guest, sign(guest, func(r *pact.Receipt) { r.Pact = pact.Home(eater.grid) }), core.ErrInvalid},
	} {
		out, err := c.from.hand(t, farm, c.s)
		if !errors.Is(err, c.kind) || (c.kind == nil) != (out.Last != nil && out.Last.Score() == first.Score()) {
			t.Errorf("%s: %+v, %v", name, out, err)
		}
	}
	for range 3 {
		clock.Advance(time.Minute)
		if out, err := eater.hand(t, farm, first); err != nil || out.Last != nil || out.Total != 3 {
			t.Errorf("again: %+v, %v", out, err)
		}
	}
	if after, err := farm.books.Get(flowKey(asHolder, eater.grid, potatoes)); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the flow has changed: %v", err)
	}
	if f := farm.flowWith(t, eater); f.Granted[0].Drawn != 3 || f.Used != 8 {
		t.Errorf("%+v", f)
	}
	if all, err := farm.now().Contradictions(eater.grid); err != nil || len(all) != 1 || all[0].Resource != potatoes || all[0].Lost != 6 {
		t.Errorf("the same number: %+v, %v", all, err)
	}
	_, _ = eater.now().Ask(t.Context(), farm.grid, kilos(100))
	if d := farm.decisions(t, eater)[0]; d.Facts.Missing != 6 {
		t.Errorf("%+v", d.Facts)
	}
}

// What the provider would never take was not signed.
func TestAReceiptThatIsRefusedForGood(t *testing.T) {
	w, clock := simWorld(t, 2)
	eater, farm := w.homes[0], w.homes[1]
	farm.giving(10, 50)
	eater.mustHave(t, farm, 1, 1)
	eater.clock = skewed{clock, 5 * days}
	eater.open()
	for range 2 {
		if total, waits, err := eater.now().Had(t.Context(), farm.grid, potatoes, 2); total != 1 || waits || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("a clock that is ahead: %d, %v, %v", total, waits, err)
		}
		if err := eater.now().sendDue(t.Context()); err != nil {
			t.Error(err)
		}
	}
	eater.clock = clock
	eater.open()
	eater.mustHave(t, farm, 3, 4)
	if f := farm.flowWith(t, eater); f.Used != 4 || f.Gave[0].Differs() {
		t.Errorf("%+v", f)
	}
}

// Who has lost its books learns from the provider what it has signed, and what is had from then on counts once.
func TestReceiptsOfAFlowThatWereLost(t *testing.T) {
	w, _ := simWorld(t, 2)
	eater, farm := w.homes[0], w.homes[1]
	farm.giving(100, 100)
	eater.mustHave(t, farm, 10, 10)
	eater.mustHave(t, farm, 5, 15)
	w.run(2 * time.Hour)
	newDiskOf(eater)
	eater.open()
	eater.mustHave(t, farm, 4, 19)
	if f := eater.flowWith(t, farm); f.Has != 4 || f.Had[0].Total != 19 {
		t.Errorf("%+v", f)
	}
	if f := farm.flowWith(t, eater); f.Used != 19 || f.Gave[0].Total != 19 || f.Gave[0].Differs() {
		t.Errorf("%+v", f)
	}
}

// All policies answer asks for a flow from what was had of it: who gives some gets some.
func TestPotatoesForPotatoes(t *testing.T) {
	w, _ := simWorld(t, 3)
	baker, farm, other := w.homes[0], w.homes[1], w.homes[2]
	for _, h := range w.homes {
		h.giving(10, 20)
		h.setRules(t, "pact potatoes reciprocal slack=0%\npact open")
		h.now().pass(time.Minute)
	}
	other.mustWant(t, farm, 1) // lent, because nobody else asks
	_, err := baker.now().Ask(t.Context(), farm.grid, kilos(11))
	wantDenial(t, err, 10, "10 kg of potatoes left of your 10 kg of potatoes")
	farm.mustHave(t, baker, 6, 6)
	baker.mustWant(t, farm, 6)
	d := farm.decisions(t, baker)[0]
	if d.Policy != "reciprocal" || d.Facts.Gives != 6 || d.Facts.Total != 20 || d.Facts.Room != 19 || d.Facts.Offered != 10 || d.Facts.Used != 0 || d.Facts.SecondsMax != flowSeconds || len(d.Facts.Others) != 1 {
		t.Errorf("%+v", d)
	}
	if o := d.Facts.Others[0]; o.Offered != 10 || o.Used != 1 || o.Gives != 0 || !o.Asks {
		t.Errorf("%+v", o)
	}
	for _, d := range append(farm.decisions(t, baker), farm.decisions(t, other)...) {
		if again, _, err := farm.now().Replay(d); err != nil || !again.Equal(d.Decision) {
			t.Errorf("%+v is %+v again, %v", d.Decision, again, err)
		}
	}
}

// Vouchers and accounts are for storage.
func TestGuestsGetNoPotatoes(t *testing.T) {
	w, c, members := clubWorld(t, 1, 1_000)
	farm, guest := c.holder, members[0]
	farm.giving(10, 20)
	if _, err := guest.now().Ask(t.Context(), farm.grid, kilos(1)); err == nil || !strings.Contains(err.Error(), "the voucher gives you nothing; 1 kg of potatoes needed") {
		t.Errorf("by a voucher: %v", err)
	}
	farm.vias[guest.grid] = &Via{Kind: core.WhyAccount, Name: "7", Until: math.MaxInt64, Account: &policy.Account{State: policy.AccountGood, Quota: 1_000, Until: math.MaxInt64}}
	guest.whys[farm.grid] = core.Why{Kind: core.WhyAccount}
	if _, err := guest.now().Ask(t.Context(), farm.grid, kilos(1)); err == nil || !strings.Contains(err.Error(), "0 kg of potatoes left of your plan's 0 kg of potatoes") {
		t.Errorf("by an account: %v", err)
	}
	if _, _, err := guest.now().Had(t.Context(), farm.grid, potatoes, 1); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("a guest signs: %v", err)
	}
	_ = w
}

// Whatever happens: the sums are those of a list from which nothing is ever dropped.
func TestFlowsAreFolded(t *testing.T) {
	type entry struct {
		born, length, amount, drawn int64
		beyond                      bool
	}
	rapid.Check(t, func(t *rapid.T) {
		var all []*entry
		var f *flowRecord
		at := moment{ran: 1}
		steps := rapid.IntRange(1, 60).Draw(t, "steps")
		for n := range steps {
			at.ran += rapid.SampledFrom([]int64{0, 1, 3600, daySeconds, 9 * daySeconds}).Draw(t, "pass")
			f = f.at(at)
			if rapid.Bool().Draw(t, "ask") {
				length := rapid.Int64Range(1, flowSeconds).Draw(t, "length")
				amount := rapid.Int64Range(1, 9).Draw(t, "amount")
				f.add(allowance{ID: []byte{byte(n)}, Amount: amount, From: at.ran, Until: at.ran + length, Born: at.ran})
				all = append(all, &entry{born: at.ran, length: length, amount: amount})
			} else {
				rest := rapid.Int64Range(0, 12).Draw(t, "amount")
				f.draw(rest, at)
				slices.SortStableFunc(all, func(x, y *entry) int { return int(x.born + x.length - y.born - y.length) })
				for _, e := range all {
					if !e.beyond && at.ran-e.born < e.length {
						part := min(rest, e.amount-e.drawn)
						e.drawn, rest = e.drawn+part, rest-part
					}
				}
				all = append(all, &entry{born: at.ran, drawn: rest, beyond: true})
			}
			var used, had int64
			for _, e := range all {
				open, lately := !e.beyond && at.ran-e.born < e.length, at.ran/daySeconds-e.born/daySeconds < flowDays
				switch {
				case open:
					used, had = used+e.amount, had+e.drawn
				case lately:
					used, had = used+e.drawn, had+e.drawn
				}
			}
			if f.used(at) != used || f.had(at) != had || len(f.Days) > flowDays {
				t.Fatalf("%d used and %d had of %+v, want %d and %d", f.used(at), f.had(at), f, used, had)
			}
		}
	})
	// Sums stop at the greatest number.
	f := (&flowRecord{}).at(moment{})
	for range 3 {
		f.draw(math.MaxInt64/2+1, moment{})
	}
	if f.used(moment{}) != math.MaxInt64 {
		t.Errorf("%d", f.used(moment{}))
	}
}
