package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// records returns the tables of segments; those that cannot be read are left out.
func (c *collecting) records(ids [][]byte) ([]manifest.Segment, error) {
	out := make([]manifest.Segment, 0, len(ids))
	for _, id := range ids {
		s, err := c.v.segment(id)
		if errors.Is(err, errNoSegment) {
			c.v.c.Log.Warn("a segment cannot be given up", "err", err)
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// held returns the holdings of a segment's pieces, but for those that are live.
func (c *collecting) held(s manifest.Segment, live map[core.Score]bool) ([]core.Holding, error) {
	var out []core.Holding
	for _, piece := range scores(s) {
		if live[piece] {
			continue
		}
		held, err := c.v.c.Barter.Held(piece)
		if err != nil {
			return nil, err
		}
		out = append(out, held...)
	}
	return out, nil
}

// free gives up all pieces of segments but such as are live in others.
func (c *collecting) free(ctx context.Context, segments []manifest.Segment) error {
	live, err := c.alsoLive(ctx, segments)
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(segments, collectBatch) {
		var all []core.Holding
		for _, s := range batch {
			held, err := c.held(s, live)
			if err != nil {
				return err
			}
			all = append(all, held...)
			c.out.Bytes += int64(s.Size) * int64(len(held))
		}
		if err := c.v.c.Barter.Release(ctx, all); err != nil {
			return fmt.Errorf("give up pieces: %w", err)
		}
	}
	return nil
}

// abandoned gives up what was placed of segments that got no record: the put stopped before, or
// too few of their pieces were leased. No put is under way.
func (c *collecting) abandoned(ctx context.Context) error {
	for {
		var segments []manifest.Segment
		var done []core.Change
		for r, err := range c.v.c.Books.Scan(openPrefix, nil) {
			if err != nil {
				return fmt.Errorf("read what was being placed: %w", err)
			}
			done = append(done, core.Change{Key: r.Key})
			if s, err := manifest.DecodeSegment(r.Value); err == nil && !c.known.has(s.ID) {
				segments = append(segments, s)
			}
			if len(done) == sweepBatch {
				break
			}
		}
		if len(done) == 0 {
			return nil
		}
		if err := c.free(ctx, segments); err != nil {
			return err
		}
		if err := c.v.c.Books.Apply(done...); err != nil {
			return fmt.Errorf("forget what was being placed: %w", err)
		}
	}
}

// alsoLive returns those pieces of a few segments that are pieces of others too that are not given
// up. There are none in an honest state; but a table that lies must not cost a piece.
func (c *collecting) alsoLive(ctx context.Context, segments []manifest.Segment) (map[core.Score]bool, error) {
	pieces := map[core.Score]bool{}
	for _, s := range segments {
		for _, piece := range scores(s) {
			pieces[piece] = false
		}
	}
	for r, err := range c.v.c.Books.Scan(stateKey([]byte(manifest.SegmentPrefix)), nil) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("read segment tables: %w", err)
		}
		s, err := manifest.DecodeSegment(r.Value)
		if err != nil || c.gone.has(s.ID) {
			continue
		}
		for _, piece := range scores(s) {
			if _, ours := pieces[piece]; ours {
				pieces[piece] = true
			}
		}
	}
	return pieces, nil
}
