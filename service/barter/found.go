package barter

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// noteFound writes down that there may be pieces which their holders have aside, and nobody here knows why.
func (b *Barter) noteFound() error {
	b.markFound()
	c, err := change(foundKey, wholeRecord{V: codec.Version})
	if err != nil {
		return err
	}
	return b.c.Books.Apply(c)
}

func (b *Barter) markFound() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.foundMore = true
}

// Found tells whether Learn has come upon pieces that their holders have aside, or a holder has raised an alarm. They may
// have been given up before this machine was lost, or by whoever has its key: who knows what is needed has that
// renewed, and calls GiveUpFound.
func (b *Barter) Found() (bool, error) {
	b.mu.Lock()
	b.foundMore = false
	b.mu.Unlock()
	return b.has(foundKey)
}

// GiveUpFound writes down that what Found told of and was not renewed since is released. What no segment
// table knows is kept. Where more was found since, of which nobody knows whether it is needed, it does nothing: Found tells of that.
func (b *Barter) GiveUpFound() error {
	b.settling.Lock()
	defer b.settling.Unlock()
	b.mu.Lock()
	more := b.foundMore
	b.mu.Unlock()
	if more {
		return nil
	}
	now := b.c.Clock.Now().Unix()
	changes, added := []core.Change{{Key: foundKey}}, tally{}
	for c, err := range b.c.Books.Scan(placedPrefix, nil) {
		if err != nil {
			return fmt.Errorf("read where our pieces lie: %w", err)
		}
		h, r, err := parsePlaced(c)
		if err != nil {
			return err
		}
		if !r.Aside || r.Released != 0 || r.Size == 0 {
			continue
		}
		added.add(r.Grid, -1, -r.Size)
		more, err := b.remember(h.Score, h.Agent, r, now+b.asideSeconds(r.Grid, true))
		if err != nil {
			return err
		}
		changes = append(changes, more...)
	}
	return b.applyPlaced(changes, added)
}
