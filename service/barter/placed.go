package barter

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// Placed returns the bytes that our pieces at a household come to.
func (b *Barter) Placed(grid core.DID) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.out[grid].Bytes
}

// Held returns who has promised to keep a piece of ours, also where the promise has
// ended: it may be there all the same, and comes back by renewal. Where it was released to is not told.
// Of what our other machines have placed here, this one is among the holders.
func (b *Barter) Held(piece core.Score) ([]core.Holding, error) {
	var out []core.Holding
	here, ok, err := b.here(piece)
	if err != nil {
		return nil, err
	}
	if ok {
		out = append(out, here)
	}
	for c, err := range b.c.Books.Scan(join(placedPrefix, piece[:]), nil) {
		if err != nil {
			return nil, fmt.Errorf("look up piece %s: %w", piece.Short(), err)
		}
		h, r, err := parsePlaced(c)
		if err != nil {
			return nil, err
		}
		if r.Released == 0 {
			out = append(out, h)
		}
	}
	return out, nil
}

// tally is a change of what our pieces come to, by holder's household.
type tally map[core.DID]usedRecord

func (t tally) add(grid core.DID, pieces, size int64) {
	t[grid] = t[grid].plus(usedRecord{Pieces: pieces, Bytes: size})
}

// takenPiece is a piece under a lease that we were given, with the size by which it counts.
type takenPiece struct {
	core.Piece
	counts int64
	// aside says that the holder, which told of the lease, has it set aside.
	aside bool
}

// taking is a lease that we were given, and how.
type taking struct {
	signed identity.Signed
	lease  pact.Lease
	pieces []takenPiece
	// asked is the request that it answers; nil if it was only learned of.
	asked *askedRecord
	// again says that the answer was lost the first time.
	again bool
}

// recordPlaced writes down a lease that we were given, with where its pieces lie, and counts it.
func (b *Barter) recordPlaced(t taking) error {
	raw, err := codec.Marshal(t.signed)
	if err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	b.settling.Lock()
	defer b.settling.Unlock()
	if slices.ContainsFunc(t.pieces, func(p takenPiece) bool { return p.aside }) {
		b.markFound()
	}
	lease, score := t.lease, core.ScoreOf(raw)
	changes := []core.Change{{Key: join(takenPrefix, dateKey(lease.Until), lease.Holder[:], score[:]), Value: raw}}
	added := tally{}
	line, err := b.lineOf(asOwner, lease.Grid, lease.Holder)
	if err != nil {
		return err
	}
	counts := t.asked != nil && max(lease.From-t.asked.Time, t.asked.Time-lease.From) <= clockSlack
	if counts {
		if err := line.under(b, lease.Pact, lease.From); err != nil {
			return err
		}
	}
	for _, piece := range t.pieces {
		more, err := b.place(t, piece, line, counts, added)
		if err != nil {
			return err
		}
		changes = append(changes, more...)
	}
	line.leased(lease.From)
	if t.asked != nil {
		line.rec.Lease = score
		counted, err := line.changes()
		if err != nil {
			return err
		}
		changes = append(append(changes, counted...), core.Change{Key: askedKey(lease.Holder)})
		if !counts {
			b.c.Log.Warn("the clocks of a holder and of this machine are too far apart: a lease does not count", "holder", b.nameOf(lease.Grid))
		}
	}
	return b.applyPlaced(changes, added)
}

// place returns the changes by which one piece of a lease lies at its holder. The caller holds b.settling.
func (b *Barter) place(t taking, piece takenPiece, l *line, counts bool, added tally) ([]core.Change, error) {
	lease := t.lease
	var r placedRecord
	key := placedKey(piece.Score, lease.Holder)
	known, err := b.read(key, &r)
	if err != nil {
		return nil, err
	}
	released := r.Released
	stays, err := b.staysReleased(t, known, r, piece.Score)
	if err != nil || stays == released && released != 0 && t.asked == nil {
		return nil, err
	}
	switch {
	case !known:
		r = placedRecord{V: codec.Version, Since: lease.From}
	case released == 0: // the size may come to be known, and the machine may be another household's now
		added.add(r.Grid, -1, -r.Size)
	}
	if known && r.Grid != lease.Grid {
		r.Counted, r.Lost = 0, 0
	}
	if piece.Size > 0 {
		r.Size = piece.Size
	}
	if counts {
		if r.Counted == 0 {
			r.Bytes = piece.counts
		}
		r.Counted = l.lease(r.Counted, r.Bytes, lease)
	}
	r.Grid, r.Until, r.Aside = lease.Grid, max(r.Until, lease.Until), piece.aside
	if released != 0 && stays == 0 { // it was given there anew: what was lost before stays lost
		r.Lost = 0
	}
	if stays == 0 {
		added.add(r.Grid, 1, r.Size)
	}
	changes, err := b.remember(piece.Score, lease.Holder, r, stays)
	if released != 0 && stays == 0 {
		changes = append(changes, core.Change{Key: queueKey(lease.Holder, piece.Score)})
	}
	return changes, err
}

