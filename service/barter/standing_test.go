package barter

import (
	"context"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/policy"
)

func (h *home) mustRules(t *testing.T, text string) {
	t.Helper()
	rules, err := table().Parse(text)
	if err == nil {
		err = h.now().SetRules(rules)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// standingOf is what a home's policy sees of another.
func (h *home) standingOf(o *home) policy.Other {
	b := h.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.standing(b.account(o.grid))
}

func (h *home) wantMissing(t *testing.T, o *home, want int64) {
	t.Helper()
	if got := h.standingOf(o); got.Gives != 10_000 || got.Missing != want {
		t.Errorf("gives %d, misses %d; want 10000 and %d", got.Gives, got.Missing, want)
	}
}

func (h *home) mustAudit(t *testing.T, pieces []core.Piece) (lost int) {
	t.Helper()
	if err := h.now().Audit(t.Context(), pieces, func(f core.Finding) {
		if f.State == core.PieceMissing || f.State == core.PieceCorrupt {
			lost++
		}
	}); err != nil {
		t.Fatal(err)
	}
	return lost
}

// discard has a holder lose n of the pieces that it has, and claim them as before.
func (h *home) discard(t *testing.T, owner *home, pieces []core.Piece, n int) (gone []core.Piece) {
	t.Helper()
	for _, p := range pieces {
		if len(gone) < n && len(owner.until(t, h, []core.Piece{p})) == 1 {
			h.disk.Blobs().Lose(p.Score)
			gone = append(gone, p)
		}
	}
	return gone
}

// A holder that throws away what it keeps and claims credit for it fails its challenge, is given less, and mends over days.
func TestWhoDiscardsIsGivenLess(t *testing.T) {
	w, pieces, _ := placedWorld(t, 3, 1_000)
	a, liar, fair := w.homes[0], w.homes[1], w.homes[2]
	a.mustRules(t, "pact reciprocal newcomer=0")
	if err := a.now().SetOffer(20_000); err != nil {
		t.Fatal(err)
	}
	_ = fair.mustAsk(t, a, 1)
	a.wantMissing(t, liar, 0)
	// Both earned 12500, of which there is 10000 for each.
	_, _ = liar.lease(t, a, [][]byte{liar.mustAsk(t, a, 10_000)})
	liar.discard(t, a, pieces, 4)
	if n := a.mustAudit(t, pieces); n != 4 {
		t.Fatalf("%d were found lost", n)
	}
	a.wantMissing(t, liar, 4_000)
	a.wantMissing(t, fair, 0)
	_, err := liar.ask(t, a, 7_501)
	wantDenial(t, err, 7_500, "have lost 4 kB of it")
	_, _ = liar.lease(t, a, [][]byte{liar.mustAsk(t, a, 7_500)})

	_ = a.mustAudit(t, pieces) // what was known counts no more than once
	a.wantMissing(t, liar, 4_000)
	a.now().pass(15 * 24 * time.Hour)
	a.open()
	a.wantMissing(t, liar, 2_000)
	_, err = liar.ask(t, a, 8_890)
	wantDenial(t, err, 8_889, "have lost 2 kB of it")
	_ = a.mustAudit(t, pieces) // they are still not there
	a.wantMissing(t, liar, 4_000)
	a.now().pass(29 * 24 * time.Hour)
	a.wantMissing(t, liar, 134)
	a.now().pass(24 * time.Hour)
	a.wantMissing(t, liar, 0)
}

// What was found lost and is proven again was not lost.
func TestWhatIsProvenAgainWasNotLost(t *testing.T) {
	w, pieces, _ := placedWorld(t, 3, 1_000)
	a, holder := w.homes[0], w.homes[1]
	holder.instead("POST /prove", wire.Handle(func(_ context.Context, in proveRequest) (out proveAnswer, err error) {
		for range in.Challenges {
			out.Proofs = append(out.Proofs, proofAnswer{State: core.PieceMissing})
		}
		return out, nil
	}))
	if n := a.mustAudit(t, pieces); n != 10 {
		t.Fatalf("%d were found lost", n)
	}
	a.wantMissing(t, holder, 10_000)
	holder.instead("POST /prove", nil)
	a.now().pass(24 * time.Hour)
	a.wantMissing(t, holder, 9_667)
	if n := a.mustAudit(t, pieces); n != 0 {
		t.Fatalf("%d were found lost", n)
	}
	a.wantMissing(t, holder, 0)
	for range a.books.Scan(lostPrefix, nil) {
		t.Error("there is a record of what was lost")
	}
}

// Whose promise is over has lost nothing, nor has who was told that a piece is not needed.
func TestWhatNobodyPromisedIsNotLost(t *testing.T) {
	w, pieces, _ := placedWorld(t, 3, 1_000)
	a, holder := w.homes[0], w.homes[1]
	gone := holder.discard(t, a, pieces, 4)
	w.clock.(interface{ Advance(time.Duration) }).Advance(180 * 24 * time.Hour)
	if n := a.mustAudit(t, gone); n != 4 {
		t.Fatalf("%d were found lost", n)
	}
	a.wantMissing(t, holder, 0)
}

// A partner that is away for a week loses nothing, and grows older by the time that we run.
func TestAwayForAWeek(t *testing.T) {
	w, pieces, _ := placedWorld(t, 3, 1_000)
	a, away := w.homes[0], w.homes[1]
	if got := a.standingOf(away).Age; got != 0 {
		t.Errorf("before we ran its age is %d", got)
	}
	a.now().pass(time.Minute)
	w.net.Down(away.agent())
	for range 7 {
		w.clock.(interface{ Advance(time.Duration) }).Advance(24 * time.Hour)
		a.now().pass(24 * time.Hour)
		if n := a.mustAudit(t, pieces); n != 0 {
			t.Errorf("%d were found lost", n)
		}
	}
	a.wantMissing(t, away, 0)
	a.open()
	if got := a.standingOf(away).Age; got != 7*daySeconds {
		t.Errorf("its age is %d", got)
	}
	w.clock.(interface{ Advance(time.Duration) }).Advance(24 * time.Hour) // nobody runs
	if got := a.standingOf(away).Age; got != 7*daySeconds {
		t.Errorf("by the date its age is %d", got)
	}
	// Another pact makes nobody a newcomer.
	w.pacts++
	a.now().pass(time.Hour)
	if got := a.standingOf(away).Age; got != 7*daySeconds+3600 {
		t.Errorf("under another pact its age is %d", got)
	}
	if got := a.standingOf(a).Age; got != 0 {
		t.Errorf("our own age is %d", got)
	}
}
