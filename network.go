package grange

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/service/federation"
)

// network is the agent's way to its peers. It is made when it is first used:
// dialling only, or listening, for Run. Its methods may be called at once.
type network struct {
	c   Config
	key identity.Key

	// addrs is where peers were last found; federation writes in it.
	addrs *federation.Addresses

	// Set once, before first use.
	known func(core.DID) bool // an agent of a partner or of our own
	saw   func(core.DID)      // an agent has answered
	// up and down are limits in bytes a second; 0 is none.
	up, down int64

	mu        sync.Mutex
	peers     core.Peers
	client    *wire.Client
	listening bool
	closed    bool
	reached   map[core.DID]bool // whether the last call, or path, came through
}

func newNetwork(c Config, key identity.Key) *network {
	return &network{
		c: c, key: key, addrs: &federation.Addresses{}, reached: map[core.DID]bool{},
		known: func(core.DID) bool { return false },
		saw:   func(core.DID) {},
	}
}

// open makes the network unless there is one.
func (n *network) open(listen []string, mdns bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.openLocked(listen, mdns)
}

func (n *network) openLocked(listen []string, mdns bool) error {
	if n.closed {
		return net.ErrClosed
	}
	if n.peers != nil {
		return nil
	}
	peers, err := n.c.Peers(PeersConfig{
		Key: n.key.Private(), Listen: listen, MDNS: mdns, Known: n.known, Clock: n.c.Clock, Log: n.c.Log.With("room", "p2p"),
	})
	if err != nil {
		return err // it says that the network could not be opened
	}
	n.peers, n.listening = limit(peers, n.c.Clock, n.up, n.down), len(listen) > 0
	n.client = wire.NewClient(n.peers, n.c.Clock, n.addrs.Of)
	return nil
}

// listen makes the network one that listens, dropping one that only dials.
func (n *network) listen(addrs []string, mdns bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.peers != nil && !n.listening {
		if err := n.hangUpLocked(); err != nil {
			return err
		}
	}
	return n.openLocked(addrs, mdns)
}

func (n *network) use() (core.Peers, *wire.Client, error) {
	if err := n.open(nil, false); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", core.ErrUnreachable, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers, n.client, nil
}

// heard notes how a call to an agent went. A call that was broken off says nothing.
func (n *network) heard(agent core.DID, err error) error {
	_, answered := errors.AsType[*wire.Error](err)
	switch {
	case err == nil:
		n.note(agent, true)
		n.saw(agent)
	case answered:
		n.note(agent, true)
	case errors.Is(err, core.ErrUnreachable):
		n.note(agent, false)
	}
	return err
}

// note remembers whether an agent is within reach.
func (n *network) note(agent core.DID, reached bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reached[agent] = reached
}

// lost tells whether an agent is known to be out of reach.
func (n *network) lost(agent core.DID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	reached, known := n.reached[agent]
	return known && !reached
}

// Call, CallLimit, Send, Fetch and Fresh are wire.Client's.
func (n *network) Call(ctx context.Context, to core.DID, method, path string, in, out any) error {
	_, client, err := n.use()
	if err != nil {
		return err
	}
	return n.heard(to, client.Call(ctx, to, method, path, in, out))
}

func (n *network) CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error {
	_, client, err := n.use()
	if err != nil {
		return err
	}
	return n.heard(to, client.CallLimit(ctx, to, method, path, in, out, limit))
}

func (n *network) Send(ctx context.Context, to core.DID, path string, body []byte) error {
	_, client, err := n.use()
	if err != nil {
		return err
	}
	return n.heard(to, client.Send(ctx, to, path, body))
}

func (n *network) Fetch(ctx context.Context, to core.DID, path string, buf []byte, limit int64) ([]byte, error) {
	_, client, err := n.use()
	if err != nil {
		return nil, err
	}
	data, err := client.Fetch(ctx, to, path, buf, limit)
	return data, n.heard(to, err)
}

func (n *network) Fresh(to core.DID) {
	if _, client, err := n.use(); err == nil {
		client.Fresh(context.Background(), to)
	}
}

// Addrs returns where this agent can be dialled; none while it does not listen.
func (n *network) Addrs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.peers == nil || !n.listening {
		return nil
	}
	return n.peers.Addrs()
}

// listens tells whether partners can call, once this machine is in a network.
func (n *network) listens() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers != nil && n.listening
}

// Paths yields who came within reach and who went.
func (n *network) Paths(ctx context.Context) iter.Seq[core.PathEvent] {
	peers, _, err := n.use()
	if err != nil {
		return func(func(core.PathEvent) bool) {}
	}
	return peers.Paths(ctx)
}

// listener hands the network's connections to a http.Server. Its Close ends
// Accept, as a server that shuts down needs, and leaves the connections alone.
type listener struct {
	self   core.DID
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// newListener takes over what peers accepts, until peers is closed.
func newListener(peers core.Peers, clock core.Clock, self core.DID) *listener {
	accepts := wire.Listen(peers, clock)
	l := &listener{self: self, conns: make(chan net.Conn), closed: make(chan struct{})}
	go func() {
		for {
			c, err := accepts.Accept()
			if err != nil {
				_ = l.Close() // it cannot fail
				return
			}
			select {
			case l.conns <- c:
			case <-l.closed:
				_ = c.Close() // nobody answers any more
			}
		}
	}()
	return l
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.self.String(), Net: "grange"} }

// hangUp ends all connections. The next use makes a network that only dials.
func (n *network) hangUp() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hangUpLocked()
}

func (n *network) hangUpLocked() error {
	if n.peers == nil {
		return nil
	}
	n.client.Close()
	err := n.peers.Close()
	n.peers, n.client, n.listening = nil, nil, false
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the network: %w", err)
	}
	return nil
}

// Close ends all connections for good.
func (n *network) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	return n.hangUpLocked()
}
