package p2p

import (
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"sync"

	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/grange-grid/grange/core"
)

// Limits on what peers may use of this agent (SPEC §7).
const (
	StrangersMax      = 16 // connections from machines that Known does not know
	HandshakesMax     = 8  // at once, from one IP address
	StreamsKnownMax   = 64 // at once, from one known machine
	StreamsUnknownMax = 8  // at once, from another
)

// Limits that bound the whole. They are above what pacts need, so that a partner meets
// them only when something is wrong.
const (
	connsMax     = 512       // in each direction
	connsPeerMax = 4         // of one peer, in each direction: two who dial at once have two
	connsIPMax   = 64        // of one IPv4 address or IPv6 /56
	transientMax = 64        // that have proven no key yet
	memoryMax    = 256 << 20 // bytes of windows that peers may fill
	memoryPeer   = 128 << 20
	memoryConn   = 8 << 20 // of one QUIC connection, all streams
	dialsASecond = 2       // new connections from or to one IP address, after dialsBurst
	dialsBurst   = 64
)

// newManager returns libp2p's resource manager under these limits.
func newManager() (network.ResourceManager, error) {
	both := func(n rcmgr.LimitVal) rcmgr.ResourceLimits {
		return rcmgr.ResourceLimits{Conns: 2 * n, ConnsInbound: n, ConnsOutbound: n}
	}
	system := both(connsMax)
	system.Streams, system.StreamsInbound, system.StreamsOutbound = 16384, 8192, 8192
	system.FD, system.Memory = 2*connsMax, memoryMax
	transient := both(transientMax)
	transient.Streams, transient.StreamsInbound, transient.StreamsOutbound = 2048, 1024, 1024
	transient.FD, transient.Memory = 2*transientMax, memoryMax/4
	one := both(connsPeerMax)
	// The stream handler counts those from a peer; these are over it because they are counted earlier.
	one.Streams, one.StreamsInbound, one.StreamsOutbound = 8*StreamsKnownMax, 2*StreamsKnownMax, 6*StreamsKnownMax
	one.FD, one.Memory = 2*connsPeerMax, memoryPeer
	limits := rcmgr.PartialLimitConfig{
		System: system, Transient: transient, PeerDefault: one, Conn: rcmgr.ResourceLimits{Memory: memoryConn},
	}.Build(rcmgr.InfiniteLimits)
	each := rate.Limit{RPS: dialsASecond, Burst: dialsBurst}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: connsIPMax}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: connsIPMax}}),
		rcmgr.WithNetworkPrefixLimit(
			[]rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("127.0.0.0/8"), ConnCount: math.MaxInt}},
			[]rcmgr.NetworkPrefixLimit{{Network: netip.MustParsePrefix("::1/128"), ConnCount: math.MaxInt}}),
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: []rate.PrefixLimit{
				{Prefix: netip.MustParsePrefix("127.0.0.0/8")}, {Prefix: netip.MustParsePrefix("::1/128")},
			},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: each}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: each}},
			},
		}))
}

// handshakes is the resource manager with a limit on the handshakes of one address. A
// place is held from the moment a connection is accepted until it is upgraded or has
// failed: libp2p ends the connection's scope in both cases, which is what gives it back.
type handshakes struct {
	network.ResourceManager

	mu    sync.Mutex
	under map[netip.Addr]int
}

// OpenConnection is called by every transport, for QUIC before the handshake too.
func (h *handshakes) OpenConnection(dir network.Direction, usefd bool, endpoint ma.Multiaddr) (network.ConnManagementScope, error) {
	ip := ipOf(endpoint)
	if dir != network.DirInbound {
		return h.ResourceManager.OpenConnection(dir, usefd, endpoint)
	}
	if !h.begin(ip) {
		return nil, fmt.Errorf("%w: %d handshakes of %s are under way", core.ErrBusy, HandshakesMax, ip)
	}
	scope, err := h.ResourceManager.OpenConnection(dir, usefd, endpoint)
	if err != nil {
		h.end(ip)
		return nil, err
	}
	return &handshake{ConnManagementScope: scope, over: sync.OnceFunc(func() { h.end(ip) })}, nil
}

// VerifySourceAddress makes QUIC ask an address to prove itself when many handshakes of it
// are under way: whoever forges it could otherwise take all its places.
func (h *handshakes) VerifySourceAddress(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return true
	}
	h.mu.Lock()
	many := h.under[at.Addr().Unmap()] >= HandshakesMax/2
	h.mu.Unlock()
	return many || h.ResourceManager.VerifySourceAddress(a)
}

func (h *handshakes) begin(ip netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.under[ip] >= HandshakesMax {
		return false
	}
	h.under[ip]++
	return true
}

func (h *handshakes) end(ip netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.under[ip]--; h.under[ip] == 0 {
		delete(h.under, ip)
	}
}

// handshake is a connection's scope that holds a place.
type handshake struct {
	network.ConnManagementScope
	over func()
}

func (h *handshake) Done() {
	h.over()
	h.ConnManagementScope.Done()
}

// gate is libp2p's connection gater: it lets in whoever may be.
type gate struct {
	known func(core.DID) bool

	mu sync.Mutex
	// strangers are the inbound connections of peers that were unknown when they came.
	strangers map[network.Conn]core.DID
}

func (g *gate) InterceptPeerDial(peer.ID) bool               { return true }
func (g *gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }
func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool  { return true }
func (g *gate) InterceptSecured(_ network.Direction, id peer.ID, _ network.ConnMultiaddrs) bool {
	_, err := didOf(id)
	return err == nil
}

// InterceptUpgraded is called when a connection is whole, just before it is used.
func (g *gate) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	if h, ok := c.Scope().(*handshake); ok {
		h.over()
	}
	did, err := didOf(c.RemotePeer())
	if err != nil {
		return false, 0
	}
	if c.Stat().Direction != network.DirInbound || g.known(did) {
		return true, 0
	}
	g.sweep()
	old, ok := g.admit(c, did)
	if old != nil {
		_ = old.Close()
	}
	return ok, 0
}

// admit finds a place for a stranger. Where there is none the oldest stranger that has no
// stream open gives way, because it may have come only to sit there.
func (g *gate) admit(c network.Conn, did core.DID) (old network.Conn, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.strangers) >= StrangersMax {
		for s := range g.strangers {
			if s.Stat().NumStreams == 0 && (old == nil || s.Stat().Opened.Before(old.Stat().Opened)) {
				old = s
			}
		}
		if old == nil {
			return nil, false
		}
		delete(g.strangers, old)
	}
	g.strangers[c] = did
	return old, true
}

// sweep forgets strangers that have become known, or have gone.
func (g *gate) sweep() {
	g.mu.Lock()
	all := maps.Clone(g.strangers)
	g.mu.Unlock()
	for c, did := range all {
		if c.IsClosed() || g.known(did) {
			g.left(c)
		}
	}
}

// left forgets a connection that has ended.
func (g *gate) left(c network.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.strangers, c)
}

// streams counts the streams that each peer has opened.
type streams struct {
	known func(core.DID) bool

	mu   sync.Mutex
	open map[core.DID]int
}

func (s *streams) begin(did core.DID) bool {
	most := StreamsUnknownMax
	if s.known(did) {
		most = StreamsKnownMax
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[did] >= most {
		return false
	}
	s.open[did]++
	return true
}

func (s *streams) end(did core.DID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[did]--; s.open[did] == 0 {
		delete(s.open, did)
	}
}
