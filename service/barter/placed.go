package barter

import (
	"encoding/binary"
	"fmt"

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
func (b *Barter) Held(piece core.Score) ([]core.Holding, error) {
	var out []core.Holding
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

// recordPlaced writes down a lease that we were given, with where its pieces lie. renews says
// that it was given just now: then what had been released is back.
func (b *Barter) recordPlaced(s identity.Signed, lease pact.Lease, pieces []core.Piece, renews bool) error {
	raw, err := codec.Marshal(s)
	if err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	b.settling.Lock()
	defer b.settling.Unlock()
	score := core.ScoreOf(raw)
	changes := []core.Change{{Key: join(takenPrefix, dateKey(lease.Until), lease.Holder[:], score[:]), Value: raw}}
	added := tally{}
	for _, piece := range pieces {
		key := placedKey(piece.Score, lease.Holder)
		var r placedRecord
		known, err := b.read(key, &r)
		if err != nil {
			return err
		}
		switch {
		case known && r.Released != 0 && !renews:
			continue
		case known && r.Released != 0:
			changes = append(changes, core.Change{Key: goneKey(r.Released, lease.Holder, piece.Score)}, core.Change{Key: queueKey(lease.Holder, piece.Score)})
			r.Released = 0
		case known: // the size may come to be known, and the machine may be another household's now
			added.add(r.Grid, -1, -r.Size)
		default:
			r = placedRecord{V: codec.Version, Since: lease.From}
		}
		if piece.Size > 0 {
			r.Size = piece.Size
		}
		r.Grid, r.Until = lease.Grid, max(r.Until, lease.Until)
		added.add(r.Grid, 1, r.Size)
		c, err := change(key, r)
		if err != nil {
			return err
		}
		changes = append(changes, c)
	}
	return b.applyPlaced(changes, added)
}

// Forget strikes out placements that are no more: the pieces were found missing
// or rotten there, or have been placed elsewhere.
func (b *Barter) Forget(holdings ...core.Holding) error {
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
