package gossip

import (
	"context"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

// convict keeps a proof that an author has forked, if it is lower than what is known: operations from its seq on
// count no more. It reports whether it was. A proof against an author who has nothing here, nor leave to write, is passed over: whoever
// can make keys can make any number of them.
func (s *Service) convict(t *topic, peer core.DID, f feed.Fork) (bool, error) {
	var item feed.Item
	err := t.write(func() error {
		r, found, err := s.feed(t.id, f.Author())
		if err != nil || r.forked != 0 && r.forked <= f.Seq() {
			return err
		}
		if r.tip.Seq == 0 && s.c.Takes(t.id, f.Author(), 1, feed.OperationSize) != nil {
			return nil
		}
		if !found {
			if r.number, err = s.reserve(1); err != nil {
				return err
			}
		}
		if err := s.cut(t.id, f.Author(), &r, f.Seq()); err != nil {
			return err
		}
		r.forked = f.Seq()
		item = r.standing(f.Author()).Item
		changes := []core.Change{
			{Key: didKey(forkPrefix, t.id, f.Author()), Value: f.Bytes()},
			{Key: didKey(feedPrefix, t.id, f.Author()), Value: r.bytes()},
			{Key: sweepKey(r.number), Value: opKey(0, f.Seq())[len(opPrefix)+4:]},
		}
		for c, err := range s.c.Books.Scan(didKey(absentPrefix, t.id, f.Author()), absentKey(t.id, f.Author(), f.Seq())) {
			if err != nil {
				return err
			}
			changes = append(changes, core.Change{Key: c.Key})
		}
		return s.toSweep(changes...)
	})
	if err != nil || item.Forked == 0 {
		return false, err
	}
	s.c.Forked(t.id, f)
	s.tell(t.id, peer, item)
	return true, s.sweep()
}

// cut moves a feed's end to before a seq.
func (s *Service) cut(id, author core.DID, r *feedRecord, seq uint64) error {
	if r.tip.Seq < seq {
		return nil
	}
	for l, err := range s.scan(id, author, r.number, seq, r.tip.Seq) {
		if err != nil {
			return err
		}
		r.size -= sizeOf(&l.Header)
	}
	if seq == 1 {
		r.tip = feed.Tip{}
		return nil
	}
	last, _, err := s.operation(id, author, r.number, seq-1)
	r.tip = feed.Tip{Seq: seq - 1, ID: last.ID, Clock: last.Clock}
	return err
}

// traceMost bounds how many operations are asked for to find where an author has forked: two for each bit of a seq.
const traceMost = 2*64 + 2

// trace finds the first operation of an author that is another at a peer, and makes the proof of it. It asks further and further back,
// and then between. Errors: feed.ErrForked if the two cannot be found, and what the peer is at fault with.
func (x *session) trace(ctx context.Context, author core.DID) (feed.Fork, error) {
	r, _, err := x.s.feed(x.t.id, author)
	if err != nil || r.tip.Seq == 0 {
		return feed.Fork{}, err
	}
	top := r.tip.Seq
	if x.heads[author] != 0 {
		top = min(top, x.heads[author])
	}
	var here, there feed.Logged
	// differs compares the operations with a seq.
	differs := func(seq uint64) (bool, error) {
		theirs, err := x.one(ctx, author, seq)
		if err != nil {
			return false, err
		}
		ours, _, err := x.s.operation(x.t.id, author, r.number, seq)
		if err != nil || ours.ID == theirs.ID {
			return false, err
		}
		here, there = ours, theirs
		return true, nil
	}
	same, other, asked := uint64(0), uint64(0), 0
	for seq, step := top, uint64(1); ; seq, step = seq-min(step, seq-1), step*2 {
		d, err := differs(seq)
		if err != nil {
			return feed.Fork{}, err
		}
		if asked++; !d {
			same = seq
			break
		}
		if other = seq; seq == 1 {
			break
		}
	}
	for other > same+1 && asked < traceMost {
		mid := same + (other-same)/2
		d, err := differs(mid)
		if err != nil {
			return feed.Fork{}, err
		}
		if asked++; d {
			other = mid
		} else {
			same = mid
		}
	}
	if other == 0 {
		return feed.Fork{}, fmt.Errorf("%s: %w: but its operations up to %d are those that are here", author.Short(), ErrStuck, top)
	}
	err = x.s.mend(ctx, x.t.id, &here)
	f, failed := feed.NewFork(here.Operation, there.Operation)
	if err = errors.Join(err, failed); err != nil {
		return f, fmt.Errorf("%s: %w at operation %d, and it cannot be proven: %w", author.Short(), feed.ErrForked, other, err)
	}
	return f, nil
}

// one fetches one operation, and verifies its own signature.
func (x *session) one(ctx context.Context, author core.DID, seq uint64) (feed.Logged, error) {
	answer, err := x.fetch(ctx, []want{{author, seq, seq}})
	if err != nil {
		return feed.Logged{}, err
	}
	for run, err := range feed.ReadBatch(answer.Batch, x.t.id) {
		if err != nil {
			return feed.Logged{}, err
		}
		if l := run.Last(); run.Author() == author && run.First() == seq && len(run.Ops) == 1 {
			return *l, l.Verify()
		}
		return feed.Logged{}, fmt.Errorf("operation %d of %s: %w", seq, author.Short(), ErrUnasked)
	}
	return feed.Logged{}, fmt.Errorf("operation %d of %s: %w", seq, author.Short(), ErrStuck)
}

// accuse traces authors that have forked, and tells the peer.
func (x *session) accuse(ctx context.Context, authors []core.DID) error {
	for _, author := range authors {
		if x.stats.Forks >= forksMax {
			return nil // the others' turn comes with the next sync
		}
		f, err := x.trace(ctx, author)
		switch {
		case err == nil && f.Ops[0].Seq == 0:
			continue
		case errors.Is(err, core.ErrUnreachable) || ctx.Err() != nil:
			return err
		case err != nil:
			x.fault(err)
			continue
		}
		if _, err := x.s.convict(x.t, x.peer, f); err != nil {
			return err
		}
		x.stats.Forks++
		x.fault(fmt.Errorf("operation %d of %s: %w", f.Seq(), author.Short(), feed.ErrForked))
		x.proofs = append(x.proofs, f.Bytes())
	}
	return nil
}
