package barter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
)

// Limits of a lane.
const (
	laneStreams  = 4               // pieces on their way to one household at once
	askChunk     = 256 << 20       // bytes asked for at a time, unless less is expected
	askGrowth    = 4               // past what was expected: the part of all so far that is asked for
	askLate      = 5 * time.Second // for the answer to an ask after all else has ended
	counterTries = 3               // asks for one need, each for what the answer before would grant
	sendTries    = 2               // connections on which a request is tried
	roomsLostMax = 3               // grants that a holder may have forgotten
)

// lane is one partner household, or one machine of our own, as a holder, for the length of one placement.
type lane struct {
	b       *Barter
	partner Partner
	agents  []core.DID // of which the first that answers is agent
	agent   core.DID
	quality core.Quality
	// Each put holds one of the streams; whoever takes room is the only asker.
	streams chan struct{}
	asker   chan struct{}

	mu      sync.Mutex
	rooms   []*room // granted and not given back
	expect  int64   // bytes that are still expected to come this way
	taken   int64   // bytes that room was taken for
	refusal error   // the last denial: no more is asked for
	short   bool    // for want of room, pieces went elsewhere
	stop    error   // why nothing more is sent here
	pause   pause
	epoch   int // how often connections were made anew
	gone    int // grants that the holder has forgotten
	pending []pendingPiece
}

// room is one grant; guarded by lane.mu.
type room struct {
	id   []byte
	left int64 // bytes that no piece has taken
	open int   // pieces on their way, or stored and neither leased nor given up
}

// pendingPiece is stored at the holder and not leased yet.
type pendingPiece struct {
	piece   core.Piece
	room    *room
	segment string
}

func newLane(b *Barter, p Partner, agents []core.DID, quality core.Quality, expect int64) *lane {
	return &lane{
		b: b, partner: p, agents: agents, agent: agents[0], quality: quality, expect: expect,
		streams: make(chan struct{}, laneStreams), asker: make(chan struct{}, 1),
	}
}

// choose takes the first of its machines that answers. It fails only
// when ctx has ended.
func (l *lane) choose(ctx context.Context) error {
	var last error
	for _, agent := range l.agents {
		err := l.b.reach(ctx, agent)
		if err == nil {
			l.agent = agent
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		last = err
	}
	l.fail(last)
	return nil
}

// fail notes that nothing more is to be sent here.
func (l *lane) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop == nil {
		l.stop = err
	}
}

// stopped tells why nothing more is sent here, or nil.
func (l *lane) stopped() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stop
}

// refused tells why less was sent here than should have been, or nil.
func (l *lane) refused() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stop != nil:
		return l.stop
	case l.short:
		return l.refusal
	}
	return l.pause.err
}

// lost tells whether the holder went out of reach, so that what has been stored there and not leased
// may never be.
func (l *lane) lost() bool { return errors.Is(l.stopped(), core.ErrUnreachable) }

// fits returns how many pieces of size bytes can be sent here now, at most most. Where the
// holder will have no more, and what is left is too little for one, it is given up.
func (l *lane) fits(now time.Time, size int64, most int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.stop != nil:
		return 0
	case l.pause.left(now) > 0:
		return 0
	case l.refusal == nil: // who knows
		return most
	}
	n := int64(0)
	for _, r := range l.rooms {
		n += r.left / size
	}
	if n == 0 {
		l.short = true
		for _, r := range l.rooms {
			r.left = 0
		}
	}
	return int(min(n, int64(most)))
}

// usable tells whether anything can be sent here still.
func (l *lane) usable() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stop == nil && (l.refusal == nil || slices.ContainsFunc(l.rooms, func(r *room) bool { return r.left > 0 }))
}

// take reserves room for want pieces of size bytes, asking for more where it is used
// up. It returns the room for each, fewer where the holder will not have more.
func (l *lane) take(ctx context.Context, want int, size int64) ([]*room, error) {
	select {
	case l.asker <- struct{}{}:
		defer func() { <-l.asker }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := l.reserve(nil, want, size)
	for len(out) < want {
		more, err := l.fill(ctx, int64(want-len(out))*size, size)
		if err != nil {
			for _, r := range out {
				l.free(r)
			}
			return nil, err
		}
		if !more {
			break
		}
		out = l.reserve(out, want, size)
	}
	return out, nil
}

func (l *lane) reserve(out []*room, want int, size int64) []*room {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rooms {
		for ; len(out) < want && r.left >= size; r.left -= size {
			out = append(out, r)
			r.open++
			l.taken += size
			l.expect = max(0, l.expect-size)
		}
	}
	return out
}

// free says that a piece is not under way, stored or waiting any more.
func (l *lane) free(r *room) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.open--
}

