package grange

import (
	"context"
	"iter"
	"sync"
)

// eventsKept is how many events a slow reader may lag behind before it loses the oldest.
const eventsKept = 256

// eventFeed hands events to whoever listens.
type eventFeed struct {
	mu      sync.Mutex
	readers map[chan Event]struct{}
	closed  bool
}

func newFeed() *eventFeed { return &eventFeed{readers: map[chan Event]struct{}{}} }

func (f *eventFeed) send(e Event) {
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

func (f *eventFeed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for r := range f.readers {
		close(r)
	}
	clear(f.readers)
}

// listen returns what happens from now on, until end is called or the feed is closed.
func (f *eventFeed) listen() (events <-chan Event, end func()) {
	mine := make(chan Event, eventsKept)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		close(mine)
		return mine, func() {}
	}
	f.readers[mine] = struct{}{}
	return mine, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.readers, mine)
	}
}

// Events yields what happens from now on, until ctx ends or the agent is closed.
func (a *Agent) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		events, end := a.events.listen()
		defer end()
		for {
			select {
			case e, more := <-events:
				if !more || !yield(e) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}
