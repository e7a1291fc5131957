package grange_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/files"
	"github.com/grange-grid/grange/internal/sim"
)

// tester is a *testing.T, or one that draws.
type tester interface {
	rapid.TB
	Cleanup(func())
	Context() context.Context
	TempDir() string
}

// world is a few households on one simulated network, each with a real directory, unless disks are others.
type world struct {
	t     tester
	net   *sim.Network
	disks grange.Disks
}

func newWorld(t tester) *world { return &world{t: t, net: sim.NewNetwork(1)} }

// bubble runs a test where time stands still while anybody works, and leaps when all
// wait: a stall of half a minute, or a week, takes no time. A goroutine that outlives
// the world's agents fails it.
func bubble(t *testing.T, f func(w *world)) {
	t.Helper()
	inMemory(t)
	synctest.Test(t, func(t *testing.T) { f(newWorld(t)) })
}

// later lets d go by, in a bubble.
func (w *world) later(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// machine is one agent of the world.
type machine struct {
	w      *world
	name   string
	dir    string
	phrase string
	did    core.DID
	house  core.DID // its household
	stop   func()   // ends Run, and closes the agent
	// wrap, if set, stands between the machine and the network when it listens.
	wrap func(core.Peers) core.Peers
	// clock, if set, is the machine's own.
	clock *houseClock
	// accounts says that it is an account server.
	accounts bool
	*grange.Agent
}

// config is that of a machine on a directory.
func (m *machine) config() grange.Config {
	c := m.w.config(m.dir)
	c.Accounts = m.accounts
	if m.clock != nil {
		c.Clock = m.clock
	}
	if m.w.disks != nil {
		c = c.On(m.w.disks)
	}
	join := c.Peers
	c.Peers = func(pc grange.PeersConfig) (core.Peers, error) {
		p, err := join(pc)
		if err == nil && m.wrap != nil && len(pc.Listen) > 0 {
			p = m.wrap(p)
		}
		return p, err
	}
	return c
}

func (w *world) config(dir string) grange.Config {
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", filepath.Base(dir))
	}
	return grange.Config{
		Dir: dir, Log: log, Listen: []string{"sim"}, Machine: filepath.Base(dir),
		Peers: func(c grange.PeersConfig) (core.Peers, error) {
			did := core.DID(c.Key.Public().(ed25519.PublicKey))
			if len(c.Listen) == 0 {
				return w.net.JoinDialing(did), nil
			}
			return w.net.Join(did), nil
		},
	}
}

// machine is one that has no directory yet.
func (w *world) machine(name string) *machine {
	w.t.Helper()
	return &machine{w: w, name: name, dir: filepath.Join(w.t.TempDir(), name)}
}

// found makes a household and opens its machine, without running it.
func (w *world) found(name string) *machine {
	w.t.Helper()
	m := w.machine(name)
	m.create()
	return m
}

// create makes a household of the machine and opens it.
func (m *machine) create() {
	m.w.t.Helper()
	err := grange.Create(m.w.t.Context(), m.config(), m.name, func(phrase string) error {
		m.phrase = phrase
		return nil
	})
	if err != nil {
		m.w.t.Fatalf("create %s: %v", m.name, err)
	}
	m.open()
}

func (m *machine) open() {
	m.w.t.Helper()
	a, err := grange.Open(m.w.t.Context(), m.config())
	if err != nil {
		m.w.t.Fatalf("open %s: %v", m.name, err)
	}
	m.Agent = a
	status, err := a.Status(m.w.t.Context(), "")
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.did, m.house = status.Machine, status.Grid
	m.stop = func() {
		if err := a.Close(); err != nil { // it may be called again
			m.w.t.Errorf("close %s: %v", m.name, err)
		}
	}
	m.w.t.Cleanup(func() { m.stop() })
}

// run starts the agent and waits until it can be reached.
func (m *machine) run() {
	m.w.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.w.t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	a := m.Agent
	go func() { ended <- a.Run(ctx, func([]string) { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		m.w.t.Fatalf("run %s: %v", m.name, err)
	}
	stopped := false
	m.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, grange.ErrRevoked) && !errors.Is(err, sim.ErrCrashed) {
			m.w.t.Errorf("run %s: %v", m.name, err)
		}
		if err := a.Close(); err != nil {
			m.w.t.Errorf("close %s: %v", m.name, err)
		}
	}
}

// households founds and runs several, and makes the first a partner of all others.
func (w *world) households(names ...string) []*machine {
	w.t.Helper()
	var out []*machine
	for _, name := range names {
		m := w.found(name)
		m.run()
		out = append(out, m)
	}
	for _, m := range out[1:] {
		w.befriend(out[0], m)
	}
	return out
}

func (w *world) befriend(a, b *machine) { w.befriendOn(a, b, grange.Terms{Give: 1e9, Want: 1e9}) }

