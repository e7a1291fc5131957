package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
)

// Limits of the network.
const (
	windowSize  = 256 << 10 // bytes under way in one direction of a connection
	acceptsMax  = 256       // connections that wait for Accept
	pathEvents  = 64        // events that wait for a slow reader of Paths
	addrPrefix  = "/memory/"
	addrPeer    = "/p2p/"
	didTextSkip = len("did:key:")
)

var errReset = errors.New("connection reset")

// Network joins agents in memory. Its connections are buffered, as streams are, and
// it fails when it is told to. Only deadlines go by the machine's clock, because those
// who set them, net/http above all, reckon by it; in a synctest bubble that
// clock is fake.
type Network struct {
	mu    sync.Mutex
	rand  *rand.Rand
	nodes map[string]*node // by address; a closed one stays until its agent joins again
	addrs map[core.DID]string
	paths map[pair]*path
	cut   map[pair]bool
	down  map[core.DID]bool
	stall map[pair]bool
	stops map[way]*budget
	clock core.Clock
	delay time.Duration
	// changed is closed when a path that was stalled is not.
	changed chan struct{}
}

// pair is two agents, the lower DID first; way is from one to another.
type (
	pair struct{ a, b core.DID }
	way  struct{ from, to core.DID }
)

func pairOf(a, b core.DID) pair {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return pair{a, b}
}

// path is what two agents have between them from the first connection until it breaks.
type path struct {
	ends  [2]*node
	conns map[*conn]struct{}
}

// NewNetwork returns a network without agents. The seed chooses how delays vary.
func NewNetwork(seed uint64) *Network {
	return &Network{
		rand: rand.New(rand.NewPCG(seed, 0)), nodes: make(map[string]*node), addrs: make(map[core.DID]string),
		paths: make(map[pair]*path), cut: make(map[pair]bool), down: make(map[core.DID]bool), stall: make(map[pair]bool),
		stops: make(map[way]*budget), changed: make(chan struct{}),
	}
}

// Join adds an agent that can be dialled. One that was there before comes back at its old
// address; if it was not closed, it is now.
func (n *Network) Join(did core.DID) core.Peers { return n.join(did, true) }

// JoinDialing adds an agent that only dials.
func (n *Network) JoinDialing(did core.DID) core.Peers { return n.join(did, false) }

func (n *Network) join(did core.DID, listens bool) *node {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr, ok := n.addrs[did]
	if !ok {
		addr = fmt.Sprintf("%s%d", addrPrefix, len(n.addrs)+1)
		n.addrs[did] = addr
	}
	if old := n.nodes[addr]; old != nil {
		old.leave()
	}
	x := &node{
		net: n, did: did, addr: addr, listens: listens, known: make(map[core.DID][]string),
		accepts: make(chan core.Conn, acceptsMax), done: make(chan struct{}), readers: make(map[*reader]struct{}),
	}
	n.nodes[addr] = x
	return x
}

// Cut breaks the path between two agents, and lets none be made until Heal.
func (n *Network) Cut(a, b core.DID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[pairOf(a, b)] = true
	n.drop(pairOf(a, b))
}

// Stall keeps the path between two agents but delivers nothing on it until Heal.
func (n *Network) Stall(a, b core.DID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stall[pairOf(a, b)] = true
	n.each(pairOf(a, b), func(h *half) { h.hold(true) })
}

// StopAfter lets size more bytes go one way between two agents, over all connections, and
// breaks the path on the next.
func (n *Network) StopAfter(from, to core.DID, size int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.stop(way{from, to})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed, b.left = true, size
}

// Heal ends what Cut, Stall and StopAfter did between two agents.
func (n *Network) Heal(a, b core.DID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := pairOf(a, b)
	delete(n.cut, p)
	delete(n.stall, p)
	for _, w := range []way{{a, b}, {b, a}} {
		s := n.stop(w)
		s.mu.Lock()
		s.armed = false
		s.mu.Unlock()
	}
	n.each(p, func(h *half) { h.hold(false) })
	close(n.changed)
	n.changed = make(chan struct{})
}

// Down breaks every path of an agent and lets none be made until Up. The agent runs on.
func (n *Network) Down(did core.DID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down[did] = true
	n.dropAll(did)
}

// Up ends Down.
func (n *Network) Up(did core.DID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.down, did)
}

// Delay lets what is written from now on arrive after d by clock, or up to half of it
// sooner or later. 0 is at once.
func (n *Network) Delay(clock core.Clock, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.clock, n.delay = clock, d
}

// deliver calls arrive when bytes that are sent now arrive.
func (n *Network) deliver(arrive func()) {
	n.mu.Lock()
	clock, d := n.clock, n.delay
	if d > 0 {
		d += time.Duration(n.rand.Int64N(int64(d)+1)) - d/2
	}
	n.mu.Unlock()
	if d <= 0 {
		arrive()
		return
	}
	clock.AfterFunc(d, arrive)
}

func (n *Network) stop(w way) *budget {
	if n.stops[w] == nil {
		n.stops[w] = new(budget)
	}
	return n.stops[w]
}

// each calls f on what is under way between two agents.
func (n *Network) each(p pair, f func(*half)) {
	if path := n.paths[p]; path != nil {
		for c := range path.conns {
			f(c.in)
			f(c.out)
		}
	}
}

// drop breaks a path, if there is one, and tells both ends.
func (n *Network) drop(p pair) {
	path := n.paths[p]
	if path == nil {
		return
	}
	n.each(p, (*half).reset)
	delete(n.paths, p)
	path.ends[0].tell(core.PathEvent{Peer: path.ends[1].did})
	path.ends[1].tell(core.PathEvent{Peer: path.ends[0].did})
}

func (n *Network) dropAll(did core.DID) {
	for p := range n.paths {
		if p.a == did || p.b == did {
			n.drop(p)
		}
	}
}
