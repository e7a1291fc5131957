package barter

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/grange-grid/grange/internal/wire"
)

// takesAll has a machine say that anything may be released to it at once.
func (h *home) takesAll() {
	h.instead("POST /release", wire.Handle(func(ctx context.Context, in releaseRequest) (releaseAnswer, error) {
		out, err := h.now().handleRelease(ctx, in)
		out.Left = 1 << 50
		return out, err
	}))
}

// pacedDays lets days pass in which an owner delivers each half hour, and returns what its holder has
// aside at the end of each.
func pacedDays(t *testing.T, owner, holder *home, n int) (aside []int64) {
	t.Helper()
	clock := owner.time().(interface{ Advance(time.Duration) })
	for range n {
		for range 48 {
			clock.Advance(30 * time.Minute)
			owner.now().pass(30 * time.Minute)
			holder.now().pass(30 * time.Minute)
			owner.deliver(t)
		}
		aside = append(aside, holder.aside(owner))
	}
	return aside
}

// An owner that gives back all that it has does so over days, and nobody takes it for a theft.
func TestReleasesAreSpreadOverDays(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	pacedDays(t, owner, holder, 2)
	owner.letGo(t, pieces)
	last := int64(0)
	for day, aside := range pacedDays(t, owner, holder, 30) {
		if had := 2000 - last; aside-last > had/4+100 { // an hour of the next day may be in it
			t.Errorf("day %d: %d of %d bytes were released", day, aside-last, had)
		}
		last = aside
	}
	if last != 1700 { // any of three is over a quarter
		t.Errorf("%d bytes are aside after 30 days, want 1700", last)
	}
	if len(owner.alarms)+len(holder.alarms) != 0 {
		t.Errorf("alarms %q and %q", owner.alarms, holder.alarms)
	}
	// The last go when their lease ends, and are not remembered for ever.
	pacedDays(t, owner, holder, 160)
	for range 30 {
		pacedDays(t, owner, holder, 1)
		for _, h := range []*home{owner, holder} {
			if err := h.now().tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if size, n := holder.now().Used(owner.grid); size != 0 || n != 0 {
		t.Errorf("%d bytes of %d pieces are used in the end", size, n)
	}
	if n := owner.queued(t); n != 0 {
		t.Errorf("%d releases are still to be told", n)
	}
	if len(owner.alarms)+len(holder.alarms) != 0 {
		t.Errorf("alarms %q and %q", owner.alarms, holder.alarms)
	}
	owner.checkPlaced(t)
	holder.check(t)
}

// What came within the day goes at once: no thief gains by it.
func TestWhatCameLatelyIsReleasedAtOnce(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	pacedDays(t, owner, holder, 0)
	owner.letGo(t, pieces)
	owner.deliver(t)
	if got := holder.aside(owner); got != 2000 || len(holder.alarms) != 0 {
		t.Errorf("%d bytes are aside, want 2000; alarms %q", got, holder.alarms)
	}
}

// A holder that would have nothing back, or lies about it, keeps the pieces until their leases end: the owner
// goes on, and asks it no more than once an hour.
func TestAHolderThatTakesNothingBack(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	pacedDays(t, owner, holder, 2)
	owner.letGo(t, pieces)
	asked := 0
	holder.instead("POST /release", wire.Handle(func(_ context.Context, in releaseRequest) (releaseAnswer, error) {
		if in.Release != nil {
			t.Error("something was released")
		}
		asked++
		return releaseAnswer{Left: -1 << 63}, nil
	}))
	pacedDays(t, owner, holder, 1)
	if asked != 24 || owner.queued(t) != 20 {
		t.Errorf("it was asked %d times, and %d releases wait; want 24 and 20", asked, owner.queued(t))
	}
	owner.renew(t, pieces, 0)
	if owner.queued(t) != 0 || len(owner.everywhere(t, pieces)) != 20 {
		t.Error("what waits cannot be taken back")
	}
}

// Where nothing is to be told, a holder is asked once a day.
func TestHoldersAreAskedOnceADay(t *testing.T) {
	w, _, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	asked, real := 0, holder.real("POST /release")
	holder.instead("POST /release", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		real.ServeHTTP(w, r)
	}))
	pacedDays(t, owner, holder, 10)
	if asked != 10 {
		t.Errorf("it was asked %d times in 10 days", asked)
	}
}