// fill asks for room for need bytes at the least, in pieces of size bytes, and takes
// what is offered instead. It returns whether there is more room. Only the asker calls it.
func (l *lane) fill(ctx context.Context, need, size int64) (more bool, err error) {
	l.mu.Lock()
	amount := max(need, min(askChunk, max(l.expect, l.taken/askGrowth)))
	enough := l.stop != nil || l.refusal != nil || l.pause.left(l.b.c.Clock.Now()) > 0
	l.mu.Unlock()
	if enough {
		return false, nil
	}
	var refusal error // noted in the end: till then nobody is to take it that there is no more
	for range counterTries {
		err := l.ask(ctx, amount)
		if more = err == nil; more {
			break
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		refusal = err
		denial, ok := errors.AsType[*core.Denial](err)
		if !ok || denial.Counter == nil || denial.Counter.Amount < size || denial.Counter.Amount >= amount {
			break
		}
		amount = denial.Counter.Amount
	}
	if refusal != nil {
		l.note(refusal)
	}
	return more, nil
}

// note notes why an ask was not granted, or a piece not taken.
func (l *lane) note(err error) {
	if l.rest(err) {
		return
	}
	if !errors.Is(err, core.ErrRefused) && !errors.Is(err, core.ErrBusy) && !errors.Is(err, core.ErrFull) {
		l.fail(err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusal = err
}

// ask opens a new grant. A receipt that is due or overdue is sent first.
func (l *lane) ask(ctx context.Context, amount int64) error {
	l.b.receiptIfFresh(ctx, l.partner, l.agent)
	err := l.askOnce(ctx, amount)
	denial, ok := errors.AsType[*core.Denial](err)
	if !ok || denial.Reason != reasonOverdue {
		return err
	}
	if sent := l.b.sendReceipt(ctx, l.partner, l.agent); sent != nil {
		return fmt.Errorf("%w, and it cannot be sent: %v", err, sent)
	}
	return l.askOnce(ctx, amount)
}

// askOnce waits a little for the answer, also when ctx has ended: room of which nobody knows
// would be kept free for nothing.
func (l *lane) askOnce(ctx context.Context, amount int64) error {
	var out grantAnswer
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.b.c.Clock.AfterFunc(askLate, cancel) })()
	err := l.persist(ctx, busyPatience, func() error {
		return l.b.c.Wire.Call(late, l.agent, "POST", "/ask", core.Ask{
			Resource: core.Storage, Amount: amount, Seconds: l.partner.leaseSeconds(), Quality: l.quality,
			Why: l.partner.why(),
		}, &out)
	})
	if err != nil {
		return err
	}
	if len(out.Grant) != grantIDSize || out.Amount != amount {
		return fmt.Errorf("a grant of %d bytes for an ask of %d: %w", out.Amount, amount, core.ErrInvalid)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pause = pause{}
	l.rooms = append(l.rooms, &room{id: out.Grant, left: amount})
	return nil
}

// send brings one piece into a room that take has reserved. After an error the room is
// free of it; the error tells no more than that the piece is not there, unless ctx has ended.
func (l *lane) send(ctx context.Context, r *room, segment []byte, index int, piece core.Score, data []byte) (err error) {
	defer func() {
		if err != nil {
			l.free(r)
		}
	}()
	select {
	case l.streams <- struct{}{}:
		defer func() { <-l.streams }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := l.stopped(); err != nil {
		return err
	}
	err = l.persist(ctx, busyPatience, func() error {
		return l.b.c.Wire.Send(ctx, l.agent, putPath(piece, r.id, segment, index), data)
	})
	switch {
	case err == nil:
		l.awake()
	case ctx.Err() != nil:
	case l.rest(err):
	case errors.Is(err, core.ErrNotExist) && l.forget(r): // another will be asked for
	default:
		l.fail(err)
	}
	return err
}

// forget gives up a grant that the holder does not know any more: it was started
// anew, or did not hear from us for too long. False if that has happened too often.
func (l *lane) forget(r *room) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.rooms, r); i >= 0 {
		l.rooms = slices.Delete(l.rooms, i, i+1)
		r.left = 0
		l.gone++
	}
	return l.gone <= roomsLostMax
}

// persist calls f again on a fresh connection where one broke. Several streams
// break at once: only the first of them has connections made anew. It waits for as long as patience while the answer is "busy".
func (l *lane) persist(ctx context.Context, patience time.Duration, f func() error) error {
	for try := 1; ; try++ {
		l.mu.Lock()
		epoch := l.epoch
		l.mu.Unlock()
		err := l.b.patient(ctx, patience, f)
		if ctx.Err() != nil {
			return err
		}
		if try == sendTries || !errors.Is(err, core.ErrUnreachable) {
			l.b.heard(l.agent, err)
			return err
		}
		l.mu.Lock()
		first := l.epoch == epoch
		if first {
			l.epoch++
		}
		l.mu.Unlock()
		if first {
			l.b.c.Wire.Fresh(l.agent)
		}
	}
}
