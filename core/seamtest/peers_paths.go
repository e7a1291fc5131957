package seamtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
)

func testPeersUnreachable(t *testing.T, open OpenPeers) {
	aDID, a := open(true)
	bDID, b := open(true)
	wantUnreachable(t, a, bDID, nil)
	wantUnreachable(t, a, bDID, []string{"not an address"})
	wantUnreachable(t, a, aDID, a.Addrs())
	addrs := b.Addrs()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	wantUnreachable(t, a, bDID, addrs)
}

func testPeersOtherKey(t *testing.T, open OpenPeers) {
	_, a := open(true)
	bDID, b := open(true)
	cDID, c := open(true)
	wantUnreachable(t, a, bDID, c.Addrs()) // it says itself whose it is
	bare, _, _ := strings.Cut(c.Addrs()[0], "/p2p/")
	err := wantUnreachable(t, a, bDID, []string{bare})
	if !strings.Contains(err.Error(), cDID.String()) {
		t.Errorf("%q does not say that it is %v who is there", err, cDID)
	}
	dial, accept := join(t, a, bDID, b, append([]string{bare, "junk"}, b.Addrs()...))
	wantWrite(t, dial, "the right one")
	wantRead(t, accept, "the right one")
}

func testPeersBothDirections(t *testing.T, open OpenPeers) {
	quietDID, quiet := open(false)
	bDID, b := open(true)
	if addrs := quiet.Addrs(); len(addrs) != 0 {
		t.Fatalf("an agent that only dials has addresses %q", addrs)
	}
	wantUnreachable(t, b, quietDID, nil)
	join(t, quiet, bDID, b, b.Addrs())
	for _, addrs := range [][]string{nil, {"not an address"}} {
		dial, accept := join(t, b, quietDID, quiet, addrs)
		wantWrite(t, dial, "back")
		wantRead(t, accept, "back")
		if dial.Peer() != quietDID || accept.Peer() != bDID {
			t.Errorf("peers %v and %v, want %v and %v", dial.Peer(), accept.Peer(), quietDID, bDID)
		}
	}
	quiet.Reset(bDID)
	drain(t, b, quietDID)
}

// drain waits until a has no path to peer any more.
func drain(t *testing.T, a core.Peers, peer core.DID) {
	t.Helper()
	for range 1000 {
		c, err := a.Dial(t.Context(), peer, nil)
		if err != nil {
			if !errors.Is(err, core.ErrUnreachable) {
				t.Fatalf("Dial: %v, want ErrUnreachable", err)
			}
			return
		}
		_, _ = c.Write([]byte{'?'})
		_, _ = c.Read(make([]byte, 1)) // returns when the path has gone
		_ = c.Close()
	}
	t.Fatal("the path stays")
}

func testPeersReset(t *testing.T, open OpenPeers) {
	l := connect(t, open)
	l.a.Reset(l.bDID)
	if n, err := l.dial.Read(make([]byte, 1)); err == nil {
		t.Errorf("after Reset the dialler read %d bytes", n)
	}
	if n, err := l.accept.Read(make([]byte, 1)); err == nil {
		t.Errorf("after Reset the other end read %d bytes", n)
	}
	dial, accept := join(t, l.a, l.bDID, l.b, nil) // at the address that worked before
	wantWrite(t, dial, "fresh")
	wantRead(t, accept, "fresh")
	l.a.Reset(core.DID{1}) // nobody
}

func testPeersCloseAll(t *testing.T, open OpenPeers) {
	l := connect(t, open)
	_, idle := open(true)
	waiting := make(chan error, 1)
	go func() {
		_, err := idle.Accept()
		waiting <- err
	}()
	for range 2 {
		if err := idle.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("an Accept under way: %v, want net.ErrClosed", err)
	}
	paths := l.b.Paths(t.Context())
	if err := l.a.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	if _, err := l.a.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v, want net.ErrClosed", err)
	}
	wantUnreachable(t, l.a, l.bDID, l.b.Addrs())
	if n, err := l.dial.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection outlived Close: %d bytes", n)
	}
	if n, err := l.accept.Read(make([]byte, 1)); err == nil {
		t.Errorf("the far end outlived Close: %d bytes", n)
	}
	wantEvents(t, paths, core.PathEvent{Peer: l.aDID})
}

// wantEvents reads as many events as are wanted.
func wantEvents(t *testing.T, paths iter.Seq[core.PathEvent], want ...core.PathEvent) {
	t.Helper()
	var got []core.PathEvent
	for e := range paths {
		if got = append(got, e); len(got) == len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("events %v, want %v", got, want)
	}
}

func testPeersPaths(t *testing.T, open OpenPeers) {
	aDID, a := open(true)
	bDID, b := open(true)
	ctx, cancel := context.WithCancel(t.Context())
	atA, atB := a.Paths(ctx), b.Paths(ctx)
	over := a.Paths(ctx)
	join(t, a, bDID, b, b.Addrs())
	join(t, a, bDID, b, nil)
	join(t, b, aDID, a, nil)
	a.Reset(bDID)
	wantEvents(t, atA, core.PathEvent{Peer: bDID, Up: true}, core.PathEvent{Peer: bDID})
	wantEvents(t, atB, core.PathEvent{Peer: aDID, Up: true}, core.PathEvent{Peer: aDID})
	cancel()
	for e := range over {
		if ctx.Err() == nil {
			t.Errorf("event %v after the end", e)
		}
	}
	last := a.Paths(t.Context())
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	for range last { // ends by itself
	}
}

func testPeersAddrs(t *testing.T, open OpenPeers) {
	_, a := open(true)
	bDID, b := open(true)
	for _, addr := range b.Addrs() {
		bare, id, ok := strings.Cut(addr, "/p2p/")
		if !ok || id == "" {
			t.Errorf("address %q does not say whose it is", addr)
		}
		for _, form := range []string{addr, bare} {
			join(t, a, bDID, b, []string{form})
			down := a.Paths(t.Context())
			a.Reset(bDID)
			wantEvents(t, down, core.PathEvent{Peer: bDID})
		}
	}
}

func testPeersMany(t *testing.T, open OpenPeers) {
	const conns = 24
	bDID, b := open(true)
	go func() {
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	_, a := open(true)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			c, err := a.Dial(t.Context(), bDID, b.Addrs())
			if err != nil {
				t.Errorf("Dial: %v", err)
				return
			}
			defer func() { _ = c.Close() }()
			want := bytes.Repeat(fmt.Appendf(nil, "%d,", i), 10_000)
			go func() { _, _ = c.Write(want) }()
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("connection %d: another's bytes, or %v", i, err)
			}
		})
	}
	wg.Wait()
}

func testPeersContext(t *testing.T, open OpenPeers) {
	_, a := open(true)
	bDID, b := open(true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if c, err := a.Dial(ctx, bDID, b.Addrs()); !errors.Is(err, core.ErrUnreachable) || !errors.Is(err, context.Canceled) {
		t.Errorf("Dial: %v, %v, want ErrUnreachable and context.Canceled", c, err)
	}
}
