package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/service/barter"
	"github.com/grange-grid/grange/service/federation"
	"github.com/grange-grid/grange/service/keep"
	"github.com/grange-grid/grange/service/vault"
)

// Agent is one machine of a household, on its directory. Its methods may be
// called at once.
type Agent struct {
	c        Config
	settings settings
	store    store
	key      identity.Key

	federation *federation.Federation
	barter     *barter.Barter
	vault      *vault.Vault
	keeper     *keep.Keeper
	network    *network
	policy     policyFile

	events   *eventFeed
	works    works
	accounts accountRoom
	tables   tableRoom
	hosted   hosted
	arrivals *arrivals
	removed  chan struct{} // holds a token when versions were removed
	came     chan struct{} // holds one when a partner's machine came within reach
	metered  atomic.Bool   // the network is

	mu   sync.Mutex // of life's end, and the beginning of a Run
	life context.Context
	end  context.CancelFunc
	runs sync.WaitGroup
	shut sync.Once
}

// Open opens the agent on a directory. It dials nobody and listens nowhere.
// Errors: ErrLocked if another process has it, ErrNoHousehold if there is none yet, ErrVersion, ErrBooks.
func Open(ctx context.Context, c Config) (*Agent, error) {
	c, err := c.complete()
	if err != nil {
		return nil, err
	}
	store, err := openStore(c)
	if errors.Is(err, core.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", c.Dir, ErrNoHousehold)
	}
	if err != nil {
		return nil, damaged(c.Dir, err)
	}
	a, err := assemble(c, store)
	if err != nil {
		return nil, errors.Join(damaged(c.Dir, err), store.Close())
	}
	return a, nil
}

// damaged says of what cannot be read that it is the books.
func damaged(dir string, err error) error {
	if errors.Is(err, core.ErrCorrupt) {
		return fmt.Errorf("%s: %w: %w", dir, ErrBooks, err)
	}
	return err
}

// assemble fits the services together: the one place where they meet.
func assemble(c Config, store store) (*Agent, error) {
	machine, err := readKeys(store)
	if err != nil {
		return nil, err
	}
	set, err := readSettings(c.settings)
	if err != nil {
		return nil, err
	}
	a := &Agent{c: c, store: store, key: machine.key, settings: set, events: newFeed(), removed: make(chan struct{}, 1), came: make(chan struct{}, 1)}
	a.hosted.news = make(chan struct{}, 1)
	a.tables.opened = make(chan struct{})
	a.life, a.end = context.WithCancel(context.Background())
	a.network = newNetwork(c, machine.key)
	a.network.up, a.network.down = int64(set.Limits.Up), int64(set.Limits.Down)
	fc := machine.federation(c, store, a.network)
	fc.Needed = a.needed
	fc.Told = a.told
	fc.Keeps = func(grid core.DID) bool { return a.barter.Keeps(grid) }
	if err := a.openHolder(); err != nil {
		return nil, err
	}
	fc.Take, fc.Token = a.accounts.holder.Take, a.token
	a.federation, err = federation.New(fc)
	if errors.Is(err, core.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: %w", c.Dir, ErrNoHousehold, err)
	}
	if err != nil {
		return nil, err
	}
	if c.within {
		if err := a.federation.BeginRoll(a.life); err != nil {
			return nil, err
		}
	}
	a.network.known = func(agent core.DID) bool {
		if a.servesAccount(agent) {
			return true
		}
		_, ok := a.federation.ByAgent(agent)
		return ok || a.federation.IsOurs(agent) || a.federation.IsGuest(agent)
	}
	a.network.saw = func(agent core.DID) {
		a.federation.Saw(agent)
		a.barter.Saw(agent)
		a.arrivals.note(agent)
	}
	a.policy.path, a.policy.table = policyPath(c.settings), policyTable(set.Resources)
	standard, err := a.policy.table.Parse(defaultPolicy)
	if err != nil {
		return nil, fmt.Errorf("the default policy: %w", err)
	}
	if err := a.openCustomer(); err != nil {
		return nil, err
	}
	a.barter, err = barter.New(barter.Config{
		Key: machine.key, Grid: a.federation.Self().Grid, Books: store.Books(), Blobs: store.Blobs(), Clock: c.Clock,
		Wire: heedful{a.network, a.federation}, Partners: a.partners(), Uses: a.usesAccount, Table: a.policy.table, Rules: standard, Offers: set.Offer.amounts(), Free: a.room, Needed: a.federation.NeedsBlob, ClockTrusted: a.federation.ClockTrusted, Alarm: a.alarm, Log: c.Log.With("room", "barter"),
	})
	if err != nil {
		return nil, err
	}
	if err := a.readPolicy(false); err != nil {
		return nil, err
	}
	a.vault = vault.New(vault.Config{
		Books: store.Books(), Clock: c.Clock, Barter: placer{a.barter}, Household: householdOf(a.federation), Name: a.nameOf, Log: c.Log.With("room", "vault"),
	})
	a.keeper, err = keep.New(keep.Config{
		Books: store.Books(), Clock: c.Clock, Put: a.keepNow, Thin: a.keepThin, Wait: a.Waits, Alarm: a.keepAlarm, Log: c.Log.With("room", "keep"),
	})
	if err != nil {
		return nil, err
	}
	a.countAccounts()
	a.arrivals = &arrivals{gate: a.federation, came: a.arrived, here: map[core.DID]bool{}}
	return a, nil
}

