package barter

import (
	"context"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// side is where one side of the barter keeps its lines: what it counts of each machine of
// each partner. Both sides count the same leases and releases in the same order, because one
// at a time goes over a line (lockLine), and what nobody knows the outcome of is asked for
// again before anything else does (settleLine).
type side struct {
	lines    []byte // + grid + agent: lineRecord
	receipts []byte // + grid + agent + seq: the Signed
	proven   []byte // + agent: when the one who holds there proved something last
	flow     []byte // + grid + resource: flowRecord
	ours     bool   // what we had
	resource core.Resource
}

var (
	asHolder = side{[]byte("b/line/"), []byte("b/receipt/"), []byte("b/proven/"), []byte("b/flow/"), false, core.Storage}
	asOwner  = side{[]byte("o/line/"), []byte("o/receipt/"), []byte("o/proven/"), []byte("o/flow/"), true, core.Storage}
)

// of returns where a side keeps its lines of a resource.
func (s side) of(r core.Resource) side {
	if r == core.Storage {
		return s
	}
	room := s.flow[:2]                                                                                                // b/ or o/
	s.lines, s.receipts = fmt.Appendf(nil, "%sflowline/%s/", room, r), fmt.Appendf(nil, "%sflowreceipt/%s/", room, r) // no resource's name has a slash
	s.resource = r
	return s
}

// lineRecord is one line: what a machine of a partner has had of us, or we of it.
type lineRecord struct {
	V     uint            `json:"v"`
	Pact  core.Score      `json:"pact"`
	Meter pact.MeterState `json:"meter"`
	// Latest is the latest date of a lease's beginning, a release or a receipt: nothing that
	// comes later ends before it, so that no total falls.
	Latest int64 `json:"latest"`
	// Asked names the request to which the last lease was the answer; the holder's.
	Asked []byte `json:"asked,omitempty"`
	// Lease is the score of that lease.
	Lease core.Score `json:"lease"`
	// Seq, Total and Until are those of the last receipt that was signed, or taken.
	Seq   uint64 `json:"seq"`
	Total uint64 `json:"total"`
	Until int64  `json:"until"`
	// Spent is the greatest Seq that was signed and refused, under whatever pact: none is used again.
	Spent uint64 `json:"spent,omitempty"`
	// Acked is the Seq of the last that both sides have, Other what the side that did not sign it
	// counts up to its Until.
	Acked uint64 `json:"acked"`
	Other uint64 `json:"other"`
	// Kept is how many receipts are kept.
	Kept int64 `json:"kept"`
	// Ran is what this machine had run at the last receipt that both sides have; before the first, when
	// something began to count.
	Ran int64 `json:"ran"`
	// Fresh is the bytes that were leased since, and not before.
	Fresh int64 `json:"fresh"`
	// Parted and PartedAt are the Seq and Until of the first receipt since which the two sides count differently; 0: they agree.
	Parted   uint64 `json:"parted,omitempty"`
	PartedAt int64  `json:"parted_at,omitempty"`
	// Drawn is the part of Total of a flow that counts in what we had lately; the owner's.
	Drawn uint64 `json:"drawn,omitempty"`
}

// line is a line in hand. The account's commit guards the holder's, settling the owner's.
type line struct {
	side
	grid, agent core.DID
	rec         lineRecord
	meter       *pact.Meter
	drop        []core.Change // receipts of a pact before, and what else is written with it
	moved       bool          // a lease has changed what counts
}

// lineOf reads a line, or begins one.
func (b *Barter) lineOf(s side, grid, agent core.DID) (*line, error) {
	l := &line{side: s, grid: grid, agent: agent, rec: lineRecord{V: codec.Version, Meter: pact.MeterState{Sum: "0"}}}
	var rec lineRecord
	known, err := b.read(l.key(), &rec)
	if err != nil {
		return nil, err
	}
	if known {
		l.rec = rec
	}
	if l.meter, err = l.rec.Meter.Meter(); err != nil {
		return nil, fmt.Errorf("record %q is broken: %v", l.key(), err)
	}
	return l, nil
}

func (l *line) key() []byte { return join(l.lines, l.grid[:], l.agent[:]) }

func (l *line) receiptKey(seq uint64) []byte {
	return join(l.receipts, l.grid[:], l.agent[:], dateKey(int64(seq)))
}

// changes returns what writes the line down.
func (l *line) changes() ([]core.Change, error) {
	l.rec.Meter = l.meter.State()
	c, err := change(l.key(), l.rec)
	return append(l.drop, c), err
}

// under makes the line one of a pact, from a date on. Totals begin anew with a new pact, and the
// receipts of the old one, which is closed, are forgotten.
func (l *line) under(b *Barter, id core.Score, at int64) error {
	if l.rec.Pact == id {
		return nil
	}
	if !l.rec.Pact.IsZero() {
		l.meter.Restart(max(at, l.rec.Latest))
		l.rec.Seq, l.rec.Total, l.rec.Until, l.rec.Acked, l.rec.Other, l.rec.Kept, l.rec.Drawn = 0, 0, 0, 0, 0, 0, 0
		l.rec.Parted, l.rec.PartedAt = 0, 0
		for c, err := range b.c.Books.Scan(join(l.receipts, l.grid[:], l.agent[:]), nil) {
			if err != nil {
				return fmt.Errorf("read receipts: %w", err)
			}
			l.drop = append(l.drop, core.Change{Key: c.Key})
		}
	}
	l.rec.Pact, l.moved = id, true
	return nil
}

// underPact makes the caller's line one of the pact. Whoever has nothing on it owes no receipt yet.
func (b *Barter) underPact(l *leasing, p Partner) error {
	if l.agent.IsZero() {
		return nil
	}
	line, err := l.lines.of(l.agent)
	if err != nil {
		return err
	}
	if line.meter.Live(l.from) == 0 {
		line.rec.Ran = l.ran
	}
	l.news = line.rec.Pact != p.Pact
	return line.under(b, p.Pact, l.from)
}

// lease counts a piece under a lease, and returns until when it counts.
func (l *line) lease(end, size int64, lease pact.Lease) int64 {
	if end == 0 {
		l.rec.Fresh += size
	}
	to := l.meter.Lease(end, size, lease.From, lease.Until)
	l.moved = l.moved || to != end
	return to
}

// leased notes that a lease of that date was counted. One that has changed nothing is as if it had not been: its holder need not
// even write it down.
func (l *line) leased(from int64) {
	if l.moved {
		l.passed(from)
	}
}

// release counts a piece no longer from a date on.
func (l *line) release(end, size, at int64) { l.meter.Release(end, size, max(at, l.rec.Latest)) }

// counts is what this side itself counts up to the last date; of a flow what the receiver signs.
func (l *line) counts() uint64 {
	if l.resource != core.Storage {
		return l.rec.Total
	}
	return l.meter.Hours(l.rec.Latest)
}

// answered tells whether the other side has all that was signed for. Of a flow a receipt that was lost and is back may be less.
func (l *line) answered() bool {
	if l.ours && l.resource != core.Storage {
		return l.rec.Total == l.rec.Drawn
	}
	return l.rec.Seq == l.rec.Acked
}

// passed notes that something of that date was counted.
func (l *line) passed(at int64) { l.rec.Latest = max(l.rec.Latest, at) }

// last is the last receipt; its Seq is 0 if there is none.
func (l *line) last(provider, receiver core.DID) pact.Receipt {
	return pact.Receipt{
		V: codec.Version, Pact: l.rec.Pact, Provider: provider, Receiver: receiver, Resource: l.resource,
		Seq: l.rec.Seq, Total: l.rec.Total, Until: l.rec.Until,
	}
}

// compared notes since when the two sides count differently, after a receipt that both have.
func (l *line) compared() {
	switch {
	case l.rec.Other == l.rec.Total:
		l.rec.Parted, l.rec.PartedAt = 0, 0
	case l.rec.Parted == 0:
		l.rec.Parted, l.rec.PartedAt = l.rec.Seq, l.rec.Until
	}
}

// lineSet is the lines of one household that one write changes.
type lineSet struct {
	b    *Barter
	grid core.DID
	by   map[core.DID]*line
}

// heldLines is empty, on the holder's side.
func (b *Barter) heldLines(owner core.DID) lineSet { return lineSet{b, owner, map[core.DID]*line{}} }

func (s lineSet) of(agent core.DID) (*line, error) {
	if l := s.by[agent]; l != nil {
		return l, nil
	}
	l, err := s.b.lineOf(asHolder, s.grid, agent)
	if err == nil {
		s.by[agent] = l
	}
	return l, err
}

func (s lineSet) changes() (out []core.Change, err error) {
	for _, l := range s.by {
		c, err := l.changes()
		if err != nil {
			return nil, err
		}
		out = append(out, c...)
	}
	return out, nil
}

// linesOf returns the lines of a side, or those with one household.
func (b *Barter) linesOf(s side, grid *core.DID) (out []*line, err error) {
	prefix := s.lines
	if grid != nil {
		prefix = join(prefix, grid[:])
	}
	for c, err := range b.c.Books.Scan(prefix, nil) {
		if err != nil {
			return nil, fmt.Errorf("read lines: %w", err)
		}
		rest := c.Key[len(s.lines):]
		if len(rest) != 2*didSize {
			return nil, fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
		}
		l, err := b.lineOf(s, core.DID(rest[:didSize]), core.DID(rest[didSize:]))
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// settleLine brings to its end what may or may not have reached a machine: first a request for a lease, then
// a release, then the first receipt under a pact. Until then nothing else goes over the line. The caller has it.
func (b *Barter) settleLine(ctx context.Context, p Partner, agent core.DID) error {
	if err := b.askAgain(ctx, p, agent); err != nil {
		return fmt.Errorf("what %s leased last: %w", p.Name, err)
	}
	if err := b.resend(ctx, p, agent); err != nil {
		return fmt.Errorf("release to %s: %w", p.Name, err)
	}
	if err := b.resendFirst(ctx, p, agent); err != nil {
		return fmt.Errorf("first receipt to %s: %w", p.Name, err)
	}
	return nil
}

// resendFirst sends the first receipt under a pact once more, as it was, if it is not known to have arrived: its date may be the one from
// which the two sides count. The caller has the line.
func (b *Barter) resendFirst(ctx context.Context, p Partner, agent core.DID) error {
	l, err := b.lineOf(asOwner, p.Grid, agent)
	if err != nil || l.rec.Pact != p.Pact || l.rec.Seq == 0 || l.rec.Acked != 0 {
		return err
	}
	var s identity.Signed
	if known, err := b.read(l.receiptKey(l.rec.Seq), &s); err != nil || !known {
		return err
	}
	var out receiptAnswer
	err = b.c.Wire.Call(ctx, agent, "POST", "/receipt", receiptRequest{Receipt: s}, &out)
	if ctx.Err() == nil {
		b.heard(agent, err)
	}
	switch {
	case err != nil && final(err): // the next one may be taken
		return nil
	case err != nil:
		return err
	case out.Last != nil: // the next one is told the same
		return nil
	}
	return b.receipted(asOwner, p, agent, l.last(agent, b.c.Key.DID()), out)
}

// lockLine waits until nothing else is leased from a machine, or released or receipted to it, and
// keeps it so until unlock: both sides then write down the same events in the same order. It is held
// across a call on purpose; settling and mu may be taken under it, not the other way. It fails
// only when ctx has ended.
func (b *Barter) lockLine(ctx context.Context, agent core.DID) (unlock func(), err error) {
	b.mu.Lock()
	turn := b.lines[agent]
	if turn == nil {
		turn = make(chan struct{}, 1)
		b.lines[agent] = turn
	}
	b.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// final tells whether an answer means that a request was refused for what it is, so that it
// will never be taken.
func final(err error) bool {
	return errors.Is(err, core.ErrInvalid) || errors.Is(err, core.ErrNotExist) || errors.Is(err, core.ErrVersion)
}
