package barter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/policy"
)

// When receipts are due. Times are of running, so that no clock makes one due or late.
const (
	// receiptBytes is how much is leased at most between two receipts, receiptDue how many seconds pass.
	receiptBytes = 64 << 20
	receiptDue   = daySeconds
	// receiptLate is after how many seconds nothing new is granted.
	receiptLate = 2 * daySeconds
	// receiptClose: one that comes so soon after the one before, for less than receiptBytes, takes its
	// place. So nobody can fill another's books with them.
	receiptClose = hourSeconds
)

// reasonOverdue is the denial that a receipt answers; SPEC.md §7.
const reasonOverdue = policy.ReasonOverdue

// receiptTries is how often one is signed anew because the provider knew a later one.
const receiptTries = 2

// soon tells whether the next receipt takes the place of the last.
func (l *line) soon(ran int64) bool {
	return l.rec.Acked > 0 && ran-l.rec.Ran < receiptClose && l.rec.Fresh < receiptBytes
}

// overdue tells whether the machine on the other side has to send a receipt before it is granted more.
func (l *line) overdue(now, ran int64) bool {
	return l.meter.Live(now) > 0 && (ran-l.rec.Ran > receiptLate || l.rec.Fresh > receiptBytes)
}

// owesReceipt tells whether a machine is granted nothing new until it has sent a receipt.
func (b *Barter) owesReceipt(owner, agent core.DID) (bool, error) {
	if owner == b.c.Grid {
		return false, nil
	}
	l, err := b.lineOf(asHolder, owner, agent) // as it was written last: whoever writes it may take long
	return err == nil && l.overdue(b.c.Clock.Now().Unix(), b.ran()), err
}

// due tells whether it is time for us to send one.
func (l *line) due(now, ran int64) bool {
	if l.rec.Fresh >= receiptBytes {
		return true
	}
	if l.resource != core.Storage { // a person says when there is more
		return !l.answered()
	}
	late := ran-l.rec.Ran >= receiptDue || now-l.rec.Until >= receiptDue
	return late && (l.rec.Seq != l.rec.Acked || l.meter.Hours(max(now, l.rec.Latest)) > l.rec.Total)
}

// receiptIfFresh sends a receipt if enough was leased for one, after what is being leased just now.
// If that fails, it is sent when it is asked for.
func (b *Barter) receiptIfFresh(ctx context.Context, p Partner, agent core.DID) {
	if b.isHome(p) {
		return
	}
	unlock, err := b.lockLine(ctx, agent)
	if err != nil {
		return
	}
	defer unlock()
	l, err := b.lineOf(asOwner, p.Grid, agent)
	if err == nil && l.rec.Fresh >= receiptBytes {
		err = b.receiptInTurn(ctx, p, agent)
	}
	if err != nil && ctx.Err() == nil {
		b.c.Log.Info("a receipt waits", "holder", p.Name, "err", err)
	}
}

// sendDue sends the receipts that are due to partners who can be reached.
func (b *Barter) sendDue(ctx context.Context) error {
	var lines []*line
	for _, r := range b.resources() {
		some, err := b.linesOf(asOwner.of(r), nil)
		if err != nil {
			return err
		}
		lines = append(lines, some...)
	}
	var failures []error
	for _, l := range lines {
		p, ok := b.c.Partners.Of(l.grid)
		if !ok || b.isHome(p) || !slices.Contains(p.Agents, l.agent) || !l.due(b.c.Clock.Now().Unix(), b.ran()) || b.isDown(l.agent) != nil {
			continue
		}
		err := b.signFor(ctx, l.side, p, l.agent, 0)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if b.heard(l.agent, err); err != nil {
			failures = append(failures, fmt.Errorf("receipt to %s: %w", p.Name, err))
		}
	}
	return errors.Join(failures...)
}

// sendReceipt signs a receipt for the storage that we have had of a machine, and has it taken.
func (b *Barter) sendReceipt(ctx context.Context, p Partner, agent core.DID) error {
	return b.signFor(ctx, asOwner, p, agent, 0)
}

// signFor signs a receipt for what we have had of a machine, of a flow so much more than before, and has it taken.
func (b *Barter) signFor(ctx context.Context, of side, p Partner, agent core.DID, more uint64) error {
	unlock, err := b.lockLine(ctx, agent)
	if err != nil {
		return err
	}
	defer unlock()
	if of.resource != core.Storage {
		return b.signInTurn(ctx, of, p, agent, more)
	}
	return b.receiptInTurn(ctx, p, agent)
}

// receiptInTurn is sendReceipt for who has the line.
func (b *Barter) receiptInTurn(ctx context.Context, p Partner, agent core.DID) error {
	if err := b.settleLine(ctx, p, agent); err != nil {
		return err
	}
	return b.signInTurn(ctx, asOwner, p, agent, 0)
}

