package gossip

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

// Take takes in operations and proofs of forks of a topic that no peer has sent: out of a file. They are verified as if one had. What is
// wrong with some of it is in the error, and does not keep the rest out; Stats has what came of it. Errors: core.ErrNotExist of a topic that was not joined,
// feed.ErrForged, feed.ErrBroken, feed.ErrClock, feed.ErrForked of an author who is proven to have forked by it, core.ErrInvalid.
func (s *Service) Take(ctx context.Context, id core.DID, batch []byte, forks ...[]byte) (Stats, error) {
	t, err := s.topic(id)
	if err != nil {
		return Stats{}, fmt.Errorf("take: %w", err)
	}
	x := &session{s: s, t: t, skip: map[core.DID]bool{}}
	c := checked{}
	if len(batch) > 0 {
		c = checkBatch(id, batch, func(feed.Run) error { return ctx.Err() })
	}
	for _, err := range c.faults {
		x.fault(err)
	}
	err = s.learn(t, core.DID{}, forks, func(feed.Fork) { x.stats.Forks++ })
	if err == nil {
		err = x.intake(c.runs)
	}
	if err = errors.Join(append(x.faults, err, c.end)...); err != nil {
		err = fmt.Errorf("take operations of %s: %w", id.Short(), err)
	}
	return x.stats, err
}

// intake takes runs that were verified.
func (x *session) intake(runs []feed.Run) error {
	in, err := x.s.take(x.t, core.DID{}, runs)
	if err != nil {
		return err
	}
	x.count(checked{}, in)
	for _, run := range runs {
		if !slices.Contains(in.forked, run.Author()) {
			continue
		}
		f, err := x.s.differing(x.t, run)
		if err == nil {
			_, err = x.s.convict(x.t, core.DID{}, f)
			x.stats.Forks++
		}
		if err != nil {
			return err
		}
		x.fault(fmt.Errorf("operation %d of %s: %w", f.Seq(), f.Author().Short(), feed.ErrForked))
	}
	return nil
}

// differing makes the proof of a fork of the first operation of a run that is not the one that is here. Errors: feed.ErrForked where it is
// before the run, feed.ErrForged.
func (s *Service) differing(t *topic, run feed.Run) (feed.Fork, error) {
	r, _, err := s.feed(t.id, run.Author())
	if err != nil {
		return feed.Fork{}, err
	}
	for i := range run.Ops {
		l := &run.Ops[i]
		here, _, err := s.operation(t.id, l.Author, r.number, l.Seq)
		if errors.Is(err, core.ErrNotExist) {
			break
		}
		if err != nil {
			return feed.Fork{}, err
		}
		if here.ID != l.ID {
			return feed.NewFork(here.Operation, l.Operation)
		}
	}
	return feed.Fork{}, forkedAt(&run.Ops[0])
}
