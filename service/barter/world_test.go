package barter

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/policy"
)

const (
	gib      = 1 << 30
	diskSize = 200 * gib // of every home; a twentieth is its reserve
)

// bubble is the real clock, which is fake in a synctest bubble.
type bubble struct{}

func (bubble) Now() time.Time { return time.Now() }

func (bubble) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (bubble) AfterFunc(d time.Duration, f func()) core.Timer { return time.AfterFunc(d, f) }

// world is some households, each of one machine, all with pacts, on a network in memory.
type world struct {
	t     testing.TB
	net   *sim.Network
	clock core.Clock
	homes []*home
	pacts byte // how often all pacts were ended and made anew
	// removed are machines that their household has no more.
	removed map[core.DID]bool
}

// newWorld makes n homes that serve each other over real HTTP.
func newWorld(t testing.TB, clock core.Clock, n int) *world {
	t.Helper()
	var grids []byte
	for i := range n {
		grids = append(grids, byte(i))
	}
	return newFamilies(t, clock, grids)
}

// newFamilies makes a home, a machine that is, for each of grids; those with one number are one household's.
func newFamilies(t testing.TB, clock core.Clock, grids []byte) *world {
	t.Helper()
	w := &world{t: t, net: sim.NewNetwork(1), clock: clock, removed: map[core.DID]bool{}}
	for i, grid := range grids {
		w.homes = append(w.homes, &home{w: w, grid: identity.KeyOf([32]byte{1, grid}).DID(), key: identity.KeyOf([32]byte{2, byte(i)}), days: 180})
	}
	for _, h := range w.homes {
		h.start()
	}
	return w
}

func simWorld(t testing.TB, n int) (*world, *sim.Clock) {
	clock := sim.NewClock(1)
	return newWorld(t, clock, n), clock
}

// home is one household and its machine.
type home struct {
	w    *world
	grid core.DID
	key  identity.Key
	disk *sim.Disk
	// books and blobs stand before the disk's, where a test wants that.
	books core.Books
	blobs core.Blobs

	peers  core.Peers
	client *wire.Client
	stop   func()

	mu       sync.Mutex
	barter   *Barter
	override map[string]http.Handler // by "METHOD /path" of the route
	given    int64                   // bytes that this home gives each partner
	flows    map[core.Resource]int64 // and what else
	offers   map[core.Resource]int64 // what it gives of that in all
	other    int64                   // bytes on the disk that are not blobs
	days     int64                   // of a lease
	clock    core.Clock              // instead of the world's
	doubted  bool                    // nobody agrees with our clock
	alarms   []string
	without  map[core.DID]bool // households that are no partners
	agents   []core.DID        // instead of the one machine, in the eyes of the others
	freshes  int
	ends     int64                 // when all its pacts end, after notice
	term     bool                  // ends is no notice's, but the pacts' own, and far away
	vias     map[core.DID]*Via     // by guest's household, on whose behalf
	whys     map[core.DID]core.Why // by household where it is a guest
}

func (h *home) agent() core.DID { return h.key.DID() }

// start opens the disk, the network and the server.
func (h *home) start() {
	h.w.t.Helper()
	h.disk = sim.NewDisk(0)
	h.books, h.blobs = h.disk.Books(), h.disk.Blobs()
	h.given, h.override, h.without = 10_000_000_000, map[string]http.Handler{}, map[core.DID]bool{}
	h.vias, h.whys = map[core.DID]*Via{}, map[core.DID]core.Why{}
	h.peers = h.w.net.Join(h.agent())
	h.client = wire.NewClient(dialer{h.peers}, h.w.clock, func(to core.DID) []string {
		for _, o := range h.w.homes {
			if o.agent() == to {
				return o.peers.Addrs()
			}
		}
		return nil
	})
	h.open()
	server := wire.NewServer(h.agent(), h, h.routes(), h.w.clock, nil)
	ended := make(chan struct{})
	go func() {
		_ = server.Serve(wire.Listen(h.peers, h.w.clock))
		close(ended)
	}()
	h.stop = sync.OnceFunc(func() {
		h.client.Close()
		_ = h.peers.Close()
		<-ended
		_ = server.Close()
		_ = server.Shutdown(context.Background())
	})
	h.w.t.Cleanup(h.stop)
}

// dialer gives up dialling after a while, as the real network does.
type dialer struct{ core.Peers }

func (d dialer) Dial(ctx context.Context, to core.DID, addrs []string) (core.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return d.Peers.Dial(ctx, to, addrs)
}

// table is as package grange composes it.
func table() policy.Table {
	return policy.Table{
		Whys:      map[core.WhyKind]string{core.WhyPact: "Partners", core.WhyVoucher: "Members", core.WhyAccount: "Holders of an account", core.WhyNone: "Those who give no reason"},
		Policies:  map[string]func(*policy.Options) policy.Policy{"open": policy.Open, "even": policy.Even, "reciprocal": policy.Reciprocal, "deny": policy.Deny, "account": policy.ForAccounts},
		Resources: map[core.Resource]string{core.Storage: "", potatoes: "kg"},
	}
}

func openRules() policy.Rules {
	rules, err := table().Parse("pact open\nvoucher open\nnone deny")
	if err != nil {
		panic(err) // it is a constant
	}
	return rules
}

