package barter

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// release signs and sends a release of pieces.
func (h *home) release(t *testing.T, at *home, pieces ...[]byte) (releaseAnswer, error) {
	t.Helper()
	var scores []core.Score
	for _, data := range pieces {
		scores = append(scores, core.ScoreOf(data))
	}
	slices.SortFunc(scores, compareScores)
	s, err := pact.SignRelease(h.key, pact.Release{Owner: h.grid, Agent: h.agent(), Pieces: scores, Time: h.time().Now().Unix()})
	if err != nil {
		t.Fatal(err)
	}
	var out releaseAnswer
	err = h.client.Call(t.Context(), at.agent(), "POST", "/release", releaseRequest{Release: &s}, &out)
	return out, err
}

func (h *home) mustRelease(t *testing.T, at *home, aside int, alarm bool, pieces ...[]byte) {
	t.Helper()
	out, err := h.release(t, at, pieces...)
	if err != nil || out.Aside != aside || out.Alarm != alarm {
		t.Fatalf("released %d pieces: %+v, %v; want %d aside, alarm %v", len(pieces), out, err, aside, alarm)
	}
}

// runs lets a machine run, and its clock with it, with a look at what is due each day and at the end.
func (h *home) runs(t *testing.T, d time.Duration) {
	t.Helper()
	clock := h.time().(interface{ Advance(time.Duration) })
	for d > 0 {
		step := min(d, 24*time.Hour)
		d -= step
		h.now().startRunning()
		clock.Advance(step)
		h.now().pass(step)
		if err := h.now().tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

const hours, days = time.Hour, 24 * time.Hour

// stored puts and leases pieces of 1,000 bytes whose seeds are given.
func (h *home) stored(t *testing.T, at *home, seeds ...int) [][]byte {
	t.Helper()
	var pieces [][]byte
	for _, seed := range seeds {
		pieces = append(pieces, bytesOf(seed, 1_000))
	}
	grant := h.mustAsk(t, at, int64(len(seeds))*1_000)
	h.mustPut(t, at, grant, pieces...)
	if out, err := h.lease(t, at, [][]byte{grant}, pieces...); err != nil || len(out.Missing) > 0 {
		t.Fatalf("lease: %+v, %v", out, err)
	}
	return pieces
}

func (h *home) wantHere(t *testing.T, from *home, want int, pieces ...[]byte) {
	t.Helper()
	got := 0
	for _, data := range pieces {
		body, err := from.client.Fetch(t.Context(), h.agent(), "/pieces/"+core.ScoreOf(data).String(), nil, 1<<20)
		switch {
		case err == nil && slices.Equal(body, data):
			got++
		case !errors.Is(err, core.ErrNotExist):
			t.Errorf("a piece: %v", err)
		}
	}
	if got != want {
		t.Errorf("%d of %d pieces are served, want %d", got, len(pieces), want)
	}
	if size, n := h.now().Used(from.grid); size != int64(want)*1_000 || n != int64(want) {
		t.Errorf("%d bytes of %d pieces are used, want %d pieces", size, n, want)
	}
	h.check(t)
}

func TestReleasedIsKeptForTheDaysThatItsHolderRuns(t *testing.T) {
	w, clock := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	p := owner.stored(t, holder, 1, 2, 3, 4, 5, 6, 7, 8)
	holder.runs(t, 2*days)
	owner.mustRelease(t, holder, 1, false, p[0], bytesOf(99, 5)) // what is not here is passed over
	owner.mustRelease(t, holder, 0, false, p[0])                 // said again, it is as it was
	holder.wantHere(t, owner, 8, p...)
	// Time in which the machine does not run, or in which its clock is set, is none.
	clock.Jump(400 * days)
	clock.Jump(-390 * days)
	holder.runs(t, 13*days)
	owner.mustRelease(t, holder, 1, false, p[1])
	clock.Jump(-11 * days)
	holder.open()
	holder.runs(t, 1*days-time.Second)
	holder.wantHere(t, owner, 8, p...)
	owner.mustLease(t, holder, p[1]) // which brings it back
	holder.runs(t, time.Second)
	holder.wantHere(t, owner, 7, p...)
	if holder.has(t, p[0]) {
		t.Error("the bytes are still here")
	}
	holder.runs(t, 30*days)
	holder.wantHere(t, owner, 7, p...)
	// Given back once more, it is counted anew.
	owner.mustRelease(t, holder, 1, false, p[1])
	holder.runs(t, 14*days-time.Second)
	holder.wantHere(t, owner, 7, p...)
	holder.runs(t, time.Second)
	holder.wantHere(t, owner, 6, p...)
	if len(holder.alarms) > 0 {
		t.Errorf("alarms: %q", holder.alarms)
	}
}

// Whoever has the agent key can release everything: it takes 60 days, both sides hear of it, and a
// renewal on day 13, or on day 59, brings back all of it.
func TestAThiefReleasesEverything(t *testing.T) {
	for _, day := range []time.Duration{13, 59} {
		w, _ := simWorld(t, 2)
		owner, holder := w.homes[0], w.homes[1]
		var p [][]byte
		for i := range 100 {
			p = append(p, owner.stored(t, holder, i)...)
		}
		holder.runs(t, 2*days)
		for i, piece := range p {
			owner.mustRelease(t, holder, 1, i >= 25, piece)
		}
		if len(holder.alarms) != 1 || !strings.Contains(holder.alarms[0], "60 days") {
			t.Errorf("alarms: %q", holder.alarms)
		}
		holder.runs(t, day*days)
		holder.wantHere(t, owner, 100, p...)
		owner.mustLease(t, holder, p...)
		holder.runs(t, 90*days)
		holder.wantHere(t, owner, 100, p...)
		if day == 13 {
			continue
		}
		holder.runs(t, 20*days)
		owner.mustRelease(t, holder, 26, true, p[:26]...) // another time: it alarms again
		holder.runs(t, 60*days-time.Second)
		holder.wantHere(t, owner, 100, p...)
		holder.runs(t, time.Second)
		holder.wantHere(t, owner, 74, p...)
		if len(holder.alarms) != 2 {
			t.Errorf("alarms: %q", holder.alarms)
		}
	}
}

// What counts is what was here a day ago, and what went within a day.
func TestWhenAReleaseIsAnAlarm(t *testing.T) {
	w, _ := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	upTo := func(from, to int) (out []int) {
		for i := from; i < to; i++ {
			out = append(out, i)
		}
		return out
	}
	fresh := owner.stored(t, holder, upTo(100, 120)...)
	owner.mustRelease(t, holder, 20, false, fresh...) // of today
	holder.runs(t, 30*days)
	old := owner.stored(t, holder, upTo(0, 100)...)
	holder.runs(t, 25*hours)
	junk := owner.stored(t, holder, upTo(1000, 1300)...)
	owner.mustRelease(t, holder, 25, false, old[:25]...)
	owner.mustRelease(t, holder, 300, false, junk...) // it is no old piece, nor does it make the old ones fewer
	holder.runs(t, 25*hours)
	owner.mustRelease(t, holder, 18, false, old[25:43]...) // 18 of 75
	holder.runs(t, 23*hours)
	owner.mustRelease(t, holder, 1, true, old[43]) // 19 of 75 within the day
	holder.check(t)
}

// Each kind of release that is not the caller's own is refused, and changes nothing.
func TestHostileReleases(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	p := owner.stored(t, holder, 1, 2)
	good := pact.Release{Owner: owner.grid, Agent: owner.agent(), Pieces: []core.Score{core.ScoreOf(p[0])}, Time: 1}
	signed, err := pact.SignRelease(owner.key, good)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		from *home
		make func() identity.Signed
	}{
		"nothing":              {owner, func() identity.Signed { return identity.Signed{} }},
		"a broken signature":   {owner, func() identity.Signed { s := signed; s.Sig = slices.Clone(s.Sig); s.Sig[0] ^= 1; return s }},
		"another signer":       {owner, func() identity.Signed { s := signed; s.By = other.agent(); return s }},
		"another's, handed on": {other, func() identity.Signed { return signed }},
		"another kind":         {owner, func() identity.Signed { s, _ := identity.Sign(owner.key, identity.KindLease, good); return s }},
		"pieces that do not rise": {owner, func() identity.Signed {
			g := good
			g.V, g.Pieces = 1, []core.Score{{2}, {1}}
			s, _ := identity.Sign(owner.key, identity.KindRelease, g)
			return s
		}},
		"for another household": {other, func() identity.Signed {
			g := good
			g.Agent = other.agent()
			s, _ := pact.SignRelease(other.key, g)
			return s
		}},
	} {
		s := c.make()
		if err := c.from.client.Call(t.Context(), holder.agent(), "POST", "/release", releaseRequest{Release: &s}, nil); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A household's own release of another's piece does nothing to it.
	other.mustRelease(t, holder, 0, false, p...)
	holder.runs(t, 20*days)
	holder.wantHere(t, owner, 2, p...)
	holder.without[owner.grid] = true
	if _, err := owner.release(t, holder, p...); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("a release without a pact: %v", err)
	}
}

// A piece that two households keep goes for one of them alone.
func TestReleaseOfASharedPiece(t *testing.T) {
	w, _ := simWorld(t, 3)
	owner, holder, other := w.homes[0], w.homes[1], w.homes[2]
	p := owner.stored(t, holder, 1, 2, 3, 4, 5)
	other.stored(t, holder, 1)
	holder.runs(t, 2*days)
	owner.mustRelease(t, holder, 1, false, p[0])
	holder.runs(t, 14*days)
	holder.wantHere(t, owner, 4, p...)
	holder.wantHere(t, other, 1, p[0])
}

// A lease that ends sets its pieces aside, where the date can be believed, or when the machine has
// run for all of it. A clock a year ahead reclaims nothing.
func TestExpiry(t *testing.T) {
	start := func() (owner, holder *home, clock interface{ Jump(time.Duration) }, p [][]byte) {
		w, c := simWorld(t, 2)
		owner, holder = w.homes[0], w.homes[1]
		return owner, holder, c, owner.stored(t, holder, 1, 2, 3)
	}
	t.Run("with a clock that others share", func(t *testing.T) {
		owner, holder, clock, p := start()
		clock.Jump(100 * days)
		owner.mustLease(t, holder, p[2])
		clock.Jump(80 * days)
		holder.runs(t, time.Second)
		holder.runs(t, time.Second) // one second later it is over
		holder.wantHere(t, owner, 3, p...)
		holder.runs(t, 14*days)
		holder.wantHere(t, owner, 1, p...)
		if holder.has(t, p[0]) || !holder.has(t, p[2]) {
			t.Error("another one went")
		}
	})
	t.Run("a year ahead", func(t *testing.T) {
		owner, holder, clock, p := start()
		holder.doubted = true
		clock.Jump(365 * days)
		holder.runs(t, 100*days)
		holder.wantHere(t, owner, 3, p...)
		clock.Jump(-365 * days)
		holder.doubted = false
		holder.runs(t, 79*days)
		holder.wantHere(t, owner, 3, p...)
		owner.mustLease(t, holder, p...)
		holder.runs(t, 100*days)
		holder.wantHere(t, owner, 3, p...)
	})
	t.Run("a clock that stands still, or that nobody believes", func(t *testing.T) {
		owner, holder, clock, p := start()
		holder.doubted = true
		for range 180 {
			holder.runs(t, days)
			clock.Jump(-days)
		}
		holder.runs(t, 14*days-time.Second)
		holder.wantHere(t, owner, 3, p...)
		holder.runs(t, time.Second)
		holder.wantHere(t, owner, 0, p...)
	})
}

// While it runs, a clock that jumps stops reclaiming, and says so, until it is believed again.
func TestAClockThatJumpsStopsReclaiming(t *testing.T) {
	w, clock := simWorld(t, 2)
	owner, holder := w.homes[0], w.homes[1]
	p := owner.stored(t, holder, 1, 2, 3, 4, 5, 6, 7, 8)
	holder.runs(t, 2*days)
	owner.mustRelease(t, holder, 1, false, p[0])
	holder.runs(t, 13*days)
	holder.doubted = true
	b := holder.now()
	b.startRunning()
	clock.Advance(time.Minute)
	clock.Jump(59 * time.Minute)
	b.pass(time.Minute)
	if len(holder.alarms) > 0 {
		t.Errorf("alarms: %q", holder.alarms)
	}
	clock.Advance(time.Minute)
	clock.Jump(-61 * time.Minute)
	b.pass(time.Minute)
	holder.runs(t, 15*time.Minute-time.Second)
	if len(holder.alarms) > 0 { // who was asleep is believed again by then
		t.Errorf("alarms: %q", holder.alarms)
	}
	holder.runs(t, time.Second)
	if len(holder.alarms) != 1 {
		t.Errorf("alarms: %q", holder.alarms)
	}
	holder.runs(t, 3*days)
	holder.wantHere(t, owner, 8, p...)
	holder.doubted = false
	holder.runs(t, time.Second)
	holder.wantHere(t, owner, 7, p...)
	// Nobody ever agrees: after a week it goes by the count again.
	owner.mustRelease(t, holder, 1, false, p[1])
	holder.runs(t, 14*days-time.Minute)
	holder.doubted = true
	b.startRunning()
	clock.Jump(365 * days)
	b.pass(0)
	holder.runs(t, 7*days)
	holder.wantHere(t, owner, 7, p...)
	holder.runs(t, time.Second)
	holder.wantHere(t, owner, 6, p...)
	if len(holder.alarms) != 2 {
		t.Errorf("alarms: %q", holder.alarms)
	}
}

// Run counts the minutes, and goes on counting after a start.
func TestRunCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, bubble{}, 2)
		owner, holder := w.homes[0], w.homes[1]
		p := owner.stored(t, holder, 1, 2, 3, 4, 5)
		run := func(d time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			if err := holder.now().Run(ctx); err != nil {
				t.Error(err)
			}
			holder.open()
		}
		run(25 * hours)
		owner.mustRelease(t, holder, 1, false, p[0])
		for range 14 {
			time.Sleep(100 * days)
			run(days - time.Minute)
		}
		if got, want := holder.now().ran(), int64((25*hours+14*(days-2*time.Minute))/time.Second); got < want || got > want+15*60 {
			t.Errorf("it has run for %d seconds, want about %d", got, want)
		}
		holder.wantHere(t, owner, 5, p...)
		run(hours)
		holder.wantHere(t, owner, 4, p...)
		w.end()
	})
}
