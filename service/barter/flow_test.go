package barter

import (
	"errors"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
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
	got, answered, err := h.now().Had(t.Context(), of.grid, potatoes, amount)
	if err != nil || !answered || got != total {
		t.Fatalf("signed for %d kg: %d in all, %v, %v; want %d", amount, got, answered, err, total)
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

var (
	_ = errors.Is
	_ = math.MaxInt64
	_ http.Handler
	_ pact.Receipt
)