func (w *world) befriendOn(a, b *machine, terms grange.Terms) {
	w.t.Helper()
	inv, err := a.Invite(w.t.Context(), terms)
	if err != nil {
		w.t.Fatalf("%s invites: %v", a.name, err)
	}
	if _, err := b.Accept(w.t.Context(), inv.Code, nil); err != nil {
		w.t.Fatalf("%s accepts: %v", b.name, err)
	}
}

// balanced fails the test unless two partners agree on what each keeps for the other.
func (w *world) balanced(a, b *machine) {
	w.t.Helper()
	for _, p := range [][2]*machine{{a, b}, {b, a}} {
		if has, keeps := p[0].pact(p[1]).Has, p[1].pact(p[0]).Keeps; has != keeps {
			w.t.Errorf("%s has %d bytes at %s, who keeps %d", p[0].name, has, p[1].name, keeps)
		}
	}
}

// restart ends an agent and starts it again on its directory.
func (m *machine) restart() {
	m.w.t.Helper()
	m.stop()
	m.open()
	m.run()
}

// addrs are where the machine can be dialled.
func (m *machine) addrs() []string {
	m.w.t.Helper()
	status, err := m.Status(m.w.t.Context(), "")
	if err != nil {
		m.w.t.Fatal(err)
	}
	return status.Addrs
}

// pact is what the machine has with a partner.
func (m *machine) pact(with *machine) grange.Pact {
	m.w.t.Helper()
	for p, err := range m.Pacts(m.w.t.Context()) {
		if err != nil {
			m.w.t.Fatal(err)
		}
		if slices.Contains(p.Machines, with.did) {
			return p
		}
	}
	m.w.t.Fatalf("%s has no pact with %s", m.name, with.name)
	return grange.Pact{}
}

// recover brings lost's household back on a new machine, starting with one partner,
// and opens that.
func (w *world) recover(lost, from *machine, name string) (*machine, grange.RecoverResult) {
	w.t.Helper()
	m := w.machine(name)
	m.phrase = lost.phrase
	rec, err := m.recover(from)
	if err != nil {
		w.t.Fatalf("recover %s: %v", name, err)
	}
	m.open()
	return m, rec
}

// recover makes m, which is not open, a machine of the household of its phrase.
func (m *machine) recover(from *machine) (grange.RecoverResult, error) {
	m.w.t.Helper()
	inv, err := from.Invite(m.w.t.Context(), grange.Terms{})
	if err != nil {
		m.w.t.Fatal(err)
	}
	return grange.Recover(m.w.t.Context(), m.config(), m.phrase, grange.RecoverOptions{From: inv.Code})
}

// tree is files by path.
type tree map[string]string

func (t tree) fs() fstest.MapFS {
	out := fstest.MapFS{}
	for name, text := range t {
		out[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return out
}

// randomTree is a few files that no other tree has, of about size bytes.
func randomTree(seed uint64, size int) tree {
	r := rand.New(rand.NewPCG(seed, 0))
	out := tree{"a/small": fmt.Sprint("seed ", seed), "a/empty": ""}
	raw := make([]byte, size)
	for i := range raw {
		raw[i] = byte(r.Uint32())
	}
	out["b/large"] = string(raw)
	return out
}

// hasTree tells what is wrong with a tree as m reads it from its partners.
func (m *machine) hasTree(name string, want tree) error {
	return m.hasVersion(grange.Ref{Name: name}, want)
}

// hasVersion tells what is wrong with a version as m reads it from its partners.
func (m *machine) hasVersion(ref grange.Ref, want tree) error {
	fsys, err := m.FS(m.w.t.Context(), ref)
	if err != nil {
		return err
	}
	found := 0
	err = fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		found++
		text, err := fs.ReadFile(fsys, path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if string(text) != want[path] {
			return fmt.Errorf("%s: %d bytes that are others than the %d put", path, len(text), len(want[path]))
		}
		return nil
	})
	if err == nil && found != len(want) {
		err = fmt.Errorf("%d files, want %d", found, len(want))
	}
	return err
}

// mustHave fails the test unless m reads the tree whole.
func (m *machine) mustHave(name string, want tree) {
	m.w.t.Helper()
	if err := m.hasTree(name, want); err != nil {
		m.w.t.Fatalf("%s reads %s: %v", m.name, name, err)
	}
}

// put puts a tree, which must be stored whole.
func (m *machine) put(name string, t tree) grange.PutResult {
	m.w.t.Helper()
	out, err := m.Put(m.w.t.Context(), name, t.fs(), nil)
	if err != nil {
		m.w.t.Fatalf("%s puts %s: %v (%+v)", m.name, name, err, out)
	}
	return out
}

// smallTree makes a directory of real files.
func smallTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	for name, text := range map[string]string{
		"notes/todo.txt": "a private note\n", "notes/deep/er/file": strings.Repeat("deep ", 10_000), "empty": "",
		"big": strings.Repeat("0123456789abcdef", 1<<18) + "end",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "nothing in here"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("notes/todo.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// sameTrees fails the test unless two directories are alike.
func sameTrees(t tester, a, b string) {
	t.Helper()
	for d, err := range files.Compare(t.Context(), a, b) {
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("differs: %v", d)
	}
}
