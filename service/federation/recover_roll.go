package federation

import (
	"fmt"
	"math"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/roll"
)

// The roll of a club is no part of its state: its members have it, and a club that is recovered goes on from theirs.

// heldRoll returns the roll that we keep of a club among our partners; nil of another.
func (f *Federation) heldRoll(grid core.DID) *identity.Signed {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.clubs[grid]; c != nil && c.roll.N != 0 {
		signed := c.record.Roll
		return &signed
	}
	return nil
}

// hearRoll verifies what a partner shows as the roll of this household.
func (r *recovery) hearRoll(w *witness, signed *identity.Signed) error {
	if signed == nil {
		return nil
	}
	is, err := roll.Open(*signed)
	switch {
	case err != nil:
		return err
	case is.Grid != r.grid:
		return fmt.Errorf("it is that of %s: %w", is.Grid.Short(), core.ErrInvalid)
	case is.N > math.MaxInt64: // one with a greater number must be possible
		return fmt.Errorf("its number is %d: %w", is.N, core.ErrInvalid)
	}
	w.roll = &ownRoll{is, *signed}
	return nil
}

// newestRoll returns the roll that stands of all that were shown, nil where there is none: what machines have signed that the newest
// charter lists goes before what others did, who may have been removed for a reason.
func (r *recovery) newestRoll() (best *ownRoll) {
	newest, _ := r.chain.Newest()
	for _, w := range r.witnesses {
		if w.roll == nil || !r.chain.EverListed(w.roll.signed.By) {
			continue
		}
		if best == nil {
			best = w.roll
			continue
		}
		is, was := newest.Lists(w.roll.signed.By), newest.Lists(best.signed.By)
		if is && !was || is == was && w.roll.roll.Stands(w.roll.signed.Score(), best.roll, best.signed.Score()) {
			best = w.roll
		}
	}
	return best
}

// keepRoll keeps the newest roll, from which BeginRoll goes on.
func (r *recovery) keepRoll(c *changes, best *ownRoll) {
	if best != nil {
		c.set([]byte(keyRoll), rollRecord{V: codec.Version, Roll: best.signed})
	}
}
