package grange_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/files"
	"github.com/grange-grid/grange/internal/sim"
)

// world is a few households on one simulated network, each with a real directory.
type world struct {
	t   *testing.T
	net *sim.Network
}

func newWorld(t *testing.T) *world { return &world{t: t, net: sim.NewNetwork(1)} }

// machine is one agent of the world.
type machine struct {
	w      *world
	name   string
	dir    string
	phrase string
	did    core.DID
	stop   func() // ends Run, and closes the agent
	*grange.Agent
}

func (w *world) config(dir string) grange.Config {
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", filepath.Base(dir))
	}
	return grange.Config{
		Dir: dir, Log: log, Listen: []string{"sim"},
		Peers: func(c grange.PeersConfig) (core.Peers, error) {
			did := core.DID(c.Key.Public().(ed25519.PublicKey))
			if len(c.Listen) == 0 {
				return w.net.JoinDialing(did), nil
			}
			return w.net.Join(did), nil
		},
	}
}

// found makes a household and opens its machine, without running it.
func (w *world) found(name string) *machine {
	w.t.Helper()
	m := &machine{w: w, name: name, dir: filepath.Join(w.t.TempDir(), name)}
	err := grange.Create(w.t.Context(), w.config(m.dir), name, func(phrase string) error {
		m.phrase = phrase
		return nil
	})
	if err != nil {
		w.t.Fatalf("create %s: %v", name, err)
	}
	m.open()
	return m
}

func (m *machine) open() {
	m.w.t.Helper()
	a, err := grange.Open(m.w.t.Context(), m.w.config(m.dir))
	if err != nil {
		m.w.t.Fatalf("open %s: %v", m.name, err)
	}
	m.Agent = a
	status, err := a.Status(m.w.t.Context(), "")
	if err != nil {
		m.w.t.Fatal(err)
	}
	m.did = status.Machine
	m.stop = func() {
		if err := a.Close(); err != nil {
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
		if err := <-ended; err != nil && !errors.Is(err, grange.ErrRevoked) {
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

func (w *world) befriend(a, b *machine) {
	w.t.Helper()
	inv, err := a.Invite(w.t.Context(), grange.Terms{Give: 1e9, Want: 1e9})
	if err != nil {
		w.t.Fatalf("%s invites: %v", a.name, err)
	}
	if _, err := b.Accept(w.t.Context(), inv.Code, nil); err != nil {
		w.t.Fatalf("%s accepts: %v", b.name, err)
	}
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
func sameTrees(t *testing.T, a, b string) {
	t.Helper()
	for d, err := range files.Compare(t.Context(), a, b) {
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("differs: %v", d)
	}
}
