package p2p

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multistream"

	"github.com/grange-grid/grange/core"
)

// Protocol is what each stream speaks.
const Protocol = "/grange/http/1"

const (
	// dialAddrsMax is how many addresses of one peer are tried.
	dialAddrsMax = 16
	// addrTime is how long an address is known that nobody names again.
	addrTime = time.Hour
	// dialTime bounds a whole dial, all addresses together.
	dialTime = 20 * time.Second
	// nameTime is how long a peer may take to name the protocol of a stream.
	nameTime = 10 * time.Second
)

// Config says what an agent's Peers are.
type Config struct {
	// Key is the agent's key.
	Key ed25519.PrivateKey
	// Listen are multiaddrs of TCP (/ip4/…/tcp/N) or QUIC (/ip4/…/udp/N/quic-v1); port 0 is any that
	// is free. With none the agent only dials. Nothing else is bound.
	Listen []string
	// MDNS tells the local network of this agent and remembers the addresses of known
	// agents there. It needs an address to listen on.
	MDNS bool
	// Known tells which agents are not strangers: those with a pact and one's own. It is called
	// often and must answer from memory. Nil knows nobody.
	Known func(core.DID) bool
	// Log may be nil.
	Log   *slog.Logger
	Clock core.Clock
}

// Peers is core.Peers over libp2p.
type Peers struct {
	self    peer.ID
	clock   core.Clock
	log     *slog.Logger
	swarm   *swarm.Swarm
	paths   *paths
	streams streams
	accepts chan core.Conn
	done    chan struct{}
	close   func() error
}

var _ core.Peers = (*Peers)(nil)

// New starts to listen as cfg says. Close it in the end.
func New(cfg Config) (*Peers, error) {
	if len(cfg.Key) != ed25519.PrivateKeySize || cfg.Clock == nil {
		return nil, fmt.Errorf("open the network: %w: a key and a clock are needed", core.ErrInvalid)
	}
	if cfg.MDNS && len(cfg.Listen) == 0 {
		return nil, fmt.Errorf("open the network: %w: mDNS needs an address to listen on", core.ErrInvalid)
	}
	if cfg.Known == nil {
		cfg.Known = func(core.DID) bool { return false }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	gologshim.SetDefaultHandler(quiet{cfg.Log.Handler()})
	p := &Peers{
		clock: cfg.Clock, log: cfg.Log, paths: newPaths(), accepts: make(chan core.Conn), done: make(chan struct{}),
		streams: streams{known: cfg.Known, open: make(map[core.DID]int)},
	}
	if err := p.open(cfg); err != nil {
		return nil, fmt.Errorf("open the network: %w", err)
	}
	return p, nil
}

// Dial opens a stream to an agent over the path there is, or makes one.
func (p *Peers) Dial(ctx context.Context, to core.DID, addrs []string) (core.Conn, error) {
	s, err := p.dial(ctx, to, addrs)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w: %w", to.Short(), core.ErrUnreachable, err)
	}
	c, err := newStream(s, func() {})
	if err != nil {
		_ = s.Reset()
		return nil, fmt.Errorf("dial %s: %w: %w", to.Short(), core.ErrUnreachable, err)
	}
	_ = s.SetProtocol(Protocol) // only for libp2p's own count
	c.hello = new(hello)
	return c, nil
}

