package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
)

// claim has those who were brought pieces of a name promise to keep them. It returns what they have not got yet, in
// bytes, for the first month.
func (v *Vault) claim(ctx context.Context, name string) (map[core.DID]int64, error) {
	waiting := map[core.DID]int64{}
	return waiting, v.carried(name, func(batch []carrying) error {
		pieces := map[core.DID][]core.Piece{}
		for i := range batch {
			c := &batch[i]
			if err := v.lookUp(c); err != nil {
				return err
			}
			for _, part := range c.record.To {
				for _, n := range c.pieces(part) {
					pieces[part.Agent] = append(pieces[part.Agent], core.Piece{Score: c.segment.Piece(n), Size: int64(c.segment.Size)})
				}
			}
		}
		missing, away, err := v.claimFrom(ctx, pieces)
		if err != nil {
			return err
		}
		var changes []core.Change
		for _, c := range batch {
			more, err := v.claimed(c, waiting, func(part seedPart, piece int) bool {
				return away[part.Agent] || missing[part.Agent][c.segment.Piece(piece)]
			})
			if err != nil {
				return err
			}
			changes = append(changes, more...)
		}
		if len(changes) == 0 {
			return nil
		}
		if err := v.c.Books.Apply(changes...); err != nil {
			return fmt.Errorf("note what was brought: %w", err)
		}
		return nil
	})
}

// claimed returns the changes by which of a segment only those pieces are being carried that awaited names,
// and adds them to waiting. After a month none is.
func (v *Vault) claimed(c carrying, waiting map[core.DID]int64, awaited func(seedPart, int) bool) ([]core.Change, error) {
	left := seedRecord{V: codec.Version, Name: c.record.Name, Time: c.record.Time, Size: c.record.Size}
	for _, part := range c.record.To {
		still := seedPart{Grid: part.Grid, Agent: part.Agent}
		for _, n := range c.pieces(part) {
			if awaited(part, n) && v.c.Clock.Now().Unix()-c.record.Time < carryTime {
				still.Pieces |= 1 << n
				waiting[part.Grid] += int64(c.segment.Size)
			}
		}
		if still.Pieces != 0 {
			left.To = append(left.To, still)
		}
	}
	change, err := left.change(c.id)
	if err != nil || len(c.segment.ID) == 0 {
		return []core.Change{change}, err
	}
	mine, err := v.nowAt(mineKey(c.id)) // or it would be given up before the version is made
	return []core.Change{change, mine}, err
}

// carriedOff ends the carrying of what a version of the name does without, or has from somebody else by now.
func (v *Vault) carriedOff(name string, uses segmentSet) error {
	return v.carried(name, func(batch []carrying) error {
		var done [][]byte
		for _, c := range batch {
			if !uses.has(c.id) {
				done = append(done, c.id)
				continue
			}
			if err := v.lookUp(&c); err != nil {
				return err
			}
			held, err := v.heldOf(c.segment, nil)
			if err != nil {
				return err
			}
			if c.record.pieces()&^held.pieces() == 0 {
				done = append(done, c.id)
			}
		}
		return v.erase(done, seedKey)
	})
}

// lookUp finds the table of a segment of which something is being carried, unless it is not wanted any more.
func (v *Vault) lookUp(c *carrying) error {
	if gone, err := v.given(c.id); gone || err != nil {
		return err
	}
	s, err := v.segment(c.id)
	if errors.Is(err, errNoSegment) {
		return nil
	}
	c.segment = s
	return err
}

// pieces returns those of a part that its segment has.
func (c carrying) pieces(part seedPart) []int {
	return (pieceSet(part.Pieces) & (1<<c.segment.Total() - 1)).list()
}

// claimFrom asks machines to promise pieces. It returns those that they have not, and which machines could not be
// asked. It fails when ctx has ended, or when what they say cannot be written down here.
func (v *Vault) claimFrom(ctx context.Context, pieces map[core.DID][]core.Piece) (missing map[core.DID]map[core.Score]bool, away map[core.DID]bool, err error) {
	missing, away = map[core.DID]map[core.Score]bool{}, map[core.DID]bool{}
	for agent, wanted := range pieces {
		slices.SortFunc(wanted, func(x, y core.Piece) int { return bytes.Compare(x.Score[:], y.Score[:]) })
		lacking, err := v.c.Barter.Claim(ctx, agent, slices.Compact(wanted))
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err := ownFault(map[core.DID]error{agent: err}); err != nil {
			return nil, nil, err
		}
		_, theirs := errors.AsType[*wire.Error](err)
		switch {
		case errors.Is(err, core.ErrNotExist) && !theirs: // nobody waits for one that is no partner's any more
			continue
		case err != nil:
			v.c.Log.Warn("what was carried cannot be asked for", "holder", agent.Short(), "err", err)
			away[agent] = true
		}
		missing[agent] = make(map[core.Score]bool, len(lacking))
		for _, piece := range lacking {
			missing[agent][piece] = true
		}
	}
	return missing, away, nil
}
