package barter

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// Limits of the leases that are kept for a household: their bytes are not counted as
// used, but must not be without end either.
const (
	leaseBytesMin = 64 << 20 // bytes that each may have
	leaseShare    = 64       // and one more for so many that the pact gives
	// leaseSlack: a lease that would put no piece's date off by more than this part of
	// its length promises nothing new. It is signed and not kept.
	leaseSlack = 16
	// leaseKept is how long after its end a lease is kept, in seconds: its pieces are found
	// by it if the books are lost.
	leaseKept = 60 * daySeconds
)

// leasing is a lease being made.
type leasing struct {
	owner         core.DID
	agent         core.DID // the machine that asked; nobody's where that is not known any more
	agents        []core.DID
	lines         lineSet
	asked         []byte // the name of the request
	holding       holding
	from, until   int64
	here, missing []core.Score
	fresh         []bool  // by index of here: not counted as used yet
	sizes         []int64 // by index of here
	total         int64   // bytes of here
	added         usedRecord
	changes       []core.Change
	ran           int64 // what the machine has run; 0: the lease was given before the books were lost
	news          bool  // something of it was not here, was set aside, or does not count on the line as long as it is promised
	// least is the earliest date that has been promised already, if all have one.
	least int64
}

// lease promises to keep those of the pieces that are here, for the seconds asked for
// or as long as the pact allows, and tells which are not. in was checked.
func (b *Barter) lease(ctx context.Context, owner, agent core.DID, in leaseRequest) (leaseAnswer, error) {
	p, ok := b.owner(owner)
	if !ok {
		return leaseAnswer{}, fmt.Errorf("lease for %s: %w", owner, core.ErrForbidden)
	}
	b.mu.Lock()
	a := b.account(owner)
	b.mu.Unlock()
	a.commit.Lock()
	defer a.commit.Unlock()
	h := b.hold(a, in.Pieces)
	defer b.release(h)

	now := b.c.Clock.Now().Unix()
	most := p.leaseMost(now)
	if most == 0 {
		return leaseAnswer{}, &core.Denial{Reason: "the pact has ended"}
	}
	if reason := p.Via.objection(now); reason != "" {
		return leaseAnswer{}, &core.Denial{Reason: reason}
	}
	l := &leasing{
		owner: owner, agent: agent, agents: p.Agents, lines: b.heldLines(owner), asked: in.ID,
		holding: h, from: now, until: now + min(in.Seconds, most), ran: b.ran(),
	}
	if err := b.underPact(l, p); err != nil {
		return leaseAnswer{}, err
	}
	sized := true
	for _, piece := range in.Pieces {
		sized = sized && piece.Size > 0
		if err := b.cover(ctx, l, piece, h.has(piece.Score)); err != nil {
			return leaseAnswer{}, err
		}
	}
	if len(l.here) == 0 {
		return leaseAnswer{Missing: l.missing}, nil
	}
	later := l.least < l.until-(l.until-l.from)/leaseSlack
	if later && l.added.Pieces == 0 { // what is new was granted just now, so there is nothing beyond the share
		if err := b.withinShare(p, a, l); err != nil {
			return leaseAnswer{}, err
		}
	}
	renews := l.news || later
	if !renews {
		l.until = l.least
		if p.Ends != 0 {
			l.until = min(l.until, p.Ends)
		}
	}
	signed, err := pact.SignLease(b.c.Key, pact.Lease{
		V: codec.Version, Holder: b.c.Key.DID(), Grid: b.c.Grid, Owner: owner, Pact: p.Pact,
		Pieces: l.here, Bytes: uint64(l.total), From: l.from, Until: l.until,
	})
	if err != nil { // the fault is ours, the clock's at most: the caller is not told that it is the caller's
		return leaseAnswer{}, fmt.Errorf("sign a lease: %v", err)
	}
	if renews {
		err = b.record(ctx, p, a, l, signed)
	} else {
		b.settleAll(a, l, nil)
	}
	out := leaseAnswer{Lease: &signed, Missing: l.missing}
	if !sized {
		out.Sizes = l.sizes
	}
	return out, err
}

