package barter

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// dueRecord says of a lease that its end has not been looked at.
type dueRecord struct {
	V uint `json:"v"`
	// From is when the lease began, Given what the machine had run then.
	From  int64 `json:"from"`
	Given int64 `json:"given"`
}

// over tells whether a lease until that date has ended: because the date has passed, on a clock that can be
// trusted, or because this machine has run for all of its length.
func (d dueRecord) over(until, now, ran int64, trusted bool) bool {
	return trusted && until < now || ran-d.Given >= until-d.From
}

// expire sets aside the pieces of leases that have ended, unless another lease covers them.
func (b *Barter) expire(ctx context.Context) error {
	now, ran, trusted := b.c.Clock.Now().Unix(), b.ran(), b.trusted()
	n := 0
	for c, err := range b.c.Books.Scan(duePrefix, nil) {
		if err != nil {
			return fmt.Errorf("read which leases are due: %w", err)
		}
		rest := c.Key[len(duePrefix):]
		if len(rest) != dateSize+didSize+core.ScoreSize {
			return fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
		}
		var d dueRecord
		if err := parse(c.Key, c.Value, &d); err != nil {
			return err
		}
		until := int64(binary.BigEndian.Uint64(rest))
		if n++; n > expireBatch || !d.over(until, now, ran, trusted) || ctx.Err() != nil {
			return nil
		}
		rest = rest[dateSize:]
		if owner := core.DID(rest[:didSize]); owner == b.c.Grid {
			if err := b.renewHere(ctx, core.Score(rest[didSize:]), until); err != nil {
				return err
			}
		}
		if err := b.expireLease(core.DID(rest[:didSize]), core.Score(rest[didSize:]), until, c.Key); err != nil {
			return err
		}
	}
	return nil
}

func (b *Barter) expireLease(owner core.DID, lease core.Score, until int64, due []byte) error {
	b.mu.Lock()
	a := b.account(owner)
	b.mu.Unlock()
	a.commit.Lock()
	defer a.commit.Unlock()
	set := &setting{owner: owner, stamp: b.ran(), changes: []core.Change{{Key: due}}}
	var err error
	if set.day, err = b.dayOf(owner, a, set.stamp); err != nil {
		return err
	}
	pieces, err := b.piecesUnder(owner, lease)
	if err != nil {
		return err
	}
	for _, piece := range pieces {
		var r heldRecord
		known, err := b.read(heldKey(owner, piece), &r)
		if err != nil {
			return err
		}
		if !known || r.Until > until || r.Aside != 0 {
			continue
		}
		if err := set.put(piece, r); err != nil {
			return err
		}
	}
	if set.pieces > 0 {
		b.c.Log.Info("a lease has ended: pieces are set aside", "owner", b.nameOf(owner), "pieces", set.pieces)
	}
	return b.applyAside(a, set)
}

// piecesUnder returns what a lease that we gave covers; none if it is not kept.
func (b *Barter) piecesUnder(owner core.DID, lease core.Score) ([]core.Score, error) {
	raw, err := b.c.Books.Get(leaseKey(owner, lease))
	if errors.Is(err, core.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read lease %s: %w", lease.Short(), err)
	}
	l, err := parseLease(raw)
	if err != nil {
		return nil, fmt.Errorf("lease %s is broken: %v", lease.Short(), err)
	}
	return l.Pieces, nil
}

// parseLease reads a lease that was verified when it was written.
func parseLease(raw []byte) (pact.Lease, error) {
	var l pact.Lease
	var s identity.Signed
	if err := codec.Unmarshal(raw, &s, leaseLimit); err != nil {
		return l, err
	}
	return l, codec.Unmarshal(s.Body, &l, pact.LeaseSizeMax)
}