// keys are the private keys of one machine.
type keys struct {
	key  identity.Key
	seal *seal.PrivateKey
}

func readKeys(store store) (keys, error) {
	raw, err := store.ReadKey()
	if err != nil {
		return keys{}, err
	}
	k, err := identity.ParseAgentKey(raw)
	if err != nil {
		return keys{}, fmt.Errorf("agent.key: %w", err)
	}
	box, err := seal.NewPrivateKey(k.Seal)
	if err != nil {
		return keys{}, fmt.Errorf("agent.key: %w", err)
	}
	return keys{identity.KeyOf(k.Seed), box}, nil
}

func (k keys) federation(c Config, store store, n *network) federation.Config {
	return federation.Config{
		Key: k.key, Seal: k.seal, Books: store.Books(), Blobs: store.Blobs(), Clock: c.Clock,
		Wire: n, Known: n.addrs, Addrs: n.Addrs, Log: c.Log.With("room", "federation"), Policy: "open", Machine: c.Machine,
	}
}

// Run listens, answers partners and keeps everything up to date until ctx ends or the
// agent is closed, neither of which is an error. It calls ready once, when the agent can be reached. It
// ends by itself, with ErrRevoked, when the household has removed this machine.
func (a *Agent) Run(ctx context.Context, ready func(addrs []string)) error {
	if !a.begin() {
		return nil
	}
	defer a.runs.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.life, cancel)()
	if err := a.federation.Revoked(); err != nil {
		return err
	}
	if err := a.barter.Sweep(ctx); err != nil {
		return err
	}
	if err := a.listen(); err != nil {
		return err
	}
	if err := a.openClubs(ctx); err != nil {
		return err
	}
	g, inner := errgroup.WithContext(ctx)
	if command := cmp.Or(a.c.OnAlarm, a.settings.Alarms.Command); command != "" {
		events, end := a.events.listen()
		defer end()
		g.Go(func() error { return a.callOut(inner, command, events) })
	}
	g.Go(func() error { return a.serve(inner) })
	g.Go(func() error { return a.barter.Run(inner) })
	g.Go(func() error { return a.federation.Run(inner) })
	g.Go(func() error { return a.keeper.Run(inner) })
	g.Go(func() error { return a.accounts.customer.Run(inner) })
	g.Go(func() error { return a.accounts.holder.Run(inner) })
	g.Go(func() error { return a.runTables(inner) })
	g.Go(func() error { return a.watch(inner) })
	g.Go(func() error { return a.welcome(inner) })
	g.Go(func() error { return a.tidy(inner) })
	g.Go(func() error { return a.improve(inner) })
	if a.c.real && !a.settings.Limits.OnMetered {
		g.Go(func() error { return a.watchMetered(inner) })
	}
	if a.c.real {
		g.Go(func() error { return a.watchPolicy(inner) })
	}
	g.Go(func() error { return a.learn(inner) })
	g.Go(func() error { return a.recall(inner) })
	g.Go(func() error { return a.together(inner) })
	g.Go(func() error { return a.host(inner) })
	for h := range a.waiting() {
		if err := a.clubReady(inner, h); err != nil {
			break // Wait tells why
		}
	}
	if ready != nil {
		ready(a.network.Addrs())
	}
	err := g.Wait()
	if stop := ctx.Err(); stop != nil && errors.Is(err, stop) {
		return nil
	}
	return err
}