// open makes a Barter over the disk, as a start of the program does.
func (h *home) open() {
	h.w.t.Helper()
	b, err := New(Config{
		Key: h.key, Grid: h.grid, Books: h.books, Blobs: h.blobs, Clock: h.time(), Wire: caller{h}, Partners: h,
		Table: table(), Rules: openRules(), Offers: h.offers,
		Free: func() (int64, int64, error) { return h.free(), diskSize, nil },
		ClockTrusted: func() bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return !h.doubted
		},
		Alarm: func(_ core.DID, text string) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.alarms = append(h.alarms, text)
		},
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.w.t.Fatal(err)
	}
	if err := b.Sweep(context.Background()); err != nil {
		h.w.t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.barter = b
}

// time is the home's own clock.
func (h *home) time() core.Clock {
	if h.clock != nil {
		return h.clock
	}
	return h.w.clock
}

func (h *home) free() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return diskSize - h.other - h.disk.Blobs().Used()
}

func (h *home) now() *Barter {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.barter
}

// routes are those of the barter that is open when they are called, or what a test puts there.
func (h *home) routes() []wire.Route {
	out := h.barter.Routes()
	for i, r := range out {
		name := r.Method + " " + r.Path
		out[i].Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			h.mu.Lock()
			handler := h.override[name]
			if handler == nil {
				handler = h.barter.Routes()[i].Handler
			}
			h.mu.Unlock()
			handler.ServeHTTP(w, req)
		})
	}
	return out
}

// instead has a route answered by something else; nil ends that.
func (h *home) instead(route string, handler http.Handler) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.override[route] = handler
}

// real is what answers a route otherwise.
func (h *home) real(route string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for _, r := range h.now().Routes() {
			if r.Method+" "+r.Path == route {
				r.Handler.ServeHTTP(w, req)
			}
		}
	})
}

// Classify knows machines as partners.
func (h *home) Classify(_ context.Context, agent core.DID) (wire.Caller, error) {
	for _, o := range h.w.homes {
		switch {
		case o.agent() != agent || o == h:
		case h.w.removed[agent]:
			return wire.Caller{}, &wire.Error{Code: wire.CodeRevoked, Message: "gone"}
		case o.grid == h.grid:
			return wire.Caller{Grid: o.grid, Class: wire.Own}, nil
		case h.viaOf(o.grid) != nil:
			return wire.Caller{Grid: o.grid, Class: wire.Guest}, nil
		default:
			return wire.Caller{Grid: o.grid, Class: wire.Partner}, nil
		}
	}
	return wire.Caller{Class: wire.Stranger}, nil
}

func pactOf(a, b core.DID) core.Score {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return core.ScoreOf(slices.Concat(a[:], b[:]))
}

// All returns the other homes.
func (h *home) All() []Partner {
	var out []Partner
	for _, o := range h.w.homes {
		known := slices.ContainsFunc(out, func(p Partner) bool { return p.Grid == o.grid })
		if p, ok := h.Of(o.grid); ok && !known {
			out = append(out, p)
		}
	}
	return out
}

// Of returns another home.
func (h *home) Of(grid core.DID) (Partner, bool) {
	h.mu.Lock()
	given, flows, days, without, mine := h.given, h.flows, h.days, h.without[grid], h.ends
	h.mu.Unlock()
	if grid == h.grid {
		return h.own()
	}
	if p, ok := h.errand(grid); ok {
		return p, true
	}
	for i, o := range h.w.homes {
		if o.grid != grid || o == h || without {
			continue
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		agents := o.agents
		if agents == nil {
			agents = []core.DID{o.agent()}
		}
		id := pactOf(h.grid, grid)
		id[0] ^= h.w.pacts
		ends := max(mine, o.ends)
		return Partner{
			Ends: ends, Leaving: ends != 0 && !h.term && !o.term, Grid: grid, Name: fmt.Sprintf("home %d", i), Pact: id, Given: given, Gives: o.given, GivenOf: flows, GivesOf: o.flows, LeaseDays: days, AsideDays: 14, Agents: agents,
		}, true
	}
	return Partner{}, false
}

// own is the home's own household, if it has more machines, or had.
func (h *home) own() (Partner, bool) {
	p := Partner{Grid: h.grid, Name: "home", Pact: pact.Home(h.grid), LeaseDays: h.days, AsideDays: 14}
	all := 0
	for _, o := range h.w.homes {
		if o.grid != h.grid {
			continue
		}
		if all++; !h.w.removed[o.agent()] {
			p.Agents = append(p.Agents, o.agent())
		}
	}
	return p, all > 1
}

// caller is a client that counts what is made afresh.
type caller struct{ h *home }

func (c caller) Call(ctx context.Context, to core.DID, method, path string, in, out any) error {
	return c.h.client.Call(ctx, to, method, path, in, out)
}

func (c caller) CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error {
	return c.h.client.CallLimit(ctx, to, method, path, in, out, limit)
}

func (c caller) Send(ctx context.Context, to core.DID, path string, body []byte) error {
	return c.h.client.Send(ctx, to, path, body)
}

func (c caller) Fetch(ctx context.Context, to core.DID, path string, buf []byte, limit int64) ([]byte, error) {
	return c.h.client.Fetch(ctx, to, path, buf, limit)
}

func (c caller) Fresh(to core.DID) {
	c.h.mu.Lock()
	c.h.freshes++
	c.h.mu.Unlock()
	c.h.client.Fresh(context.Background(), to)
}

const pieceSize = erasure.PieceSizeMax

type signedLease = identity.Signed

// newDiskOf gives a home another disk, empty.
func newDiskOf(h *home) *sim.Disk {
	d := sim.NewDisk(0)
	h.books, h.blobs = d.Books(), d.Blobs()
	return d
}

// end stops every home, because a bubble must be empty in the end.
func (w *world) end() {
	for _, h := range w.homes {
		h.stop()
	}
}
