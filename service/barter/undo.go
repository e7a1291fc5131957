package barter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
)

// Renew brings pieces back wherever they were released to, and asks every holder of them for a
// new lease, also where our books say that nothing was released: whoever stole our key may have
// done so. missing are those that nobody has any more. The error says who could not be asked for what
// had been released there.
func (b *Barter) Renew(ctx context.Context, pieces []core.Score) (missing []core.Score, err error) {
	wanted := slices.Clone(pieces)
	slices.SortFunc(wanted, compareScores)
	wanted = slices.Compact(wanted)
	byAgent := map[core.DID][]core.Piece{} // rising
	for batch := range slices.Chunk(wanted, leasePieceMax) {
		if err := b.unqueue(batch, byAgent); err != nil {
			return nil, err
		}
	}
	here, err := b.keepHere(ctx, wanted)
	if err != nil {
		return nil, err
	}
	partners := b.agents()
	var failures []error
	have, away := map[core.Score]bool{}, map[core.Score]bool{}
	for _, piece := range here {
		have[piece] = true
	}
	for agent, at := range byAgent {
		p, ok := partners[agent]
		if !ok {
			continue
		}
		for batch := range slices.Chunk(at, leasePieceMax) {
			lost, err := b.renewAt(ctx, p, agent, batch, true)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				failures = append(failures, fmt.Errorf("renew at %s: %w", p.Name, err))
			}
			for _, piece := range batch {
				if err != nil {
					away[piece.Score] = true
				} else if !slices.Contains(lost, piece.Score) {
					have[piece.Score] = true
				}
			}
		}
	}
	waiting := false // for somebody who has what was released
	for _, piece := range wanted {
		switch {
		case have[piece]:
		case !away[piece]:
			missing = append(missing, piece)
		case !waiting:
			held, err := b.Held(piece)
			if err != nil {
				return nil, err
			}
			waiting = len(held) == 0
		}
	}
	if err := errors.Join(failures...); waiting || err == nil {
		return missing, err
	}
	b.c.Log.Info("not all could be asked, and none of them had been given anything back", "err", errors.Join(failures...))
	return missing, nil
}

// agents returns the machines of all partners.
func (b *Barter) agents() map[core.DID]Partner {
	out := map[core.DID]Partner{}
	for _, p := range b.c.Partners.All() {
		for _, agent := range p.Agents {
			out[agent] = p
		}
	}
	return out
}

// unqueue takes back those releases of pieces that have not been signed, and adds where the
// pieces lie, or lay, to byAgent.
func (b *Barter) unqueue(pieces []core.Score, byAgent map[core.DID][]core.Piece) error {
	b.settling.Lock()
	defer b.settling.Unlock()
	var changes []core.Change
	added := tally{}
	for _, piece := range pieces {
		for c, err := range b.c.Books.Scan(join(placedPrefix, piece[:]), nil) {
			if err != nil {
				return fmt.Errorf("look up piece %s: %w", piece.Short(), err)
			}
			h, r, err := parsePlaced(c)
			if err != nil {
				return err
			}
			byAgent[h.Agent] = append(byAgent[h.Agent], core.Piece{Score: piece, Size: r.Size})
			if r.Released == 0 {
				continue
			}
			queued, err := b.has(queueKey(h.Agent, piece))
			if err != nil {
				return err
			}
			if !queued {
				continue
			}
			more, err := b.remember(piece, h.Agent, r, 0)
			if err != nil {
				return err
			}
			changes = append(append(changes, more...), core.Change{Key: queueKey(h.Agent, piece)})
			added.add(r.Grid, 1, r.Size)
		}
	}
	return b.applyPlaced(changes, added)
}
