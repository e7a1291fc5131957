package gossip

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

const (
	// newsDelay is for how long news are gathered before they are told.
	newsDelay = 100 * time.Millisecond
	// syncEvery is between two syncs with a peer, give or take a quarter.
	syncEvery = time.Minute
	// leaveDelay is between an operation by the topic's own key and a sync: whoever decides about leave looks at it first.
	leaveDelay = 2 * time.Second
	// peersMax is how many peers of a topic are told news, and synced with at first; if there are more, some of them by chance.
	peersMax = 16
	// peersEach is with how many of them it is synced each time after that.
	peersEach = 4
	// pairsMax is how many peers, times topics, wait for their turn.
	pairsMax = 4096
	// workersMax is how many are served at once, of each kind. Most of them wait for peers that are away.
	workersMax = 64
)

// pair is a topic and a peer.
type pair struct{ topic, peer core.DID }

// bundle is what is to be told to a peer, or was heard of one.
type bundle struct {
	items map[core.DID]feed.Item
	// all says that it is too much, or not known: whole frontiers are to be compared.
	all bool
}

func (b *bundle) add(item feed.Item) {
	if b.all {
		return
	}
	if b.items[item.Author] = item; len(b.items) > newsMax {
		b.all, b.items = true, nil
	}
}

// queue gathers bundles by pair. One of a pair at a time is worked on.
type queue struct {
	wake chan struct{}

	mu      sync.Mutex
	pending map[pair]*bundle
	running map[pair]bool
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), pending: map[pair]*bundle{}, running: map[pair]bool{}}
}

// add adds to a pair's bundle; with all, whole frontiers are to be compared.
func (q *queue) add(p pair, all bool, items ...feed.Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.pending[p]
	if b == nil {
		if len(q.pending) >= pairsMax {
			return // the next sync makes up for it
		}
		b = &bundle{items: map[core.DID]feed.Item{}}
		q.pending[p] = b
	}
	if all {
		b.all, b.items = true, nil
	}
	for _, i := range items {
		b.add(i)
	}
	q.stir()
}

func (q *queue) stir() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// next returns what can be worked on now.
func (q *queue) next() (p pair, b *bundle, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.running) >= workersMax {
		return p, nil, false
	}
	for p, b := range q.pending {
		if !q.running[p] {
			q.running[p] = true
			delete(q.pending, p)
			return p, b, true
		}
	}
	return p, nil, false
}

func (q *queue) done(p pair) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.running, p)
	q.stir()
}

// run works until ctx ends.
func (q *queue) run(ctx context.Context, do func(context.Context, pair, *bundle)) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		select {
		case <-q.wake:
		case <-ctx.Done():
			return
		}
		for p, b, ok := q.next(); ok; p, b, ok = q.next() {
			all.Go(func() {
				defer q.done(p)
				do(ctx, p, b)
			})
		}
	}
}

// news is what is to be told, and what was heard.
type news struct {
	mu sync.Mutex
	// fresh are what has changed of each topic, with the peer that it came from.
	fresh map[core.DID]map[core.DID]freshItem
	wake  chan struct{}
	// out tells peers, in syncs with them.
	out, in *queue
}

type freshItem struct {
	feed.Item
	from core.DID
}

// freshMax is how many items of a topic are gathered; of more, peers are told to compare.
const freshMax = 1024

func (n *news) init() {
	n.fresh, n.wake = map[core.DID]map[core.DID]freshItem{}, make(chan struct{}, 1)
	n.out, n.in = newQueue(), newQueue()
}

