package gossip

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
)

func keyOf(name string) identity.Key { return identity.KeyOf(core.ScoreOf([]byte(name))) }

var table = keyOf("table").DID()

// world is agents on a network in memory.
type world struct {
	t     testing.TB
	net   *sim.Network
	clock *sim.Clock
	nodes []*node
}

// node is an agent with its logs.
type node struct {
	*Service
	w      *world
	name   string
	key    identity.Key
	disk   *sim.Disk
	books  core.Books // the disk's, or others
	client *wire.Client
	peers  core.Peers
	// hostile changes what is answered to others; each may be nil.
	hostile struct {
		frontier   func(frontierRequest, *frontierAnswer)
		operations func(operationsRequest, *operationsAnswer)
	}

	mu      sync.Mutex
	friends []core.DID
	may     func(peer core.DID) error
	takes   func(author core.DID, seq uint64, size int64) error
	landed  map[core.DID]uint64
	forked  []feed.Fork
	// arrived has one when something has landed, or was proven.
	arrived chan struct{}
}

func (n *node) stirred() {
	select {
	case n.arrived <- struct{}{}:
	default:
	}
}

// eager gathers news for no time, and syncs once only.
type eager struct{ core.Clock }

func (e eager) Sleep(ctx context.Context, d time.Duration) error {
	if d > newsDelay {
		<-ctx.Done()
	}
	return ctx.Err()
}

func newWorld(t testing.TB) *world {
	return &world{t: t, net: sim.NewNetwork(1), clock: sim.NewClock(1)}
}

type strangers struct{}

func (strangers) Classify(_ context.Context, agent core.DID) (wire.Caller, error) {
	return wire.Caller{Agent: agent}, nil
}

// add adds an agent that has joined the table.
func (w *world) add(name string) *node {
	w.t.Helper()
	n := &node{w: w, name: name, key: keyOf(name), disk: sim.NewDisk(0), landed: map[core.DID]uint64{}, arrived: make(chan struct{}, 1)}
	w.nodes = append(w.nodes, n)
	n.books = n.disk.Books()
	n.peers = w.net.Join(n.key.DID())
	n.client = wire.NewClient(n.peers, w.clock, func(to core.DID) []string {
		for _, m := range w.nodes {
			if m.key.DID() == to {
				return m.peers.Addrs()
			}
		}
		return nil
	})
	n.open()
	w.must(n.Join(table))
	server := wire.NewServer(n.key.DID(), strangers{}, n.routes(), w.clock, nil)
	ended := make(chan struct{})
	go func() {
		_ = server.Serve(wire.Listen(n.peers, w.clock))
		close(ended)
	}()
	w.t.Cleanup(func() {
		n.client.Close()
		_ = n.peers.Close()
		<-ended
		_ = server.Close()
	})
	return n
}

// open opens the logs on the disk.
func (n *node) open() {
	n.w.t.Helper()
	s, err := New(n.config())
	n.w.must(err)
	n.Service = s
}

// reopen opens them in other books.
func (n *node) reopen() {
	n.w.t.Helper()
	n.open()
	n.w.must(n.Join(table))
}

func (n *node) config() Config {
	return Config{
		Key: n.key, Books: n.books, Clock: eager{n.w.clock}, Wire: n.client, Rand: rand.Reader,
		Peers: func(core.DID) []core.DID { return locked(n, func() []core.DID { return slices.Clone(n.friends) }) },
		May: func(_, peer core.DID) error {
			if may := locked(n, func() func(core.DID) error { return n.may }); may != nil {
				return may(peer)
			}
			return nil
		},
		Takes: func(_, author core.DID, seq uint64, size int64) error {
			if takes := locked(n, func() func(core.DID, uint64, int64) error { return n.takes }); takes != nil {
				return takes(author, seq, size)
			}
			return nil
		},
		Landed: func(topic, author core.DID, from, to uint64) {
			if topic != table {
				return
			}
			locked(n, func() int {
				if n.landed[author] != from-1 {
					n.w.t.Errorf("%s: operations %d to %d of %s landed after %d", n.name, from, to, author.Short(), n.landed[author])
				}
				n.landed[author] = to
				n.stirred()
				return 0
			})
		},
		Forked: func(_ core.DID, f feed.Fork) {
			locked(n, func() int {
				n.forked = append(n.forked, f)
				n.landed[f.Author()] = min(n.landed[f.Author()], f.Seq()-1)
				n.stirred()
				return 0
			})
		},
	}
}