// leasedBefore answers a request for a lease that was answered before: with that lease, if it is the last
// on the caller's line and was kept; a lease that was not kept counts nothing.
func (b *Barter) leasedBefore(owner, agent core.DID, id []byte) (leaseAnswer, error) {
	b.mu.Lock()
	a := b.account(owner)
	b.mu.Unlock()
	a.commit.Lock()
	defer a.commit.Unlock()
	l, err := b.lineOf(asHolder, owner, agent)
	if err != nil || len(id) == 0 || !bytes.Equal(id, l.rec.Asked) {
		return leaseAnswer{}, err
	}
	raw, err := b.c.Books.Get(leaseKey(owner, l.rec.Lease))
	if errors.Is(err, core.ErrNotExist) { // it ended long ago
		return leaseAnswer{}, nil
	}
	if err != nil {
		return leaseAnswer{}, fmt.Errorf("read lease %s: %w", l.rec.Lease.Short(), err)
	}
	lease, err := parseLease(raw)
	if err != nil {
		return leaseAnswer{}, fmt.Errorf("lease %s is broken: %v", l.rec.Lease.Short(), err)
	}
	out := leaseAnswer{Lease: &identity.Signed{}}
	if err := codec.Unmarshal(raw, out.Lease, leaseLimit); err != nil {
		return leaseAnswer{}, fmt.Errorf("lease %s is broken: %v", l.rec.Lease.Short(), err)
	}
	for _, piece := range lease.Pieces {
		var r heldRecord
		if _, err := b.read(heldKey(owner, piece), &r); err != nil {
			return leaseAnswer{}, err
		}
		out.Sizes = append(out.Sizes, r.Size)
	}
	return out, nil
}

// cover takes a piece into a lease, or notes that it is missing.
func (b *Barter) cover(ctx context.Context, l *leasing, piece core.Piece, inHand bool) error {
	var r heldRecord
	key := heldKey(l.owner, piece.Score)
	known, err := b.read(key, &r)
	if err != nil {
		return err
	}
	var info core.BlobInfo
	if known || inHand {
		info, err = b.c.Blobs.Stat(ctx, piece.Score)
	}
	switch {
	case !known && !inHand || errors.Is(err, core.ErrNotExist):
		l.missing = append(l.missing, piece.Score)
		return nil
	case err != nil:
		return fmt.Errorf("look for piece %s: %w", piece.Score.Short(), err)
	case piece.Size != 0 && info.Size != piece.Size: // 0: the owner has only its score left
		return fmt.Errorf("piece %s has %d bytes, not %d: %w", piece.Score, info.Size, piece.Size, core.ErrInvalid)
	}
	if !known {
		r = heldRecord{V: codec.Version, Size: info.Size, Born: l.ran}
		l.added.Bytes += r.Size
		l.added.Pieces++
		l.news = true
	} else if l.least == 0 || r.Until < l.least {
		l.least = r.Until
	}
	if r.Aside != 0 {
		l.changes = append(l.changes, core.Change{Key: asideKey(l.owner, r.Aside, piece.Score)})
		l.added.Aside -= r.Size
		r.Aside, l.news = 0, true
	}
	if err := l.counts(&r); err != nil {
		return err
	}
	r.Until = max(r.Until, l.until)
	c, err := change(key, r)
	if err != nil {
		return err
	}
	l.here = append(l.here, piece.Score)
	l.fresh = append(l.fresh, !known)
	l.sizes = append(l.sizes, r.Size)
	l.total += r.Size
	l.changes = append(l.changes, c)
	return nil
}

// counts counts a piece on the line of the machine that asks, and no longer on those of machines
// that its household has no more.
func (l *leasing) counts(r *heldRecord) error {
	if l.agent.IsZero() {
		return nil
	}
	for _, c := range slices.Clone(r.Counts) {
		if slices.Contains(l.agents, c.Agent) {
			continue
		}
		gone, err := l.lines.of(c.Agent)
		if err != nil {
			return err
		}
		gone.release(c.End, r.Size, l.from)
		gone.passed(l.from)
		r.setCount(c.Agent, 0)
	}
	line, err := l.lines.of(l.agent)
	if err != nil {
		return err
	}
	end := r.count(l.agent)
	l.news = l.news || end < pact.CountedUntil(r.Until)
	r.setCount(l.agent, line.lease(end, r.Size, pact.Lease{From: l.from, Until: l.until}))
	return nil
}

// record writes a lease, the pieces it covers and the new total at once. The
// lease goes among the blobs before, so that the books can be rebuilt from them. The caller
// holds a.commit.
func (b *Barter) record(ctx context.Context, p Partner, a *account, l *leasing, signed identity.Signed) error {
	raw, err := codec.Marshal(signed)
	if err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	again, err := b.has(leaseKey(l.owner, core.ScoreOf(raw))) // the very same, within a second
	if err != nil {
		return err
	}
	if !again {
		l.added.Leases = int64(len(raw))
	}
	b.mu.Lock()
	used, most := a.used.plus(l.added), leaseBytesMin+b.given(p)/leaseShare
	b.mu.Unlock()
	if used.Leases > most {
		return &core.Denial{Reason: fmt.Sprintf("the leases kept here for you may have %d bytes; renew more pieces at a time", most)}
	}
	changes, score, err := b.leaseChanges(l, a, raw, used)
	if err != nil {
		return err
	}
	about, err := codec.Marshal(note{V: codec.Version, Kind: noteLease, Owner: l.owner})
	if err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	if !b.pin(score) {
		return fmt.Errorf("a lease just like this one is being dropped: %w", core.ErrBusy)
	}
	err = b.c.Blobs.Put(ctx, core.Blob{Score: score, Note: about, Data: raw})
	if err == nil {
		err = b.applyLease(a, l, used, changes)
	}
	b.unpin(score, err != nil)
	if err != nil {
		return fmt.Errorf("record the lease: %w", err)
	}
	return nil
}

