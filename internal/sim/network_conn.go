package sim

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
)

// conn is one end of a connection.
type conn struct {
	net       *Network
	path      *path
	near, far *node
	in, out   *half
}

func (c *conn) Peer() core.DID       { return c.far.did }
func (c *conn) LocalAddr() net.Addr  { return address(c.near.addr) }
func (c *conn) RemoteAddr() net.Addr { return address(c.far.addr) }

func (c *conn) Read(b []byte) (int, error) { return c.in.read(b) }

func (c *conn) Write(b []byte) (int, error) {
	n, cut, err := c.out.write(b)
	if cut {
		c.net.mu.Lock()
		defer c.net.mu.Unlock()
		if c.net.paths[pairOf(c.near.did, c.far.did)] == c.path {
			c.net.drop(pairOf(c.near.did, c.far.did))
		}
	}
	return n, err
}

// CloseWrite ends what this end writes; it can read on.
func (c *conn) CloseWrite() error {
	c.out.end()
	return nil
}

func (c *conn) Close() error {
	c.out.end()
	c.in.abandon()
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	delete(c.path.conns, c)
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	c.in.readUntil.set(c.in, t)
	c.out.writeUntil.set(c.out, t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.readUntil.set(c.in, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.writeUntil.set(c.out, t)
	return nil
}

type address string

func (a address) Network() string { return "memory" }
func (a address) String() string  { return string(a) }

// half is one direction of a connection.
type half struct {
	net    *Network
	budget *budget

	mu    sync.Mutex
	moved *sync.Cond // something of the below has changed
	buf   []byte
	// arrived of buf can be read; due more could, were the path not stalled.
	arrived, due int
	held         bool
	ended        bool // by the writer: what there is can be read
	abandoned    bool // by the reader
	broken       bool

	readUntil, writeUntil deadline
}

func newHalf(n *Network, b *budget, held bool) *half {
	h := &half{net: n, budget: b, held: held}
	h.moved = sync.NewCond(&h.mu)
	return h
}

func (h *half) read(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.abandoned:
			return 0, net.ErrClosed
		case h.readUntil.passed:
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case h.arrived > 0:
			n := copy(b, h.buf[:h.arrived])
			h.buf = h.buf[n:]
			h.arrived -= n
			h.moved.Broadcast()
			return n, nil
		case h.broken:
			return 0, errReset
		case h.ended && len(h.buf) == 0 && !h.held:
			return 0, io.EOF
		}
		h.moved.Wait()
	}
}

// write tells also whether the path has to break now.
func (h *half) write(b []byte) (done int, cut bool, err error) {
	for {
		n, granted, err := h.part(b[done:])
		if granted > 0 {
			h.net.deliver(func() { h.arrive(granted) })
		}
		done += granted
		if err != nil || granted < n {
			return done, granted < n, errOr(err, errReset)
		}
		if done == len(b) {
			return done, false, nil
		}
	}
}

func errOr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// part writes as much of b as there is room for: n bytes, of which the network grants some.
func (h *half) part(b []byte) (n, granted int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.ended:
			return 0, 0, net.ErrClosed
		case h.broken || h.abandoned:
			return 0, 0, errReset
		case h.writeUntil.passed:
			return 0, 0, os.ErrDeadlineExceeded
		case len(h.buf) < windowSize || len(b) == 0:
			n = min(len(b), windowSize-len(h.buf))
			granted = h.budget.take(n)
			h.buf = append(h.buf, b[:granted]...)
			return n, granted, nil
		}
		h.moved.Wait()
	}
}

// do changes h and wakes who waits for it.
func (h *half) do(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	if !h.held {
		h.arrived, h.due = h.arrived+h.due, 0
	}
	h.moved.Broadcast()
}

func (h *half) arrive(n int)   { h.do(func() { h.due += n }) }
func (h *half) hold(held bool) { h.do(func() { h.held = held }) }
func (h *half) end()           { h.do(func() { h.ended = true }) }
func (h *half) abandon()       { h.do(func() { h.abandoned = true }) }
func (h *half) reset()         { h.do(func() { h.broken = true }) }

// deadline is guarded by the mutex of its half.
type deadline struct {
	timer  *time.Timer
	passed bool
}

func (d *deadline) set(h *half, t time.Time) {
	h.do(func() {
		if d.timer != nil {
			d.timer.Stop()
		}
		d.timer, d.passed = nil, false
		if t.IsZero() {
			return
		}
		wait := time.Until(t)
		if wait <= 0 {
			d.passed = true
			return
		}
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			h.do(func() {
				if d.timer == timer { // else another deadline was set meanwhile
					d.passed = true
				}
			})
		})
		d.timer = timer
	})
}

// budget is how much may still go one way between two agents, where there is a limit.
type budget struct {
	mu    sync.Mutex
	armed bool
	left  int64
}

func (b *budget) take(n int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.armed {
		return n
	}
	n = int(min(int64(n), b.left))
	b.left -= int64(n)
	return n
}
