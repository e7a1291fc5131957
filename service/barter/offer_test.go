package barter

import (
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
)

func TestTheGivenOfThePactIsCounted(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	holder.given = 5_000
	_, err := owner.ask(t, holder, 5_001)
	wantDenial(t, err, 5_000, "left of your")
	grant := owner.mustAsk(t, holder, 3_000)
	owner.mustPut(t, holder, grant, bytesOf(1, 1_000))
	owner.mustLease(t, holder, bytesOf(1, 1_000))
	_, err = owner.ask(t, holder, 2_001)
	wantDenial(t, err, 2_000, "left of your")
	_ = other.mustAsk(t, holder, 5_000) // each pact has its own
}

func TestFactsNeverPromiseMoreThanTheDiskHas(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	if err := holder.now().SetOffer(1 << 60); err != nil {
		t.Fatal(err)
	}
	holder.given = 1 << 50
	holder.other = diskSize - Reserve(diskSize) - 10_000
	if room := holder.free() - Reserve(diskSize); room != 10_000 {
		t.Fatalf("room %d", room)
	}
	left := func(from *home) int64 {
		_, err := from.ask(t, holder, 1<<40)
		denial, ok := errors.AsType[*core.Denial](err)
		if !ok {
			t.Fatal(err)
		}
		return denial.Counter.Amount
	}
	// Each byte is promised once, whoever asks: what is on the disk counts as free no more.
	var grants [][]byte
	for i, size := range []int64{1_000, 2_000, 3_000} {
		grants = append(grants, []*home{owner, other, owner}[i].mustAsk(t, holder, size))
	}
	if got := left(owner); got != 4_000 {
		t.Errorf("%d bytes left, want 4000", got)
	}
	before := holder.disk.Blobs().Used()
	owner.mustPut(t, holder, grants[0], bytesOf(1, 1_000))
	overhead := holder.disk.Blobs().Used() - before - 1_000 // the note
	if got := left(other); got != 4_000-overhead {
		t.Errorf("%d bytes left after a piece, want %d", got, 4_000-overhead)
	}
	owner.mustLease(t, holder, bytesOf(1, 1_000))
	if got, want := left(other), holder.free()-Reserve(diskSize)-5_000; got != want {
		t.Errorf("%d bytes left after its lease, want %d", got, want)
	}
	holder.mu.Lock()
	holder.other += 20_000 // somebody else fills the disk
	holder.mu.Unlock()
	if got := left(other); got != 0 {
		t.Errorf("%d bytes left of less than nothing", got)
	}
}

// The free room is measured before the grants are looked at; what comes in between must
// not be taken for free.
func TestFactsBetweenMeasuringAndDeciding(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	_ = holder.now().SetOffer(1 << 60)
	holder.given = 1 << 50
	holder.other = diskSize - Reserve(diskSize) - 10_000
	slow := slowHome(holder)
	grant := owner.mustAsk(t, holder, 6_000)
	b := holder.now()
	free := b.c.Free
	measured := func(between func()) int64 {
		b.c.Free = func() (int64, int64, error) {
			f, total, err := free()
			between()
			return f, total, err
		}
		_, err := owner.ask(t, holder, 1<<40)
		denial, ok := errors.AsType[*core.Denial](err)
		if !ok {
			t.Fatal(err)
		}
		return denial.Counter.Amount
	}
	if got := measured(func() { owner.mustPut(t, holder, grant, bytesOf(1, 1_000)) }); got != 4_000 {
		t.Errorf("a piece that landed meanwhile: %d left, want 4000", got)
	}
	if got := measured(func() {
		owner.mustPut(t, holder, grant, bytesOf(2, 1_000))
		owner.mustLease(t, holder, bytesOf(2, 1_000))
	}); got > 4_000 {
		t.Errorf("a piece that was leased meanwhile: %d left, want at most 4000", got)
	}
	entered, leave := slow.hold("begin put")
	done := make(chan error)
	go func() { done <- owner.put(t, holder, grant, bytesOf(3, 1_000)) }()
	<-entered
	if got := measured(func() {}); got > 4_000 {
		t.Errorf("a piece that is coming: %d left, want at most 4000", got)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestOfferIsKeptAndBounded(t *testing.T) {
	w, _ := simWorld(t, 1)
	h := w.homes[0]
	if total, _ := h.now().Offer(); total != 200*gib/offerShare {
		t.Errorf("the first offer is %d", total)
	}
	if err := h.now().SetOffer(-1); !errors.Is(err, core.ErrInvalid) {
		t.Error(err)
	}
	if err := h.now().SetOffer(77); err != nil {
		t.Fatal(err)
	}
	h.disk.Books().SetFull(true)
	if err := h.now().SetOffer(78); !errors.Is(err, core.ErrFull) {
		t.Error(err)
	}
	h.open()
	if total, _ := h.now().Offer(); total != 77 {
		t.Errorf("the offer is %d, want 77", total)
	}
	for _, c := range []struct{ free, total, want int64 }{
		{0, 0, 0},
		{gib, 100 * gib, 0},              // all of it is reserve
		{5*gib + 7, 100 * gib, 7},        // little beyond
		{50 * gib, 100 * gib, 5 * gib},   // a tenth
		{1 << 50, 1 << 50, OfferMax},     // never more
		{3 * gib, 4 * gib, 3 * gib / 10}, // a small disk has 1 GiB of reserve
	} {
		if got := DefaultOffer(c.free, c.total); got != c.want {
			t.Errorf("free %d of %d: offers %d, want %d", c.free, c.total, got, c.want)
		}
	}
}