// signInTurn is signFor for who has the line, on which nothing is unsettled.
func (b *Barter) signInTurn(ctx context.Context, of side, p Partner, agent core.DID, more uint64) error {
	for range receiptTries {
		s, r, before, err := b.makeReceipt(of, p, agent, more)
		if err != nil {
			return err
		}
		var out receiptAnswer
		err = b.c.Wire.Call(ctx, agent, "POST", "/receipt", receiptRequest{Receipt: s}, &out)
		switch {
		case err != nil && final(err):
			return errors.Join(err, b.unmakeReceipt(of, p, agent, r.Seq, before))
		case err != nil:
			return err
		case out.Last == nil:
			return b.receipted(of, p, agent, r, out)
		}
		if err := b.adoptReceipt(of, p, agent, *out.Last, more); err != nil {
			return errors.Join(err, b.noteForged(p, agent, err))
		}
	}
	return fmt.Errorf("ever another receipt of ours is later: %w", core.ErrInvalid)
}

// makeReceipt signs the next receipt and writes it down: whether or not it arrives, nothing ends before its
// date any more. It returns also what was written before. The caller has the line.
func (b *Barter) makeReceipt(of side, p Partner, agent core.DID, more uint64) (s identity.Signed, r pact.Receipt, before lineRecord, err error) {
	b.settling.Lock()
	defer b.settling.Unlock()
	l, err := b.lineOf(of, p.Grid, agent)
	if err != nil {
		return s, r, before, err
	}
	before = l.rec
	until := max(b.c.Clock.Now().Unix(), l.rec.Latest, l.rec.Until)
	if err := l.under(b, p.Pact, until); err != nil {
		return s, r, before, err
	}
	unanswered := l.rec.Seq != l.rec.Acked
	r = l.last(agent, b.c.Key.DID())
	r.Seq, r.Total, r.Until = max(r.Seq, l.rec.Spent)+1, max(l.meter.Hours(until), r.Total)+more, until
	if r.Total > flowTotalMax && of.resource != core.Storage {
		return s, r, before, fmt.Errorf("%d of %s in all, at most %d: %w", r.Total, of.resource, uint64(flowTotalMax), core.ErrInvalid)
	}
	if s, err = pact.SignReceipt(b.c.Key, r); err != nil {
		return s, r, before, err
	}
	if unanswered { // this one says what that one did
		l.drop = append(l.drop, core.Change{Key: l.receiptKey(l.rec.Seq)})
	}
	l.note(r)
	return s, r, before, b.writeReceipt(l, s)
}

// note makes r the last receipt.
func (l *line) note(r pact.Receipt) {
	l.rec.Seq, l.rec.Total, l.rec.Until = r.Seq, r.Total, r.Until
	l.passed(r.Until)
}

// writeReceipt writes a line down with its last receipt.
func (b *Barter) writeReceipt(l *line, s identity.Signed) error {
	kept, err := change(l.receiptKey(l.rec.Seq), s)
	if err != nil {
		return err
	}
	changes, err := l.changes()
	if err != nil {
		return err
	}
	if err := b.c.Books.Apply(append(changes, kept)...); err != nil {
		return fmt.Errorf("record a receipt: %w", err)
	}
	return nil
}

// unmakeReceipt takes back a receipt that the provider would not have: be it that our clock is ahead, which
// must not stand in the way of every later one. Its number is used up, or a provider that has kept it could show the
// next as one that contradicts it. The caller has the line, so nothing was counted since.
func (b *Barter) unmakeReceipt(of side, p Partner, agent core.DID, seq uint64, before lineRecord) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	l := &line{side: of, grid: p.Grid, agent: agent}
	before.Spent = seq
	c, err := change(l.key(), before)
	if err != nil {
		return err
	}
	return b.c.Books.Apply(c, core.Change{Key: l.receiptKey(seq)})
}

// receipted writes down that a receipt was taken, and what its provider counts.
func (b *Barter) receipted(of side, p Partner, agent core.DID, r pact.Receipt, out receiptAnswer) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	l, err := b.lineOf(of, p.Grid, agent)
	if err != nil {
		return err
	}
	ran := b.ran()
	if l.soon(ran) {
		l.drop = append(l.drop, core.Change{Key: l.receiptKey(l.rec.Acked)})
		l.rec.Kept--
	}
	l.rec.Kept++
	l.rec.Acked, l.rec.Other, l.rec.Ran, l.rec.Fresh = r.Seq, out.Total, ran, 0
	l.meter.Settle(r.Until)
	l.compared()
	l.drop = append(l.drop, core.Change{Key: join(forgedPrefix, agent[:])})
	flow, err := b.drawing(l, r.Total-l.rec.Drawn)
	if err != nil {
		return err
	}
	if flow != nil {
		l.rec.Drawn = r.Total
	}
	changes, err := l.changes()
	if err != nil {
		return err
	}
	if err := b.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("record a receipt: %w", err)
	}
	b.drawn(l, flow)
	if out.Total != r.Total {
		b.c.Log.Warn("a holder counts otherwise", "holder", p.Name, "it", out.Total, "we", r.Total)
	}
	return nil
}

