package federation

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
)

// pageGuard keeps a blob from being dropped while somebody puts it. Two
// households, or the vault's own pages, can have one and the same score.
type pageGuard struct {
	mu       sync.Mutex
	putting  map[core.Score]int
	dropping map[core.Score]struct{}
}

// begin says that a blob is about to be put; false if it is just being dropped.
func (g *pageGuard) begin(score core.Score) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.dropping[score]; ok {
		return false
	}
	if g.putting == nil {
		g.putting = map[core.Score]int{}
	}
	g.putting[score]++
	return true
}

// end says that it was put, and that a record says so.
func (g *pageGuard) end(score core.Score) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.putting[score]--; g.putting[score] == 0 {
		delete(g.putting, score)
	}
}

// claim marks those blobs that nobody is putting as being dropped, and returns them.
func (g *pageGuard) claim(scores []core.Score) []core.Score {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out []core.Score
	for _, s := range scores {
		_, taken := g.dropping[s]
		if taken || g.putting[s] > 0 {
			continue
		}
		if g.dropping == nil {
			g.dropping = map[core.Score]struct{}{}
		}
		g.dropping[s] = struct{}{}
		out = append(out, s)
	}
	return out
}

func (g *pageGuard) release(scores []core.Score) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range scores {
		delete(g.dropping, s)
	}
}

// dropPages forgets records of pages, by score, and deletes those blobs that nothing else
// needs. The blobs go first: a record without a blob is dropped again later, a blob
// without a record never. It returns the scores whose records went. The caller
// has the turn of whatever the records belong to.
func (f *Federation) dropPages(ctx context.Context, records map[core.Score][]byte) ([]core.Score, error) {
	scores := make([]core.Score, 0, len(records))
	for s := range records {
		scores = append(scores, s)
	}
	scores = f.pages.claim(scores)
	defer f.pages.release(scores)
	var gone []core.Score
	var c changes
	for _, s := range scores {
		needed, err := f.needed(s, records[s])
		if err != nil {
			return nil, err
		}
		if !needed {
			gone = append(gone, s)
		}
		c.drop(records[s])
	}
	if len(gone) > 0 {
		if err := f.c.Blobs.Delete(ctx, gone...); err != nil {
			return nil, fmt.Errorf("drop %d pages: %w", len(gone), err)
		}
	}
	return scores, c.apply(f.c.Books)
}

// needed tells whether any record but one, or another service, needs a blob.
func (f *Federation) needed(score core.Score, but []byte) (bool, error) {
	if f.c.Needed(score) {
		return true, nil
	}
	return f.named(score, but)
}

// NeedsBlob tells whether a record of federation's names a blob: package grange
// lets the other services ask before they delete one.
func (f *Federation) NeedsBlob(score core.Score) (bool, error) { return f.named(score, nil) }

func (f *Federation) named(score core.Score, but []byte) (bool, error) {
	prefixes := [][]byte{key(keyOwnPage, score[:])}
	f.mu.Lock()
	for grid := range f.shelves {
		prefixes = append(prefixes, key(keyPage, grid[:], score[:]))
	}
	f.mu.Unlock()
	for _, prefix := range prefixes {
		for c, err := range f.c.Books.Scan(prefix, nil) {
			if err != nil {
				return false, fmt.Errorf("who needs page %s: %w", score.Short(), err)
			}
			if string(c.Key) != string(but) {
				return true, nil
			}
		}
	}
	return false, nil
}

// sweep drops the pages that were sent and that no head named: all of them if
// starting, because whoever sent them has to begin again; else those that have
// waited for sentTime after the last one came. And those that were set aside long
// enough ago. It forgets guests too.
func (f *Federation) sweep(ctx context.Context, starting bool) error {
	f.mu.Lock()
	grids := make([]core.DID, 0, len(f.shelves))
	for grid := range f.shelves {
		grids = append(grids, grid)
	}
	f.mu.Unlock()
	for _, grid := range grids {
		if err := f.sweepShelf(ctx, grid, starting); err != nil {
			return fmt.Errorf("drop pages of %s: %w", grid.Short(), err)
		}
	}
	return f.forgetGuests(ctx)
}

func (f *Federation) sweepShelf(ctx context.Context, grid core.DID, starting bool) error {
	s := f.shelfOf(grid)
	if err := s.turn.take(ctx); err != nil {
		return err
	}
	defer s.turn.give()
	f.mu.Lock()
	idle := starting && s.sent == 0 || f.now()-s.sent >= int64(sentTime/time.Second)
	f.mu.Unlock()
	if idle {
		if err := f.shed(ctx, s, grid, math.MaxInt, func(r pageRecord) bool { return r.Sent != 0 }); err != nil {
			return err
		}
	}
	return f.reclaim(ctx, s, grid)
}

// shed drops those pages of a shelf that dead picks, at most so many. The caller has
// the shelf's turn.
func (f *Federation) shed(ctx context.Context, s *shelf, grid core.DID, most int, dead func(pageRecord) bool) error {
	sizes := map[string]pageRecord{}
	// A page may have been sent by two machines: one of them a pass, so that the
	// other's record counts.
	for {
		batch := map[core.Score][]byte{}
		for e, err := range scan[pageRecord](f.c.Books, key(keyPage, grid[:]), didSize+core.ScoreSize, recordSizeMax) {
			if err != nil {
				return err
			}
			score := core.Score(e.rest[:core.ScoreSize])
			if len(sizes) < most && dead(e.value) && batch[score] == nil {
				batch[score] = e.key
				sizes[string(e.key)] = e.value
			}
		}
		if len(batch) == 0 {
			return nil
		}
		gone, err := f.dropPages(ctx, batch)
		f.mu.Lock()
		if err == nil {
			for _, score := range gone {
				s.count(sizes[string(batch[score])], -1)
			}
		}
		f.mu.Unlock()
		if err != nil || len(gone) == 0 {
			return err
		}
	}
}
