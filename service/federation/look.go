package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// Greet greets a partner now, as Run does from time to time. It is no error that some of its
// machines are away. With our own household it greets our other machines; where we are a guest, it asks for a sign of life.
// Errors: core.ErrUnreachable.
func (f *Federation) Greet(ctx context.Context, grid core.DID) error {
	if _, guest := f.Errand(grid); guest {
		return f.greetErrand(ctx, grid)
	}
	if grid != f.self.Grid {
		return f.visit(ctx, grid)
	}
	var errs []error
	for _, agent := range f.others() {
		errs = append(errs, f.visitOwn(ctx, agent))
	}
	if slices.Contains(errs, nil) {
		return nil
	}
	return errors.Join(errs...)
}

// greetErrand asks a household where we are a guest for a sign of life, by handing it the newest charter of ours.
func (f *Federation) greetErrand(ctx context.Context, grid core.DID) error {
	err := fmt.Errorf("%s: %w", grid.Short(), core.ErrNotExist)
	f.mu.Lock()
	own := []identity.Signed{f.own.newest()}
	f.mu.Unlock()
	for _, agent := range f.machines(grid) {
		f.Enter(ctx, agent, false)
		if _, err = callCharter(ctx, f.c, agent, own); err == nil {
			f.Saw(agent)
			return nil
		}
	}
	return f.Heed(ctx, err)
}

// ClockAhead returns how far a partner's clock was ahead of ours when it was last heard, to a minute
// or so; ok is false if it was not heard since this machine started, or since our clock has jumped.
func (f *Federation) ClockAhead(grid core.DID) (ahead time.Duration, ok bool) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	c, ok := f.clocks[grid]
	if !ok || f.jumped(now) {
		return 0, false
	}
	return time.Duration(c.said+f.ran-c.ran-now) * time.Second, true
}
