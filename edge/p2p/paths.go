package p2p

import (
	"context"
	"iter"
	"sync"

	"github.com/grange-grid/grange/core"
)

// pathEventsMax is how many events wait for a slow reader.
const pathEventsMax = 256

// paths counts the connections to each peer and tells who reads of the first and the
// last.
type paths struct {
	mu      sync.Mutex
	conns   map[core.DID]int
	readers map[*reader]struct{}
	done    chan struct{}
}

type reader struct {
	events []core.PathEvent
	wake   chan struct{}
}

func newPaths() *paths {
	return &paths{conns: make(map[core.DID]int), readers: make(map[*reader]struct{}), done: make(chan struct{})}
}

// add counts a connection that came (1) or went (-1).
func (p *paths) add(peer core.DID, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := p.conns[peer]
	if p.conns[peer] = had + n; had+n <= 0 {
		delete(p.conns, peer)
	}
	if (had > 0) == (had+n > 0) {
		return
	}
	for r := range p.readers {
		if len(r.events) == pathEventsMax {
			r.events = r.events[1:]
		}
		r.events = append(r.events, core.PathEvent{Peer: peer, Up: n > 0})
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

func (p *paths) take(r *reader) []core.PathEvent {
	p.mu.Lock()
	defer p.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

// read yields what comes from now on, until ctx or the paths end.
func (p *paths) read(ctx context.Context) iter.Seq[core.PathEvent] {
	r := &reader{wake: make(chan struct{}, 1)}
	p.mu.Lock()
	p.readers[r] = struct{}{}
	p.mu.Unlock()
	leave := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.readers, r)
	}
	stop := context.AfterFunc(ctx, leave)
	return func(yield func(core.PathEvent) bool) {
		defer leave()
		defer stop()
		for {
			for _, e := range p.take(r) {
				if ctx.Err() != nil || !yield(e) {
					return
				}
			}
			select {
			case <-r.wake:
			case <-ctx.Done():
				return
			case <-p.done:
				return
			}
		}
	}
}
