package barter

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
)

// meal is an eater and a farm, either of which is stopped at any write, and whose answers are lost.
type meal struct {
	t           *rapid.T
	clock       *sim.Clock
	eater, farm *home
	want        int64 // what is asked for until somebody says yes
	granted     [][]byte
	signed      uint64 // at least
	attempted   uint64 // at most
}

func (s *meal) ask(*rapid.T) {
	if len(s.granted) > allowancesMax/2 {
		return
	}
	got, err := s.eater.now().Ask(context.Background(), s.farm.grid, core.Ask{Resource: potatoes, Amount: s.want, Seconds: flowSeconds, Quality: core.Normal})
	if err != nil {
		if errors.Is(err, core.ErrRefused) {
			s.t.Fatal(err)
		}
		return
	}
	s.granted = append(s.granted, got.ID)
	s.want = rapid.Int64Range(1, 9).Draw(s.t, "kg")
}

func (s *meal) sign(*rapid.T) {
	n := rapid.Int64Range(1, 9).Draw(s.t, "kg")
	total, waits, err := s.eater.now().Had(context.Background(), s.farm.grid, potatoes, n)
	s.attempted += uint64(n)
	if err == nil && (waits || total > s.attempted) {
		s.t.Fatalf("%d, %v of at most %d", total, waits, s.attempted)
	}
	if err == nil {
		s.signed = max(s.signed, total)
	}
}

func (s *meal) due(*rapid.T) { _ = s.eater.now().sendDue(context.Background()) }

func (s *meal) pass(*rapid.T) {
	s.clock.Advance(5 * time.Hour)
	s.eater.now().pass(5 * time.Hour)
	s.farm.now().pass(5 * time.Hour)
}

func (s *meal) kill(*rapid.T) {
	h := rapid.SampledFrom([]*home{s.eater, s.farm}).Draw(s.t, "who")
	h.disk.CrashAfter(rapid.IntRange(0, 3).Draw(s.t, "writes"), rapid.Bool().Draw(s.t, "kept"))
}

func (s *meal) lose(*rapid.T) {
	route := rapid.SampledFrom([]string{"POST /ask", "POST /receipt"}).Draw(s.t, "route")
	real := s.farm.real(route)
	s.farm.instead(route, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		real.ServeHTTP(httptest.NewRecorder(), r)
		s.farm.instead(route, nil)
		wire.WriteError(w, r, errors.New("lost"))
	}))
}

// check: whatever was granted is there.
func (s *meal) check(*rapid.T) {
	for _, h := range []*home{s.eater, s.farm} {
		if h.disk.Crashed() {
			h.disk.Restart()
			h.open()
			s.eater.now().Saw(s.farm.agent())
		}
	}
	at := s.farm.now().moment()
	theirs := s.farm.now().account(s.eater.grid).flow(asHolder.of(potatoes)).allowances(potatoes, at)
	ours := s.eater.now().account(s.farm.grid).flow(asOwner.of(potatoes)).allowances(potatoes, at)
	for _, open := range [][]Allowance{theirs, ours} {
		for _, id := range s.granted {
			if !slices.ContainsFunc(open, func(a Allowance) bool { return string(a.ID) == string(id) }) {
				s.t.Fatalf("allowance %x is lost", id)
			}
		}
	}
	if n := len(theirs) - len(ours); n < 0 || n > 1 { // one may still be asked for
		s.t.Fatalf("%d are allowed there, of %d we know", len(theirs), len(ours))
	}
}

// TestNothingIsHadTwice ends each story with both sides of one mind: each ask was granted once, each receipt was drawn once.
func TestNothingIsHadTwice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		clock := sim.NewClock(1)
		w := newWorld(t, clock, 2)
		defer w.end()
		s := &meal{t: rt, clock: clock, eater: w.homes[0], farm: w.homes[1], want: 1}
		s.farm.giving(10_000, 10_000)
		rt.Repeat(map[string]func(*rapid.T){
			"ask": s.ask, "sign": s.sign, "sign again": s.sign, "due": s.due, "pass": s.pass, "kill": s.kill, "lose": s.lose, "": s.check,
		})
		for _, h := range w.homes {
			h.disk.CrashAfter(1<<30, true)
		}
		for n := len(s.granted); n == len(s.granted) && n <= allowancesMax/2; { // an answer may still be lost
			s.ask(nil)
		}
		for range 3 {
			s.due(nil)
		}
		s.check(nil)
		had, gave := s.eater.flowWith(t, s.farm), s.farm.flowWith(t, s.eater)
		if len(had.Allowed) != len(gave.Granted) || len(s.granted) > len(had.Allowed) {
			rt.Fatalf("%d were granted: %d here, %d there", len(s.granted), len(had.Allowed), len(gave.Granted))
		}
		if s.attempted == 0 || len(had.Had)+len(gave.Gave) == 0 {
			return
		}
		x, y := had.Had[0], gave.Gave[0]
		if x.Total != y.Total || x.Seq != y.Seq || !x.Answered || x.Total < s.signed || x.Total > s.attempted || x.Until != y.Until {
			rt.Fatalf("%+v here, %+v there, %d to %d", x, y, s.signed, s.attempted)
		}
		allowed, drawn := int64(0), int64(0)
		for _, a := range gave.Granted {
			allowed, drawn = allowed+a.Amount, drawn+a.Drawn
		}
		if total := int64(x.Total); had.Has != total || drawn > min(total, allowed) || gave.Used != allowed+total-drawn {
			rt.Fatalf("of %d, allowed %d: %d drawn, %d used there, %d had here", total, allowed, drawn, gave.Used, had.Has)
		}
	})
}
