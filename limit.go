package grange

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
)

const (
	// limitSlice is how much goes over a limited connection in one go, in bytes: at the least
	// limit, and with many connections, each still moves often enough not to be given up.
	limitSlice = 4 << 10
	// limitDebtMax is how far ahead a bucket can be before it is taken for a clock that was set back.
	limitDebtMax = time.Minute
)

// bucket paces bytes. Its methods may be called at once.
type bucket struct {
	perSecond int64 // 0 is no limit
	clock     core.Clock

	mu   sync.Mutex
	free time.Time // when the bytes that were let through are paid for
}

// pay waits until n bytes that went through are paid for, or ctx ends.
func (b *bucket) pay(ctx context.Context, n int) {
	if b.perSecond == 0 || n <= 0 {
		return
	}
	b.mu.Lock()
	now := b.clock.Now()
	if b.free.Before(now) || b.free.Sub(now) > limitDebtMax {
		b.free = now
	}
	b.free = b.free.Add(time.Duration(int64(n) * int64(time.Second) / b.perSecond))
	wait := b.free.Sub(now)
	b.mu.Unlock()
	_ = b.clock.Sleep(ctx, wait) // whose connection is closed has nothing to pay
}

// limited is a network that sends and receives no faster than its buckets let through.
type limited struct {
	core.Peers
	up, down bucket
}

// limit returns peers with limits in bytes a second; 0 is none.
func limit(peers core.Peers, clock core.Clock, up, down int64) core.Peers {
	if up == 0 && down == 0 {
		return peers
	}
	return &limited{Peers: peers, up: bucket{perSecond: up, clock: clock}, down: bucket{perSecond: down, clock: clock}}
}

func (l *limited) Dial(ctx context.Context, to core.DID, addrs []string) (core.Conn, error) {
	return l.conn(l.Peers.Dial(ctx, to, addrs))
}

func (l *limited) Accept() (core.Conn, error) { return l.conn(l.Peers.Accept()) }

func (l *limited) conn(c core.Conn, err error) (core.Conn, error) {
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	return &limitedConn{Conn: c, l: l, open: ctx, end: end}, nil
}

// limitedConn pays for what has gone, not for what will go: then whoever watches it sees bytes
// move however little is let through.
type limitedConn struct {
	core.Conn
	l    *limited
	open context.Context
	end  context.CancelFunc
}

func (c *limitedConn) Read(b []byte) (int, error) {
	if c.l.down.perSecond > 0 {
		b = b[:min(len(b), limitSlice)]
	}
	n, err := c.Conn.Read(b)
	c.l.down.pay(c.open, n)
	return n, err
}

func (c *limitedConn) Write(b []byte) (done int, err error) {
	if c.l.up.perSecond == 0 {
		return c.Conn.Write(b)
	}
	for {
		n, err := c.Conn.Write(b[done:min(len(b), done+limitSlice)])
		done += n
		c.l.up.pay(c.open, n)
		if err != nil || done == len(b) {
			return done, err
		}
	}
}

// CloseWrite ends what this side writes, where the connection can.
func (c *limitedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close ends both directions, and the waiting.
func (c *limitedConn) Close() error {
	c.end()
	return c.Conn.Close()
}

var _ net.Conn = (*limitedConn)(nil)
