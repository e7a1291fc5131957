package grange

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	ptable "github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/service/gossip"
	"github.com/grange-grid/grange/service/table"
)

// tablesDir is the folder of the directory that has the books of tables: their operations, and their trees.
const tablesDir = "tables"

// tableRoom is what an agent has to do with tables.
type tableRoom struct {
	mu      sync.Mutex // of what follows
	tables  *table.Tables
	feeds   *gossip.Service
	opened  chan struct{} // closed when they are there
	watches map[*watch]struct{}
	taken   map[core.DID]func(int64) // who wants to know of writes that come, while a table is joined
}

// openTables opens the books of tables; with create it makes them if there are none. Errors: fs.ErrNotExist.
func (a *Agent) openTables(create bool) (*table.Tables, *gossip.Service, error) {
	a.tables.mu.Lock()
	defer a.tables.mu.Unlock()
	if a.tables.tables != nil {
		return a.tables.tables, a.tables.feeds, nil
	}
	books, err := a.store.Separate(tablesDir, create)
	if err != nil {
		return nil, nil, fmt.Errorf("the books of tables: %w", err)
	}
	var tables *table.Tables
	feeds, err := gossip.New(gossip.Config{
		Key: a.key, Books: books, Clock: a.c.Clock, Wire: a.network, Rand: rand.Reader, Log: a.c.Log.With("room", "gossip"),
		Peers: func(id core.DID) []core.DID { return a.replicasOf(tables, id) },
		May: func(id, peer core.DID) error {
			err := tables.MayRead(id, peer)
			if err == nil && peer != a.key.DID() {
				err = tables.Meet(id, peer, a.network.addrs.Of(peer))
			}
			return err
		},
		Takes: func(id, author core.DID, seq uint64, size int64) error {
			return tables.MayWrite(id, author, seq, uint64(size))
		},
		Landed: func(id, author core.DID, from, to uint64) {
			tables.Landed(id, author)
			a.tableLanded(id, to-from+1)
		},
		Forked: func(id core.DID, proof feed.Fork) {
			tables.Forked(id)
			a.alarm(core.DID{}, fmt.Sprintf("a writer of table %s has signed two operations with one number: %s", id.Short(), proof.Author()))
		},
	})
	if err != nil {
		return nil, nil, err
	}
	tables, err = table.New(table.Config{
		Key: a.key, Books: books, Feeds: logs{feeds}, Wire: a.network, Clock: a.c.Clock, Changed: a.tableChanged, Omitted: a.tableOmitted, Log: a.c.Log.With("room", "table"),
	})
	if err != nil {
		return nil, nil, err
	}
	all, err := tables.All()
	if err != nil {
		return nil, nil, err
	}
	parts, err := tables.Parts()
	if err != nil {
		return nil, nil, err
	}
	var ids []core.DID
	for _, info := range all {
		ids = append(ids, info.ID)
	}
	for _, p := range parts {
		ids = append(ids, p.Table)
	}
	for _, id := range ids {
		peers, err := tables.Peers(id)
		if err != nil {
			return nil, nil, err
		}
		for _, p := range peers {
			if len(a.network.addrs.Of(p.Machine)) == 0 {
				a.network.addrs.Learn(p.Machine, p.Addrs)
			}
		}
	}
	a.tables.tables, a.tables.feeds = tables, feeds
	close(a.tables.opened)
	return tables, feeds, nil
}

// replicasOf are the machines with which a table is brought level: those that are known to have it, and those that may read it and are partners', or ours.
func (a *Agent) replicasOf(tables *table.Tables, id core.DID) []core.DID {
	peers, err := tables.Peers(id)
	if err != nil {
		a.c.Log.Warn("who has a table", "err", err)
	}
	var out []core.DID
	for _, p := range peers {
		out = append(out, p.Machine)
	}
	for _, p := range append(a.federation.Partners(), a.federation.Home()) {
		for _, m := range p.Agents {
			if m.DID != a.key.DID() && !slices.Contains(out, m.DID) && tables.MayRead(id, m.DID) == nil {
				out = append(out, m.DID)
			}
		}
	}
	return out
}

