package gossip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

const (
	// faultsMax is how many faults of a peer are borne in one sync.
	faultsMax = 16
	// spotEvery is one in how many signatures within a run is verified, so that a peer that passes on false ones is
	// noticed before there are many.
	spotEvery = 64
	// absentMax is how many payloads that were withheld are asked for at once.
	absentMax = 1024
	// turnTime is for how long one sync fetches before others of the topic come before it, in milliseconds.
	turnTime = 60 * 1000
	// levelsMax is how many peers are remembered to have had the same frontier.
	levelsMax = 256
)

// Stats says what a sync came to.
type Stats struct {
	// Trips is how many round trips it took to compare frontiers, Compared how many bytes, both ways, about.
	Trips    int
	Compared int64
	// Operations were taken, of Feeds, in batches of that many Bytes.
	Operations, Feeds int
	Bytes             int64
	// Forks are proofs that are new here.
	Forks int
	// Withheld are operations whose payload the peer had not; Filled are payloads that others had withheld.
	Withheld, Filled int
	// Notes say what was not taken without the peer's fault: feed.ErrAhead, ErrLeave.
	Notes []error
}

// session is a sync with one peer.
type session struct {
	s     *Service
	t     *topic
	peer  core.DID
	stats Stats
	// behind says that the peer lacks something, tells what is known of that, proofs those that it needs.
	behind bool
	tells  []feed.Item
	proofs [][]byte
	// heads are the seqs that the peer has, of the page in hand.
	heads map[core.DID]uint64
	// skip are authors of whom no more is taken in this sync.
	skip   map[core.DID]bool
	forked []core.DID
	faults []error
	// differ says that anything did.
	differ bool
	// since is when the turn was taken, in Unix milliseconds.
	since int64
}

func (x *session) fault(err error) {
	if len(x.faults) < faultsMax {
		x.faults = append(x.faults, err)
	}
}

// Sync fetches what a peer has of a topic and is not here, and tells it what it lacks itself. What is wrong with some of it is in
// the error, by name; the rest has been taken, as have whole batches before anything else that ended it.
func (s *Service) Sync(ctx context.Context, id, peer core.DID) (Stats, error) {
	return s.sync(ctx, id, peer, func(x *session) error {
		if err := x.fill(ctx); err != nil {
			return err
		}
		return x.reconcile(ctx, func(items []feed.Item) error { return x.page(ctx, items) })
	})
}

// sync runs do and what belongs behind it.
func (s *Service) sync(ctx context.Context, id, peer core.DID, do func(*session) error) (Stats, error) {
	t, err := s.topic(id)
	if err != nil {
		return Stats{}, fmt.Errorf("sync: %w", err)
	}
	x := &session{s: s, t: t, peer: peer, skip: map[core.DID]bool{}}
	if err = do(x); err == nil {
		err = x.finish(ctx)
	}
	if err = errors.Join(append(x.faults, err)...); err != nil {
		err = fmt.Errorf("sync %s with %s: %w", id.Short(), peer.Short(), err)
	}
	return x.stats, err
}

