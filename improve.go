package grange

import (
	"context"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/service/barter"
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
			if err := a.barter.GiveUpRemoved(ctx); err != nil && ctx.Err() == nil {
				a.c.Log.Warn("give up what is lost", "err", err)
			}
			partners, machines := a.standings()
			progress, done := a.works.begin(a.c.Clock.Now(), "spread", "", nil)
			out, err := a.vault.Improve(ctx, vault.ImproveOptions{Budget: left, Partners: partners, Machines: machines, Progress: a.progressOf(progress)})
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

// standings tells how each partner stands, our own household among them, and each other machine of ours.
func (a *Agent) standings() (out, machines map[core.DID]vault.Standing) {
	out, machines = map[core.DID]vault.Standing{}, map[core.DID]vault.Standing{}
	for _, p := range a.federation.Partners() {
		s := vault.Standing{Leaving: p.Leaving()}
		if a.lost(agentsOf(p)) {
			s.Away = max(p.Quiet, 1)
		}
		out[p.Grid] = s
	}
	for _, e := range a.federation.Errands() {
		s := vault.Standing{Leaving: e.Leaving}
		if a.lost(e.Agents) {
			s.Away = max(e.Quiet, 1)
		}
		out[e.Grid] = s
	}
	list, _, err := a.federation.Machines()
	if err != nil {
		a.c.Log.Warn("look at the machines of this household", "err", err)
	}
	home := a.federation.Self().Grid
	for _, m := range list {
		if m.Self {
			continue
		}
		s := vault.Standing{}
		if a.network.lost(m.Agent) {
			s.Away = max(m.Quiet, 1)
		}
		machines[m.Agent] = s
		if one, known := out[home]; !known || s.Away < one.Away {
			out[home] = s
		}
	}
	return out, machines
}

// isAway tells whether a partner, somebody with whom we are a guest, or another machine of ours, is known to be out of reach.
func (a *Agent) isAway(who core.DID) bool {
	if a.federation.IsOurs(who) {
		return a.network.lost(who)
	}
	p, ok := a.partners().Of(who)
	return ok && a.lost(p.Agents)
}

// holders returns the partners, and our own household if it has other machines than this one.
func (a *Agent) holders() []federation.Partner {
	out := a.federation.Partners()
	if home := a.federation.Home(); len(home.Agents) > 1 {
		home.Name = homeName
		out = append(out, home)
	}
	return out
}

// places returns where pieces of ours may lie: the holders, and where a voucher lets us in.
func (a *Agent) places() []barter.Partner {
	return slices.DeleteFunc(a.partners().All(), func(p barter.Partner) bool {
		return p.Grid == a.federation.Self().Grid && len(p.Agents) < 2
	})
}

// lost tells whether none of a household's machines is within reach, as far as is known.
func (a *Agent) lost(agents []core.DID) bool {
	return len(agents) > 0 && !slices.ContainsFunc(agents, func(agent core.DID) bool { return !a.network.lost(agent) })
}

func agentsOf(p federation.Partner) (out []core.DID) {
	for _, agent := range p.Agents {
		out = append(out, agent.DID)
	}
	return out
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
