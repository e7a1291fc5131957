package barter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
)

// A machine holds pieces for its own household too, those that its other machines have placed here. As
// owner it needs nobody for them: the books on what is held are the books on where they lie. It never places
// any with itself.

// isHome tells whether a partner is our own household.
func (b *Barter) isHome(p Partner) bool { return p.Grid == b.c.Grid }

// given is what we give a household, in bytes: our own all that there is. The caller holds b.mu.
func (b *Barter) given(p Partner) int64 {
	if b.isHome(p) {
		return b.offer
	}
	return p.Given
}

// berths returns where a household's pieces go, each the machines of which the first that answers has them: a
// partner sees to its own machines, and at home each of the others has its part.
func (b *Barter) berths(p Partner) [][]core.DID {
	if !b.isHome(p) {
		return [][]core.DID{p.Agents}
	}
	var out [][]core.DID
	for _, agent := range b.away(p) {
		out = append(out, []core.DID{agent})
	}
	return out
}

// away returns the machines of a household but this one.
func (b *Barter) away(p Partner) []core.DID {
	return slices.DeleteFunc(slices.Clone(p.Agents), func(agent core.DID) bool { return agent == b.c.Key.DID() })
}

// holdsHome tells whether this machine has anything for its own household.
func (b *Barter) holdsHome() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[b.c.Grid]
	return a != nil && a.used.Pieces > 0
}

// here returns the holding of a piece of ours that this machine has itself, unless it was given up.
func (b *Barter) here(piece core.Score) (h core.Holding, ok bool, err error) {
	if !b.holdsHome() {
		return h, false, nil
	}
	var r heldRecord
	ok, err = b.read(heldKey(b.c.Grid, piece), &r)
	h = core.Holding{Score: piece, Grid: b.c.Grid, Agent: b.c.Key.DID(), Until: r.Until}
	return h, ok && r.Aside == 0, err
}

// fetchHere returns a piece of ours that this machine has itself, given up or not. Errors: core.ErrNotExist.
func (b *Barter) fetchHere(ctx context.Context, p core.Piece, buf []byte) ([]byte, error) {
	if !b.holdsHome() {
		return nil, core.ErrNotExist
	}
	data, err := b.serve(ctx, b.c.Grid, hasteHome, p.Score, func() []byte { return buf })
	if err == nil && int64(len(data)) != p.Size {
		return nil, fmt.Errorf("piece %s has %d bytes here, not %d: %w", p.Score.Short(), len(data), p.Size, core.ErrCorrupt)
	}
	return data, err
}

// releaseHere sets pieces of ours aside that this machine has itself, but for those on which another
// machine of the household counts.
func (b *Barter) releaseHere(ctx context.Context, pieces []core.Score) error {
	p, ok := b.c.Partners.Of(b.c.Grid)
	if !ok || len(pieces) == 0 {
		return nil
	}
	_, err := b.setAsidePieces(ctx, p, b.c.Key.DID(), pieces, b.c.Clock.Now().Unix())
	return err
}

// keepHere promises the household those of its pieces anew that this machine has, and returns them, in the order of
// pieces, which rise. They count for no machine: whoever placed them gives them up as before.
func (b *Barter) keepHere(ctx context.Context, pieces []core.Score) (kept []core.Score, err error) {
	p, ok := b.c.Partners.Of(b.c.Grid)
	if !ok || !b.holdsHome() {
		return nil, nil
	}
	for batch := range slices.Chunk(pieces, leasePieceMax) {
		in := leaseRequest{Seconds: p.leaseSeconds()}
		for _, piece := range batch {
			switch ok, err := b.holds(b.c.Grid, piece); {
			case err != nil:
				return kept, err
			case ok:
				in.Pieces = append(in.Pieces, core.Piece{Score: piece})
			}
		}
		if len(in.Pieces) == 0 {
			continue
		}
		out, err := b.lease(ctx, b.c.Grid, core.DID{}, in)
		if err != nil {
			return kept, err
		}
		for _, piece := range in.Pieces {
			if !slices.Contains(out.Missing, piece.Score) {
				kept = append(kept, piece.Score)
			}
		}
	}
	return kept, nil
}

// renewHere keeps what a lease to our own household covered that ends now: the machine that placed it may be
// no more, and nobody else would ask.
func (b *Barter) renewHere(ctx context.Context, lease core.Score, until int64) error {
	pieces, err := b.piecesUnder(b.c.Grid, lease)
	if err != nil {
		return err
	}
	var ending []core.Score
	for _, piece := range pieces {
		var r heldRecord
		known, err := b.read(heldKey(b.c.Grid, piece), &r)
		if err != nil {
			return err
		}
		if known && r.Aside == 0 && r.Until <= until {
			ending = append(ending, piece)
		}
	}
	if _, err = b.keepHere(ctx, ending); err != nil && !errors.Is(err, core.ErrAway) {
		return fmt.Errorf("keep pieces of our own: %w", err)
	}
	return err
}
