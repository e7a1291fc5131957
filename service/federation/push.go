package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// Limits of bringing a head to partners.
const (
	pushesMax = 8 // households at once
	sendsMax  = 4 // pages at once to one machine
	triesMax  = 8 // ways to bring a head to one machine, and heads that come meanwhile
	// pushTime, and a second more for each pushRate bytes, bound the whole of it:
	// a partner that lets bytes drip does not hold up the others for ever.
	pushTime = 2 * time.Minute
	pushRate = 16 << 10
)

// Saved says how far our newest head has come.
type Saved struct {
	// Seq is the head's number.
	Seq uint64
	// Done are the households of which a machine has acknowledged it, or a later one; ours is one if
	// it has other machines than this one.
	Done []core.DID
	// Failed says of all others why not.
	Failed map[core.DID]error
}

// SaveHead makes a head of the state as it stands now, if our newest is none of it,
// and brings it with its pages to all partners, households where a voucher lets us in, and machines of ours, that do not have it. It returns
// when each has acknowledged or failed. Concurrent calls share heads and never cross.
// Errors: core.ErrRevoked, those of the disk. A partner's are in Saved alone.
func (f *Federation) SaveHead(ctx context.Context) (Saved, error) {
	if err := f.Revoked(); err != nil {
		return Saved{}, err
	}
	seq, err := f.advance(ctx)
	if err != nil {
		return Saved{}, fmt.Errorf("save head: %w", err)
	}
	out := Saved{Seq: seq, Failed: map[core.DID]error{}}
	var mu sync.Mutex
	var group errgroup.Group
	group.SetLimit(pushesMax)
	push := func(grid core.DID, push func(context.Context, core.DID) error) {
		group.Go(func() error {
			err := push(ctx, grid)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				out.Failed[grid] = err
			} else {
				out.Done = append(out.Done, grid)
			}
			return nil
		})
	}
	for _, p := range f.Partners() {
		push(p.Grid, f.PushHead)
	}
	for _, e := range f.Errands() {
		push(e.Grid, f.PushHead)
	}
	if len(f.others()) > 0 {
		push(f.self.Grid, f.pushOwn)
	}
	_ = group.Wait() // there are no errors but in Failed
	sortDIDs(out.Done)
	if err := f.Revoked(); err != nil {
		return out, err
	}
	return out, ctx.Err()
}

