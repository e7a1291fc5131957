package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/p2p"
	"github.com/grange-grid/grange/service/gossip"
	"github.com/grange-grid/grange/service/table"
)

// ParseTableAddress reads "DID@MULTIADDR", of which the last part names a machine that has the table; or a DID alone. Errors: ErrInvalid.
func ParseTableAddress(text string) (id, machine DID, addr string, err error) {
	name, addr, found := strings.Cut(text, "@")
	if id, err = core.ParseDID(name); err != nil {
		return id, machine, "", fmt.Errorf("table address %.80q: %w", text, err)
	}
	if found {
		machine, err = p2p.ParseAddr(addr)
	}
	return id, machine, addr, err
}

// JoinTable begins to keep a table, under a name ("" is the one that its owner gave it, once that has come), whose address
// another machine has shown, or of which a partner's machine is known to have it. What there is comes in the background while this machine runs; here
// what can be had at once is waited for, and told: Files of a Progress are writes. Errors: ErrInvalid, fs.ErrExist, ErrUnreachable, ErrPartly where not all has come.
func (a *Agent) JoinTable(ctx context.Context, address, name string, progress func(Progress)) (Table, error) {
	id, machine, addr, err := ParseTableAddress(address)
	if err != nil {
		return Table{}, err
	}
	tables, feeds, err := a.openTables(true)
	if err != nil {
		return Table{}, err
	}
	if info, err := tables.Info(id); err == nil && !info.Joining { // a join that was broken off goes on
		return Table{}, fmt.Errorf("that table is kept here already, as %q: %w", info.Name, fs.ErrExist)
	}
	if info, err := findTable(tables, name); name != "" && !errors.Is(err, fs.ErrNotExist) && info.ID != id {
		return Table{}, cmp.Or(err, fmt.Errorf("a table is called %q here: %w", name, fs.ErrExist))
	}
	if addr != "" {
		a.network.addrs.Learn(machine, []string{addr})
	}
	from := a.mayHave(machine)
	if len(from) == 0 {
		return Table{}, fmt.Errorf("no machine is known that has table %s: %w", id.Short(), ErrUnreachable)
	}
	if err := errors.Join(feeds.Join(id), tables.Add(id, cmp.Or(name, id.Short()))); err != nil {
		return Table{}, err
	}
	defer a.watchTaken(id, progress)()
	for _, m := range from {
		if err = a.fetchTable(ctx, tables, feeds, id, m); err == nil {
			break
		}
	}
	info, failed := tables.Info(id)
	if failed != nil || info.Definition == nil {
		leave := errors.Join(feeds.Leave(id), tables.Forget(id), failed)
		return Table{}, errors.Join(cmp.Or(err, fmt.Errorf("nobody who was asked has table %s: %w", id.Short(), fs.ErrNotExist)), leave)
	}
	if err := tables.Rename(id, freeName(tables, id, cmp.Or(name, info.Definition.Name))); err != nil {
		return Table{}, err
	}
	if err != nil {
		err = fmt.Errorf("%w: not all of the table has come yet: %w", ErrPartly, err)
	}
	out, failed := a.Table(ctx, id.String())
	return out, errors.Join(err, failed)
}

// fetchTable brings a table that was joined level with a machine that has it.
func (a *Agent) fetchTable(ctx context.Context, tables *table.Tables, feeds *gossip.Service, id, from DID) error {
	if err := tables.Meet(id, from, a.network.addrs.Of(from)); err != nil { // first, so that who is broken off goes on by itself
		return err
	}
	// The definition comes first, and says what else may be taken: so there are two rounds.
	for range 2 {
		if _, err := feeds.Sync(ctx, id, from); err != nil {
			return err
		}
		if err := tables.Settle(ctx, id); err != nil {
			return err
		}
	}
	return tables.Witness(ctx, id, from)
}

// watchTaken tells how many writes of a table have come, until end is called.
func (a *Agent) watchTaken(id DID, progress func(Progress)) (end func()) {
	if progress == nil {
		return func() {}
	}
	a.tables.mu.Lock()
	defer a.tables.mu.Unlock()
	if a.tables.taken == nil {
		a.tables.taken = map[DID]func(int64){}
	}
	var n int64 // a table's operations are taken from one peer at a time
	a.tables.taken[id] = func(more int64) {
		n += more
		progress(Progress{Stage: "fetching", Files: n})
	}
	return func() {
		a.tables.mu.Lock()
		defer a.tables.mu.Unlock()
		delete(a.tables.taken, id)
	}
}

// tableLanded tells of writes that have come.
func (a *Agent) tableLanded(id DID, n uint64) {
	a.tables.mu.Lock()
	tell := a.tables.taken[id]
	a.tables.mu.Unlock()
	if tell != nil {
		tell(int64(n))
	}
}

// freeName is what a table that was joined is called: its name, unless another is called so.
func freeName(tables *table.Tables, id DID, name string) string {
	if info, err := findTable(tables, name); errors.Is(err, fs.ErrNotExist) || err == nil && info.ID == id {
		return name
	}
	return id.Short()
}

// mayHave are the machines to ask for a table of which nothing is known: the one that is named, else all of partners and of this household.
func (a *Agent) mayHave(machine DID) []DID {
	if !machine.IsZero() {
		return []DID{machine}
	}
	var out []DID
	for _, p := range append(a.federation.Partners(), a.federation.Home()) {
		for _, m := range p.Agents {
			if m.DID != a.key.DID() {
				out = append(out, m.DID)
			}
		}
	}
	return out
}

// LeaveTable drops a table that is kept here, or the part of one. Of one whose key is here nobody can change the definition any more. Errors: fs.ErrNotExist.
func (a *Agent) LeaveTable(_ context.Context, name string) error {
	tables, info, err := a.table(name)
	if errors.Is(err, fs.ErrNotExist) {
		if tables, p, failed := a.part(name); failed == nil {
			return tables.LeavePart(p.Table)
		}
	}
	if err != nil {
		return err
	}
	_, feeds, err := a.openTables(false)
	if err != nil {
		return err
	}
	return errors.Join(tables.Forget(info.ID), feeds.Leave(info.ID))
}

// SyncTable brings a table level with the machines that have it, now. It returns how many were reached. Errors: fs.ErrNotExist, ErrUnreachable if none was.
func (a *Agent) SyncTable(ctx context.Context, name string) (reached int, err error) {
	tables, info, err := a.table(name)
	if err != nil {
		return 0, err
	}
	_, feeds, err := a.openTables(false)
	if err != nil {
		return 0, err
	}
	for _, peer := range a.replicasOf(tables, info.ID) {
		_, failed := feeds.Sync(ctx, info.ID, peer)
		if failed == nil {
			failed = errors.Join(tables.Settle(ctx, info.ID), tables.Witness(ctx, info.ID, peer))
			reached++
		}
		err = errors.Join(err, failed)
	}
	if reached > 0 {
		err = nil
	}
	return reached, errors.Join(err, tables.Settle(ctx, info.ID))
}
