package barter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// everywhere returns where pieces lie.
func (h *home) everywhere(t *testing.T, pieces []core.Piece) (out []core.Holding) {
	t.Helper()
	for _, p := range pieces {
		held, err := h.now().Held(p.Score)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, held...)
	}
	return out
}

func scoresOf(pieces []core.Piece) (out []core.Score) {
	for _, p := range pieces {
		out = append(out, p.Score)
	}
	return out
}

func (h *home) letGo(t *testing.T, pieces []core.Piece) {
	t.Helper()
	if err := h.now().Release(t.Context(), h.everywhere(t, pieces)); err != nil {
		t.Fatal(err)
	}
}

func (h *home) deliver(t *testing.T) {
	t.Helper()
	if err := h.now().Deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (h *home) renew(t *testing.T, pieces []core.Piece, missing int) {
	t.Helper()
	lost, err := h.now().Renew(t.Context(), scoresOf(pieces))
	if err != nil || len(lost) != missing {
		t.Fatalf("renewed: %d missing, %v; want %d", len(lost), err, missing)
	}
}

// aside is how many bytes a household has aside here.
func (h *home) aside(owner *home) int64 {
	b := h.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.account(owner.grid).used.Aside
}

// queued counts what a home has still to tell.
func (h *home) queued(t *testing.T) (n int) {
	t.Helper()
	for _, prefix := range [][]byte{queuePrefix, sentPrefix} {
		for _, err := range h.books.Scan(prefix, nil) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	return n
}

func TestReleaseWaitsForItsHolder(t *testing.T) {
	w, pieces, _ := placedWorld(t, 3, 100)
	owner, near, far := w.homes[0], w.homes[1], w.homes[2]
	near.runs(t, 2*days)
	far.runs(t, 2*days)
	w.net.Down(far.agent())
	some := pieces[:4] // a fifth: no alarm
	owner.letGo(t, some)
	owner.letGo(t, some) // of which nothing is held any more
	if got := owner.everywhere(t, pieces); len(got) != 16 {
		t.Errorf("%d pieces are held, want 16", len(got))
	}
	owner.checkPlaced(t)
	if near.aside(owner)+far.aside(owner) != 0 || owner.queued(t) != 4 {
		t.Error("somebody has heard of it")
	}
	if err := owner.now().Deliver(t.Context()); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("deliver: %v", err)
	}
	if near.aside(owner) == 0 || far.aside(owner) != 0 {
		t.Errorf("%d and %d bytes are aside", near.aside(owner), far.aside(owner))
	}
	owner.open()
	w.net.Up(far.agent())
	w.clock.(interface{ Advance(time.Duration) }).Advance(60 * days) // what nobody has heard is not forgotten
	if err := owner.now().tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	owner.deliver(t)
	if got := near.aside(owner) + far.aside(owner); got != 400 || owner.queued(t) != 0 {
		t.Errorf("%d bytes are aside, want 400; %d are queued", got, owner.queued(t))
	}
	owner.deliver(t)
	near.check(t)
	far.check(t)
	// Forgotten 21 days later.
	known := func() (n int) {
		for range owner.books.Scan(placedPrefix, nil) {
			n++
		}
		return n
	}
	w.clock.(interface{ Advance(time.Duration) }).Advance(21 * days)
	if err := owner.now().tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := known()
	w.clock.(interface{ Advance(time.Duration) }).Advance(time.Second)
	if err := owner.now().tidy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if before != 20-2 || known() != 16 { // those of the near one were told long ago
		t.Errorf("%d placements are known, then %d; want 18, then 16", before, known())
	}
	for range owner.books.Scan(gonePrefix, nil) {
		t.Error("something is still to be forgotten")
	}
	owner.checkPlaced(t)
}

func TestRenewBringsBack(t *testing.T) {
	w, pieces, _ := placedWorld(t, 3, 100)
	owner, a, b := w.homes[0], w.homes[1], w.homes[2]
	run := func(d time.Duration) { // both on one clock
		a.runs(t, d)
		b.now().pass(d)
		if err := b.now().tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	run(2 * days)
	// Before anybody has heard: nobody ever does.
	owner.letGo(t, pieces)
	owner.renew(t, pieces, 0)
	if len(owner.everywhere(t, pieces)) != 20 || owner.queued(t) != 0 {
		t.Error("not all is back, or something is still queued")
	}
	owner.checkPlaced(t)
	owner.deliver(t)
	if a.aside(owner)+b.aside(owner) != 0 {
		t.Error("what was taken back was released all the same")
	}
	// After they have; of some only, while one is away.
	owner.letGo(t, pieces[:4])
	owner.deliver(t)
	run(13 * days)
	w.net.Down(b.agent())
	if lost, err := owner.now().Renew(t.Context(), scoresOf(pieces)); !errors.Is(err, core.ErrUnreachable) || len(lost) > 0 {
		t.Errorf("renew while one is away: %d missing, %v", len(lost), err)
	}
	w.net.Up(b.agent())
	owner.now().Saw(b.agent())
	owner.renew(t, pieces, 0)
	owner.checkPlaced(t)
	run(30 * days)
	if len(owner.everywhere(t, pieces)) != 20 || a.aside(owner)+b.aside(owner) != 0 {
		t.Error("not all is back")
	}
	// Too late; and what nobody ever had.
	owner.letGo(t, pieces[:2])
	owner.deliver(t)
	run(14 * days)
	owner.renew(t, append(slices.Clone(pieces), core.Piece{Score: core.Score{7}}), 3)
	// While one is away that was given nothing back, the promise of the other stands.
	w.net.Down(b.agent())
	owner.renew(t, pieces[2:], 0)
	owner.checkPlaced(t)
	a.check(t)
	b.check(t)
}

// Whoever has the key of a machine releases all that its household has anywhere. On day 13 all of it
// comes back by Renew, though the books of the machine know of no release.
func TestRansomware(t *testing.T) {
	w, pieces, data := placedWorld(t, 5, 100)
	owner := w.homes[0]
	holders := w.homes[1:]
	run := func(d time.Duration) {
		w.clock.(interface{ Advance(time.Duration) }).Advance(d)
		for _, h := range holders {
			h.now().pass(d)
			if err := h.now().tidy(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(3 * days)
	for _, h := range holders {
		out, err := owner.release(t, h, data...)
		if err != nil || out.Aside != 5 || !out.Alarm {
			t.Fatalf("released %+v, %v", out, err)
		}
		if len(h.alarms) != 1 || !strings.Contains(h.alarms[0], "home 0 released more than a quarter") {
			t.Errorf("alarms: %q", h.alarms)
		}
	}
	for range 13 {
		run(days)
	}
	owner.renew(t, pieces, 0)
	for range 90 {
		run(days)
	}
	for i, p := range pieces {
		got, err := owner.now().Fetch(t.Context(), p, nil, true)
		if err != nil || !slices.Equal(got, data[i]) {
			t.Errorf("piece %d: %v", i, err)
		}
	}
	for _, h := range holders {
		h.wantUsed(t, owner, 500, 5, 500)
		if h.aside(owner) != 0 {
			t.Error("something is still aside")
		}
		h.check(t)
	}
}

// Both sides hear of a mass release, once, also where it was somebody else with the owner's key.
func TestBothSidesAlarm(t *testing.T) {
	w, _, data := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	holder.runs(t, 2*days)
	owner.mustRelease(t, holder, 5, false, data[:5]...)
	owner.deliver(t)
	if len(owner.alarms)+len(holder.alarms) != 0 {
		t.Errorf("alarms %q and %q", owner.alarms, holder.alarms)
	}
	for _, some := range [][][]byte{data[5:10], data[10:]} {
		owner.mustRelease(t, holder, len(some), true, some...)
		owner.open() // which is no news
		owner.deliver(t)
	}
	if len(owner.alarms) != 1 || len(holder.alarms) != 1 || !strings.Contains(owner.alarms[0], "home 1") {
		t.Errorf("alarms %q and %q", owner.alarms, holder.alarms)
	}
}

// A renewal that was due does not bring back what is released meanwhile.
func TestADueRenewalBringsNothingBack(t *testing.T) {
	w, pieces, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	holder.runs(t, 2*days)
	p, _ := owner.Of(holder.grid)
	slices.SortFunc(pieces, func(a, b core.Piece) int { return compareScores(a.Score, b.Score) })
	for _, deliver := range []bool{false, true} {
		if owner.letGo(t, pieces[:2]); deliver {
			owner.deliver(t)
		}
		if _, err := owner.now().renewAt(t.Context(), p, holder.agent(), pieces, false); err != nil {
			t.Fatal(err)
		}
		if got := owner.everywhere(t, pieces); len(got) != 18 {
			t.Errorf("%d pieces are held, want 18", len(got))
		}
	}
	if holder.aside(owner) != 200 {
		t.Errorf("%d bytes are aside", holder.aside(owner))
	}
	// What a release was signed for is not leased before the release has arrived.
	owner.letGo(t, pieces[2:4])
	real := holder.real("POST /release")
	holder.instead("POST /release", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wire.WriteError(w, r, core.ErrBusy)
	}))
	if err := owner.now().Deliver(t.Context()); !errors.Is(err, core.ErrBusy) {
		t.Fatal(err)
	}
	holder.instead("POST /release", real)
	owner.renew(t, pieces[2:4], 0)
	owner.deliver(t)
	if got := owner.everywhere(t, pieces); len(got) != 18 || holder.aside(owner) != 200 {
		t.Errorf("%d pieces are held, %d bytes are aside", len(got), holder.aside(owner))
	}
}

// Stopped at any write of either side, what was released is released once, what was brought back
// is back, and nothing is forgotten by one side alone.
func TestReleaseCrashAtEachWrite(t *testing.T) {
	for _, kept := range []bool{false, true} {
		for _, who := range []int{0, 1} {
			for n := 0; ; n++ {
				ended := false
				t.Run(fmt.Sprintf("%d %d %v", who, n, kept), func(t *testing.T) { ended = releaseCrash(t, who, n, kept) })
				if t.Failed() {
					return
				}
				if ended {
					if n < 3 {
						t.Fatalf("the story has %d writes", n)
					}
					break
				}
			}
		}
	}
}

func releaseCrash(t *testing.T, who, n int, kept bool) (ended bool) {
	w, pieces, _ := placedWorld(t, 2, 100)
	owner, holder := w.homes[0], w.homes[1]
	holder.runs(t, 2*days)
	crashes := w.homes[who]
	crashes.disk.CrashAfter(n, kept)
	ctx := t.Context()
	all := owner.everywhere(t, pieces)
	_ = owner.now().Release(ctx, all[:4])
	_ = owner.now().Deliver(ctx)
	_, _ = owner.now().Renew(ctx, []core.Score{all[0].Score})
	_ = owner.now().Release(ctx, all[1:5])
	_ = owner.now().Deliver(ctx)
	ended = !crashes.disk.Crashed()
	crashes.disk.Restart()
	crashes.open()
	owner.checkPlaced(t)
	owner.deliver(t)
	if owner.queued(t) != 0 {
		t.Error("something is not told")
	}
	// What the owner holds is live at the holder, and the rest is aside there.
	held := owner.everywhere(t, pieces)
	// Only a lease whose answer was lost leaves one live that nobody counts on.
	if got, want := holder.aside(owner), int64(20-len(held))*100; got != want && got != want-100 {
		t.Errorf("%d bytes are aside, want %d", got, want)
	}
	for _, h := range held {
		var r heldRecord
		if ok, err := holder.now().read(heldKey(owner.grid, h.Score), &r); !ok || err != nil || r.Aside != 0 {
			t.Errorf("a piece that is held is %+v: %v", r, err)
		}
	}
	holder.check(t)
	owner.renew(t, pieces, 0)
	if got := len(owner.everywhere(t, pieces)); got != 20 || holder.aside(owner) != 0 {
		t.Errorf("%d pieces are held after all was renewed", got)
	}
	owner.checkPlaced(t)
	holder.check(t)
	return ended
}

// Run tells holders within a minute.
func TestRunDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		owner, holder := w.homes[0], w.homes[1]
		p := mustPlace(t, owner, 100)
		mustSegment(t, p, 1, 10, upTo(10))
		commit(t, p, true)
		s, _ := segmentOf(1, 10, 10, 10)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- owner.now().Run(ctx) }()
		time.Sleep(30 * time.Second)
		held, err := owner.now().Held(s.Piece(0))
		if err != nil || len(held) != 1 {
			t.Fatal(held, err)
		}
		if err := owner.now().Release(ctx, held); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if holder.aside(owner) != 10 {
			t.Errorf("%d bytes are aside", holder.aside(owner))
		}
		cancel()
		<-ended
		w.end()
	})
}
