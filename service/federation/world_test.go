package federation_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/service/federation"
)

// world is households on one simulated network.
type world struct {
	t     *testing.T
	net   *sim.Network
	clock *sim.Clock
}

func newWorld(t *testing.T) *world {
	return &world{t: t, net: sim.NewNetwork(1), clock: sim.NewClock(1)}
}

// machine is one agent with its disk. Its federation is nil while it is off.
type machine struct {
	w       *world
	name    string
	entropy [32]byte // of its household's phrase
	key     identity.Key
	seal    *seal.PrivateKey
	disk    *sim.Disk
	known   *federation.Addresses

	peers  core.Peers
	client *wire.Client
	server *http.Server
	f      *federation.Federation
	// wrap, if set, stands before the handlers.
	wrap func(http.Handler) http.Handler
	// keeps is that of the configuration.
	keeps func(core.DID) bool
	take  func(identity.Signed, core.DID) (account.Right, error)
	token func(federation.AccountName) (identity.Signed, account.Right, bool)
	// called, if set, is told before and after each call that the machine makes.
	called func()
}

func seed(name string) [32]byte { return sha256.Sum256([]byte(name)) }

// machine makes a machine that is off and belongs nowhere. Its household's phrase is
// that of the household's name.
func (w *world) machine(name, household string) *machine {
	w.t.Helper()
	k, err := seal.NewPrivateKey(seed("seal " + name))
	if err != nil {
		w.t.Fatal(err)
	}
	m := &machine{
		w: w, name: name, entropy: seed("phrase " + household), key: identity.KeyOf(seed("key " + name)),
		seal: k, disk: sim.NewDisk(0),
	}
	w.t.Cleanup(m.off)
	return m
}

// household founds a household of one machine, and puts it on.
func (w *world) household(name string) *machine {
	w.t.Helper()
	m := w.machine(name, name)
	m.connect()
	if err := federation.Found(m.config(), m.entropy, name); err != nil {
		w.t.Fatal(err)
	}
	m.on()
	return m
}

func (m *machine) did() core.DID  { return m.key.DID() }
func (m *machine) grid() core.DID { return identity.RootOf(m.entropy).DID() }

func (m *machine) config() federation.Config {
	c := federation.Config{
		Key: m.key, Seal: m.seal, Books: m.disk.Books(), Blobs: m.disk.Blobs(), Clock: m.w.clock,
		Wire: m.client, Known: m.known, Addrs: m.peers.Addrs, Policy: "open", Machine: m.name,
		Keeps: m.keeps, Take: m.take, Token: m.token,
	}
	if m.called != nil {
		c.Wire = toldWire{m.client, m.called}
	}
	if os.Getenv("FEDERATION_LOG") != "" {
		c.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", m.name)
	}
	return c
}

// connect joins the network without serving anything.
func (m *machine) connect() {
	m.known = &federation.Addresses{}
	m.peers = m.w.net.Join(m.did())
	m.client = wire.NewClient(m.peers, m.w.clock, m.known.Of)
}

// on opens the household and serves.
func (m *machine) on() {
	m.w.t.Helper()
	if err := m.tryOn(); err != nil {
		m.w.t.Fatalf("put %s on: %v", m.name, err)
	}
}

func (m *machine) tryOn() error {
	if m.peers == nil {
		m.connect()
	}
	f, err := federation.New(m.config())
	if err != nil {
		return err
	}
	m.f = f
	m.serve(f, f.Routes())
	return nil
}

func (m *machine) serve(gate wire.Gate, routes []wire.Route) {
	m.server = wire.NewServer(m.did(), gate, routes, m.w.clock, nil)
	if m.wrap != nil {
		m.server.Handler = m.wrap(m.server.Handler)
	}
	listener := wire.Listen(m.peers, m.w.clock)
	go func(s *http.Server) { _ = s.Serve(listener) }(m.server)
}

// off ends everything that the machine does; its disk stays.
func (m *machine) off() {
	if m.peers == nil {
		return
	}
	m.client.Close()
	_ = m.peers.Close()
	if m.server != nil {
		_ = m.server.Close()
	}
	m.peers, m.client, m.server, m.f = nil, nil, nil, nil
}

// restart is what comes after a crash.
func (m *machine) restart() {
	m.w.t.Helper()
	m.off()
	m.disk.Restart()
	m.on()
}

