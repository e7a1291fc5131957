package p2p_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
	"github.com/grange-grid/grange/edge/p2p"
)

const (
	onTCP  = "/ip4/127.0.0.1/tcp/0"
	onQUIC = "/ip4/127.0.0.1/udp/0/quic-v1"
)

// machine is the real clock.
type machine struct{}

func (machine) Now() time.Time { return time.Now() }

func (machine) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (machine) AfterFunc(d time.Duration, f func()) core.Timer { return time.AfterFunc(d, f) }

// keyOf returns the nth key of the tests.
func keyOf(n byte) (ed25519.PrivateKey, core.DID) {
	key := ed25519.NewKeyFromSeed(append(make([]byte, 31), n))
	return key, core.DID(key.Public().(ed25519.PublicKey))
}

// open starts an agent that the test closes.
func open(t testing.TB, n byte, cfg p2p.Config) (core.DID, *p2p.Peers) {
	t.Helper()
	key, did := keyOf(n)
	if cfg.Key = key; cfg.Clock == nil {
		cfg.Clock = machine{}
	}
	p, err := p2p.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return did, p
}

func everybody(core.DID) bool { return true }

func TestIsPeers(t *testing.T) {
	for name, listen := range map[string][]string{"TCP": {onTCP}, "QUIC": {onQUIC}, "both": {onTCP, onQUIC}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a QUIC dial of nobody takes its time
			seamtest.Peers(t, func(t *testing.T) seamtest.OpenPeers {
				var n byte
				return func(listens bool) (core.DID, core.Peers) {
					n++
					cfg := p2p.Config{Known: everybody}
					if listens {
						cfg.Listen = listen
					}
					return open(t, n, cfg)
				}
			})
		})
	}
}

