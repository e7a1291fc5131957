package wire

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/grange-grid/grange/core"
)

// longAgo is a deadline that has passed by any clock.
var longAgo = time.Unix(1, 0)

// conn is a connection whose writes end when the far side takes nothing. It is at this
// level because net/http writes heads, ends of bodies and requests itself.
type conn struct {
	core.Conn
	watch watch
}

func newConn(c core.Conn, clock core.Clock) *conn {
	w := &conn{Conn: c}
	w.watch.clock = clock
	w.watch.cut = func() { _ = c.SetWriteDeadline(longAgo) }
	return w
}

// Write writes all of b. When it has waited for long, it stops to see whether any byte went; if
// one did, it goes on. So a peer that takes nothing is given up after 30 to 90 s.
func (c *conn) Write(b []byte) (int, error) {
	var done int
	for {
		c.watch.begin()
		n, err := c.Conn.Write(b[done:])
		done += n
		if !c.watch.end() {
			return done, err
		}
		if n == 0 {
			return done, fmt.Errorf("%w: the peer took no byte for %v", core.ErrUnreachable, (stallTicks-1)*tick)
		}
		c.watch.revive()
		if err := c.Conn.SetWriteDeadline(time.Time{}); err != nil || done == len(b) {
			return done, err
		}
	}
}

// CloseWrite ends the writing side where the connection can.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Close ends the connection and the watching.
func (c *conn) Close() error {
	c.watch.stop()
	return c.Conn.Close()
}

type listener struct {
	peers  core.Peers
	clock  core.Clock
	closed atomic.Bool
}

// Listen returns the connections that peers open as a listener for http.Server.Serve,
// with the deadline on answers' progress. Closing it takes no more
// connections, so that Server.Shutdown can let the ones there are finish; Accept
// itself returns when peers is closed.
func Listen(peers core.Peers, clock core.Clock) net.Listener {
	return &listener{peers: peers, clock: clock}
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.peers.Accept()
	if err != nil {
		return nil, err
	}
	if l.closed.Load() {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	return newConn(c, l.clock), nil
}

func (l *listener) Close() error {
	l.closed.Store(true)
	return nil
}

func (l *listener) Addr() net.Addr { return address{} }

// address stands where net/http wants one; peers have DIDs.
type address struct{}

func (address) Network() string { return "grange" }
func (address) String() string  { return "peers" }
