package vault

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
)

// opener makes bytes of pieces: what it takes to read, and no more.
type opener struct {
	pieces Pieces
	name   func(core.DID) string
	log    *slog.Logger
	packer *chunk.Packer

	mu     sync.Mutex
	coders map[erasure.Shape]*erasure.Coder
}

func newOpener(p Pieces, name func(core.DID) string, log *slog.Logger) *opener {
	return &opener{pieces: p, name: name, log: log, packer: chunk.NewPacker(), coders: map[erasure.Shape]*erasure.Coder{}}
}

// coder returns the coder of a shape; making one inverts a matrix.
func (o *opener) coder(s erasure.Shape) (*erasure.Coder, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.coders[s]; c != nil {
		return c, nil
	}
	c, err := erasure.New(s)
	if err != nil {
		return nil, err
	}
	o.coders[s] = c
	return c, nil
}

// make makes those pieces in want that are not there, and checks that they are what they should be:
// a table that is wrong shows only here.
func (o *opener) make(s manifest.Segment, pieces [][]byte, want []int) error {
	missing := make([]bool, s.Total())
	for _, i := range want {
		missing[i] = pieces[i] == nil
	}
	coder, err := o.coder(s.Shape())
	if err != nil {
		return err
	}
	if err := coder.Rebuild(pieces, missing); err != nil {
		return fmt.Errorf("rebuild segment %x: %w", s.ID, err)
	}
	for i, made := range missing {
		if made && core.ScoreOf(pieces[i]) != s.Piece(i) {
			return fmt.Errorf("segment %x: piece %d as made again is not the piece: %w", s.ID, i, core.ErrCorrupt)
		}
	}
	return nil
}

const fetchStreams = 4 // pieces of one segment on their way at once

// fetchAny fetches pieces of a segment until there are k, data first, of those in
// held. When too few come it tries all, and also holders that did not answer a moment ago.
// Errors: *TooFew.
func (o *opener) fetchAny(ctx context.Context, s manifest.Segment, pieces [][]byte, held pieceSet) error {
	failures := map[int]error{}
	got := 0
	for _, data := range pieces {
		if data != nil {
			got++
		}
	}
	for _, now := range []bool{false, true} {
		clear(failures)
		next := 0
		for got < int(s.K) && next < len(pieces) {
			var batch []int
			for ; next < len(pieces) && len(batch) < int(s.K)-got; next++ {
				if pieces[next] == nil && (now || held.has(next)) {
					batch = append(batch, next)
				}
			}
			errs := o.fetchBatch(ctx, s, batch, pieces, now)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			maps.Copy(failures, errs)
			got += len(batch) - len(errs)
		}
		if got >= int(s.K) {
			return nil
		}
	}
	return o.tooFew(s, got, failures)
}

// fetchBatch fetches pieces by index into pieces, and returns an error for each
// that did not come.
func (o *opener) fetchBatch(ctx context.Context, s manifest.Segment, batch []int, pieces [][]byte, now bool) map[int]error {
	errs := make([]error, len(batch))
	var g errgroup.Group
	g.SetLimit(fetchStreams)
	for n, i := range batch {
		g.Go(func() error {
			pieces[i], errs[n] = o.fetch(ctx, s, i, now)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	failures := map[int]error{}
	for n, i := range batch {
		if errs[n] != nil {
			failures[i] = errs[n]
		}
	}
	return failures
}

// fetch returns piece i of a segment, nil with an error.
func (o *opener) fetch(ctx context.Context, s manifest.Segment, i int, now bool) ([]byte, error) {
	data, err := o.pieces.Fetch(ctx, core.Piece{Score: s.Piece(i), Size: int64(s.Size)}, nil, now)
	if err != nil {
		return nil, err
	}
	if uint64(len(data)) != s.Size {
		return nil, fmt.Errorf("piece %s of %d bytes, not %d: %w", s.Piece(i).Short(), len(data), s.Size, core.ErrCorrupt)
	}
	return data, nil
}
