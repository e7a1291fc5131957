package federation

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// How often partners are greeted. A partner that does not answer is called again
// for ever, ever less often.
const (
	greetFirst = 5 * time.Second
	greetEvery = 5 * time.Minute
	sweepEvery = 10 * time.Minute
)

// Run greets each partner now and then, learns its charters and addresses, brings our
// newest head to those that miss it, and finishes what accepting an invitation has
// left undone. It blocks until ctx ends, whose error it returns, or until
// a newer charter of our own household no longer lists this machine: that is
// an error of kind core.ErrRevoked.
func (f *Federation) Run(ctx context.Context) error {
	if err := f.Revoked(); err != nil {
		return err
	}
	if err := f.sweep(ctx, true); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { f.resume(ctx) })
	group.Go(func() { f.keepSaving(ctx) })
	group.Go(func() { f.keepMerging(ctx) })
	group.Go(func() { f.keepSweeping(ctx) })
	group.Go(func() { f.keepRunning(ctx) })
	group.Go(func() { f.keepRoll(ctx) })
	group.Go(func() { f.keepClubs(ctx) })
	tended, tendedOwn, tendedErrands := map[*partner]bool{}, map[*sibling]bool{}, map[core.DID]bool{}
	for {
		f.mu.Lock()
		news := f.news
		for _, p := range f.partners {
			if !tended[p] {
				tended[p] = true
				group.Go(func() { f.tendPartner(ctx, p) })
			}
		}
		for _, s := range f.siblings {
			if !tendedOwn[s] {
				tendedOwn[s] = true
				group.Go(func() { f.tendOwn(ctx, s) })
			}
		}
		for grid := range f.errands {
			if !tendedErrands[grid] {
				tendedErrands[grid] = true
				group.Go(func() { f.tendErrand(ctx, grid) })
			}
		}
		f.mu.Unlock()
		select {
		case <-news:
		case <-f.revocation:
			return f.Revoked()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Nudge says that a partner should be greeted now: it has come within reach.
func (f *Federation) Nudge(grid core.DID) {
	f.mu.Lock()
	p := f.partners[grid]
	f.mu.Unlock()
	if p != nil {
		wake(p.nudge)
	}
}

// tendPartner greets a partner, for as long as it is one.
func (f *Federation) tendPartner(ctx context.Context, p *partner) {
	f.tend(ctx, p.grid, p.nudge, func() (bool, error) {
		f.mu.Lock()
		still := f.partners[p.grid] == p
		f.mu.Unlock()
		if !still {
			return false, nil
		}
		return true, f.visit(ctx, p.grid)
	})
}

// tend visits somebody until there is no more reason to.
func (f *Federation) tend(ctx context.Context, who core.DID, nudge <-chan struct{}, visit func() (bool, error)) {
	next := greetFirst
	for n := uint64(0); ctx.Err() == nil; n++ {
		wait := greetEvery
		more, err := visit()
		if !more {
			return
		}
		if err != nil {
			f.c.Log.Debug("greet", "who", who, "err", err)
			wait, next = next, min(2*next, greetEvery)
		} else {
			next = greetFirst
		}
		wait = f.jitter(wait, who, n)
		if err != nil && !errors.Is(err, core.ErrUnreachable) {
			// Who was met and could not be satisfied, as with a full disk, is not met again at once: a greeting
			// wakes the other side, which would wake this one, without end.
			_ = f.c.Clock.Sleep(ctx, wait) // ctx tells
			continue
		}
		f.pause(ctx, nudge, wait)
	}
}

// pause waits until d has gone by, a token comes, or ctx ends.
func (f *Federation) pause(ctx context.Context, tokens <-chan struct{}, d time.Duration) {
	over := make(chan struct{})
	timer := f.c.Clock.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	select {
	case <-over:
	case <-tokens:
	case <-ctx.Done():
	}
}

// jitter returns d, up to a quarter more or less, so that many machines that lost
// one partner at once do not come back to it at once. It is a hash, not a dice: a
// simulated run is the same each time.
func (f *Federation) jitter(d time.Duration, grid core.DID, n uint64) time.Duration {
	in := append(append([]byte(nil), f.self.Agent[:]...), grid[:]...)
	score := core.ScoreOf(binary.BigEndian.AppendUint64(in, n))
	return d - d/4 + time.Duration(binary.BigEndian.Uint64(score[:])%uint64(d/2))
}

// visit greets a partner: each of its machines, so that all hear of a newer charter. It
// brings our newest head to one that misses it, and takes newer heads of our other
// machines. It is no error that some of its machines are away.
func (f *Federation) visit(ctx context.Context, grid core.DID) error {
	var errs []error
	met, saved := false, false
	for _, agent := range f.machines(grid) {
		theirs, err := f.greet(ctx, grid, agent)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		met = true
		if !saved && f.behind(theirs.Heads) {
			err = f.pushTo(ctx, grid, agent)
		}
		saved = saved || err == nil
		err = errors.Join(err, f.catchUp(ctx, agent, theirs.Heads))
		if f.unsettled(grid) {
			err = errors.Join(err, f.settleTerms(ctx, grid, agent))
		}
		if err != nil {
			return err
		}
	}
	if met {
		return nil
	}
	return errors.Join(errs...)
}

// greet exchanges charters and addresses with a partner's machine, or one of ours. To one that does
// not know this machine yet it is introduced by our charter; and a newer charter of
// ours that the other knows is learned.
func (f *Federation) greet(ctx context.Context, grid, agent core.DID) (greeting, error) {
	introduced, corrected := false, false
	for {
		mine, err := f.greeting(grid, agent)
		if err != nil {
			return greeting{}, err
		}
		before, err := f.ack(agent)
		if err != nil {
			return greeting{}, err
		}
		theirs, err := f.callGreet(ctx, agent, mine)
		if err == nil {
			err = f.heard(ctx, grid, agent, theirs)
			return theirs, errors.Join(err, f.compareAck(agent, before, theirs.Heads))
		}
		e, _ := errors.AsType[*wire.Error](err)
		switch {
		case e != nil && e.Code == wire.CodeUnknown && !introduced:
			introduced = true
			if err := f.introduce(ctx, agent); err != nil {
				return greeting{}, f.Heed(ctx, err)
			}
		case e != nil && e.Code == wire.CodeCharterStale && !corrected:
			corrected = true
			if heeded := f.Heed(ctx, err); errors.Is(heeded, core.ErrRevoked) {
				return greeting{}, heeded
			}
		default:
			return greeting{}, f.Heed(ctx, err)
		}
	}
}

// introduce shows our newest charter to a machine that may not know that it lists us.
func (f *Federation) introduce(ctx context.Context, agent core.DID) error {
	f.mu.Lock()
	newest := f.own.newest()
	f.mu.Unlock()
	_, err := callRecover(ctx, f.c, agent, recoverRequest{Charter: &newest})
	return err
}

// heard takes in what a partner's machine answered to a greeting.
func (f *Federation) heard(ctx context.Context, grid, agent core.DID, in greeting) error {
	if err := f.learn(ctx, grid, in.Charters); err != nil {
		return fmt.Errorf("the answer of %s: %w", agent.Short(), err)
	}
	if !f.ListsAgent(grid, agent) {
		return fmt.Errorf("%s answers, and its household's newest charter does not list it: %w", agent.Short(), core.ErrForbidden)
	}
	if err := f.locate(ctx, grid, agent, in.Addrs); err != nil {
		return err
	}
	f.hearClock(grid, in.Time)
	f.hear(in.Machines)
	f.hearClub(grid, in.Club)
	f.Saw(agent)
	return nil
}

// ack returns the seq of our head that a machine has acknowledged last, 0 for none.
func (f *Federation) ack(agent core.DID) (uint64, error) {
	var r ackRecord
	_, err := get(f.c.Books, key(keyAck, agent[:]), &r, recordSizeMax)
	return r.Seq, err
}

// compareAck forgets that a machine has acknowledged a head if it says otherwise.
// before is what had been acknowledged when it was asked.
func (f *Federation) compareAck(agent core.DID, before uint64, theirs []headSeq) error {
	if before == f.seqIn(theirs) {
		return nil
	}
	lane := f.laneOf(agent)
	select {
	case lane <- struct{}{}:
		defer lane.give()
	default:
		return nil // a head is on its way there just now
	}
	if now, err := f.ack(agent); err != nil || now != before {
		return err
	}
	var c changes
	c.drop(key(keyAck, agent[:]))
	return c.apply(f.c.Books)
}

// seqIn returns the seq of this machine's head in a list, 0 if there is none.
func (f *Federation) seqIn(heads []headSeq) uint64 {
	for _, h := range heads {
		if h.Agent == f.self.Agent {
			return h.Seq
		}
	}
	return 0
}

// behind tells whether those heads lack our newest.
func (f *Federation) behind(heads []headSeq) bool {
	_, head, ok, err := f.ownHead()
	return err == nil && ok && f.seqIn(heads) < head.Seq
}

// keepSaving makes and brings a head whenever the partners in the state have changed:
// without that, a recovery would not find the newest of them.
func (f *Federation) keepSaving(ctx context.Context) {
	for wake(f.dirty); ; {
		select {
		case <-f.dirty:
		case <-ctx.Done():
			return
		}
		if len(f.Partners()) == 0 && len(f.others()) == 0 && len(f.Errands()) == 0 {
			continue
		}
		if _, err := f.SaveHead(ctx); err != nil && ctx.Err() == nil {
			f.c.Log.Warn("save head", "err", err)
		}
	}
}

// keepMerging takes into our state what heads have that other machines of ours have brought.
func (f *Federation) keepMerging(ctx context.Context) {
	for {
		select {
		case <-f.brought:
		case <-ctx.Done():
			return
		}
		if err := f.mergeInTurn(ctx); err != nil && ctx.Err() == nil {
			f.c.Log.Warn("merge", "err", err)
		}
	}
}

// keepSweeping drops pages that no head came for, or that were set aside long ago.
func (f *Federation) keepSweeping(ctx context.Context) {
	for f.c.Clock.Sleep(ctx, sweepEvery) == nil {
		if err := f.sweep(ctx, false); err != nil && ctx.Err() == nil {
			f.c.Log.Warn("sweep", "err", err)
		}
	}
}

// resume sends proposals again whose answer never came.
func (f *Federation) resume(ctx context.Context) {
	for e, err := range scan[proposalRecord](f.c.Books, []byte(keyProposal), 16, inviteSizeMax) {
		if err != nil {
			f.c.Log.Warn("read proposals", "err", err)
			return
		}
		if _, err := f.conclude(ctx, [16]byte(e.rest), e.value); err != nil {
			f.c.Log.Info("an invitation that was being accepted", "of", e.value.Invitation.Name, "err", f.Heed(ctx, err))
		}
	}
}