// staysReleased returns until when it is remembered that a piece is released though a lease covers it;
// 0: it is not.
func (b *Barter) staysReleased(t taking, known bool, r placedRecord, piece core.Score) (int64, error) {
	switch {
	case !known && t.again:
		// Whoever wanted it may not be there any more. It is neither renewed nor given back,
		// unless these books are new and know too little to tell.
		if learned, err := b.Learned(t.lease.Grid); !learned || err != nil {
			return 0, err
		}
		return max(t.lease.Until, b.c.Clock.Now().Unix()) + b.asideSeconds(t.lease.Grid, false), nil
	case r.Released == 0 || t.asked == nil:
		return r.Released, nil
	case !t.asked.Back:
		return r.Released, nil
	case !t.again:
		return 0, nil
	}
	queued, err := b.has(queueKey(t.lease.Holder, piece)) // released again after it was asked for
	if queued || err != nil {
		return r.Released, err
	}
	return 0, nil
}

// Forget gives up placements that are no more: the pieces were found missing or rotten there, or have
// been placed elsewhere. Their holders are told as by Release, so that they keep nothing on which
// nobody counts; those of machines that are no partner's any more are struck out.
func (b *Barter) Forget(holdings ...core.Holding) error {
	agents := b.agents()
	var there, gone []core.Holding
	for _, h := range holdings {
		if _, ok := agents[h.Agent]; ok {
			there = append(there, h)
		} else {
			gone = append(gone, h)
		}
	}
	if err := b.Release(context.Background(), there); err != nil {
		return err
	}
	return b.strike(gone)
}

// strike strikes out placements of which nobody will be told.
func (b *Barter) strike(holdings []core.Holding) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	var changes []core.Change
	added := tally{}
	gone := map[string]bool{}
	for _, h := range holdings {
		var r placedRecord
		key := placedKey(h.Score, h.Agent)
		known, err := b.read(key, &r)
		if err != nil {
			return err
		}
		if !known || gone[string(key)] {
			continue
		}
		gone[string(key)] = true
		changes = append(changes, core.Change{Key: key})
		if r.Released != 0 {
			changes = append(changes, core.Change{Key: goneKey(r.Released, h.Agent, h.Score)}, core.Change{Key: queueKey(h.Agent, h.Score)})
			continue
		}
		added.add(r.Grid, -1, -r.Size)
	}
	return b.applyPlaced(changes, added)
}

// applyPlaced makes changes to where our pieces lie, and to the totals. The
// caller holds b.settling.
func (b *Barter) applyPlaced(changes []core.Change, added tally) error {
	totals := tally{}
	for grid, a := range added {
		b.mu.Lock()
		r := b.out[grid].plus(a)
		b.mu.Unlock()
		c, err := change(join(outPrefix, grid[:]), r)
		if err != nil {
			return err
		}
		changes, totals[grid] = append(changes, c), r
	}
	if len(changes) == 0 {
		return nil
	}
	if err := b.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("record where pieces lie: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for grid, r := range totals {
		b.out[grid] = r
		b.account(grid).gives = r.Bytes
	}
	b.moves++
	return nil
}

// Changes counts the changes of what Held tells, since this machine started.
func (b *Barter) Changes() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.moves
}

// forgetTaken forgets leases given to us that have ended. Where the pieces lie stays known.
func (b *Barter) forgetTaken() error {
	now := b.c.Clock.Now().Unix()
	var changes []core.Change
	for c, err := range b.c.Books.Scan(takenPrefix, nil) {
		if err != nil {
			return fmt.Errorf("read leases given to us: %w", err)
		}
		rest := c.Key[len(takenPrefix):]
		if len(rest) < dateSize || int64(binary.BigEndian.Uint64(rest)) >= now {
			break
		}
		changes = append(changes, core.Change{Key: c.Key})
	}
	if len(changes) == 0 {
		return nil
	}
	if err := b.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("forget leases that have ended: %w", err)
	}
	return nil
}