// PushHead brings our newest head to one partner: it is done when one of its
// machines has acknowledged it. Errors: core.ErrNotExist if it is no partner,
// core.ErrUnreachable, core.ErrRefused, core.ErrStale if it has a newer head of this
// machine than this machine (whose directory then is an old copy), core.ErrRevoked.
func (f *Federation) PushHead(ctx context.Context, grid core.DID) error {
	agents := f.machines(grid)
	if len(agents) == 0 {
		return fmt.Errorf("push head to %s: %w", grid.Short(), core.ErrNotExist)
	}
	var errs []error
	for _, agent := range agents {
		err := f.pushTo(ctx, grid, agent)
		if err == nil || ctx.Err() != nil || errors.Is(err, core.ErrRevoked) {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// pushOwn brings our newest head to all our other machines: it is done when one has acknowledged it.
func (f *Federation) pushOwn(ctx context.Context, grid core.DID) error {
	agents := f.others()
	errs := make([]error, len(agents))
	var group errgroup.Group
	group.SetLimit(pushesMax)
	for i, agent := range agents {
		group.Go(func() error {
			errs[i] = f.pushTo(ctx, grid, agent)
			return nil
		})
	}
	_ = group.Wait() // each has its own error
	if slices.Contains(errs, nil) {
		return nil
	}
	return errors.Join(errs...)
}

func (f *Federation) laneOf(agent core.DID) turn {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lanes[agent] == nil {
		f.lanes[agent] = newTurn()
	}
	return f.lanes[agent]
}

// way is how a head is brought to a machine.
type way struct {
	base  uint64 // the seq that the machine has; 0 for a whole list
	pages bool   // send the pages before
	met   bool   // it was greeted just now
}

// pushTo brings our newest head to one machine, unless it has acknowledged it.
func (f *Federation) pushTo(ctx context.Context, grid, agent core.DID) error {
	lane := f.laneOf(agent)
	if err := lane.take(ctx); err != nil {
		return err
	}
	defer lane.give()
	var w way
	var err error
	for try := range triesMax {
		own, head, ok, bad := f.ownHead()
		if bad != nil || !ok {
			return bad
		}
		if try == 0 {
			ack, err := f.ack(agent)
			if err != nil || ack == head.Seq {
				return err
			}
			// Of a machine that has acknowledged nothing we know nothing: it may have
			// all pages, and lack an answer. The list is short, so it goes first.
			if ack < head.Seq && ack > 0 {
				w = way{base: ack, pages: true}
			}
		}
		if w.base < own.Floor { // what has changed since is not remembered any more
			w = way{pages: w.pages && w.base == 0, met: w.met}
		}
		if err = f.bring(ctx, agent, own.Head, head, w); err == nil {
			f.Saw(agent)
			return f.acknowledged(agent, head.Seq)
		}
		again, next := f.another(ctx, grid, agent, head, w, err)
		if !again {
			break
		}
		w = next
	}
	return f.Heed(ctx, err)
}

// another tells whether there is another way to bring a head, after err.
func (f *Federation) another(ctx context.Context, grid, agent core.DID, h charter.Head, w way, err error) (bool, way) {
	e, _ := errors.AsType[*wire.Error](err)
	switch {
	case e != nil && e.Code == wire.CodeHeadBase:
		return w.base != 0, way{met: w.met}
	case e != nil && e.Code == wire.CodeNotFound && !w.pages:
		return true, way{pages: true, met: w.met}
	case e != nil && e.Code == wire.CodeNotFound: // it has lost pages of earlier heads
		return w.base != 0, way{met: w.met}
	case e != nil && (e.Code == wire.CodeUnknown || e.Code == wire.CodeInvalid) && !w.met:
		// It may not have our newest charter, which the head cites.
		if f.errandAt(agent) != nil {
			w.met = true
			return f.Enter(ctx, agent, true), w
		}
		_, bad := f.greet(ctx, grid, agent)
		w.met = true
		return bad == nil, w
	case errors.Is(err, errNewer):
		return true, w
	case errors.Is(err, errPageLost):
		if bad := f.rebuildNext(ctx, h.Seq); bad != nil {
			return false, w
		}
		_, bad := f.advance(ctx)
		return bad == nil, w
	}
	return false, w
}

var (
	// errPageLost says that a page of our own head is not on our disk.
	errPageLost = errors.New("a page of this machine's own state is lost")
	// errNewer says that there is a newer head of ours than the one that was being brought.
	errNewer = errors.New("a newer head was made meanwhile")
)

// bring sends the pages and the head.
func (f *Federation) bring(ctx context.Context, agent core.DID, signed identity.Signed, h charter.Head, w way) error {
	add, drop, size, err := f.changesSince(w.base)
	if err != nil {
		return err
	}
	if !w.pages {
		size = 0
	}
	size += int64(len(add)+len(drop)) * (core.ScoreSize + 2)
	ctx, cancel := within(ctx, f.c.Clock, pushTime+time.Duration(size/pushRate)*time.Second)
	defer cancel()
	if w.pages {
		group, inner := errgroup.WithContext(ctx)
		group.SetLimit(sendsMax)
		for _, score := range add {
			group.Go(func() error { return f.sendPage(inner, agent, score) })
		}
		if err := group.Wait(); err != nil {
			return cause(ctx, err)
		}
	}
	in := headRequest{Head: signed, Base: w.base, Add: add, Drop: drop}
	if now, _, _, err := f.ownHead(); err != nil || now.Head.Score() != signed.Score() {
		return errors.Join(err, errNewer) // and the lists may be that one's
	}
	return cause(ctx, f.callHead(ctx, agent, in))
}

func (f *Federation) sendPage(ctx context.Context, agent core.DID, score core.Score) error {
	data, err := f.c.Blobs.Get(ctx, score, nil)
	if errors.Is(err, core.ErrNotExist) || errors.Is(err, core.ErrCorrupt) {
		return fmt.Errorf("%w: %w", errPageLost, err)
	}
	if err != nil {
		return err
	}
	return f.callPutPage(ctx, agent, score, data)
}

// changesSince returns how the page list of our newest head differs from that of
// one with another seq, and the size of what is new. Of seq 0, everything is.
func (f *Federation) changesSince(base uint64) (add, drop []core.Score, size int64, err error) {
	add, drop = []core.Score{}, []core.Score{}
	for e, err := range scan[ownPage](f.c.Books, []byte(keyOwnPage), core.ScoreSize, recordSizeMax) {
		if err != nil {
			return nil, nil, 0, err
		}
		r := e.value
		switch {
		case r.Died == 0 && r.Born > base:
			add = append(add, core.Score(e.rest))
			size += r.Size
		case r.Died > base && r.Born <= base:
			drop = append(drop, core.Score(e.rest))
		}
	}
	return add, drop, size, nil
}

// acknowledged notes which head a machine has.
func (f *Federation) acknowledged(agent core.DID, seq uint64) error {
	var c changes
	c.set(key(keyAck, agent[:]), ackRecord{V: codec.Version, Seq: seq})
	return c.apply(f.c.Books)
}
