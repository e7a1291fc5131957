package grange

import (
	"context"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/service/federation"
	"github.com/grange-grid/grange/service/vault"
)

const (
	// improveEvery is how long after one look at where pieces lie the next is, if nobody comes.
	improveEvery = time.Hour
	// improveSoon is how long after somebody came it is: several may come at once.
	improveSoon = 20 * time.Second
	// improveBudget is how many bytes of pieces are moved in one improveEvery at most.
	improveBudget = 4 << 30
)

// improve moves pieces, within a budget, to where a version survives more: to who joined, from
// who leaves, and in the place of who has been away for 72 hours.
func (a *Agent) improve(ctx context.Context) error {
	left, since := int64(improveBudget), a.c.Clock.Now()
	for {
		if _, err := a.pause(ctx, a.came, improveEvery); err != nil {
			return err
		}
		if err := a.c.Clock.Sleep(ctx, improveSoon); err != nil {
			return err
		}
		if now := a.c.Clock.Now(); now.Sub(since) >= improveEvery || now.Before(since) {
			left, since = improveBudget, now
		}
		for more := left > 0; more && ctx.Err() == nil; {
			progress, done := a.works.begin(a.c.Clock.Now(), "spread", "", nil)
			out, err := a.vault.Improve(ctx, vault.ImproveOptions{Budget: left, Partners: a.standings(), Progress: a.progressOf(progress)})
			done()
			if err != nil {
				if ctx.Err() == nil {
					a.c.Log.Info("pieces are moved later", "err", err)
				}
				break
			}
			if out.Pieces > 0 {
				a.c.Log.Info("pieces were moved to where they are worth more", "pieces", out.Pieces, "bytes", out.Bytes)
			}
			left -= out.Bytes
			more = out.More && out.Bytes > 0 && left > 0
		}
	}
}

// standings tells how each partner stands.
func (a *Agent) standings() map[core.DID]vault.Standing {
	out := map[core.DID]vault.Standing{}
	for _, p := range a.federation.Partners() {
		s := vault.Standing{Leaving: p.Leaving()}
		if a.lost(p) {
			s.Away = max(p.Quiet, 1)
		}
		out[p.Grid] = s
	}
	return out
}

// isAway tells whether a partner is known to be out of reach.
func (a *Agent) isAway(grid core.DID) bool {
	p, ok := a.federation.Partner(grid)
	return ok && a.lost(p)
}

// lost tells whether no machine of a partner is within reach, as far as is known.
func (a *Agent) lost(p federation.Partner) bool {
	for _, agent := range p.Agents {
		if !a.network.lost(agent.DID) {
			return false
		}
	}
	return len(p.Agents) > 0
}

// pause waits for a token, or until d has passed, and then until nothing is to wait. It tells
// whether there was a token.
func (a *Agent) pause(ctx context.Context, token <-chan struct{}, d time.Duration) (woken bool, err error) {
	rest, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := a.c.Clock.AfterFunc(d, cancel)
	defer timer.Stop()
	select {
	case <-token:
		woken = true
	case <-rest.Done():
	}
	for a.Waits() != "" && ctx.Err() == nil {
		_ = a.c.Clock.Sleep(ctx, time.Minute) // ctx tells
	}
	return woken, ctx.Err()
}

// leave leaves a token, unless there is one.
func leave(token chan<- struct{}) {
	select {
	case token <- struct{}{}:
	default:
	}
}
