package sim

import (
	"context"
	"fmt"
	"iter"
	"net"
	"strings"

	"github.com/grange-grid/grange/core"
)

// reach finds the agent at one of addrs, or says why none is there.
func (n *Network) reach(x *node, to core.DID, addrs []string) (*node, string, error) {
	why := "no address is known"
	for _, a := range addrs {
		at, id, named := strings.Cut(a, addrPeer)
		y := n.nodes[at]
		switch {
		case named && id != to.String()[didTextSkip:]:
			why = a + " is another machine's"
		case y == nil || y.closed || !y.listens || n.down[x.did] || n.down[y.did] || n.cut[pairOf(x.did, y.did)]:
			why = a + " does not answer"
		case y.did != to || y == x:
			why = fmt.Sprintf("the machine at %s is %s", a, y.did)
		default:
			return y, at, nil
		}
	}
	return nil, "", fmt.Errorf("dial %s: %w: %s", to.Short(), core.ErrUnreachable, why)
}

// connect opens a connection, on a new path if need be. It returns a channel to wait for
// where the path is stalled.
func (n *Network) connect(x *node, to core.DID, addrs []string) (core.Conn, <-chan struct{}, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if x.closed {
		return nil, nil, fmt.Errorf("dial %s: %w: %w", to.Short(), core.ErrUnreachable, net.ErrClosed)
	}
	p := pairOf(x.did, to)
	if n.paths[p] == nil {
		if len(addrs) == 0 {
			addrs = x.known[to]
		}
		y, at, err := n.reach(x, to, addrs)
		if err != nil {
			return nil, nil, err
		}
		if n.stall[p] {
			return nil, n.changed, nil
		}
		x.known[to] = []string{at}
		n.paths[p] = &path{ends: [2]*node{x, y}, conns: make(map[*conn]struct{})}
		x.tell(core.PathEvent{Peer: to, Up: true})
		y.tell(core.PathEvent{Peer: x.did, Up: true})
	}
	c, err := n.open(n.paths[p], x)
	if err != nil {
		return nil, nil, err
	}
	return c, nil, nil
}

// open makes a connection on a path and hands its far end to Accept.
func (n *Network) open(p *path, x *node) (*conn, error) {
	y := p.ends[0]
	if y == x {
		y = p.ends[1]
	}
	there := newHalf(n, n.stop(way{x.did, y.did}), n.stall[pairOf(x.did, y.did)])
	back := newHalf(n, n.stop(way{y.did, x.did}), n.stall[pairOf(x.did, y.did)])
	near := &conn{net: n, path: p, near: x, far: y, in: back, out: there}
	far := &conn{net: n, path: p, near: y, far: x, in: there, out: back}
	select {
	case y.accepts <- far:
	default:
		return nil, fmt.Errorf("dial %s: %w: it accepts no connection", y.did.Short(), core.ErrUnreachable)
	}
	p.conns[near] = struct{}{}
	p.conns[far] = struct{}{}
	return near, nil
}

// node is one agent's part of a network: its core.Peers.
type node struct {
	net     *Network
	did     core.DID
	addr    string
	listens bool
	accepts chan core.Conn
	done    chan struct{}

	// The rest is guarded by net.mu.
	closed  bool
	known   map[core.DID][]string
	readers map[*reader]struct{}
}

func (x *node) Dial(ctx context.Context, to core.DID, addrs []string) (core.Conn, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("dial %s: %w: %w", to.Short(), core.ErrUnreachable, err)
		}
		c, changed, err := x.net.connect(x, to, addrs)
		if c != nil || err != nil {
			return c, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (x *node) Accept() (core.Conn, error) {
	select {
	case <-x.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-x.accepts:
		return c, nil
	case <-x.done:
		return nil, net.ErrClosed
	}
}

func (x *node) Reset(to core.DID) {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	x.net.drop(pairOf(x.did, to))
}

func (x *node) Addrs() []string {
	if !x.listens {
		return nil
	}
	return []string{x.addr + addrPeer + x.did.String()[didTextSkip:]}
}

func (x *node) Close() error {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	x.leave()
	return nil
}

// leave is called with net.mu held.
func (x *node) leave() {
	if x.closed {
		return
	}
	x.net.dropAll(x.did)
	x.closed = true
	close(x.done)
}

// reader is one who reads Paths.
type reader struct {
	events []core.PathEvent
	wake   chan struct{}
}

// tell is called with net.mu held.
func (x *node) tell(e core.PathEvent) {
	for r := range x.readers {
		if len(r.events) == pathEvents {
			r.events = r.events[1:]
		}
		r.events = append(r.events, e)
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

func (x *node) Paths(ctx context.Context) iter.Seq[core.PathEvent] {
	r := &reader{wake: make(chan struct{}, 1)}
	x.net.mu.Lock()
	x.readers[r] = struct{}{}
	x.net.mu.Unlock()
	leave := func() {
		x.net.mu.Lock()
		defer x.net.mu.Unlock()
		delete(x.readers, r)
	}
	stop := context.AfterFunc(ctx, leave)
	return func(yield func(core.PathEvent) bool) {
		defer leave()
		defer stop()
		for {
			x.net.mu.Lock()
			events := r.events
			r.events = nil
			x.net.mu.Unlock()
			for _, e := range events {
				if ctx.Err() != nil || !yield(e) {
					return
				}
			}
			select {
			case <-r.wake:
			case <-ctx.Done():
				return
			case <-x.done:
				return
			}
		}
	}
}
