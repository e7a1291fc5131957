package barter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// Commit turns what has been stored so far into leases, and records them. done
// says that nothing more will come, so that the holders can free what they
// reserved. The errors are by household: what its pieces came to is unknown, and
// Held tells what is leased. What was not leased because a holder did not answer is
// tried again by the next Commit.
func (p *Placement) Commit(ctx context.Context, done bool) map[core.DID]error {
	var mu sync.Mutex
	failed := map[core.DID]error{}
	var g sync.WaitGroup
	for grid, l := range p.lanes {
		g.Go(func() {
			if err := l.commit(ctx, done); err != nil {
				mu.Lock()
				failed[grid] = err
				mu.Unlock()
			}
		})
	}
	g.Wait()
	return failed
}

// commit has the pending pieces leased, and gives back rooms that are used up.
func (l *lane) commit(ctx context.Context, done bool) error {
	l.mu.Lock()
	pending := l.pending
	l.pending = nil
	l.mu.Unlock()
	if err := l.b.isDown(l.agent); err != nil && !done { // the last time is worth a try
		return l.putBack(pending, err)
	}
	slices.SortFunc(pending, func(a, b pendingPiece) int { return compareScores(a.piece.Score, b.piece.Score) })
	var lost, all int
	for {
		batch := pending[:min(len(pending), leasePieceMax)]
		var closing [][]byte
		if len(batch) == len(pending) {
			closing = l.retire(done)
		}
		if len(batch) == 0 && len(closing) == 0 {
			break
		}
		var missing []core.Score
		err := l.persist(ctx, func() (err error) {
			missing, err = l.b.takeLease(ctx, l.partner, l.agent, piecesOf(batch), closing, true)
			return err
		})
		if err != nil && len(batch) == 0 { // an hour ends those rooms as well
			l.b.c.Log.Info("a grant could not be given back", "holder", l.partner.Name, "err", err)
			break
		}
		if err != nil {
			return l.putBack(pending, err)
		}
		for _, q := range batch {
			l.free(q.room)
		}
		lost, all, pending = lost+len(missing), all+len(batch), pending[len(batch):]
	}
	if lost > 0 {
		return fmt.Errorf("%s lost %d of %d pieces before the lease: %w", l.partner.Name, lost, all, core.ErrPartly)
	}
	return nil
}

// putBack leaves pieces to the next commit, and returns why.
func (l *lane) putBack(pending []pendingPiece, err error) error {
	if len(pending) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, pending...)
	return err
}

// retire takes away those rooms, at most as many as one request can name, that no
// piece needs any more: all if done, else those behind the newest.
func (l *lane) retire(done bool) [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var ids [][]byte
	newest := len(l.rooms) - 1
	kept := l.rooms[:0]
	for i, r := range l.rooms {
		if len(ids) == grantsMax || !done && (i == newest || r.open > 0) {
			kept = append(kept, r)
			continue
		}
		r.left = 0
		ids = append(ids, r.id)
	}
	l.rooms = kept
	return ids
}

// piecesOf returns the pieces of a sorted batch, each once.
func piecesOf(batch []pendingPiece) []core.Piece {
	out := make([]core.Piece, len(batch))
	for i, q := range batch {
		out[i] = q.piece
	}
	return slices.Compact(out)
}

// takeLease asks a holder for a lease over pieces it has, which rise, and to end grants; it checks
// the lease and records it. It returns those that the holder has not. back says that what was
// released there is wanted again; otherwise it is left out.
func (b *Barter) takeLease(ctx context.Context, p Partner, agent core.DID, pieces []core.Piece, closing [][]byte, back bool) (missing []core.Score, err error) {
	unlock, err := b.lockLine(ctx, agent)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if len(pieces) > 0 { // or the holder would take the release for a later one
		if err := b.resend(ctx, p, agent); err != nil && (ctx.Err() != nil || errors.Is(err, core.ErrUnreachable)) {
			return nil, fmt.Errorf("release to %s: %w", p.Name, err)
		}
	}
	if !back {
		if pieces, err = b.unreleased(agent, pieces); err != nil || len(pieces) == 0 {
			return nil, err
		}
	}
	var out leaseAnswer
	in := leaseRequest{Pieces: pieces, Seconds: p.leaseSeconds(), Close: closing}
	if err := b.c.Wire.Call(ctx, agent, "POST", "/leases", in, &out); err != nil {
		return nil, fmt.Errorf("lease from %s: %w", p.Name, err)
	}
	var lease pact.Lease
	if len(pieces) > 0 && out.Lease != nil {
		if lease, err = b.checkLease(*out.Lease, p, agent); err != nil {
			return nil, fmt.Errorf("lease from %s: %w", p.Name, err)
		}
	}
	leased := make([]core.Piece, 0, len(lease.Pieces))
	var size int64
	sized := true
	for _, piece := range pieces {
		if _, ok := slices.BinarySearchFunc(lease.Pieces, piece.Score, compareScores); !ok {
			missing = append(missing, piece.Score)
			continue
		}
		leased = append(leased, piece)
		size += piece.Size
		sized = sized && piece.Size > 0
	}
	switch {
	case len(leased) < len(lease.Pieces):
		return nil, fmt.Errorf("lease from %s: it covers pieces that were not named: %w", p.Name, core.ErrInvalid)
	case sized && uint64(size) != lease.Bytes:
		return nil, fmt.Errorf("lease from %s: it says %d bytes, not %d: %w", p.Name, lease.Bytes, size, core.ErrInvalid)
	case len(leased) == 0:
		return missing, nil
	}
	return missing, b.recordPlaced(*out.Lease, lease, leased, back)
}

// unreleased leaves out pieces that were released to a machine.
func (b *Barter) unreleased(agent core.DID, pieces []core.Piece) ([]core.Piece, error) {
	out := make([]core.Piece, 0, len(pieces))
	for _, piece := range pieces {
		var r placedRecord
		if _, err := b.read(placedKey(piece.Score, agent), &r); err != nil {
			return nil, err
		}
		if r.Released == 0 {
			out = append(out, piece)
		}
	}
	return out, nil
}

// errShort says that a lease runs for less than the pact says.
var errShort = errors.New("it ends too soon")

// checkLease opens a lease that agent of partner p is said to have given us just now.
func (b *Barter) checkLease(s identity.Signed, p Partner, agent core.DID) (pact.Lease, error) {
	lease, err := b.openLease(s, p, agent)
	if err != nil {
		return lease, err
	}
	if lease.Pact != p.Pact {
		return lease, fmt.Errorf("it is under another pact: %w", core.ErrInvalid)
	}
	// Clocks differ, and a holder may leave a date as it is that is not far: half is plenty.
	if left := lease.Until - b.c.Clock.Now().Unix(); left < p.leaseSeconds()/2 {
		return lease, fmt.Errorf("%w, in %d seconds of %d: %w", errShort, left, p.leaseSeconds(), core.ErrInvalid)
	}
	return lease, nil
}

// openLease opens a lease that agent of partner p is said to have given us once.
func (b *Barter) openLease(s identity.Signed, p Partner, agent core.DID) (pact.Lease, error) {
	lease, err := pact.OpenLease(s)
	if err != nil {
		return lease, err
	}
	if lease.Holder != agent || lease.Grid != p.Grid || lease.Owner != b.c.Grid {
		return lease, fmt.Errorf("it is of other parties: %w", core.ErrInvalid)
	}
	return lease, nil
}
