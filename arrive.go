package grange

import (
	"context"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// arrivals notices when a partner's machine, or another of ours, new or away until now, has answered us
// or called: then what waited for it can go on. A machine within reach need not know yet
// that it is a partner's, so a path to it says too little.
type arrivals struct {
	gate wire.Gate
	came func()

	mu   sync.Mutex
	here map[core.DID]bool
}

// Classify is the gate's.
func (a *arrivals) Classify(ctx context.Context, agent core.DID) (wire.Caller, error) {
	caller, err := a.gate.Classify(ctx, agent)
	if err == nil && caller.Class&(wire.Partner|wire.Own) != 0 {
		a.note(agent)
	}
	return caller, err
}

func (a *arrivals) note(agent core.DID) {
	a.mu.Lock()
	first := !a.here[agent]
	a.here[agent] = true
	a.mu.Unlock()
	if first {
		a.came()
	}
}

func (a *arrivals) gone(agent core.DID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.here, agent)
}

// arrived has done what waited for a partner.
func (a *Agent) arrived() {
	a.keeper.Retry()
	leave(a.came)
}

// welcome tells whoever listens which partners have joined, and has stored what waited
// for one.
func (a *Agent) welcome(ctx context.Context) error {
	known := map[core.DID]bool{}
	for first := true; ; first = false {
		news := a.federation.News()
		for _, p := range a.federation.Partners() {
			if !known[p.Grid] && !first {
				a.events.send(Event{Time: a.c.Clock.Now(), Kind: "joined", Partner: p.Name, Text: p.Name + " joined"})
			}
			known[p.Grid] = true
		}
		if !first {
			a.keeper.Retry()
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
