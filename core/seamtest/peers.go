package seamtest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
)

// longAgo is a deadline that has passed by any clock.
var longAgo = time.Unix(1, 0)

// OpenPeers starts an agent in the world that a test began with; one that does not
// listen only dials. The world closes what the test leaves open.
type OpenPeers func(listens bool) (core.DID, core.Peers)

// Peers checks that an implementation of core.Peers keeps the seam's contract. Each
// test begins a new world.
func Peers(t *testing.T, world func(t *testing.T) OpenPeers) {
	for _, c := range []struct {
		name string
		test func(*testing.T, OpenPeers)
	}{
		{"bytes go both ways and the ends know each other", testPeersBytes},
		{"large transfers in both directions at once", testPeersLarge},
		{"what was written before Close arrives, then the end", testPeersClose},
		{"a write side can be closed alone", testPeersCloseWrite},
		{"deadlines end reads and writes, and can be lifted", testPeersDeadlines},
		{"unreachable", testPeersUnreachable},
		{"an address of another key", testPeersOtherKey},
		{"a path serves both directions", testPeersBothDirections},
		{"Reset drops the path and the next Dial makes one", testPeersReset},
		{"Close ends everything", testPeersCloseAll},
		{"a path has one Up and one Down", testPeersPaths},
		{"addresses", testPeersAddrs},
		{"many connections at once", testPeersMany},
		{"a Dial whose context is over", testPeersContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, world(t)) })
	}
}

// link is a connection from a to b, and both its ends.
type link struct {
	a, b         core.Peers
	aDID, bDID   core.DID
	dial, accept core.Conn
}

// connect opens two agents and a connection between them, over which one byte has gone.
func connect(t *testing.T, open OpenPeers) link {
	t.Helper()
	var l link
	l.aDID, l.a = open(true)
	l.bDID, l.b = open(true)
	l.dial, l.accept = join(t, l.a, l.bDID, l.b, l.b.Addrs())
	return l
}

// join dials from a to b, and makes the connection known to both by one byte.
func join(t *testing.T, a core.Peers, to core.DID, b core.Peers, addrs []string) (dial, accept core.Conn) {
	t.Helper()
	dial, err := a.Dial(t.Context(), to, addrs)
	if err != nil {
		t.Fatalf("Dial: %v", err)
	}
	t.Cleanup(func() { _ = dial.Close() })
	if _, err := dial.Write([]byte{'!'}); err != nil {
		t.Fatalf("write the first byte: %v", err)
	}
	accept, err = b.Accept()
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	t.Cleanup(func() { _ = accept.Close() })
	wantRead(t, accept, "!")
	return dial, accept
}

func wantRead(t *testing.T, c net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("read %q (%v), want %q", got[:n], err, want)
	}
}

func wantWrite(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if n, err := c.Write([]byte(text)); err != nil || n != len(text) {
		t.Fatalf("write %q: %d, %v", text, n, err)
	}
}

func wantUnreachable(t *testing.T, a core.Peers, to core.DID, addrs []string) error {
	t.Helper()
	c, err := a.Dial(t.Context(), to, addrs)
	if err == nil {
		_ = c.Close()
	}
	if !errors.Is(err, core.ErrUnreachable) {
		t.Fatalf("Dial at %q: %v, want ErrUnreachable", addrs, err)
	}
	return err
}

func testPeersBytes(t *testing.T, open OpenPeers) {
	l := connect(t, open)
	if l.dial.Peer() != l.bDID || l.accept.Peer() != l.aDID {
		t.Errorf("peers %v and %v, want %v and %v", l.dial.Peer(), l.accept.Peer(), l.bDID, l.aDID)
	}
	wantWrite(t, l.dial, "to b")
	wantRead(t, l.accept, "to b")
	wantWrite(t, l.accept, "to a")
	wantRead(t, l.dial, "to a")
	for _, c := range []core.Conn{l.dial, l.accept} {
		if c.LocalAddr() == nil || c.RemoteAddr() == nil || c.RemoteAddr().String() == "" {
			t.Errorf("addresses %v and %v", c.LocalAddr(), c.RemoteAddr())
		}
	}
}

func testPeersLarge(t *testing.T, open OpenPeers) {
	l := connect(t, open)
	data := make([]byte, 3<<20+7)
	for i := range data {
		data[i] = byte(i * 31 >> 3)
	}
	var wg sync.WaitGroup
	for _, c := range []core.Conn{l.dial, l.accept} {
		wg.Go(func() {
			if n, err := c.Write(data); err != nil || n != len(data) {
				t.Errorf("wrote %d of %d: %v", n, len(data), err)
			}
		})
		wg.Go(func() {
			got := make([]byte, len(data))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, data) {
				t.Errorf("read other bytes than were written: %v", err)
			}
		})
	}
	wg.Wait()
}

func testPeersClose(t *testing.T, open OpenPeers) {
	l := connect(t, open)
	wantWrite(t, l.dial, "last words")
	if err := l.dial.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if got, err := io.ReadAll(l.accept); err != nil || string(got) != "last words" {
		t.Errorf("read %q, %v", got, err)
	}
	if n, err := l.dial.Read(make([]byte, 1)); err == nil {
		t.Errorf("a read after Close gave %d bytes", n)
	}
	if _, err := l.dial.Write([]byte("x")); err == nil {
		t.Error("a write after Close went well")
	}
}

func testPeersCloseWrite(t *testing.T, open OpenPeers) {
	l := connect(t, open)
	half, ok := l.dial.(interface{ CloseWrite() error })
	if !ok {
		t.Fatal("the connection has no CloseWrite: net/http needs it to answer before it closes")
	}
	wantWrite(t, l.dial, "question")
	if err := half.CloseWrite(); err != nil {
		t.Fatalf("CloseWrite: %v", err)
	}
	if got, err := io.ReadAll(l.accept); err != nil || string(got) != "question" {
		t.Fatalf("read %q, %v", got, err)
	}
	wantWrite(t, l.accept, "answer")
	wantRead(t, l.dial, "answer")
}

func testPeersDeadlines(t *testing.T, open OpenPeers) {
	l := connect(t, open)
	wantTimeout := func(what string, err error) {
		t.Helper()
		var n net.Error
		if !errors.As(err, &n) || !n.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v, want os.ErrDeadlineExceeded", what, err)
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := l.dial.Read(make([]byte, 1))
		ended <- err
	}()
	_ = l.dial.SetReadDeadline(longAgo)
	wantTimeout("a read under way", <-ended)
	_, err := l.dial.Read(make([]byte, 1))
	wantTimeout("a read after the deadline", err)
	wantWrite(t, l.dial, "writes go on")
	wantRead(t, l.accept, "writes go on")
	_ = l.dial.SetReadDeadline(time.Time{})
	wantWrite(t, l.accept, "lifted")
	wantRead(t, l.dial, "lifted")

	var sent int
	go func() {
		for {
			n, err := l.dial.Write(make([]byte, 64<<10)) // nobody reads: it blocks when the window is full
			sent += n
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	_ = l.dial.SetWriteDeadline(longAgo)
	wantTimeout("a write", <-ended)
	_ = l.dial.SetWriteDeadline(time.Time{})
	wantWrite(t, l.accept, "reads go on")
	wantRead(t, l.dial, "reads go on")
	if n, err := io.CopyN(io.Discard, l.accept, int64(sent)); err != nil {
		t.Errorf("of %d bytes written before the deadline %d arrived: %v", sent, n, err)
	}
}