// adoptReceipt takes a receipt of ours that we have lost, with our books: the next one follows on it, and says the more that the last
// one said for nothing.
func (b *Barter) adoptReceipt(of side, p Partner, agent core.DID, s identity.Signed, more uint64) error {
	r, err := pact.OpenReceipt(s)
	if err != nil {
		return fmt.Errorf("the last receipt: %w: %w", errForged, err)
	}
	b.settling.Lock()
	defer b.settling.Unlock()
	l, err := b.lineOf(of, p.Grid, agent)
	if err != nil {
		return err
	}
	switch last := l.last(agent, b.c.Key.DID()); {
	case r.Line() != last.Line():
		return fmt.Errorf("the last receipt: %w: of another line: %w", errForged, core.ErrInvalid)
	case r.Seq < last.Seq && r.Total <= last.Total && r.Until <= last.Until:
		return fmt.Errorf("the last receipt: none that hinders: %w", core.ErrInvalid)
	}
	b.c.Log.Warn("a receipt of this machine was lost, and is back", "holder", p.Name, "seq", r.Seq)
	if of.resource != core.Storage { // what the lost ones say was not had just now
		l.rec.Drawn = max(l.rec.Drawn, r.Total)
	}
	r.Seq, r.Total, r.Until = max(r.Seq, l.rec.Seq), max(r.Total, l.rec.Total-more), max(r.Until, l.rec.Until)
	l.note(r)
	l.rec.Acked = r.Seq
	return b.writeReceipt(l, s)
}

// takeReceipt takes the receipt of a partner's machine for what it has had of this one.
func (b *Barter) takeReceipt(owner, agent core.DID, s identity.Signed) (receiptAnswer, error) {
	p, ok := b.owner(owner)
	if !ok {
		return receiptAnswer{}, fmt.Errorf("receipt of %s: %w", owner, core.ErrForbidden)
	}
	r, err := pact.OpenReceipt(s)
	if err != nil {
		return receiptAnswer{}, fmt.Errorf("%w: %w", core.ErrInvalid, err)
	}
	if r.Line() != (pact.Line{Pact: p.Pact, Provider: b.c.Key.DID(), Receiver: agent, Resource: r.Resource}) {
		return receiptAnswer{}, fmt.Errorf("a receipt of another line: %w", core.ErrInvalid)
	}
	if err := b.checkFlow(p, r); err != nil {
		return receiptAnswer{}, err
	}
	b.mu.Lock()
	a := b.account(owner)
	b.mu.Unlock()
	a.commit.Lock()
	defer a.commit.Unlock()
	l, err := b.lineOf(asHolder.of(r.Resource), owner, agent)
	if err != nil {
		return receiptAnswer{}, err
	}
	if ahead := r.Until - max(b.c.Clock.Now().Unix()+clockSlack, l.rec.Latest); ahead > 0 { // or nothing would end before that
		return receiptAnswer{}, fmt.Errorf("a receipt from %d days ahead of the clock here: %w", (ahead+clockSlack)/daySeconds, core.ErrInvalid)
	}
	if err := l.under(b, p.Pact, r.Until); err != nil {
		return receiptAnswer{}, err
	}
	switch last := l.last(b.c.Key.DID(), agent); {
	case l.rec.Seq == 0:
	case r == last:
		return receiptAnswer{Total: l.rec.Other, Until: r.Until}, nil
	case r.Follows(last) != nil:
		return b.lastReceipt(l)
	}
	ran := b.ran()
	if l.soon(ran) {
		l.drop = append(l.drop, core.Change{Key: l.receiptKey(l.rec.Seq)})
		l.rec.Kept--
	}
	flow, err := b.drawing(l, r.Total-l.rec.Total)
	if err != nil {
		return receiptAnswer{}, err
	}
	l.note(r)
	l.rec.Kept++
	l.rec.Acked, l.rec.Other, l.rec.Ran, l.rec.Fresh = r.Seq, l.counts(), ran, 0
	l.meter.Settle(l.rec.Latest)
	l.compared()
	if err := b.writeReceipt(l, s); err != nil {
		return receiptAnswer{}, err
	}
	b.drawn(l, flow)
	if l.rec.Other != r.Total {
		b.c.Log.Warn("a receipt says otherwise than what is counted here", "owner", p.Name, "it", r.Total, "we", l.rec.Other)
	}
	return receiptAnswer{Total: l.rec.Other, Until: r.Until}, nil
}

// lastReceipt answers a receipt that does not follow on the last with that one, its receiver's own word.
func (b *Barter) lastReceipt(l *line) (receiptAnswer, error) {
	out := receiptAnswer{Total: l.rec.Other, Until: l.rec.Until, Last: &identity.Signed{}}
	raw, err := b.c.Books.Get(l.receiptKey(l.rec.Seq))
	if err != nil {
		return out, fmt.Errorf("read the last receipt: %v", err)
	}
	if err := codec.Unmarshal(raw, out.Last, receiptLimit); err != nil {
		return out, fmt.Errorf("the last receipt is broken: %v", err)
	}
	return out, nil
}
