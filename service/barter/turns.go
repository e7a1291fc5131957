package barter

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/erasure"
)

// Limits of turns; SPEC.md §11.
const (
	turnsRoom  = 16 << 20    // what may be at the disk at once
	turnCost   = 64 << 10    // of a piece beside its bytes: a seek, and its part of a sync
	turnMost   = time.Minute // for a turn: well below what a caller waits for an answer
	queueMost  = 256         // pieces that wait in one queue
	idleMost   = turnsRoom   // cost of all idle ones that wait: each keeps its bytes in memory, which others need
	weightMin  = 1.0 / 16
	promptMore = 4

	// paceOver is for how many seconds of waiting the pace is measured until what was before counts half; paceFirst
	// is taken for it, in bytes a second, until the disk has shown its own.
	paceOver  = 8.0
	paceFirst = 32 << 20

	busyMin = 2  // seconds of waiting from which on there is more to do than can be done
	busyMax = 60 // seconds after which whoever is told so asks again at the latest
)

// haste is how soon a piece is to have its turn.
type haste int8

const (
	hasteIdle haste = iota
	hasteNormal
	hastePrompt
	hasteHome // reads of our own: somebody waits for them at this machine
)

func hasteOf(q core.Quality) haste {
	switch q {
	case core.Idle:
		return hasteIdle
	case core.Prompt:
		return hastePrompt
	}
	return hasteNormal
}

// rank is what goes before all else; prompt and normal differ by weight alone.
func (h haste) rank() int {
	switch h {
	case hasteIdle:
		return 0
	case hasteHome:
		return 2
	}
	return 1
}

// turns says whose piece goes to the disk next: those of a queue in their order, and the queues by weighted fair
// queueing with a clock of its own, as in Golestani, A self-clocked fair queueing scheme (INFOCOM 1994): whoever has
// much to do waits for itself, and delays others by no more than its share.
type turns struct {
	clock core.Clock
	home  core.DID

	mu     sync.Mutex
	atDisk int64 // cost
	line   turnHeap
	queues map[queueID]*queue // those that wait, and those before them since somebody first had to
	// virtual is the finish of the last turn of those that had to wait; number counts them.
	virtual float64
	number  uint64
	// In spent seconds while some waited, which go till seen, moved bytes of cost went by.
	moved, spent float64
	seen         time.Time
}

// queueID names what one household wants in one haste.
type queueID struct {
	household core.DID
	via       core.DID // the grid on whose behalf it is a guest; zero of all others
	haste     haste
}

// queue is what waits for one; guarded by turns.mu.
type queue struct {
	count  int
	cost   int64
	gives  int64
	weight float64 // of the newest
	finish float64
}

// turn is one piece's. Guarded by turns.mu.
type turn struct {
	of     *turns
	id     queueID
	cost   int64
	finish float64
	number uint64
	at     int           // in the line; -1: it is not there
	come   chan struct{} // closed when it is its turn
}

func newTurns(clock core.Clock, home core.DID) *turns {
	return &turns{clock: clock, home: home, queues: map[queueID]*queue{}, moved: paceFirst, spent: 1}
}

// take waits until a piece of size bytes may go to the disk; gives is what the household, or who has let it in, gives us. Whoever has it
// calls done when the piece has been there. Errors: core.ErrBusy if that takes too long, or too many wait; ctx's.
func (t *turns) take(ctx context.Context, id queueID, gives, size int64) (*turn, error) {
	w := &turn{of: t, id: id, cost: size + turnCost, at: -1}
	t.mu.Lock()
	if len(t.line) == 0 && t.fits(w) {
		t.atDisk += w.cost
		t.mu.Unlock()
		return w, nil
	}
	t.measure()
	if t.crowded(w) {
		t.mu.Unlock()
		return nil, &wire.Error{Code: wire.CodeBusy, Message: "too many pieces wait for the disk", RetrySeconds: busyMin}
	}
	t.join(w, gives)
	t.mu.Unlock()

	late := make(chan struct{})
	timer := t.clock.AfterFunc(turnMost, func() { close(late) })
	defer timer.Stop()
	var err error
	select {
	case <-w.come:
		return w, nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-late:
		err = &wire.Error{Code: wire.CodeBusy, Message: "the disk has too much to do", RetrySeconds: busyMax}
	}
	t.mu.Lock()
	if w.at < 0 { // just now
		t.mu.Unlock()
		w.done()
		return nil, err
	}
	t.measure()
	heap.Remove(&t.line, w.at)
	t.leave(w)
	t.next() // a smaller one may have been behind it
	t.mu.Unlock()
	return nil, err
}

// done ends a turn.
func (w *turn) done() {
	t := w.of
	t.mu.Lock()
	defer t.mu.Unlock()
	t.measure()
	if len(t.line) > 0 {
		t.moved += float64(w.cost)
	}
	t.atDisk -= w.cost
	t.next()
}

// fits tells whether one more can be at the disk; something always can. The caller holds t.mu.
func (t *turns) fits(w *turn) bool { return t.atDisk == 0 || t.atDisk+w.cost <= turnsRoom }