// applyLease makes the changes of a lease in the books, and then in memory. The caller
// holds a.commit.
func (b *Barter) applyLease(a *account, l *leasing, used usedRecord, changes []core.Change) error {
	if err := b.c.Books.Apply(changes...); err != nil {
		return err
	}
	b.settleAll(a, l, &used)
	b.c.Uses(l.owner, used.Bytes)
	return nil
}

// settleAll makes the changes of a lease in memory: the total, if it has changed, and
// the grants that its pieces came under.
func (b *Barter) settleAll(a *account, l *leasing, used *usedRecord) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if used != nil {
		b.setUsed(a, *used)
	}
	for i, piece := range l.here {
		b.settle(l.holding, piece, l.fresh[i])
	}
}

// leaseChanges adds to the changes of a lease what is to be kept of it, and the totals. The caller
// holds a.commit.
func (b *Barter) leaseChanges(l *leasing, a *account, raw []byte, used usedRecord) ([]core.Change, core.Score, error) {
	score := core.ScoreOf(raw)
	day, err := b.dayOf(l.owner, a, b.ran())
	if err != nil {
		return nil, score, err
	}
	if !l.agent.IsZero() {
		line, err := l.lines.of(l.agent)
		if err != nil {
			return nil, score, err
		}
		line.leased(l.from)
		line.rec.Asked, line.rec.Lease = l.asked, score
		counted, err := l.lines.changes()
		if err != nil {
			return nil, score, err
		}
		l.changes = append(l.changes, counted...)
	}
	rest := slices.Concat(dateKey(l.until), l.owner[:], score[:])
	for _, r := range []struct {
		key    []byte
		record any
	}{
		{join(usedPrefix, l.owner[:]), used},
		{join(dayPrefix, l.owner[:]), day},
		{join(endsPrefix, rest), endsRecord{V: codec.Version, Size: int64(len(raw))}},
		{join(duePrefix, rest), dueRecord{V: codec.Version, From: l.from, Given: b.ran()}},
	} {
		c, err := change(r.key, r.record)
		if err != nil {
			return nil, score, err
		}
		l.changes = append(l.changes, c)
	}
	return append(l.changes, core.Change{Key: leaseKey(l.owner, score), Value: raw}), score, nil
}

// forgetEnded forgets leases that ended long ago. The pieces stay.
func (b *Barter) forgetEnded() error {
	last := b.c.Clock.Now().Unix() - leaseKept
	for c, err := range b.c.Books.Scan(endsPrefix, nil) {
		if err != nil {
			return fmt.Errorf("read when leases end: %w", err)
		}
		rest := c.Key[len(endsPrefix):]
		if len(rest) != dateSize+didSize+core.ScoreSize {
			return fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
		}
		if int64(binary.BigEndian.Uint64(rest)) >= last {
			return nil
		}
		var r endsRecord
		if err := parse(c.Key, c.Value, &r); err != nil {
			return err
		}
		if due, err := b.has(join(duePrefix, rest)); err != nil {
			return err
		} else if due { // its pieces are found by it
			continue
		}
		rest = rest[dateSize:]
		if err := b.forgetLease(core.DID(rest[:didSize]), core.Score(rest[didSize:]), c.Key, r.Size); err != nil {
			return err
		}
	}
	return nil
}

func (b *Barter) forgetLease(owner core.DID, lease core.Score, ends []byte, size int64) error {
	b.mu.Lock()
	a := b.account(owner)
	b.mu.Unlock()
	a.commit.Lock()
	defer a.commit.Unlock()
	b.mu.Lock()
	used := a.used.plus(usedRecord{Leases: -size})
	b.mu.Unlock()
	total, err := change(join(usedPrefix, owner[:]), used)
	if err != nil {
		return err
	}
	if err := b.c.Books.Apply(total, core.Change{Key: ends}, core.Change{Key: leaseKey(owner, lease)}); err != nil {
		return fmt.Errorf("forget a lease that has ended: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setUsed(a, used)
	b.orphans[lease] = struct{}{}
	return nil
}
