package barter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
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
	for l := range p.all() {
		g.Go(func() {
			if err := l.commit(ctx, done); err != nil {
				mu.Lock()
				failed[l.partner.Grid] = errors.Join(failed[l.partner.Grid], err)
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
		err := l.persist(ctx, busyGiveUp, func() (err error) {
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