// echo answers every connection with what it sends, until the peers are closed.
func echo(p core.Peers) {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

// talk dials and lets one byte go both ways.
func talk(t *testing.T, a core.Peers, to core.DID, addrs []string) (core.Conn, error) {
	t.Helper()
	c, err := a.Dial(t.Context(), to, addrs)
	if err != nil {
		return nil, err
	}
	if _, err := c.Write([]byte{'!'}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// eventually calls try until it is nil: what a peer notices, it notices soon but not at once.
func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	var err error
	for range 2000 {
		if err = try(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func TestStrangersAreLimitedAndPartnersAreNot(t *testing.T) {
	for name, listen := range map[string]string{"TCP": onTCP, "QUIC": onQUIC} {
		t.Run(name, func(t *testing.T) {
			const partner = 200
			_, partnerDID := keyOf(partner)
			var befriended atomic.Pointer[core.DID]
			did, host := open(t, 1, p2p.Config{Listen: []string{listen}, Known: func(d core.DID) bool {
				f := befriended.Load()
				return d == partnerDID || f != nil && d == *f
			}})
			go echo(host)
			busy := make([]core.Conn, p2p.StrangersMax)
			var first core.DID
			for i := range busy {
				who, p := open(t, byte(10+i), p2p.Config{})
				if i == 0 {
					first = who
				}
				var err error
				if busy[i], err = talk(t, p, did, host.Addrs()); err != nil {
					t.Fatalf("stranger %d: %v", i+1, err)
				}
			}
			_, late := open(t, 100, p2p.Config{})
			if _, err := talk(t, late, did, host.Addrs()); err == nil {
				t.Fatalf("stranger %d got in", p2p.StrangersMax+1)
			}
			_, p := open(t, partner, p2p.Config{})
			if _, err := talk(t, p, did, host.Addrs()); err != nil {
				t.Fatalf("the partner: %v", err)
			}
			_ = busy[3].Close() // its connection stays, without a stream: it gives way
			eventually(t, "a place of one that does nothing", func() error {
				_, err := talk(t, late, did, host.Addrs())
				return err
			})
			if _, err := busy[4].Write([]byte{'!'}); err != nil {
				t.Errorf("one that is busy had to go: %v", err)
			}
			befriended.Store(&first)
			_, after := open(t, 101, p2p.Config{})
			eventually(t, "a place of one that became a partner", func() error {
				_, err := talk(t, after, did, host.Addrs())
				return err
			})
			if _, err := io.ReadFull(busy[4], make([]byte, 1)); err != nil {
				t.Errorf("one that is busy had to go: %v", err)
			}
		})
	}
}

func TestStreamsOfOneMachineAreLimited(t *testing.T) {
	for name, c := range map[string]struct {
		known func(core.DID) bool
		most  int
	}{"stranger": {nil, p2p.StreamsUnknownMax}, "partner": {everybody, p2p.StreamsKnownMax}} {
		t.Run(name, func(t *testing.T) {
			did, host := open(t, 1, p2p.Config{Listen: []string{onTCP}, Known: c.known})
			go echo(host)
			_, p := open(t, 2, p2p.Config{})
			conns := make([]core.Conn, c.most)
			for i := range conns {
				var err error
				if conns[i], err = talk(t, p, did, host.Addrs()); err != nil {
					t.Fatalf("stream %d: %v", i+1, err)
				}
			}
			if _, err := talk(t, p, did, nil); err == nil {
				t.Fatalf("stream %d was accepted", c.most+1)
			}
			_ = conns[0].Close()
			eventually(t, "a stream after one was closed", func() error {
				_, err := talk(t, p, did, nil)
				return err
			})
		})
	}
}

func TestOneAddressCannotTakeAllHandshakes(t *testing.T) {
	did, host := open(t, 1, p2p.Config{Listen: []string{onTCP}})
	go echo(host)
	bare, _, _ := strings.Cut(strings.TrimPrefix(host.Addrs()[0], "/ip4/127.0.0.1/tcp/"), "/")
	silent := make([]net.Conn, p2p.HandshakesMax+1)
	for i := range silent {
		var err error
		if silent[i], err = net.Dial("tcp", "127.0.0.1:"+bare); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = silent[i].Close() }()
	}
	_, _ = io.ReadAll(silent[p2p.HandshakesMax]) // returns when the last one is closed; the others never are
	_, p := open(t, 2, p2p.Config{})
	if _, err := talk(t, p, did, host.Addrs()); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("with %d handshakes under way: %v, want ErrUnreachable", p2p.HandshakesMax, err)
	}
	for _, c := range silent {
		_ = c.Close()
	}
	eventually(t, "after they have gone", func() error {
		_, err := talk(t, p, did, host.Addrs())
		return err
	})
}

func TestTCPIsDialledBeforeQUIC(t *testing.T) {
	did, host := open(t, 1, p2p.Config{Listen: []string{onQUIC, onTCP}, Known: everybody})
	go echo(host)
	_, p := open(t, 2, p2p.Config{})
	c, err := talk(t, p, did, host.Addrs())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(c.RemoteAddr().String(), "/tcp/") {
		t.Errorf("connected to %s", c.RemoteAddr())
	}
}

func TestAnAddressOfAnotherMachineIsForgotten(t *testing.T) {
	for name, listen := range map[string]string{"TCP": onTCP, "QUIC": onQUIC} {
		_, other := keyOf(9)
		_, host := open(t, 1, p2p.Config{Listen: []string{listen}})
		_, p := open(t, 2, p2p.Config{})
		bare, _, _ := strings.Cut(host.Addrs()[0], "/p2p/")
		if _, err := p.Dial(t.Context(), other, []string{bare}); !errors.Is(err, core.ErrUnreachable) {
			t.Errorf("%s: %v, want ErrUnreachable", name, err)
		}
		if _, err := p.Dial(t.Context(), other, nil); err == nil || !strings.Contains(err.Error(), "no address is known") {
			t.Errorf("%s: %v, want no address", name, err)
		}
	}
}

func TestOtherProtocolsAreToldSo(t *testing.T) {
	did, host := open(t, 1, p2p.Config{Listen: []string{onTCP}})
	_, p := open(t, 2, p2p.Config{})
	c, err := p.Dial(t.Context(), did, host.Addrs())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p2p.Raw(c).Write([]byte("\x13/multistream/1.0.0\n\x0b/ipfs/id/1\n")); err != nil {
		t.Fatal(err)
	}
	const want = "\x13/multistream/1.0.0\n\x03na\n"
	got := make([]byte, len(want))
	if n, err := io.ReadFull(p2p.Raw(c), got); err != nil || string(got) != want {
		t.Errorf("answered %q, %v, want %q", got[:n], err, want)
	}
}

func TestNewRefusesWhatItCannotDo(t *testing.T) {
	key, _ := keyOf(1)
	good := p2p.Config{Key: key, Clock: machine{}}
	for name, change := range map[string]func(*p2p.Config){
		"no key":               func(c *p2p.Config) { c.Key = nil },
		"no clock":             func(c *p2p.Config) { c.Clock = nil },
		"mDNS and no listener": func(c *p2p.Config) { c.MDNS = true },
		"no multiaddr":         func(c *p2p.Config) { c.Listen = []string{"127.0.0.1:1"} },
	} {
		cfg := good
		change(&cfg)
		if p, err := p2p.New(cfg); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, %v, want ErrInvalid", name, p, err)
		}
	}
	_, first := open(t, 2, p2p.Config{Listen: []string{onTCP}})
	taken, _, _ := strings.Cut(first.Addrs()[0], "/p2p/")
	for _, listen := range [][]string{{taken}, {onTCP, taken}, {"/ip4/127.0.0.1/tcp/0/ws"}} {
		cfg := good
		cfg.Listen = listen
		if _, err := p2p.New(cfg); err == nil {
			t.Errorf("two agents listen on %q", listen)
		}
	}
}
