package accounts

import (
	"context"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
)

const gb = 1_000_000_000

func seedOf(name string) [32]byte { return core.ScoreOf([]byte(name)) }

func keyOf(name string) identity.Key { return identity.KeyOf(seedOf(name)) }

// world is an account server, and whoever calls it, on a network in memory.
type world struct {
	t     testing.TB
	net   *sim.Network
	clock *sim.Clock
	disk  *sim.Disk
	key   identity.Key
	peers core.Peers
	s     *Server
	calls map[core.DID]*wire.Client
	stop  func()
}

// strangers is the gate of an agent without partners.
type strangers struct{}

func (strangers) Classify(_ context.Context, agent core.DID) (wire.Caller, error) {
	return wire.Caller{Agent: agent}, nil
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, net: sim.NewNetwork(1), clock: sim.NewClock(1), disk: sim.NewDisk(0), key: keyOf("account server"), calls: map[core.DID]*wire.Client{}}
	t.Cleanup(func() {
		for _, c := range w.calls {
			c.Close()
		}
		w.down()
	})
	w.up()
	return w
}

// up starts the account server on its books.
func (w *world) up() {
	w.t.Helper()
	w.open()
	w.peers = w.net.Join(w.key.DID())
	server := wire.NewServer(w.key.DID(), strangers{}, w.s.Routes(), w.clock, nil)
	ended := make(chan struct{})
	peers := w.peers
	go func() {
		_ = server.Serve(wire.Listen(peers, w.clock))
		close(ended)
	}()
	w.stop = func() {
		_ = peers.Close()
		<-ended
		_ = server.Close()
		_ = server.Shutdown(context.Background())
	}
}

func (w *world) open() {
	w.t.Helper()
	s, err := NewServer(ServerConfig{Key: w.key, Books: w.disk.Books(), Clock: w.clock, Addrs: func() []string { return []string{"/memory/1"} }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.s = s
}

// down stops it.
func (w *world) down() {
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

func (w *world) now() int64 { return w.clock.Now().Unix() }

// as returns a client that calls as an agent.
func (w *world) as(agent core.DID) *wire.Client {
	if w.calls[agent] == nil {
		w.calls[agent] = wire.NewClient(quick{w.net.Join(agent)}, w.clock, func(core.DID) []string { return w.peers.Addrs() })
	}
	return w.calls[agent]
}

// quick gives up dialling at once where nobody is.
type quick struct{ core.Peers }

func (q quick) Dial(ctx context.Context, to core.DID, addrs []string) (core.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return q.Peers.Dial(ctx, to, addrs)
}

func (w *world) must(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

// plan makes a plan of 100 GB for 30 days, and one without end.
func (w *world) plan() {
	w.t.Helper()
	w.must(w.s.SetPlan(Plan{"month", 100 * gb, 30}))
	w.must(w.s.SetPlan(Plan{"open", 10 * gb, 0}))
}

func (w *world) list(agents ...core.DID) {
	w.t.Helper()
	for _, agent := range agents {
		_, err := w.s.SetHolder(agent, true)
		w.must(err)
	}
}

// check asks as a storage server.
func (w *world) check(as core.DID, asks ...checkAsk) ([]Standing, error) {
	w.t.Helper()
	var out checkAnswer
	err := w.as(as).Call(w.t.Context(), w.key.DID(), "POST", "/accounts/check", checkRequest{asks}, &out)
	return out.Answers, err
}

// standing asks for one account.
func (w *world) standing(as core.DID, id string) Standing {
	w.t.Helper()
	out, err := w.check(as, checkAsk{Account: id})
	if err != nil || len(out) != 1 {
		w.t.Fatal(out, err)
	}
	return out[0]
}

func (w *world) report(as core.DID, reports ...identity.Signed) (usageAnswer, error) {
	var out usageAnswer
	err := w.as(as).Call(w.t.Context(), w.key.DID(), "POST", "/accounts/usage", usageRequest{reports}, &out)
	return out, err
}

// usage is a report by a storage server.
func (w *world) usage(by identity.Key, id string, seq uint64, bytes int64, total uint64) identity.Signed {
	w.t.Helper()
	s, err := account.SignUsage(by, account.Usage{Server: w.key.DID(), Account: id, Bytes: bytes, Total: total, Seq: seq, Time: w.now()})
	w.must(err)
	return s
}

func (w *world) token(as core.DID, signed identity.Signed, id string) (identity.Signed, error) {
	var out tokenAnswer
	err := w.as(as).Call(w.t.Context(), w.key.DID(), "POST", "/accounts/token", tokenRequest{signed, id}, &out)
	return out.Token, err
}

// customer is a household with its machines.
type customer struct {
	root     identity.Key
	recovery *seal.PrivateKey
	secrets  charter.Secrets
}

func newCustomer(t testing.TB, name string) customer {
	t.Helper()
	entropy := seedOf(name)
	recovery, err := seal.NewPrivateKey(identity.RecoverySeed(entropy))
	if err != nil {
		t.Fatal(err)
	}
	return customer{identity.RootOf(entropy), recovery, charter.Secrets{V: 1, Chunker: seedOf(name + " chunker")}.With(1, seedOf(name+" vault"))}
}

func (c customer) grid() core.DID { return c.root.DID() }

// charter lists machines in an epoch.
func (c customer) charter(t testing.TB, epoch uint64, machines ...string) identity.Signed {
	t.Helper()
	out := charter.Charter{Epoch: epoch, Time: 1_700_000_000, Recovery: c.recovery.Public()}
	if epoch > 1 {
		out.Prev = core.ScoreOf([]byte("before"))
	}
	for _, name := range machines {
		box, err := seal.NewPrivateKey(seedOf(name + " seal"))
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := charter.SealName(c.secrets, name)
		if err != nil {
			t.Fatal(err)
		}
		out.Agents = append(out.Agents, charter.Agent{DID: keyOf(name).DID(), Seal: box.Public(), Name: sealed})
	}
	s, err := charter.Seal(c.root, out, c.secrets)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
