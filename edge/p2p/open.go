package p2p

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	muxer "github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/quicreuse"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-yamux/v5"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/quic-go/quic-go"

	"github.com/grange-grid/grange/core"
)

const (
	// windowSize of a stream: the defaults, 16 MiB for yamux and 10 for QUIC, are memory. What a
	// QUIC peer may send on all streams of a connection memoryConn bounds as well.
	windowSize = 1 << 20
	// acceptBacklog is how many streams of one connection wait to be looked at.
	acceptBacklog = 64
	// handshakeTime is how long a peer may take to prove its key.
	handshakeTime = 10 * time.Second
	// stallTime is how long yamux waits for its own writes before it gives up a whole
	// connection: as long as one stream may make no progress.
	stallTime = 30 * time.Second
)

// The contexts of QUIC's keys. They are not on any wire: a peer of before a restart
// can be told by them that its connection is gone.
const (
	contextReset = "grange v1 quic reset"
	contextToken = "grange v1 quic token"
)

// closers undo an opening, the last first.
type closers []func() error

func (c closers) close() error {
	var errs []error
	for i := len(c) - 1; i >= 0; i-- {
		errs = append(errs, c[i]())
	}
	return errors.Join(errs...)
}

// open puts the swarm together and listens. What was opened before an error is closed.
func (p *Peers) open(cfg Config) (err error) {
	var opened closers
	defer func() {
		if err != nil {
			_ = opened.close()
		}
	}()
	key, err := crypto.UnmarshalEd25519PrivateKey(cfg.Key)
	if err != nil {
		return err
	}
	if p.self, err = peer.IDFromPrivateKey(key); err != nil {
		return err
	}
	inner, err := newManager()
	if err != nil {
		return err
	}
	opened = append(opened, inner.Close)
	manager := &handshakes{ResourceManager: inner, under: make(map[netip.Addr]int)}
	g := &gate{known: cfg.Known, strangers: make(map[network.Conn]core.DID)}
	book, err := pstoremem.NewPeerstore()
	if err != nil {
		return err
	}
	opened = append(opened, book.Close)
	sockets, err := newQUICSockets(cfg, manager)
	if err != nil {
		return err
	}
	opened = append(opened, sockets.Close)
	if err := p.newSwarm(key, book, manager, g); err != nil {
		return err
	}
	opened = append(opened, p.swarm.Close)
	if err := p.addTransports(key, manager, g, sockets); err != nil {
		return err
	}
	if err := p.listen(cfg.Listen); err != nil {
		return err
	}
	if cfg.MDNS {
		ctx, cancel := context.WithCancel(context.Background())
		var announcing sync.WaitGroup
		announcing.Go(func() { p.announce(ctx, cfg.Known) })
		opened = append(opened, func() error { cancel(); announcing.Wait(); return nil })
	}
	p.close = sync.OnceValue(func() error {
		close(p.done)
		err := opened.close()
		close(p.paths.done)
		return err
	})
	return nil
}

// newSwarm makes what holds the connections, without a way to make any.
func (p *Peers) newSwarm(key crypto.PrivKey, book peerstore.Peerstore, m network.ResourceManager, g *gate) error {
	err := book.AddPrivKey(p.self, key)
	if err != nil {
		return err
	}
	p.swarm, err = swarm.NewSwarm(p.self, book, eventbus.NewBus(),
		swarm.WithConnectionGater(g), swarm.WithResourceManager(m), swarm.WithDialRanker(rank),
		// The few addresses here are each somebody's: none is refused because others did not answer.
		swarm.WithUDPBlackHoleSuccessCounter(nil), swarm.WithIPv6BlackHoleSuccessCounter(nil))
	if err != nil {
		return err
	}
	p.swarm.SetStreamHandler(p.serve)
	p.swarm.Notify(&network.NotifyBundle{
		ConnectedF: func(_ network.Network, c network.Conn) { p.count(c, 1) },
		DisconnectedF: func(_ network.Network, c network.Conn) {
			g.left(c)
			p.count(c, -1)
		},
	})
	return nil
}

// addTransports makes the swarm speak TCP with TLS and yamux, and QUIC.
func (p *Peers) addTransports(key crypto.PrivKey, m network.ResourceManager, g connmgr.ConnectionGater, sockets *quicreuse.ConnManager) error {
	muxers := []upgrader.StreamMuxer{{ID: muxer.ID, Muxer: (*muxer.Transport)(yamuxConfig())}}
	security, err := libp2ptls.New(libp2ptls.ID, key, muxers)
	if err != nil {
		return err
	}
	up, err := upgrader.New([]sec.SecureTransport{security}, muxers, nil, m, g, upgrader.WithAcceptTimeout(handshakeTime))
	if err != nil {
		return err
	}
	// With SO_REUSEPORT two agents could listen on one port and never know.
	overTCP, err := tcp.NewTCPTransport(up, m, nil, tcp.DisableReuseport())
	if err != nil {
		return err
	}
	overQUIC, err := libp2pquic.NewTransport(key, sockets, nil, g, m)
	if err != nil {
		return err
	}
	for _, t := range []transport.Transport{overTCP, overQUIC} {
		if err := p.swarm.AddTransport(t); err != nil {
			return err
		}
	}
	return nil
}

func yamuxConfig() *yamux.Config {
	c := *muxer.DefaultTransport.Config()
	c.MaxStreamWindowSize = windowSize
	c.AcceptBacklog = acceptBacklog
	c.ConnectionWriteTimeout = stallTime
	return &c
}

// newQUICSockets returns what shares UDP sockets between listening and dialling. Each inbound
// connection is counted before its handshake.
func newQUICSockets(cfg Config, m network.ResourceManager) (*quicreuse.ConnManager, error) {
	seed := cfg.Key.Seed()
	sockets, err := quicreuse.NewConnManager(
		quic.StatelessResetKey(core.DeriveKey(contextReset, seed)), quic.TokenGeneratorKey(core.DeriveKey(contextToken, seed)),
		quicreuse.VerifySourceAddress(m.VerifySourceAddress),
		quicreuse.ConnContext(func(ctx context.Context, client *quic.ClientInfo) (context.Context, error) {
			at, err := quicreuse.ToQuicMultiaddr(client.RemoteAddr, quic.Version1)
			if err != nil {
				return ctx, err
			}
			scope, err := m.OpenConnection(network.DirInbound, false, at)
			if err != nil {
				return ctx, err
			}
			context.AfterFunc(ctx, scope.Done)
			return network.WithConnManagementScope(ctx, scope), nil
		}))
	if err != nil {
		return nil, err
	}
	sockets.ClientConfig().MaxStreamReceiveWindow = windowSize
	return sockets, nil
}

// listen binds all of addrs, or fails.
func (p *Peers) listen(addrs []string) error {
	for _, a := range addrs {
		m, err := ma.NewMultiaddr(a)
		if err != nil {
			return fmt.Errorf("listen on %q: it is no multiaddr: %w", a, core.ErrInvalid) // what the library says is longer, and says no more
		}
		if err := p.swarm.AddListenAddr(m); err != nil {
			if cause, ok := errors.AsType[syscall.Errno](err); ok {
				err = cause // around it the address stands twice more
			}
			if errors.Is(err, swarm.ErrNoTransport) {
				err = fmt.Errorf("it is neither of TCP nor of QUIC: %w", core.ErrInvalid)
			}
			return fmt.Errorf("listen on %s: %w", a, err)
		}
	}
	return nil
}

func (p *Peers) count(c network.Conn, n int) {
	if did, err := didOf(c.RemotePeer()); err == nil {
		p.paths.add(did, n)
	}
}
