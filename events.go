package grange

import (
	"context"
	"iter"
	"sync"
)

// eventsKept is how many events a slow reader may lag behind before it loses the oldest.
const eventsKept = 256

// feed hands events to whoever listens.
type feed struct {
	mu      sync.Mutex
	readers map[chan Event]struct{}
	closed  bool
}

func newFeed() *feed { return &feed{readers: map[chan Event]struct{}{}} }

func (f *feed) send(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers {
		select {
		case r <- e:
		default:
			select {
			case <-r: // the oldest
			default: // its reader was faster
			}
			r <- e // only this sends, so there is room
		}
	}
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for r := range f.readers {
		close(r)
	}
	clear(f.readers)
}

// Events yields what happens from now on, until ctx ends or the agent is closed.
func (a *Agent) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		f, mine := a.events, make(chan Event, eventsKept)
		f.mu.Lock()
		if f.closed {
			f.mu.Unlock()
			return
		}
		f.readers[mine] = struct{}{}
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			delete(f.readers, mine)
			f.mu.Unlock()
		}()
		for {
			select {
			case e, more := <-mine:
				if !more || !yield(e) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
