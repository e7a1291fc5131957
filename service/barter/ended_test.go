package barter

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
)

// leaves says that all pacts of a home end in so many days.
func (h *home) leaves(n int64) (ends int64) {
	ends = h.time().Now().Unix() + n*daySeconds
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ends = ends
	return ends
}

// A pact that ends by itself, some day: until it runs out all goes on, but no promise is beyond its end.
func TestAPactForATime(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 1_000)
	owner, holder := w.homes[0], w.homes[1]
	owner.term = true
	ends := holder.leaves(100)
	if _, err := owner.ask(t, holder, 1_000); err != nil {
		t.Fatal(err)
	}
	if err := owner.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := owner.until(t, holder, pieces); !slices.Equal(got, []int64{ends}) {
		t.Errorf("the owner counts on it until %v, not %d", got, ends)
	}
	p := mustPlace(t, owner, 1_000)
	if got := p.Households(); !slices.Equal(got, []core.DID{holder.grid}) {
		t.Errorf("pieces go to %v", got)
	}
	mustSegment(t, p, 2, 1_000, upTo(20))
	commit(t, p, true)

	// Put off, they are renewed for longer.
	later := holder.leaves(200)
	holder.runs(t, 1*days)
	if err := owner.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, until := range owner.until(t, holder, pieces) {
		if until <= ends || until > later {
			t.Errorf("a promise until %d, where the pact ended at %d and ends at %d", until, ends, later)
		}
	}
}

// After a notice nothing new goes there, no promise is beyond the end, and then all is set aside.
func TestAPactThatEnds(t *testing.T) {
	w, pieces, data := placedWorld(t, 3, 1_000)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	before := owner.until(t, holder, pieces)
	if len(before) != 1 {
		t.Fatalf("leases end at %v", before)
	}
	ends := holder.leaves(30)

	_, err := owner.ask(t, holder, 1_000)
	if denial := new(core.Denial); !errors.As(err, &denial) || denial.Reason != "the pact ends on "+time.Unix(ends, 0).UTC().Format(time.DateOnly) {
		t.Errorf("asked: %v", err)
	}
	p := mustPlace(t, owner, 1_000)
	if got := p.Households(); !slices.Equal(got, []core.DID{other.grid}) {
		t.Errorf("pieces would go to %v", got)
	}
	var there [][]byte
	for _, d := range data {
		if holder.has(t, d) {
			there = append(there, d)
		}
	}
	out, err := owner.lease(t, holder, nil, there...)
	if err != nil {
		t.Fatal(err)
	}
	if lease, err := pact.OpenLease(*out.Lease); err != nil || lease.Until != ends {
		t.Errorf("a new lease over what is there: %+v, %v; want until %d", lease.Until, err, ends)
	}
	if err := owner.now().renewDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := owner.until(t, holder, pieces); !slices.Equal(got, []int64{ends}) {
		t.Errorf("the owner counts on it until %v, not %d", got, ends)
	}

	holder.runs(t, 30*days)
	holder.wantHere(t, owner, len(there), there...)
	live := func() int64 {
		b := holder.now()
		b.mu.Lock()
		defer b.mu.Unlock()
		a := b.account(owner.grid)
		return a.used.Bytes - a.used.Aside
	}
	if live() == 0 {
		t.Error("set aside too early")
	}
	holder.mu.Lock()
	holder.doubted = true
	holder.mu.Unlock()
	holder.runs(t, 1*days)
	if live() == 0 {
		t.Error("set aside by a clock that nobody trusts")
	}
	holder.mu.Lock()
	holder.doubted = false
	holder.mu.Unlock()
	holder.runs(t, time.Hour)
	if got := live(); got != 0 {
		t.Errorf("%d bytes are not set aside", got)
	}
	holder.wantHere(t, owner, len(there), there...)
	if _, err := owner.lease(t, holder, nil, there...); err == nil {
		t.Error("they come back to a pact that is over")
	}
	holder.runs(t, 14*days)
	holder.wantHere(t, owner, 0, there...)
	holder.check(t)
}
