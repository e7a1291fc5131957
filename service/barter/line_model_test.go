package barter

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/manifest"
)

// skewed is a clock that is off by a fixed time.
type skewed struct {
	core.Clock
	by time.Duration
}

func (c skewed) Now() time.Time { return c.Clock.Now().Add(c.by) }

// pair is an owner and a holder that do to each other what they may, while either is stopped at any
// write, answers are lost and their clocks are up to a day apart.
type pair struct {
	t             *rapid.T
	clock         *sim.Clock
	owner, holder *home
	segments      []manifest.Segment
}

func (s *pair) ctx() context.Context { return context.Background() }

func (s *pair) place(*rapid.T) {
	seed := rapid.IntRange(1, 4).Draw(s.t, "segment")
	seg, pieces := segmentOf(seed, 1, 3, 100*seed)
	if len(s.segments) == 0 || rapid.Bool().Draw(s.t, "known") {
		s.segments = append(s.segments, seg)
	}
	p, err := s.owner.now().Place(s.ctx(), core.Normal, 400)
	if err != nil {
		return
	}
	_, _ = p.Segment(s.ctx(), seg, pieces, upTo(4), nil)
	_ = p.Commit(s.ctx(), rapid.Bool().Draw(s.t, "done"))
}

// some draws pieces of a segment that was placed.
func (s *pair) some() (out []core.Score) {
	if len(s.segments) == 0 {
		return nil
	}
	seg := rapid.SampledFrom(s.segments).Draw(s.t, "segment")
	for i := range 4 {
		if rapid.Bool().Draw(s.t, "piece") {
			out = append(out, seg.Piece(i))
		}
	}
	return out
}

func (s *pair) held() (out []core.Holding) {
	for _, piece := range s.some() {
		held, _ := s.owner.now().Held(piece)
		out = append(out, held...)
	}
	return out
}

func (s *pair) release(*rapid.T) { _ = s.owner.now().Release(s.ctx(), s.held()) }
func (s *pair) forget(*rapid.T)  { _ = s.owner.now().Forget(s.held()...) }
func (s *pair) deliver(*rapid.T) { _ = s.owner.now().Deliver(s.ctx()) }
func (s *pair) renew(*rapid.T)   { _, _ = s.owner.now().Renew(s.ctx(), s.some()) }
func (s *pair) due(*rapid.T)     { _ = s.owner.now().renewDue(s.ctx()) }

func (s *pair) tidy(*rapid.T) {
	_ = s.owner.now().tidy(s.ctx())
	_ = s.holder.now().tidy(s.ctx())
}

func (s *pair) receipt(*rapid.T) {
	p, _ := s.owner.Of(s.holder.grid)
	if s.owner.now().sendReceipt(s.ctx(), p, s.holder.agent()) == nil {
		s.owner.checkLine(s.t, s.holder)
	}
}

func (s *pair) pass(*rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Minute, 5 * time.Hour, days, 20 * days, 90 * days}).Draw(s.t, "time")
	for _, h := range []*home{s.owner, s.holder} {
		h.now().startRunning()
	}
	s.clock.Advance(d)
	for _, h := range []*home{s.owner, s.holder} {
		h.now().pass(d)
	}
	s.owner.now().Saw(s.holder.agent())
}

// kill stops one of the two at one of its next writes, or now.
func (s *pair) kill(*rapid.T) {
	h := rapid.SampledFrom([]*home{s.owner, s.holder}).Draw(s.t, "who")
	h.disk.CrashAfter(rapid.IntRange(0, 6).Draw(s.t, "writes"), rapid.Bool().Draw(s.t, "kept"))
}

func (s *pair) start(*rapid.T) {
	for _, h := range []*home{s.owner, s.holder} {
		h.disk.Restart()
		h.open()
	}
	s.owner.now().Saw(s.holder.agent())
}

// lose has the next answer of a route lost, when all is done.
func (s *pair) lose(*rapid.T) {
	route := rapid.SampledFrom([]string{"POST /leases", "POST /release", "POST /receipt"}).Draw(s.t, "route")
	real := s.holder.real(route)
	s.holder.instead(route, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		real.ServeHTTP(httptest.NewRecorder(), r)
		if s.holder.instead(route, nil); route == "POST /release" {
			s.holder.takesAll()
		}
		wire.WriteError(w, r, errors.New("lost"))
	}))
}

// skew sets the owner's clock.
func (s *pair) skew(*rapid.T) {
	s.owner.clock = skewed{s.clock, rapid.SampledFrom([]time.Duration{-days, -time.Hour, 0, time.Hour, days}).Draw(s.t, "by")}
	if !s.owner.disk.Crashed() {
		s.owner.open()
	}
}

// check: what the owner counts on, its holder has, and not aside.
func (s *pair) check(*rapid.T) {
	if s.owner.disk.Crashed() || s.holder.disk.Crashed() {
		s.start(nil)
	}
	for _, seg := range s.segments {
		for i := range 4 {
			held, err := s.owner.now().Held(seg.Piece(i))
			if err != nil {
				s.t.Fatal(err)
			}
			var r heldRecord
			for _, h := range held {
				ok, err := s.holder.now().read(heldKey(s.owner.grid, h.Score), &r)
				if err != nil || h.Until > s.clock.Now().Unix() && (!ok || r.Aside != 0) {
					s.t.Fatalf("piece %s is held until %d: %v, %+v, %v", h.Score.Short(), h.Until, ok, r, err)
				}
			}
		}
	}
}

// TestBothSidesCountTheSame ends each story with a receipt that says what the holder counts.
func TestBothSidesCountTheSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		clock := sim.NewClock(1)
		w := newWorld(t, clock, 2)
		defer w.end()
		s := &pair{t: rt, clock: clock, owner: w.homes[0], holder: w.homes[1]}
		if err := s.owner.now().noteLearned(s.holder.grid); err != nil {
			t.Fatal(err)
		}
		s.holder.takesAll()
		rt.Repeat(map[string]func(*rapid.T){
			"place": s.place, "place again": s.place, "release": s.release, "forget": s.forget, "deliver": s.deliver, "renew": s.renew,
			"due": s.due, "tidy": s.tidy, "receipt": s.receipt, "pass": s.pass, "kill": s.kill, "lose": s.lose, "skew": s.skew, "": s.check,
		})
		s.start(nil)
		p, _ := s.owner.Of(s.holder.grid)
		for range 2 { // an answer may still be lost
			_ = s.owner.now().Deliver(t.Context())
			_ = s.owner.now().sendReceipt(t.Context(), p, s.holder.agent())
		}
		if err := errors.Join(s.owner.now().Deliver(t.Context()), s.owner.now().sendReceipt(t.Context(), p, s.holder.agent())); err != nil {
			rt.Fatal(err)
		}
		s.owner.checkLine(rt, s.holder)
		if s.owner.queued(t) != 0 {
			rt.Fatal("something is not told")
		}
		s.owner.checkPlaced(t)
		s.holder.check(t)
	})
}