// tell has peers told of a feed that has changed, but the one that it came from.
func (s *Service) tell(id, from core.DID, item feed.Item) {
	n := &s.news
	n.mu.Lock()
	defer n.mu.Unlock()
	items := n.fresh[id]
	if items == nil {
		items = map[core.DID]freshItem{}
		n.fresh[id] = items
	}
	if _, known := items[item.Author]; known || len(items) <= freshMax {
		items[item.Author] = freshItem{item, from}
	}
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// heard has what a peer tells of fetched from it, where it is not here.
func (s *Service) heard(t *topic, peer core.DID, items []feed.Item, all bool) error {
	var lacking []feed.Item
	for _, item := range items {
		r, _, err := s.feed(t.id, item.Author)
		if err != nil {
			return err
		}
		ours := r.standing(item.Author).Item
		if newer(item, ours) || item.Seq == ours.Seq && item.ID != ours.ID {
			lacking = append(lacking, item)
		}
	}
	if all || len(lacking) > 0 {
		s.news.in.add(pair{t.id, peer}, all, lacking...)
	}
	return nil
}

// Run syncs every topic with peers, about once a minute and when there are news, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { s.news.out.run(ctx, s.callOut) })
	all.Go(func() { s.news.in.run(ctx, s.fetchIn) })
	all.Go(func() { s.spread(ctx) })
	for most := peersMax; ctx.Err() == nil; most = peersEach {
		for _, id := range s.Topics() {
			s.seek(id, most)
		}
		_ = s.c.Clock.Sleep(ctx, syncEvery*3/4+rand.N(syncEvery/2))
	}
	all.Wait()
	return ctx.Err()
}

// Seek has a topic synced with its peers soon, by Run: because there are new ones, or authors have leave now that had none.
func (s *Service) Seek(id core.DID) { s.seek(id, peersMax) }

func (s *Service) seek(id core.DID, most int) {
	peers := s.peers(id)
	for _, peer := range peers[:min(len(peers), most)] {
		s.news.in.add(pair{id, peer}, true)
	}
}

// peers returns those to speak with about a topic.
func (s *Service) peers(id core.DID) []core.DID {
	peers := slices.DeleteFunc(slices.Clone(s.c.Peers(id)), func(d core.DID) bool { return d == s.self })
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	return peers[:min(len(peers), peersMax)]
}

// spread hands what has changed to the peers' bundles.
func (s *Service) spread(ctx context.Context) {
	n := &s.news
	for {
		select {
		case <-n.wake:
		case <-ctx.Done():
			return
		}
		_ = s.c.Clock.Sleep(ctx, newsDelay)
		n.mu.Lock()
		fresh := n.fresh
		n.fresh = map[core.DID]map[core.DID]freshItem{}
		n.mu.Unlock()
		for id, items := range fresh {
			for _, peer := range s.peers(id) {
				var theirs []feed.Item
				for _, i := range items {
					if i.from != peer {
						theirs = append(theirs, i.Item)
					}
				}
				if len(theirs) > 0 {
					n.out.add(pair{id, peer}, len(items) > freshMax, theirs...)
				}
			}
		}
	}
}

// callOut tells a peer. If it cannot be reached, the next sync makes up for it.
func (s *Service) callOut(ctx context.Context, p pair, b *bundle) {
	items := slices.SortedFunc(maps.Values(b.items), func(a, b feed.Item) int { return a.Author.Compare(b.Author) })
	var proofs [][]byte
	for _, i := range items {
		if i.Forked == 0 || len(proofs) == forksMax {
			continue
		}
		if raw, err := s.c.Books.Get(didKey(forkPrefix, p.topic, i.Author)); err == nil {
			proofs = append(proofs, raw)
		}
	}
	if err := s.callNews(ctx, p.peer, p.topic, items, proofs); err != nil {
		s.c.Log.Debug("tell news", "topic", p.topic.Short(), "peer", p.peer.Short(), "err", err)
	}
}

// fetchIn fetches what a peer has told of.
func (s *Service) fetchIn(ctx context.Context, p pair, b *bundle) {
	var err error
	if b.all {
		_, err = s.Sync(ctx, p.topic, p.peer)
	} else {
		items := slices.SortedFunc(maps.Values(b.items), func(a, b feed.Item) int { return a.Author.Compare(b.Author) })
		_, err = s.sync(ctx, p.topic, p.peer, func(x *session) error { return x.page(ctx, items) })
	}
	if err != nil && ctx.Err() == nil {
		s.c.Log.Info("sync", "err", err)
	}
}
