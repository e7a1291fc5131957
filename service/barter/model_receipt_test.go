package barter

import (
	"errors"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
)

// modelCount is how a piece counts for an owner, by the plain rule.
type modelCount struct {
	size             int64
	begun, end, done int64
}

// modelLine is the last receipt of an owner.
type modelLine struct {
	ran        int64
	seq, total uint64
	kept       int
}

// count counts a piece under a lease until the midnight after its end.
func (m *model) count(owner core.DID, piece core.Score, size int64, l pact.Lease) {
	c := m.counts[owner][piece]
	if c == nil {
		c = &modelCount{size: size}
		m.counts[owner][piece] = c
	}
	end := (l.Until + daySeconds - 1) / daySeconds * daySeconds
	switch {
	case end <= c.end:
	case c.end < l.From:
		c.done += size * (c.end - c.begun)
		c.begun, c.end = l.From, end
	default:
		c.end = end
	}
}

// countsNow is how many bytes count at a date.
func (m *model) countsNow(owner core.DID, now int64) (n int64) {
	for _, c := range m.counts[owner] {
		if c.end > now {
			n += c.size
		}
	}
	return n
}

func (m *model) overdue(owner core.DID, now int64) bool {
	return m.countsNow(owner, now) > 0 && m.ran-m.lines[owner].ran > 2*daySeconds
}

// receipt is what an owner sends now and then. What it says is its own affair: the holder
// answers with what is right.
func (s *machine) receipt(*rapid.T) {
	owner := s.owner()
	now, line := s.clock.Now().Unix(), s.m.lines[owner]
	var seconds int64
	for _, c := range s.m.counts[owner] {
		seconds += c.done + c.size*(min(now, c.end)-min(now, c.begun))
	}
	want := uint64(seconds / 3600)
	total := max(line.total, want) + rapid.Uint64Range(0, 1).Draw(s.t, "too much")
	signed, err := pact.SignReceipt(s.agentOf(owner).key, pact.Receipt{
		Pact: pactOf(owner, s.h.grid), Provider: s.h.agent(), Receiver: s.agentOf(owner).agent(), Resource: core.Storage,
		Seq: line.seq + 1, Total: total, Until: now,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	full := rapid.IntRange(0, 5).Draw(s.t, "full") == 0
	s.disk.Books().SetFull(full)
	out, err := s.b.takeReceipt(owner, s.agentOf(owner).agent(), signed)
	s.disk.Books().SetFull(false)
	if full && errors.Is(err, core.ErrFull) {
		return
	}
	if err != nil || out.Last != nil || out.Total != want || out.Until != now {
		s.t.Fatalf("receipt for %d byte-hours: %+v, %v; want %d", total, out, err, want)
	}
	if line.seq == 0 || s.m.ran-line.ran >= 3600 {
		line.kept++
	}
	line.ran, line.seq, line.total = s.m.ran, line.seq+1, total
	l, err := s.b.Ledger(owner)
	if err != nil || len(l.Gave) != 1 {
		s.t.Fatalf("ledger %+v, %v", l, err)
	}
	got := l.Gave[0]
	if got.Receipts != int64(line.kept) || got.Seq != line.seq || got.Total != total || got.Other != want || got.Hours != want ||
		got.Differs() != (total != want) || got.Live != s.m.countsNow(owner, now) || got.Overdue {
		s.t.Fatalf("ledger %+v, want %+v", got, *line)
	}
}
