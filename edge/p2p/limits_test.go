package p2p

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/grange-grid/grange/core"
)

// noManager counts the scopes that are open.
type noManager struct {
	network.NullResourceManager
	open int
	err  error
}

type countedScope struct {
	network.NullScope
	m *noManager
}

func (s *countedScope) Done() { s.m.open-- }

func (m *noManager) OpenConnection(network.Direction, bool, ma.Multiaddr) (network.ConnManagementScope, error) {
	if m.err != nil {
		return nil, m.err
	}
	m.open++
	return &countedScope{m: m}, nil
}

func TestHandshakesOfOneAddressAreLimitedAndAlwaysGivenBack(t *testing.T) {
	inner := new(noManager)
	h := &handshakes{ResourceManager: inner, under: make(map[netip.Addr]int)}
	from := ma.StringCast("/ip4/192.0.2.1/tcp/999")
	var scopes []network.ConnManagementScope
	for range HandshakesMax {
		s, err := h.OpenConnection(network.DirInbound, true, from)
		if err != nil {
			t.Fatal(err)
		}
		scopes = append(scopes, s)
	}
	if _, err := h.OpenConnection(network.DirInbound, false, ma.StringCast("/ip4/192.0.2.1/udp/1/quic-v1")); !errors.Is(err, core.ErrBusy) {
		t.Errorf("handshake %d of one address: %v, want ErrBusy", HandshakesMax+1, err)
	}
	for _, other := range []struct {
		dir  network.Direction
		from string
	}{{network.DirInbound, "/ip4/192.0.2.2/tcp/999"}, {network.DirOutbound, "/ip4/192.0.2.1/tcp/999"}} {
		s, err := h.OpenConnection(other.dir, true, ma.StringCast(other.from))
		if err != nil {
			t.Fatalf("%v %s: %v", other.dir, other.from, err)
		}
		s.Done()
	}
	scopes[0].(*handshake).over() // upgraded
	s, err := h.OpenConnection(network.DirInbound, true, from)
	if err != nil {
		t.Fatalf("after one was upgraded: %v", err)
	}
	for _, s := range append(scopes, s) {
		s.Done()
		s.(*handshake).over()
	}
	inner.err = errors.New("full")
	if _, err := h.OpenConnection(network.DirInbound, true, from); !errors.Is(err, inner.err) {
		t.Errorf("%v, want what the manager says", err)
	}
	if len(h.under) != 0 || inner.open != 0 {
		t.Errorf("in the end %v are under way and %d scopes open", h.under, inner.open)
	}
}

func TestAnAddressWithManyHandshakesMustProveItself(t *testing.T) {
	h := &handshakes{ResourceManager: new(noManager), under: make(map[netip.Addr]int)}
	from := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7} // 16 bytes long, as sockets give it
	for i := range HandshakesMax {
		if got, want := h.VerifySourceAddress(from), i >= HandshakesMax/2; got != want {
			t.Errorf("with %d under way: %v, want %v", i, got, want)
		}
		h.begin(netip.MustParseAddr("192.0.2.1"))
	}
}

func TestPathsCountConnectionsAndASlowReaderLosesTheOldest(t *testing.T) {
	p := newPaths()
	events := p.read(t.Context())
	peer := core.DID{1}
	first := p.read(t.Context())
	for _, n := range []int{1, 1, -1, 1, -1, -1, 1, -1} {
		p.add(peer, n)
	}
	var changes []bool
	for e := range first {
		if changes = append(changes, e.Up); len(changes) == 4 {
			break
		}
	}
	if !slices.Equal(changes, []bool{true, false, true, false}) {
		t.Errorf("changes %v", changes)
	}
	for i := range pathEventsMax - 1 {
		p.add(core.DID{2, byte(i), byte(i >> 8)}, 1)
	}
	var got []core.PathEvent
	for e := range events {
		if got = append(got, e); len(got) == pathEventsMax {
			break
		}
	}
	if got[0] != (core.PathEvent{Peer: peer}) || got[1].Peer != (core.DID{2}) || len(p.readers) != 0 || len(p.conns) != pathEventsMax-1 {
		t.Errorf("events begin with %v, %v; %d readers and %d peers are left", got[0], got[1], len(p.readers), len(p.conns))
	}
}

func TestWindowsAreSmall(t *testing.T) {
	if got := yamuxConfig().MaxStreamWindowSize; got != 1<<20 {
		t.Errorf("yamux window %d", got)
	}
}

func TestRankPutsTCPFirst(t *testing.T) {
	quic, tcp, other := ma.StringCast("/ip4/192.0.2.1/udp/1/quic-v1"), ma.StringCast("/ip4/192.0.2.1/tcp/1"), ma.StringCast("/ip6/::1/tcp/2")
	got := rank([]ma.Multiaddr{quic, tcp, other})
	want := []network.AddrDelay{{Addr: tcp}, {Addr: other, Delay: dialDelay}, {Addr: quic, Delay: 2*dialDelay + quicDelay}}
	for i, w := range want {
		if !got[i].Addr.Equal(w.Addr) || got[i].Delay != w.Delay {
			t.Errorf("%d: %v after %v, want %v after %v", i, got[i].Addr, got[i].Delay, w.Addr, w.Delay)
		}
	}
	if alone := rank([]ma.Multiaddr{quic}); alone[0].Delay != 0 {
		t.Errorf("QUIC alone waits %v", alone[0].Delay)
	}
}
