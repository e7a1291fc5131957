package gossip

import (
	"errors"
	"fmt"
	"sort"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

// intake is what came of operations that a peer sent.
type intake struct {
	// landed are the feeds as they stand now, with the seq of the first operation that was new.
	landed []landed
	// notes say what was not taken without anybody's fault: clocks ahead, no leave.
	notes []error
	// faults say what the peer should not have sent, or the author not have signed.
	faults []error
	// forked are authors whose signed operations are not those that are here.
	forked []core.DID
	// stopped are authors of whom not all was taken.
	stopped []core.DID
	absent  int
}

type landed struct {
	feed.Item
	from uint64
	ops  int
}

// plan is the changes that one batch makes.
type plan struct {
	intake
	changes []core.Change
	arena   []byte
	// fresh are the landed feeds that have no number yet.
	fresh []int
	runs  [][]feed.Logged // of each landed
	feeds []feedRecord    // of each landed
}

// take makes runs durable as a whole, as far as they follow on what is here, and tells of them. Each run's last
// signature has been verified.
func (s *Service) take(t *topic, peer core.DID, runs []feed.Run) (intake, error) {
	var p plan
	err := t.write(func() error {
		for _, run := range runs {
			if err := s.plan(t, &p, run); err != nil {
				return err
			}
		}
		return s.commit(t, &p)
	})
	if err != nil {
		return intake{}, fmt.Errorf("take operations: %w", err)
	}
	for _, l := range p.landed {
		s.landed(t.id, peer, l)
	}
	return p.intake, nil
}

// landed tells of operations that have become durable, and came from a peer, or from nobody.
func (s *Service) landed(id, peer core.DID, l landed) {
	if l.Author == id { // it may have given leave to authors that were refused before
		s.c.Clock.AfterFunc(leaveDelay, func() { s.Seek(id) })
	}
	s.c.Landed(id, l.Author, l.from, l.Seq)
	s.tell(id, peer, l.Item)
}

// plan adds what a run changes.
func (s *Service) plan(t *topic, p *plan, run feed.Run) error {
	author := run.Author()
	r, found, err := s.feed(t.id, author)
	if err != nil {
		return err
	}
	whole := run.Last()
	ops, err := s.known(t.id, r, run.Ops)
	switch {
	case errors.Is(err, feed.ErrForked):
		p.forked, p.stopped = append(p.forked, author), append(p.stopped, author)
		return nil
	case errors.Is(err, feed.ErrBroken), errors.Is(err, feed.ErrClock):
		p.faults, p.stopped = append(p.faults, err), append(p.stopped, author)
		return nil
	case err != nil:
		return err
	}
	if r.forked != 0 {
		ops = ops[:sort.Search(len(ops), func(i int) bool { return ops[i].Seq >= r.forked })]
	}
	ops, notes := s.bounded(t.id, author, r, ops)
	if len(notes) > 0 {
		p.notes, p.stopped = append(p.notes, notes...), append(p.stopped, author)
	}
	if len(ops) == 0 {
		return nil
	}
	last := &ops[len(ops)-1]
	if last.Seq != whole.Seq { // then another signature vouches for them
		if err := last.Verify(); err != nil {
			p.faults, p.stopped = append(p.faults, err), append(p.stopped, author)
			return nil
		}
	}
	r.tip = feed.Tip{Seq: last.Seq, ID: last.ID, Clock: last.Clock}
	for i := range ops {
		r.size += sizeOf(&ops[i].Header)
	}
	if !found {
		p.fresh = append(p.fresh, len(p.landed))
	}
	p.landed = append(p.landed, landed{r.standing(author).Item, ops[0].Seq, len(ops)})
	p.runs, p.feeds = append(p.runs, ops), append(p.feeds, r)
	return nil
}

// known leaves out of a run what is here already, and checks that the rest follows on it. Errors: feed.ErrBroken,
// feed.ErrClock, and feed.ErrForked, as the run is signed.
func (s *Service) known(id core.DID, r feedRecord, ops []feed.Logged) ([]feed.Logged, error) {
	first := &ops[0]
	if first.Seq > r.tip.Seq+1 {
		return nil, fmt.Errorf("operation %d of %s after %d: %w", first.Seq, first.Author.Short(), r.tip.Seq, feed.ErrBroken)
	}
	if n := r.tip.Seq - first.Seq + 1; n >= uint64(len(ops)) {
		last := &ops[len(ops)-1]
		here, _, err := s.operation(id, last.Author, r.number, last.Seq)
		if err == nil && here.ID != last.ID {
			err = forkedAt(last)
		}
		return nil, err
	} else if n > 0 {
		ops = ops[n:]
	}
	switch {
	case ops[0].Prev != r.tip.ID:
		return nil, forkedAt(&ops[0])
	case ops[0].Clock <= r.tip.Clock:
		return nil, fmt.Errorf("operation %d of %s: %w", ops[0].Seq, ops[0].Author.Short(), feed.ErrClock)
	}
	return ops, nil
}

func forkedAt(l *feed.Logged) error {
	return fmt.Errorf("operation %d of %s is not the one that is here: %w", l.Seq, l.Author.Short(), feed.ErrForked)
}

// bounded returns the first operations that may be taken now, and why not the others. Both rules, once they refuse
// an operation, refuse all behind it.
func (s *Service) bounded(id, author core.DID, r feedRecord, ops []feed.Logged) (may []feed.Logged, notes []error) {
	now := s.now()
	if n := sort.Search(len(ops), func(i int) bool { return feed.Ahead(ops[i].Clock, now) }); n < len(ops) {
		notes = append(notes, fmt.Errorf("operation %d of %s: %w", ops[n].Seq, author.Short(), feed.ErrAhead))
		ops = ops[:n]
	}
	if len(ops) == 0 {
		return nil, notes
	}
	sizes := make([]int64, len(ops))
	size := r.size
	for i := range ops {
		size += sizeOf(&ops[i].Header)
		sizes[i] = size
	}
	takes := func(i int) error { return s.c.Takes(id, author, ops[i].Seq, sizes[i]) }
	if takes(len(ops)-1) != nil {
		n := sort.Search(len(ops)-1, func(i int) bool { return takes(i) != nil })
		notes = append(notes, refused(author, ops[n].Seq, takes(n)))
		ops = ops[:n]
	}
	return ops, notes
}

func refused(author core.DID, seq uint64, why error) error {
	return fmt.Errorf("operation %d of %s: %w: %w", seq, author.Short(), ErrLeave, why)
}

// commit writes a plan, all or nothing.
func (s *Service) commit(t *topic, p *plan) error {
	if len(p.landed) == 0 {
		return nil
	}
	if len(p.fresh) > 0 {
		first, err := s.reserve(len(p.fresh))
		if err != nil {
			return err
		}
		for i, at := range p.fresh {
			p.feeds[at].number = first + uint32(i)
		}
	}
	ops, size := 0, 0
	for _, run := range p.runs {
		ops += len(run)
		for i := range run {
			size += len(run[i].Payload)
		}
	}
	p.changes = make([]core.Change, 0, ops+len(p.runs))
	p.arena = make([]byte, 0, size+ops*(opFixed+15+4+32)) // one for all keys and values: there may be 50,000
	for i, run := range p.runs {
		r := p.feeds[i]
		for j := range run {
			p.add(r.number, &run[j])
		}
		p.changes = append(p.changes, core.Change{Key: didKey(feedPrefix, t.id, p.landed[i].Author), Value: r.bytes()})
	}
	return s.c.Books.Apply(p.changes...)
}

func (p *plan) add(number uint32, l *feed.Logged) {
	state := byte(payloadHere)
	if l.Gone {
		state = payloadAbsent
		p.absent++
		p.changes = append(p.changes, core.Change{Key: absentKey(l.Topic, l.Author, l.Seq), Value: []byte{1}})
	}
	from := len(p.arena)
	p.arena = append(p.arena, opKey(number, l.Seq)...)
	mid := len(p.arena)
	p.arena = appendOp(p.arena, l, state)
	p.changes = append(p.changes, core.Change{Key: p.arena[from:mid:mid], Value: p.arena[mid:len(p.arena):len(p.arena)]})
}

// fill takes payloads that were withheld, from runs that have them, and returns how many.
func (s *Service) fill(t *topic, runs []feed.Run) (n int, err error) {
	return n, t.write(func() error {
		var changes []core.Change
		for _, run := range runs {
			r, _, err := s.feed(t.id, run.Author())
			if err != nil {
				return err
			}
			for i := range run.Ops {
				l := &run.Ops[i]
				here, state, err := s.operation(t.id, l.Author, r.number, l.Seq)
				if errors.Is(err, core.ErrNotExist) || err == nil && (l.Gone || state != payloadAbsent || here.ID != l.ID) {
					continue
				}
				if err != nil {
					return err
				}
				here.Gone, here.Sealed = false, l.Sealed
				changes = append(changes,
					core.Change{Key: opKey(r.number, l.Seq), Value: appendOp(nil, &here, payloadHere)},
					core.Change{Key: absentKey(t.id, l.Author, l.Seq)})
				n++
			}
		}
		if n == 0 {
			return nil
		}
		return s.c.Books.Apply(changes...)
	})
}
