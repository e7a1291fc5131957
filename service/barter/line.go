package barter

import (
	"context"

	"github.com/grange-grid/grange/core"
)

// lockLine waits until nothing else is leased from a machine, or released to it, and keeps it
// so until unlock: both sides then write down the same events in the same order. It is held
// across a call on purpose; settling and mu may be taken under it, not the other way. It fails
// only when ctx has ended.
func (b *Barter) lockLine(ctx context.Context, agent core.DID) (unlock func(), err error) {
	b.mu.Lock()
	turn := b.lines[agent]
	if turn == nil {
		turn = make(chan struct{}, 1)
		b.lines[agent] = turn
	}
	b.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