// runTables answers and brings level what tables there are, from when there are any.
func (a *Agent) runTables(ctx context.Context) error {
	if _, _, err := a.openTables(false); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	select {
	case <-ctx.Done():
		return nil
	case <-a.tables.opened:
	}
	tables, feeds, err := a.openTables(false)
	if err != nil {
		return err
	}
	g, inner := errgroup.WithContext(ctx)
	g.Go(func() error { return tables.Run(inner) })
	g.Go(func() error { return feeds.Run(inner) })
	g.Go(func() error { return a.witness(inner, tables) })
	return g.Wait()
}

// witnessEvery is how often attestations are exchanged.
const witnessEvery = 15 * time.Second

// witness exchanges attestations with the other replicas of each table.
func (a *Agent) witness(ctx context.Context, tables *table.Tables) error {
	for a.c.Clock.Sleep(ctx, witnessEvery) == nil {
		a.refreshParts(ctx, tables)
		all, err := tables.All()
		if err != nil {
			return err
		}
		for _, info := range all {
			for _, peer := range a.replicasOf(tables, info.ID) {
				if a.network.lost(peer) {
					continue
				}
				err := tables.Witness(ctx, info.ID, peer)
				if err == nil {
					_, err = tables.Audit(ctx, info.ID, peer)
				}
				if err != nil {
					a.c.Log.Debug("exchange attestations", "table", info.ID, "peer", peer, "err", err)
				}
			}
		}
	}
	return nil
}

// tableOmitted tells that a replica is proven to leave something out.
func (a *Agent) tableOmitted(id, machine core.DID) {
	a.alarm(core.DID{}, fmt.Sprintf("machine %s answers for table %s and leaves out what was written: trust it no more", machine, id.Short()))
}

// tableRoutes are what an agent answers about tables, of which the first may come while it runs.
func (a *Agent) tableRoutes() []wire.Route {
	routes := func(t *table.Tables, f *gossip.Service) []wire.Route { return slices.Concat(t.Routes(), f.Routes()) }
	out := routes(&table.Tables{}, &gossip.Service{})
	for i := range out {
		out[i].Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			tables, feeds, err := a.openTables(false)
			if errors.Is(err, fs.ErrNotExist) {
				if _, err = io.Copy(io.Discard, r.Body); err == nil { // a request that is none is refused as such
					err = &wire.Error{Code: wire.CodeNotFound, Message: "no tables are here"}
				}
			}
			if err != nil {
				wire.WriteError(w, r, err)
				return
			}
			routes(tables, feeds)[i].Handler.ServeHTTP(w, r)
		})
	}
	return out
}

// logs are the feeds of gossip as tables see them.
type logs struct{ *gossip.Service }

func (l logs) Append(ctx context.Context, id core.DID, as identity.Key, drafts []table.Draft) ([]feed.Logged, error) {
	all := make([]gossip.Draft, len(drafts))
	for i, d := range drafts {
		all[i] = gossip.Draft(d)
	}
	return l.Service.Append(ctx, id, as, all...)
}

func (l logs) From(id, author core.DID, seq uint64) iter.Seq2[feed.Logged, error] {
	return l.Operations(id, author, seq)
}

func (l logs) Ends(id core.DID) iter.Seq2[table.End, error] {
	return func(yield func(table.End, error) bool) {
		for s, err := range l.Frontier(id) {
			if !yield(table.End{Author: s.Author, Seq: s.Seq}, err) {
				return
			}
		}
	}
}

func (l logs) End(id, author core.DID) (uint64, error) {
	s, err := l.Standing(id, author)
	return s.Seq, err
}

func (l logs) Forked(id core.DID) (out []table.End, err error) {
	for f, err := range l.Forks(id) {
		if err != nil {
			return nil, err
		}
		out = append(out, table.End{Author: f.Author(), Seq: f.Seq() - 1})
	}
	return out, nil
}

func (l logs) Drop(id core.DID, ops []ptable.Target) error {
	places := make([]gossip.Place, len(ops))
	for i, at := range ops {
		places[i] = gossip.Place{Author: at.Author, Seq: at.Seq}
	}
	return l.DropPayloads(id, places...)
}
