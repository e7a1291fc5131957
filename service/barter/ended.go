package barter

import (
	"context"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
)

// expireEnded sets aside what is kept for households whose pact has ended, whatever earlier
// leases say, once the date can be trusted.
func (b *Barter) expireEnded(ctx context.Context) error {
	if !b.trusted() {
		return nil
	}
	now := b.c.Clock.Now().Unix()
	for _, p := range b.owners() {
		if p.Ends == 0 || p.Ends >= now {
			continue
		}
		for more := true; more && ctx.Err() == nil; {
			var err error
			if more, err = b.asideAll(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// asideAll sets a batch of what is kept for a household aside, and tells whether there may be more.
func (b *Barter) asideAll(p Partner) (more bool, err error) {
	b.mu.Lock()
	a := b.account(p.Grid)
	live := a.used.Bytes - a.used.Aside
	b.mu.Unlock()
	if live == 0 {
		return false, nil
	}
	a.commit.Lock()
	defer a.commit.Unlock()
	set := &setting{owner: p.Grid, stamp: b.ran()}
	if set.day, err = b.dayOf(p.Grid, a, set.stamp); err != nil {
		return false, err
	}
	prefix := join(heldPrefix, p.Grid[:])
	for c, err := range b.c.Books.Scan(prefix, nil) {
		if err != nil {
			return false, fmt.Errorf("read what is kept for %s: %w", p.Name, err)
		}
		if len(c.Key) != len(prefix)+core.ScoreSize {
			return false, fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
		}
		piece := core.Score(c.Key[len(prefix):])
		var r heldRecord
		if known, err := b.read(c.Key, &r); err != nil {
			return false, err
		} else if !known || r.Aside != 0 {
			continue
		}
		if err := set.put(piece, r); err != nil {
			return false, err
		}
		if set.pieces == reclaimBatch {
			break
		}
	}
	b.c.Log.Info("the pact has ended: pieces are set aside", "owner", p.Name, "pieces", set.pieces)
	return set.pieces == reclaimBatch, b.applyAside(a, set)
}

// cutShort notes that promises to us hold no longer than the pact.
func (b *Barter) cutShort(held []core.Holding, ends func(core.DID) int64) error {
	for batch := range slices.Chunk(held, reclaimBatch) {
		if err := b.cutBatch(batch, ends); err != nil {
			return err
		}
	}
	return nil
}

func (b *Barter) cutBatch(held []core.Holding, ends func(core.DID) int64) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	var changes []core.Change
	for _, h := range held {
		key := placedKey(h.Score, h.Agent)
		var r placedRecord
		known, err := b.read(key, &r)
		if err != nil {
			return err
		}
		if !known {
			continue
		}
		r.Until = min(r.Until, ends(h.Agent))
		c, err := change(key, r)
		if err != nil {
			return err
		}
		changes = append(changes, c)
	}
	return b.applyPlaced(changes, tally{})
}
