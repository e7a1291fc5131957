package grange

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Work is what is under way.
type Work struct {
	// What is put or get, and Name what is stored or restored; or it is spread, as Placed bytes of
	// pieces are brought to where they are worth more.
	What  string    `json:"what"`
	Name  string    `json:"name"`
	Since time.Time `json:"since"`
	Progress
}

// works are those under way. Its methods may be called at once.
type works struct {
	mu  sync.Mutex
	all map[*Work]struct{}
}

// begin notes a work, until end is called. Its progress is noted, and told to tell unless that is nil.
func (w *works) begin(now time.Time, what, name string, tell func(Progress)) (note func(Progress), end func()) {
	mine := &Work{What: what, Name: name, Since: now}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[*Work]struct{}{}
	}
	w.all[mine] = struct{}{}
	note = func(p Progress) {
		w.mu.Lock()
		mine.Progress = p
		w.mu.Unlock()
		if tell != nil {
			tell(p)
		}
	}
	return note, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, mine)
	}
}

// list returns them, the oldest first.
func (w *works) list() []Work {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []Work
	for one := range w.all {
		out = append(out, *one)
	}
	slices.SortFunc(out, func(x, y Work) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.What, y.What), cmp.Compare(x.Name, y.Name))
	})
	return out
}
