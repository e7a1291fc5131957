package barter

import (
	"context"
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
)

// modelDay is what the alarm goes by: how many bytes were live before each change, and what went.
type modelDay struct {
	live, gone []modelHour
	raised     int64
}

type modelHour struct{ hour, bytes int64 }

func (m *model) live(owner core.DID) (n int64) {
	for _, p := range m.held[owner] {
		if p.aside == 0 {
			n += p.size
		}
	}
	return n
}

// changes notes that what is live is about to change.
func (m *model) changes(owner core.DID) {
	d := m.days[owner]
	d.live = append(d.live, modelHour{m.ran / 3600, m.live(owner)})
}

// left is how much of a quarter of what was live a day ago has not gone since.
func (m *model) left(owner core.DID) int64 {
	today := func(h modelHour) bool { return h.hour > m.ran/3600-24 }
	d, gone, live := m.days[owner], int64(0), m.live(owner)
	if i := slices.IndexFunc(d.live, today); i >= 0 {
		live = d.live[i].bytes
	}
	for _, h := range d.gone {
		if today(h) {
			gone += h.bytes
		}
	}
	return live/4 - gone
}

func (m *model) alarmed(owner core.DID) bool {
	raised := m.days[owner].raised
	return raised > 0 && m.ran < raised+61*daySeconds
}

// pass lets time go by while the machine is off.
func (s *machine) pass(*rapid.T) {
	s.clock.Advance(rapid.SampledFrom([]time.Duration{time.Second, 59 * time.Minute, time.Hour, 1000 * time.Hour}).Draw(s.t, "time"))
}

// run lets it go by while it runs.
func (s *machine) run(*rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 23 * time.Hour, 10 * 24 * time.Hour, 50 * 24 * time.Hour}).Draw(s.t, "time")
	s.b.startRunning()
	s.clock.Advance(d)
	s.b.pass(d)
	s.m.ran += int64(d / time.Second)
}

func (s *machine) tidy(*rapid.T) {
	for owner := range s.m.held { // not at the very second in which a lease ends
		for _, p := range s.m.held[owner] {
			if p.until == s.clock.Now().Unix() {
				s.clock.Advance(time.Second)
			}
		}
	}
	for range 5 { // one looks at so many leases only
		if err := s.b.tidy(context.Background()); err != nil {
			s.t.Fatal(err)
		}
	}
	now := s.clock.Now().Unix()
	for _, owner := range s.owners {
		days := int64(14)
		if s.m.alarmed(owner) {
			days = 60
		}
		for score, p := range s.m.held[owner] {
			if p.aside == 0 && p.until < now {
				s.m.changes(owner)
				p.aside = s.m.ran
			}
			if p.aside > 0 && p.aside+days*daySeconds <= s.m.ran {
				delete(s.m.held[owner], score)
			}
		}
	}
}

func (s *machine) release(*rapid.T) {
	owner := s.owner()
	agent := s.agentOf(owner)
	var pieces []core.Score
	for _, data := range s.pieces {
		if rapid.Bool().Draw(s.t, "released") {
			pieces = append(pieces, core.ScoreOf(data))
		}
	}
	if len(pieces) == 0 {
		return
	}
	slices.SortFunc(pieces, compareScores)
	signed, err := pact.SignRelease(agent.key, pact.Release{Owner: owner, Agent: agent.agent(), Pieces: pieces, Time: s.clock.Now().Unix()})
	if err != nil {
		s.t.Fatal(err)
	}
	full := rapid.IntRange(0, 5).Draw(s.t, "full") == 0
	s.disk.Books().SetFull(full)
	out, err := s.b.setAside(context.Background(), owner, agent.agent(), &signed)
	s.disk.Books().SetFull(false)
	if full && errors.Is(err, core.ErrFull) {
		return
	}
	if err != nil {
		s.t.Fatalf("release: %v", err)
	}
	n := 0
	for _, score := range pieces {
		p := s.m.held[owner][score]
		if c := s.m.counts[owner][score]; c != nil && p != nil {
			c.done += c.size * (min(s.clock.Now().Unix(), c.end) - c.begun)
			c.begun, c.end = 0, 0
		}
		if p == nil || p.aside > 0 {
			continue
		}
		s.m.changes(owner)
		n++
		p.aside = s.m.ran
		_, lost := s.disk.Blobs().Stat(context.Background(), score) // which is no theft
		if p.born <= s.m.ran-daySeconds && lost == nil {
			d := s.m.days[owner]
			d.gone = append(d.gone, modelHour{s.m.ran / 3600, p.size})
		}
	}
	if n > 0 && !s.m.alarmed(owner) && s.m.left(owner) < 0 {
		s.m.days[owner].raised = s.m.ran
	}
	if want := (releaseAnswer{Aside: n, Alarm: s.m.alarmed(owner), Left: max(s.m.left(owner), 0)}); out != want {
		s.t.Fatalf("released: %+v, want %+v", out, want)
	}
}

func (s *machine) close(*rapid.T) {
	owner, g := s.owner(), s.grant()
	s.b.closeGrants(owner, [][]byte{g.id})
	if owner == g.owner {
		s.m.grants = slices.DeleteFunc(s.m.grants, func(o *modelGrant) bool { return o == g })
	}
}

// under returns the owner's grants that a piece came under, by id.
func (m *model) under(owner core.DID, piece core.Score) (out []*modelGrant) {
	for _, g := range m.grants {
		if _, ok := g.pieces[piece]; ok && g.owner == owner {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b *modelGrant) int { return slices.Compare(a.id, b.id) })
	return out
}

func (s *machine) restart(*rapid.T) {
	s.m.grants = nil
	s.open()
}

// harm makes a blob rot, or loses it.
func (s *machine) harm(*rapid.T) {
	piece := core.ScoreOf(s.piece())
	if rapid.Bool().Draw(s.t, "lost") {
		if s.disk.Blobs().Lose(piece) {
			s.rotten[piece] = true
		}
		return
	}
	if !s.rotten[piece] && s.disk.Blobs().Rot(piece) {
		s.rotten[piece] = true
	}
}