func locked[T any](n *node, f func() T) T {
	n.mu.Lock()
	defer n.mu.Unlock()
	return f()
}

// routes are the service's, with what is hostile.
func (n *node) routes() []wire.Route {
	// The service may be opened anew under the server.
	routes := n.Routes()
	for i, r := range routes {
		switch r.Path {
		case "/feeds/frontier":
			routes[i].Handler = wire.Handle(func(ctx context.Context, in frontierRequest) (frontierAnswer, error) {
				out, err := n.handleFrontier(ctx, in)
				if n.hostile.frontier != nil && err == nil {
					n.hostile.frontier(in, &out)
				}
				return out, err
			})
		case "/feeds/operations":
			routes[i].Handler = wire.Handle(func(ctx context.Context, in operationsRequest) (operationsAnswer, error) {
				out, err := n.handleOperations(ctx, in)
				if n.hostile.operations != nil && err == nil {
					n.hostile.operations(in, &out)
				}
				return out, err
			})
		case "/feeds/news":
			routes[i].Handler = wire.Handle(func(ctx context.Context, in newsRequest) (newsAnswer, error) { return n.handleNews(ctx, in) })
		}
	}
	return routes
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

// put appends texts as the machine's own operations.
func (n *node) put(texts ...string) []feed.Logged {
	n.w.t.Helper()
	return n.putAs(identity.Key{}, texts...)
}

func (n *node) putAs(key identity.Key, texts ...string) []feed.Logged {
	n.w.t.Helper()
	var drafts []Draft
	for _, text := range texts {
		drafts = append(drafts, Draft{Kind: feed.Put, Payload: []byte(text)})
	}
	ops, err := n.Append(n.w.t.Context(), table, key, drafts...)
	n.w.must(err)
	return ops
}

// sync is Sync, without an error.
func (n *node) syncWith(m *node) Stats {
	n.w.t.Helper()
	st, err := n.Sync(n.w.t.Context(), table, m.key.DID())
	n.w.must(err)
	return st
}

// log returns all that n has, as text: author, seq, id, and payload.
func (n *node) log() (lines []string) {
	n.w.t.Helper()
	for st, err := range n.Frontier(table) {
		n.w.must(err)
		var tip feed.Tip
		var size int64
		for l, err := range n.Operations(table, st.Author, 1) {
			n.w.must(err)
			tip, err = tip.Follow(l.Header)
			n.w.must(err)
			if !l.Gone {
				n.w.must(feed.Check(l.Header, l.Sealed))
			}
			size += sizeOf(&l.Header)
			lines = append(lines, fmt.Sprintf("%s %d %s %q %v", l.Author.Short(), l.Seq, l.ID.Short(), l.Payload, l.Gone))
		}
		if tip.Seq != st.Seq || tip.ID != st.ID || tip.Clock != st.Clock || size != st.Size {
			n.w.t.Errorf("%s: %s stands at %+v, and its log ends at %+v with %d bytes", n.name, st.Author.Short(), st, tip, size)
		}
		lines = append(lines, fmt.Sprintf("%s forked at %d", st.Author.Short(), st.Forked))
		if got := locked(n, func() uint64 { return n.landed[st.Author] }); got != st.Seq {
			n.w.t.Errorf("%s: %d of %s's %d operations were told of", n.name, got, st.Author.Short(), st.Seq)
		}
	}
	return lines
}

// equal checks that agents have the same logs.
func (w *world) equal(nodes ...*node) {
	w.t.Helper()
	want := nodes[0].log()
	for _, n := range nodes[1:] {
		if got := n.log(); !slices.Equal(got, want) {
			w.t.Errorf("%s has\n%q\nand %s\n%q", n.name, got, nodes[0].name, want)
		}
	}
}
