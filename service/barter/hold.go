package barter

import (
	"context"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/proof"
)

const daySeconds = 24 * 60 * 60

// keep stores one piece under a grant. It is durable when keep returns nil.
func (b *Barter) keep(ctx context.Context, owner core.DID, id [grantIDSize]byte, blob core.Blob) error {
	switch {
	case len(blob.Data) == 0: // nothing to prove later
		return fmt.Errorf("a piece without bytes: %w", core.ErrInvalid)
	case core.ScoreOf(blob.Data) != blob.Score:
		return fmt.Errorf("the body of %d bytes does not hash to the piece %s: %w", len(blob.Data), blob.Score, core.ErrInvalid)
	}
	known, err := b.holds(owner, blob.Score)
	if err != nil {
		return err
	}
	in, err := b.reserve(owner, id, blob.Score, int64(len(blob.Data)), known)
	if err != nil {
		return err
	}
	t, err := b.turn(ctx, owner, in.grant.haste, in.size)
	if err == nil {
		err = b.c.Blobs.Put(ctx, blob)
		t.done()
	}
	if ended := b.arrive(in, err == nil); err == nil {
		return ended
	}
	return fmt.Errorf("keep piece %s: %w", blob.Score.Short(), err)
}

// holds tells whether a piece is here under a lease of owner's.
func (b *Barter) holds(owner core.DID, piece core.Score) (bool, error) {
	return b.read(heldKey(owner, piece), &heldRecord{})
}

// serve returns a piece of owner's, verified. buf, which is called when the piece has its turn at the disk, returns
// where it goes.
func (b *Barter) serve(ctx context.Context, owner core.DID, h haste, piece core.Score, buf func() []byte) ([]byte, error) {
	var r heldRecord
	ok, err := b.read(heldKey(owner, piece), &r)
	if err != nil {
		return nil, err
	}
	if !ok { // be it another household's or nobody's: the answer is the same
		return nil, fmt.Errorf("piece %s: %w", piece, core.ErrNotExist)
	}
	t, err := b.turn(ctx, owner, h, r.Size)
	if err != nil {
		return nil, fmt.Errorf("piece %s: %w", piece, err)
	}
	defer t.done()
	data, err := b.c.Blobs.Get(ctx, piece, buf())
	if err != nil {
		return nil, fmt.Errorf("piece %s: %w", piece, err)
	}
	return data, nil
}

// proveAll answers challenges in order. A household that asks for more than provesMax of
// these at once waits for itself.
func (b *Barter) proveAll(ctx context.Context, owner core.DID, challenges []challenge) ([]proofAnswer, error) {
	out := make([]proofAnswer, len(challenges))
	if len(challenges) == 0 {
		return out, nil
	}
	b.mu.Lock()
	turns := b.account(owner).proving
	b.mu.Unlock()
	select {
	case turns <- struct{}{}:
		defer func() { <-turns }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	buf := b.borrow()
	defer b.giveBack(buf)
	for i, ch := range challenges {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out[i] = b.prove(ctx, owner, ch, *buf)
	}
	return out, nil
}

// prove answers one challenge. buf is scratch space.
func (b *Barter) prove(ctx context.Context, owner core.DID, ch challenge, buf []byte) proofAnswer {
	data, err := b.serve(ctx, owner, hasteNormal, ch.Score, func() []byte { return buf[:0] })
	switch {
	case errors.Is(err, core.ErrNotExist):
		return proofAnswer{State: core.PieceMissing}
	case errors.Is(err, core.ErrCorrupt):
		b.c.Log.Warn("a piece has rotted", "piece", ch.Score.Short(), "err", err)
		return proofAnswer{State: core.PieceCorrupt}
	case err != nil:
		b.c.Log.Warn("a piece cannot be read", "piece", ch.Score.Short(), "err", err)
		return proofAnswer{State: core.PieceAway}
	}
	slice, err := proof.Prove(data, ch.Block)
	if err != nil { // no such block: the piece is not what the asker thinks
		return proofAnswer{State: core.PieceMissing}
	}
	return proofAnswer{State: core.PieceOK, Slice: slice}
}

// borrow returns a buffer that has room for any piece.
func (b *Barter) borrow() *[]byte { return b.buffers.Get().(*[]byte) }

func (b *Barter) giveBack(buf *[]byte) { b.buffers.Put(buf) }