// crowded tells whether one more cannot wait. The caller holds t.mu.
func (t *turns) crowded(w *turn) bool {
	idle := w.cost
	for other, q := range t.queues {
		if other == w.id && q.count >= queueMost {
			return true
		}
		if other.haste == hasteIdle {
			idle += q.cost
		}
	}
	return w.id.haste == hasteIdle && idle > idleMost
}

// join puts one in line. The caller holds t.mu.
func (t *turns) join(w *turn, gives int64) {
	q := t.queues[w.id]
	if q == nil {
		q = &queue{}
		t.queues[w.id] = q
	}
	q.count++
	q.cost += w.cost
	q.gives, q.weight = gives, t.weight(w.id, gives)
	q.finish = max(t.virtual, q.finish) + float64(w.cost)/q.weight
	t.number++
	w.finish, w.number, w.come = q.finish, t.number, make(chan struct{})
	heap.Push(&t.line, w)
}

// leave undoes it for one that is not in line any more. The caller holds t.mu.
func (t *turns) leave(w *turn) {
	q := t.queues[w.id]
	q.count--
	q.cost -= w.cost
	if len(t.line) == 0 { // nobody has to be remembered who waited for nobody
		clear(t.queues)
		t.virtual = 0
	}
}

// next lets go whose turn it is. The caller holds t.mu.
func (t *turns) next() {
	for len(t.line) > 0 && t.fits(t.line[0]) {
		w := heap.Pop(&t.line).(*turn)
		t.virtual = max(t.virtual, w.finish)
		t.leave(w)
		t.atDisk += w.cost
		close(w.come)
	}
}

// weight is a queue's, from what its household gives and what those give that wait. The guests of a grid have one
// together. The caller holds t.mu.
func (t *turns) weight(id queueID, gives int64) float64 {
	weight, most, sharing := 1.0, gives, 1.0
	for other, q := range t.queues {
		if q.count == 0 || other.household == t.home {
			continue
		}
		most = max(most, q.gives)
		if other != id && other.via == id.via && !id.via.IsZero() {
			sharing++
		}
	}
	if most > 0 && id.household != t.home {
		weight = max(float64(gives)/float64(most), weightMin)
	}
	if id.haste == hastePrompt {
		weight *= promptMore
	}
	return weight / sharing
}

// measure counts the time since it was called last, if some have waited. It is called before that changes, by who holds t.mu.
func (t *turns) measure() {
	now := t.clock.Now()
	if len(t.line) > 0 { // the clock may have been set
		t.spent += min(max(now.Sub(t.seen).Seconds(), 0), paceOver)
	}
	t.seen = now
	for t.spent > paceOver {
		t.moved, t.spent = t.moved/2, t.spent/2
	}
}

// busy returns in how many seconds to ask again before one more piece is wanted; 0: it can be brought now.
func (t *turns) busy(id queueID, gives int64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.measure()
	weight := t.weight(id, gives)
	mine, all, weights := int64(erasure.PieceSizeMax+turnCost), int64(0), weight
	for other, q := range t.queues {
		switch {
		case q.count == 0 || other.haste.rank() < id.haste.rank():
			continue
		case other == id:
			mine += q.cost
		default:
			weights += q.weight
		}
		all += q.cost
	}
	ahead := float64(all)
	if id.haste != hasteIdle {
		ahead = min(ahead, float64(mine)*weights/weight)
	}
	seconds := math.Ceil(ahead * t.spent / max(t.moved, 1))
	if seconds <= busyMin {
		return 0
	}
	return int64(min(seconds, busyMax))
}

// turnHeap is a heap.Interface of those that wait, first who is next.
type turnHeap []*turn

func (h turnHeap) Len() int { return len(h) }

func (h turnHeap) Less(i, j int) bool {
	x, y := h[i], h[j]
	return cmp.Or(cmp.Compare(y.id.haste.rank(), x.id.haste.rank()), cmp.Compare(x.finish, y.finish), cmp.Compare(x.number, y.number)) < 0
}

func (h turnHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push is for package heap.
func (h *turnHeap) Push(x any) {
	w := x.(*turn)
	w.at = len(*h)
	*h = append(*h, w)
}

// Pop is for package heap.
func (h *turnHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	w.at = -1
	*h = (*h)[:last]
	return w
}

// turn waits until a piece of a household's may go to the disk.
func (b *Barter) turn(ctx context.Context, owner core.DID, h haste, size int64) (*turn, error) {
	b.mu.Lock()
	id, gives := b.queueOf(owner, h)
	b.mu.Unlock()
	return b.turns.take(ctx, id, gives, size)
}

// busy returns in how many seconds a household is to ask again, because there is more to do for it than can be
// done; 0: there is not. The caller holds b.mu.
func (b *Barter) busy(owner core.DID, ask core.Ask) int64 {
	if ask.Resource != core.Storage {
		return 0
	}
	return b.turns.busy(b.queueOf(owner, hasteOf(ask.Quality)))
}

// queueOf returns a household's queue, and what it, or the grid on whose behalf it is a guest, gives, less what that
// was found to have lost. The caller holds b.mu.
func (b *Barter) queueOf(owner core.DID, h haste) (id queueID, gives int64) {
	a := b.account(owner)
	id = queueID{household: owner, via: a.via, haste: h}
	if !a.via.IsZero() {
		a = b.account(a.via)
	}
	s := b.standing(a)
	return id, max(s.Gives-s.Missing, 0)
}