// gives are terms by which each keeps 10 GB for the other.
func gives() pact.Terms {
	return pact.Terms{
		InviterGives:  map[core.Resource]int64{core.Storage: 10_000_000_000},
		AcceptorGives: map[core.Resource]int64{core.Storage: 9_000_000_000},
	}
}

func yes(pact.Invitation) bool { return true }

// invite makes an invitation and its code.
func (m *machine) invite() (pact.Invitation, string) {
	m.w.t.Helper()
	inv, err := m.f.Invite(m.w.t.Context(), gives(), 24*time.Hour)
	if err != nil {
		m.w.t.Fatal(err)
	}
	code, err := inv.Code()
	if err != nil {
		m.w.t.Fatal(err)
	}
	return inv, code
}

// befriend makes a and b partners.
func (w *world) befriend(a, b *machine) {
	w.t.Helper()
	_, code := a.invite()
	if _, err := b.f.Accept(w.t.Context(), code, yes); err != nil {
		w.t.Fatalf("%s accepts %s: %v", b.name, a.name, err)
	}
}

// write puts a record into the state, as the vault does.
func (m *machine) write(key, value string) {
	m.w.t.Helper()
	if err := m.disk.Books().Apply(core.Change{Key: []byte("state/" + key), Value: []byte(value)}); err != nil {
		m.w.t.Fatal(err)
	}
}

// save saves the head, which must reach all partners.
func (m *machine) save() federation.Saved {
	m.w.t.Helper()
	saved, err := m.f.SaveHead(m.w.t.Context())
	if err != nil || len(saved.Failed) > 0 {
		m.w.t.Fatalf("%s saves its head: %v, failed %v", m.name, err, saved.Failed)
	}
	return saved
}

// state returns the state's records, partners apart.
func (m *machine) state() map[string]string {
	m.w.t.Helper()
	out := map[string]string{}
	for c, err := range m.disk.Books().Scan([]byte("state/"), nil) {
		if err != nil {
			m.w.t.Fatal(err)
		}
		if k := string(c.Key[len("state/"):]); k[:2] != "p/" {
			out[k] = string(c.Value)
		}
	}
	return out
}

// partners returns the partners' names.
func (m *machine) partners() []string {
	var names []string
	for _, p := range m.f.Partners() {
		names = append(names, p.Name)
	}
	return names
}

func (m *machine) recover(from *machine, o federation.RecoverOptions) (federation.Report, error) {
	m.connect()
	return federation.Recover(m.w.t.Context(), m.config(), m.entropy, federation.From{
		Agent: from.did(), Addrs: from.peers.Addrs(),
	}, o)
}

// call sends a request from m to another machine, and returns the code of the answer.
func (m *machine) call(to *machine, method, path string, in any) (code string, err error) {
	m.known.Learn(to.did(), to.peers.Addrs())
	if method == http.MethodPut {
		err = m.client.Send(m.w.t.Context(), to.did(), path, []byte("bytes"))
	} else {
		err = m.client.Call(m.w.t.Context(), to.did(), method, path, in, nil)
	}
	return codeOf(err), err
}

// toldWire tells of calls.
type toldWire struct {
	federation.Wire
	called func()
}

func (w toldWire) Call(ctx context.Context, to core.DID, method, path string, in, out any) error {
	w.called()
	defer w.called()
	return w.Wire.Call(ctx, to, method, path, in, out)
}

func (w toldWire) CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error {
	w.called()
	defer w.called()
	return w.Wire.CallLimit(ctx, to, method, path, in, out, limit)
}

func (w toldWire) Send(ctx context.Context, to core.DID, path string, body []byte) error {
	w.called()
	defer w.called()
	return w.Wire.Send(ctx, to, path, body)
}

func (w toldWire) Fetch(ctx context.Context, to core.DID, path string, buf []byte, limit int64) ([]byte, error) {
	w.called()
	defer w.called()
	return w.Wire.Fetch(ctx, to, path, buf, limit)
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e.Code
	}
	if _, ok := errors.AsType[*core.Denial](err); ok {
		return wire.CodeRefused
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func wantList(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

func wantError(t *testing.T, what string, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("%s: got error %v, want %v", what, err, kind)
	}
}

func chartersOf(t *testing.T, m *machine) []identity.Signed {
	t.Helper()
	return m.f.Charters()
}

// cancelable returns a context that ends with the test, or with stop.
func cancelable(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}
