package federation_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
)

// cutAt returns a context that ends at the n-th time that m is about to call, or has
// called; and how often that was.
func (m *machine) cutAt(n int) (ctx context.Context, count *int, stop func()) {
	ctx, cancel := context.WithCancel(m.w.t.Context())
	count = new(int)
	calls := make(chan struct{}, 1)
	m.called = func() {
		calls <- struct{}{}
		defer func() { <-calls }()
		if *count++; *count == n {
			cancel()
		}
	}
	return ctx, count, func() {
		cancel()
		m.called = nil
	}
}

// stride is how many calls lie between two cuts.
func stride() int {
	if testing.Short() {
		return 3
	}
	return 1
}

// A machine that is added is cut at every call; the power fails too. Then the same again.
func TestAddMachineCutAnywhere(t *testing.T) {
	for cut := 1; ; cut += stride() {
		x := newTwo(t)
		ctx, count, stop := x.second.cutAt(cut)
		_, err := x.second.tryAdd(ctx, x.bo)
		stop()
		whole := *count < cut
		if whole && err != nil {
			t.Fatalf("not cut: %v", err)
		}
		x.second.off()
		x.second.disk.Restart()
		if _, err := x.second.tryAdd(t.Context(), x.cleo); err != nil {
			t.Fatalf("cut at %d, and again: %v", cut, err)
		}
		x.second.on()
		x.second.meet(x.anna)
		x.anna.meet(x.second)
		for _, m := range []*machine{x.anna, x.second} {
			self := m.f.Self()
			want(t, fmt.Sprintf("cut at %d: %s's epoch", cut, m.name), self.Epoch, 2)
			want(t, "recoveries", self.Recoveries, 0)
			m.has(fmt.Sprint("cut at ", cut), x.state)
		}
		if whole {
			return
		}
		if cut > 200 {
			t.Fatal("without end")
		}
	}
}

// The same of a removal. Whatever was done, the charters are one line, without rivals.
func TestRemoveMachineCutAnywhere(t *testing.T) {
	for cut := 1; ; cut += stride() {
		x := newTwo(t)
		x.second.add(x.bo)
		x.second.meet(x.anna)
		x.anna.off()
		ctx, count, stop := x.anna.cutAt(cut)
		x.anna.on()
		x.anna.known.Learn(x.bo.did(), x.bo.peers.Addrs())
		_, err := x.anna.f.RemoveMachine(ctx, x.anna.entropy, x.second.did())
		stop()
		whole := *count < cut
		if whole && err != nil {
			t.Fatalf("not cut: %v", err)
		}
		x.anna.restart()
		out, err := x.anna.f.RemoveMachine(t.Context(), x.anna.entropy, x.second.did())
		if err != nil {
			t.Fatalf("cut at %d, and again: %v", cut, err)
		}
		want(t, fmt.Sprintf("cut at %d: epoch", cut), out.Self.Epoch, 3)
		want(t, "failed", len(out.Failed), 0)
		chain := charter.NewChain(x.anna.grid())
		for _, s := range x.anna.f.Charters() {
			if _, err := chain.Add(s); err != nil {
				t.Fatal(err)
			}
		}
		want(t, "rivals", len(chain.Rivals()), 0)
		for _, p := range []*machine{x.bo, x.cleo} {
			if p.f.ListsAgent(x.anna.grid(), x.second.did()) {
				t.Errorf("cut at %d: %s lists it still", cut, p.name)
			}
		}
		wantError(t, "the removed one", x.second.f.VisitOwn(t.Context(), x.anna.did()), core.ErrRevoked)
		x.anna.has(fmt.Sprint("cut at ", cut), x.state)
		if whole {
			return
		}
		if cut > 300 {
			t.Fatal("without end")
		}
	}
}