func (p *Peers) dial(ctx context.Context, to core.DID, addrs []string) (network.Stream, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id, err := peerID(to)
	if err != nil {
		return nil, err
	}
	if id == p.self {
		return nil, errors.New("it is this agent itself")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	if len(p.swarm.ConnsToPeer(id)) > 0 {
		if s, err := p.swarm.NewStream(network.WithNoDial(ctx, "there is a path"), id); err == nil {
			return s, nil
		}
	}
	if err := p.know(id, addrs); err != nil {
		return nil, err
	}
	p.swarm.Backoff().Clear(id) // how often to try is the caller's to decide
	if _, err := p.swarm.DialPeer(ctx, id); err != nil {
		return nil, p.explain(id, err)
	}
	return p.swarm.NewStream(network.WithNoDial(ctx, "just dialled"), id)
}

// know remembers where a peer may be.
func (p *Peers) know(id peer.ID, addrs []string) error {
	var last error
	var at []ma.Multiaddr
	for _, a := range addrs[:min(len(addrs), dialAddrsMax)] {
		m, whose, err := splitAddr(a)
		if err == nil && whose != "" && whose != id {
			err = fmt.Errorf("address %q is another machine's", a)
		}
		if err != nil {
			last = err
			continue
		}
		at = append(at, m)
	}
	book := p.swarm.Peerstore()
	book.AddAddrs(id, at, addrTime)
	if len(book.Addrs(id)) > 0 {
		return nil
	}
	if last != nil {
		return last
	}
	return errors.New("no address is known")
}

// explain makes one line of why no address of a peer could be dialled, and forgets those
// at which another machine is.
func (p *Peers) explain(id peer.ID, err error) error {
	all, ok := errors.AsType[*swarm.DialError](err)
	if !ok {
		return err
	}
	var why []string
	for _, e := range all.DialErrors {
		cause := e.Cause.Error()
		if other, ok := errors.AsType[sec.ErrPeerIDMismatch](e.Cause); ok {
			p.swarm.Peerstore().SetAddr(id, e.Address, 0)
			cause = "another machine is there"
			if did, err := didOf(other.Actual); err == nil {
				cause = "the machine there is " + did.String()
			}
		}
		why = append(why, fmt.Sprintf("%s: %s", e.Address, cause))
	}
	if len(why) == 0 {
		return all.Cause
	}
	return errors.New(strings.Join(why, "; "))
}

// Accept returns the next stream that a peer opened.
func (p *Peers) Accept() (core.Conn, error) {
	select {
	case <-p.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-p.accepts:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

// serve hands a stream that a peer opened to Accept.
func (p *Peers) serve(s network.Stream) {
	c, err := newStream(s, func() {})
	if err != nil || !p.streams.begin(c.peer) {
		_ = s.ResetWithError(network.StreamResourceLimitExceeded)
		return
	}
	c.closed = sync.OnceFunc(func() { p.streams.end(c.peer) })
	if err := p.name(s); err != nil {
		p.log.Debug("stream", "peer", c.peer.Short(), "err", err)
		_ = s.Reset()
		c.closed()
		return
	}
	select {
	case p.accepts <- c:
	case <-p.done:
		_ = s.Reset()
		c.closed()
	}
}

// name agrees on the stream's protocol.
func (p *Peers) name(s network.Stream) error {
	timer := p.clock.AfterFunc(nameTime, func() { _ = s.Reset() })
	defer timer.Stop()
	mux := multistream.NewMultistreamMuxer[protocol.ID]()
	mux.AddHandler(Protocol, nil)
	if _, _, err := mux.Negotiate(s); err != nil {
		return fmt.Errorf("agree on a protocol: %w", err)
	}
	return s.SetProtocol(Protocol)
}

// Reset drops all connections to an agent.
func (p *Peers) Reset(to core.DID) {
	id, err := peerID(to)
	if err != nil {
		return
	}
	if err := p.swarm.ClosePeer(id); err != nil {
		p.log.Debug("reset", "peer", to.Short(), "err", err)
	}
}

// Addrs returns where this agent can be dialled. One that listens on all interfaces has the
// address of each but loopback.
func (p *Peers) Addrs() []string {
	var loopback bool
	for _, m := range p.swarm.ListenAddresses() {
		loopback = loopback || manet.IsIPLoopback(m)
	}
	at, err := p.swarm.InterfaceListenAddresses()
	if err != nil {
		p.log.Warn("addresses of this machine", "err", err)
	}
	var addrs []string
	for _, m := range at {
		if !manet.IsIPLoopback(m) && !manet.IsIP6LinkLocal(m) || manet.IsIPLoopback(m) && loopback {
			addrs = append(addrs, m.String()+"/p2p/"+p.self.String())
		}
	}
	return addrs
}

// Paths yields what changes from this call on.
func (p *Peers) Paths(ctx context.Context) iter.Seq[core.PathEvent] { return p.paths.read(ctx) }

// Close ends all connections and listeners.
func (p *Peers) Close() error { return p.close() }

// quiet puts what libp2p logs at the level of debugging: it calls the usual an error, such
// as a listener that was closed. libp2p has one log for the process; the first agent's is it.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }
func (q quiet) WithGroup(name string) slog.Handler       { return quiet{q.Handler.WithGroup(name)} }
