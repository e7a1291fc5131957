package barter

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
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
}

// newWorld makes n homes that serve each other over real HTTP.
func newWorld(t testing.TB, clock core.Clock, n int) *world {
	t.Helper()
	w := &world{t: t, net: sim.NewNetwork(1), clock: clock}
	for i := range n {
		w.homes = append(w.homes, &home{w: w, grid: identity.KeyOf([32]byte{1, byte(i)}).DID(), key: identity.KeyOf([32]byte{2, byte(i)}), days: 180})
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
	other    int64                   // bytes on the disk that are not blobs
	days     int64                   // of a lease
	without  map[core.DID]bool       // households that are no partners
	agents   []core.DID              // instead of the one machine, in the eyes of the others
	freshes  int
}

func (h *home) agent() core.DID { return h.key.DID() }

// start opens the disk, the network and the server.
func (h *home) start() {
	h.w.t.Helper()
	h.disk = sim.NewDisk(0)
	h.books, h.blobs = h.disk.Books(), h.disk.Blobs()
	h.given, h.override, h.without = 10_000_000_000, map[string]http.Handler{}, map[core.DID]bool{}
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

// open makes a Barter over the disk, as a start of the program does.
func (h *home) open() {
	h.w.t.Helper()
	b, err := New(Config{
		Key: h.key, Grid: h.grid, Books: h.books, Blobs: h.blobs, Clock: h.w.clock, Wire: caller{h}, Partners: h,
		Policy: policy.Table{ByWhy: map[core.WhyKind]policy.Policy{core.WhyPact: policy.Open, core.WhyNone: policy.Deny}},
		Free:   func() (int64, int64, error) { return h.free(), diskSize, nil },
		Log:    slog.New(slog.DiscardHandler),
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
		if o.agent() == agent && o != h {
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
		if p, ok := h.Of(o.grid); ok {
			out = append(out, p)
		}
	}
	return out
}

// Of returns another home.
func (h *home) Of(grid core.DID) (Partner, bool) {
	h.mu.Lock()
	given, days, without := h.given, h.days, h.without[grid]
	h.mu.Unlock()
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
		return Partner{
			Grid: grid, Name: fmt.Sprintf("home %d", i), Pact: pactOf(h.grid, grid), Given: given, Gives: o.given, LeaseDays: days, Agents: agents,
		}, true
	}
	return Partner{}, false
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

// What follows asks a holder as the protocol does, without an owner's Barter.

func (h *home) ask(t *testing.T, of *home, amount int64) (grantAnswer, error) {
	t.Helper()
	pact := pactOf(h.grid, of.grid)
	var out grantAnswer
	err := h.client.Call(t.Context(), of.agent(), "POST", "/ask", core.Ask{
		Resource: core.Storage, Amount: amount, Seconds: 180 * daySeconds, Quality: core.Normal, Why: core.Why{Kind: core.WhyPact, Ref: pact[:]},
	}, &out)
	return out, err
}

func (h *home) mustAsk(t *testing.T, of *home, amount int64) []byte {
	t.Helper()
	out, err := h.ask(t, of, amount)
	if err != nil {
		t.Fatalf("ask for %d: %v", amount, err)
	}
	if out.Amount != amount || len(out.Grant) != grantIDSize {
		t.Fatalf("asked for %d: granted %+v", amount, out)
	}
	return out.Grant
}

func (h *home) put(t *testing.T, at *home, grant, data []byte) error {
	t.Helper()
	return h.client.Send(t.Context(), at.agent(), putPath(core.ScoreOf(data), grant, make([]byte, manifest.SegmentIDSize), 3), data)
}

func (h *home) mustPut(t *testing.T, at *home, grant []byte, pieces ...[]byte) {
	t.Helper()
	for _, data := range pieces {
		if err := h.put(t, at, grant, data); err != nil {
			t.Fatalf("put %d bytes: %v", len(data), err)
		}
	}
}

// lease asks for a lease over pieces, and ends grants.
func (h *home) lease(t *testing.T, at *home, closing [][]byte, pieces ...[]byte) (leaseAnswer, error) {
	t.Helper()
	in := leaseRequest{Pieces: []core.Piece{}, Seconds: 180 * daySeconds, Close: closing}
	for _, data := range pieces {
		in.Pieces = append(in.Pieces, core.Piece{Score: core.ScoreOf(data), Size: int64(len(data))})
	}
	slices.SortFunc(in.Pieces, func(a, b core.Piece) int { return compareScores(a.Score, b.Score) })
	var out leaseAnswer
	err := h.client.Call(t.Context(), at.agent(), "POST", "/leases", in, &out)
	return out, err
}

func (h *home) mustLease(t *testing.T, at *home, pieces ...[]byte) {
	t.Helper()
	out, err := h.lease(t, at, nil, pieces...)
	if err != nil || out.Lease == nil || len(out.Missing) > 0 {
		t.Fatalf("lease over %d pieces: %+v, %v", len(pieces), out, err)
	}
}

// bytesOf makes a piece that the seed chooses.
func bytesOf(seed, size int) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], uint64(seed))
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(data)
	return data
}

// segmentOf makes a segment that the seed chooses; that its parity is none does not matter here.
func segmentOf(seed, k, m, size int) (manifest.Segment, [][]byte) {
	s := manifest.Segment{V: 1, ID: bytesOf(seed, manifest.SegmentIDSize), K: uint64(k), M: uint64(m), Size: uint64(size)}
	var pieces [][]byte
	for i := range k + m {
		data := bytesOf(seed*100+i+1, size)
		score := core.ScoreOf(data)
		pieces = append(pieces, data)
		s.Pieces = append(s.Pieces, score[:]...)
	}
	return s, pieces
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// wantUsed checks what an owner uses here, and what is used or promised in all.
func (h *home) wantUsed(t *testing.T, owner *home, size, pieces, offered int64) {
	t.Helper()
	gotSize, gotPieces := h.now().Used(owner.grid)
	_, used := h.now().Offer()
	if gotSize != size || gotPieces != pieces || used != offered {
		t.Errorf("used %d bytes of %d pieces, %d with grants; want %d, %d, %d", gotSize, gotPieces, used, size, pieces, offered)
	}
}

func (h *home) has(t *testing.T, data []byte) bool {
	t.Helper()
	_, err := h.disk.Blobs().Stat(t.Context(), core.ScoreOf(data))
	if err != nil && !errors.Is(err, core.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// check holds the books against themselves and the blobs: nothing is held that is not
// here, nothing is here that is not needed, and every total is its sum.
func (h *home) check(t *testing.T) {
	t.Helper()
	b := h.now()
	if err := b.drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	sums := map[core.DID]usedRecord{}
	needed := map[core.Score]bool{}
	for c, err := range h.disk.Books().Scan(heldPrefix, nil) {
		if err != nil {
			t.Fatal(err)
		}
		owner, piece := core.DID(c.Key[len(heldPrefix):][:didSize]), core.Score(c.Key[len(heldPrefix)+didSize:])
		var r heldRecord
		if err := codec.Unmarshal(c.Value, &r, recordSizeMax); err != nil {
			t.Fatal(err)
		}
		info, err := h.disk.Blobs().Stat(t.Context(), piece)
		if err != nil || info.Size != r.Size {
			t.Errorf("piece %s of %d bytes is held, and is here with %d: %v", piece.Short(), r.Size, info.Size, err)
		}
		sums[owner] = sums[owner].plus(usedRecord{Bytes: r.Size, Pieces: 1})
		needed[piece] = true
	}
	leases := 0
	for c, err := range h.disk.Books().Scan(leasePrefix, nil) {
		if err != nil {
			t.Fatal(err)
		}
		owner, lease := core.DID(c.Key[len(leasePrefix):][:didSize]), core.Score(c.Key[len(leasePrefix)+didSize:])
		data, err := h.disk.Blobs().Get(t.Context(), lease, nil)
		if err != nil || !bytes.Equal(data, c.Value) {
			t.Errorf("lease %s is not among the blobs: %v", lease.Short(), err)
		}
		sums[owner] = sums[owner].plus(usedRecord{Leases: int64(len(c.Value))})
		needed[lease] = true
		leases++
	}
	for c, err := range h.disk.Books().Scan(endsPrefix, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := b.has(join(leasePrefix, c.Key[len(endsPrefix)+dateSize:])); !ok || err != nil {
			t.Errorf("the end of a lease that is not there: %v", err)
		}
		leases--
	}
	if leases != 0 {
		t.Errorf("%d leases more than ends", leases)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for owner, a := range b.accounts {
		want := sums[owner].plus(usedRecord{})
		var wrote usedRecord
		ok, err := b.read(join(usedPrefix, owner[:]), &wrote)
		if a.used != want || err != nil || ok && wrote != want {
			t.Errorf("used by %s: %+v in memory, %+v in the books (%v), %+v in sum", owner.Short(), a.used, wrote, err, want)
		}
		delete(sums, owner)
	}
	if len(sums) > 0 {
		t.Errorf("pieces are held for %d owners without an account", len(sums))
	}
	for info, err := range h.disk.Blobs().All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if about, ok := parseNote(info.Note); ok && !needed[info.Score] && b.inHand[info.Score] == 0 {
			t.Errorf("%s %s of %d bytes is needed by nobody", about.Kind, info.Score.Short(), info.Size)
		}
	}
	if b.coming != 0 || len(b.dropping) != 0 {
		t.Errorf("%d bytes are coming and %d blobs being dropped while nothing goes on", b.coming, len(b.dropping))
	}
}

// checkPlaced holds the owner's totals against the placements.
func (h *home) checkPlaced(t *testing.T) {
	t.Helper()
	sums := tally{}
	for c, err := range h.disk.Books().Scan(placedPrefix, nil) {
		if err != nil {
			t.Fatal(err)
		}
		_, r, err := parsePlaced(c)
		if err != nil {
			t.Fatal(err)
		}
		sums.add(r.Grid, 1, r.Size)
	}
	b := h.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	for grid, r := range b.out {
		if r != sums[grid].plus(usedRecord{}) {
			t.Errorf("pieces at %s come to %+v, in sum %+v", grid.Short(), r, sums[grid])
		}
		delete(sums, grid)
	}
	if len(sums) > 0 {
		t.Errorf("pieces at %d households without a total", len(sums))
	}
}

// holders returns the homes that have leased a piece to h.
func (h *home) holders(t *testing.T, piece core.Score) []*home {
	t.Helper()
	held, err := h.now().Held(piece)
	if err != nil {
		t.Fatal(err)
	}
	var out []*home
	for _, o := range h.w.homes {
		if slices.ContainsFunc(held, func(g core.Holding) bool { return g.Agent == o.agent() && g.Grid == o.grid }) {
			out = append(out, o)
		}
	}
	return out
}

// spread counts the leased pieces of a segment by home, each piece once at each.
func (h *home) spread(t *testing.T, s manifest.Segment) map[*home]int {
	t.Helper()
	out := map[*home]int{}
	for i := range s.Total() {
		for _, o := range h.holders(t, s.Piece(i)) {
			out[o]++
		}
	}
	return out
}

func mustPlace(t *testing.T, h *home, expect int64) *Placement {
	t.Helper()
	p, err := h.now().Place(t.Context(), expect)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func commit(t *testing.T, p *Placement, done bool) {
	t.Helper()
	if failed := p.Commit(t.Context(), done); len(failed) > 0 {
		t.Fatalf("commit: %v", failed)
	}
}

const pieceSize = erasure.PieceSizeMax

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := codec.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

type signedLease = identity.Signed

// newDiskOf gives a home another disk, empty.
func newDiskOf(h *home) *sim.Disk {
	d := sim.NewDisk(0)
	h.books, h.blobs = d.Books(), d.Blobs()
	return d
}
