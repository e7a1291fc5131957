package barter

import (
	"context"
	"fmt"
	"maps"

	"github.com/grange-grid/grange/core"
)

// GiveUpRemoved releases what lies at machines that their households list no more, as after a recovery
// from a dead disk: it is lost to us, and has to be made anew. It looks only when who is listed has changed.
func (b *Barter) GiveUpRemoved(ctx context.Context) error {
	listed := b.agents()
	b.mu.Lock()
	same := b.listed != nil && maps.EqualFunc(b.listed, listed, func(bool, Partner) bool { return true })
	b.mu.Unlock()
	if same {
		return nil
	}
	var gone []core.Holding
	for c, err := range b.c.Books.Scan(placedPrefix, nil) {
		if err != nil {
			return fmt.Errorf("read where our pieces lie: %w", err)
		}
		h, r, err := parsePlaced(c)
		if err != nil {
			return err
		}
		if _, there := listed[h.Agent]; there || r.Released != 0 {
			continue
		}
		if p, partner := b.c.Partners.Of(h.Grid); partner && len(p.Agents) > 0 {
			gone = append(gone, h)
		}
	}
	if err := b.Release(ctx, gone); err != nil {
		return fmt.Errorf("give up what lies at machines that were removed: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listed = make(map[core.DID]bool, len(listed))
	for agent := range listed {
		b.listed[agent] = true
	}
	return nil
}