// stopGrace is how long requests under way may take when the agent stops.
const stopGrace = 5 * time.Second

// serve answers partners over the connections that the network accepts.
func (a *Agent) serve(ctx context.Context) error {
	ofAccounts, err := a.accountRoutes()
	if err != nil {
		return err
	}
	routes := slices.Concat(a.federation.Routes(), a.barter.Routes(), ofAccounts, a.tableRoutes())
	server := wire.NewServer(a.key.DID(), a.arrivals, routes, a.c.Clock, a.c.Log.With("room", "wire"))
	peers, _, err := a.network.use()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(newListener(peers, a.c.Clock, a.key.DID())) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve partners: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer a.c.Clock.AfterFunc(stopGrace, cancel).Stop()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close() // who is still asking has had its time
	}
	hangUp := a.network.hangUp()
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve partners: %w", err)
	}
	return cmp.Or(hangUp, ctx.Err())
}

// watch tells the services who came within reach.
func (a *Agent) watch(ctx context.Context) error {
	for path := range a.network.Paths(ctx) {
		p, ok := a.federation.ByAgent(path.Peer)
		if !ok && !a.federation.IsOurs(path.Peer) && !a.federation.Opens(path.Peer) {
			continue
		}
		a.network.note(path.Peer, path.Up)
		if path.Up {
			a.network.saw(path.Peer)
		}
		if !path.Up {
			a.arrivals.gone(path.Peer)
		}
		if !ok {
			continue // another machine of ours, or one where a voucher lets us in
		}
		if path.Up {
			a.events.send(Event{Time: a.c.Clock.Now(), Kind: "seen", Partner: p.Name, Text: p.Name + " is here"})
		} else {
			a.events.send(Event{Time: a.c.Clock.Now(), Kind: "away", Partner: p.Name, Text: p.Name + " went out of reach"})
		}
	}
	return ctx.Err()
}

// alarm tells whoever listens what should not have happened.
func (a *Agent) alarm(partner core.DID, text string) {
	e := Event{Time: a.c.Clock.Now(), Kind: "alarm", Text: text}
	if p, ok := a.federation.Partner(partner); ok {
		e.Partner = p.Name
	}
	a.events.send(e)
}

// begin counts a Run, unless the agent is closed.
func (a *Agent) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.life.Err() != nil {
		return false
	}
	a.runs.Add(1)
	return true
}

// Close ends everything, waits for Run to return, and frees the directory. So Run's
// ready must not call it. Closing again does nothing.
func (a *Agent) Close() (err error) {
	a.shut.Do(func() {
		a.mu.Lock()
		a.end()
		a.mu.Unlock()
		a.runs.Wait()
		a.events.close()
		err = errors.Join(a.hosted.close(), a.network.Close(), a.store.Close())
	})
	return err
}

// needed tells federation which blobs are pieces. In doubt they are.
func (a *Agent) needed(blob core.Score) bool {
	needed, err := a.barter.NeedsBlob(blob)
	return needed || err != nil
}