// takeTurn waits until no other sync of the topic fetches.
func (x *session) takeTurn(ctx context.Context) error {
	x.t.waiting.Add(1)
	defer x.t.waiting.Add(-1)
	select {
	case x.t.turn <- struct{}{}:
		x.since = x.s.now()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// yield lets others go before, if there are, when this one has been at it for long: a slow peer is not to keep a topic from
// all others. What they fetch meanwhile is left out when it comes from this one.
func (x *session) yield() {
	if x.s.now()-x.since < turnTime || x.t.waiting.Load() == 0 {
		return
	}
	<-x.t.turn
	x.t.turn <- struct{}{} // behind those who wait
	x.since = x.s.now()
}

// finish tells the peer what it lacks.
func (x *session) finish(ctx context.Context) error {
	x.t.mu.Lock()
	if !x.behind && len(x.tells)+len(x.proofs)+len(x.stats.Notes)+len(x.faults) == 0 && !x.differ {
		if len(x.t.level) >= levelsMax {
			clear(x.t.level)
		}
		x.t.level[x.peer] = x.t.changes
	}
	x.t.mu.Unlock()
	if !x.behind && len(x.tells)+len(x.proofs) == 0 {
		return nil
	}
	if len(x.tells) > newsMax || x.behind && len(x.tells) == 0 {
		x.tells = nil // it is to find out by itself
	}
	slices.SortFunc(x.tells, func(a, b feed.Item) int { return a.Author.Compare(b.Author) })
	if len(x.proofs) > 0 {
		if err := x.s.callNews(ctx, x.peer, x.t.id, nil, x.proofs); err != nil {
			return err
		}
		if !x.behind && len(x.tells) == 0 {
			return nil
		}
	}
	return x.s.callNews(ctx, x.peer, x.t.id, x.tells, nil)
}

// page fetches what the peer's items say that it has more, when it is the topic's turn. A peer that does not answer at all
// has never had one.
func (x *session) page(ctx context.Context, items []feed.Item) error {
	if len(items) == 0 {
		return nil
	}
	if err := x.takeTurn(ctx); err != nil {
		return err
	}
	defer func() { <-x.t.turn }()
	x.heads = make(map[core.DID]uint64, len(items))
	var wants []want
	for _, item := range items {
		x.differ = true
		x.heads[item.Author] = item.Seq
		w, ok, err := x.wanted(item)
		if err != nil {
			return err
		}
		if ok {
			wants = append(wants, w)
		}
	}
	if err := x.pull(ctx, wants); err != nil {
		return err
	}
	forked := x.forked
	x.forked = nil
	return x.accuse(ctx, forked)
}

// wanted says what to ask for of an author.
func (x *session) wanted(item feed.Item) (want, bool, error) {
	r, _, err := x.s.feed(x.t.id, item.Author)
	if err != nil {
		return want{}, false, err
	}
	ours := r.standing(item.Author).Item
	if newer(ours, item) {
		if ours.Forked != 0 && len(x.proofs) < forksMax {
			raw, err := x.s.c.Books.Get(didKey(forkPrefix, x.t.id, item.Author))
			if err != nil {
				return want{}, false, err
			}
			x.proofs = append(x.proofs, raw)
		}
		if ours.Seq > item.Seq && len(x.tells) <= newsMax {
			x.tells = append(x.tells, ours)
		}
	}
	if item.Seq > 0 && item.Seq <= ours.Seq {
		l, _, err := x.s.operation(x.t.id, item.Author, r.number, item.Seq)
		if errors.Is(err, core.ErrNotExist) { // a proof came between
			return want{}, false, nil
		}
		if err != nil {
			return want{}, false, err
		}
		if l.ID != item.ID {
			x.forked = append(x.forked, item.Author)
		}
	}
	w := want{author: item.Author}
	to, proof := item.Seq, item.Forked != 0 && (ours.Forked == 0 || item.Forked < ours.Forked)
	if ours.Forked != 0 {
		to = min(to, ours.Forked-1)
	}
	if to > ours.Seq || proof && ours.Seq == 0 {
		if why := x.s.c.Takes(x.t.id, item.Author, ours.Seq+1, r.size+feed.OperationSize); why != nil {
			x.note(refused(item.Author, ours.Seq+1, why))
			proof = proof && ours.Seq != 0
		} else if to > ours.Seq {
			w.from, w.to = ours.Seq+1, to
		}
	}
	return w, w.to != 0 || proof, nil
}

func (x *session) note(err error) {
	if len(x.stats.Notes) < faultsMax {
		x.stats.Notes = append(x.stats.Notes, err)
	}
}

// answered is an answer with what was asked; checked what was verified of it.
type answered struct {
	wants []want
	operationsAnswer
}

type checked struct {
	runs   []feed.Run
	forks  [][]byte
	bad    []core.DID
	faults []error
	bytes  int
	// end says that no more of what this peer sends is to be read.
	end error
}

// pull fetches operations, verifies them, and takes them, one batch at each of the three at a time.
func (x *session) pull(ctx context.Context, wants []want) error {
	if len(wants) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	answers, batches := make(chan answered, 1), make(chan checked, 1)
	var asking error
	var all sync.WaitGroup
	all.Go(func() {
		defer close(answers)
		asking = x.ask(ctx, slices.Clone(wants), answers)
	})
	all.Go(func() {
		defer close(batches)
		for a := range answers {
			select {
			case batches <- check(x.t.id, a):
			case <-ctx.Done():
				return
			}
		}
	})
	err := x.takeAll(batches)
	cancel()
	for range batches { // the two are to end, and answers with them
	}
	all.Wait()
	if err != nil {
		return err
	}
	return asking
}

func (x *session) takeAll(batches <-chan checked) error {
	for c := range batches {
		for _, author := range c.bad {
			x.skip[author] = true
		}
		for _, err := range c.faults {
			x.fault(err)
		}
		c.runs = slices.DeleteFunc(c.runs, func(r feed.Run) bool { return x.skip[r.Author()] })
		in, err := x.s.take(x.t, x.peer, c.runs)
		if err != nil {
			return err
		}
		x.count(c, in)
		if err := x.s.learn(x.t, x.peer, c.forks, func(feed.Fork) { x.stats.Forks++ }); err != nil {
			return err
		}
		if c.end != nil {
			return c.end
		}
		x.yield()
		if len(x.faults) >= faultsMax {
			return fmt.Errorf("%w: %d faults", ErrStuck, faultsMax)
		}
	}
	return nil
}

func (x *session) count(c checked, in intake) {
	for _, l := range in.landed {
		x.stats.Operations += l.ops
	}
	x.stats.Feeds += len(in.landed)
	x.stats.Bytes += int64(c.bytes)
	x.stats.Withheld += in.absent
	for _, err := range in.faults {
		x.fault(err)
	}
	for _, err := range in.notes {
		x.note(err)
	}
	x.forked = append(x.forked, in.forked...)
	for _, author := range in.stopped {
		x.skip[author] = true
	}
}
