package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/query"
	ptable "github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/service/table"
)

// The ways in which an answer about a table, or a writer, is caught; see the text of the error for whom and where.
var (
	ErrForged     = ptable.ErrForged     // a signature is not its signer's
	ErrRoot       = ptable.ErrRoot       // a proof of another root than the checkpoint's
	ErrRow        = ptable.ErrRow        // a row that is not what its operations make, or not one of the answer
	ErrNotProven  = table.ErrNotProven   // something is missing that the answer takes
	ErrOtherQuery = ptable.ErrOtherQuery // the answer to another question
	ErrOld        = ptable.ErrOld        // an answer from before what its maker has attested already
	ErrLeave      = ptable.ErrLeave      // no leave to write
	ErrQuota      = ptable.ErrQuota      // more than one may write
	ErrTooMany    = ptable.ErrTooMany    // the query reads more than is read for one
)

// Table is one that is kept here, as it stands.
type Table struct {
	ID DID `json:"id"`
	// Name is what it is called here.
	Name string `json:"name"`
	// Addresses are where others join it, while this machine runs: "DID@MULTIADDR".
	Addresses []string `json:"addresses"`
	// Owned says that its key is on this machine, which alone can change what follows.
	Owned bool `json:"owned"`
	// Indexes are their fields, "unique " before those that are.
	Indexes []string          `json:"indexes"`
	Folds   map[string]string `json:"folds,omitempty"`
	// WriteAll and ReadAll say that everybody may; Quota is how many bytes a writer without a grant may write, 0 any number.
	WriteAll bool         `json:"write_all"`
	ReadAll  bool         `json:"read_all"`
	Quota    uint64       `json:"quota"`
	Grants   []TableGrant `json:"grants"`
	// Rows, Writers and Deleted count; Deleted are rows whose newest write is a delete, and operations that were erased.
	Rows    uint64 `json:"rows"`
	Writers uint64 `json:"writers"`
	Deleted uint64 `json:"deleted"`
	// Checkpoint is the score of what the table is; "" before its definition has come.
	Checkpoint string `json:"checkpoint"`
	// Stuck says of writers why what they write does not count.
	Stuck map[string]string `json:"stuck,omitempty"`
}

// TableGrant is a machine's leave to read, or to write too.
type TableGrant struct {
	Machine DID    `json:"machine"`
	Label   string `json:"label"`
	Write   bool   `json:"write"`
	// Quota is in bytes; 0 is any number.
	Quota uint64 `json:"quota"`
	// Until is the last of its writes that counts, where that is Stopped.
	Until   uint64 `json:"until,omitempty"`
	Stopped bool   `json:"stopped,omitempty"`
}

// NewTable says what table is to be made.
type NewTable struct {
	Name string `json:"name"`
	// Indexes are fields with commas between, in the order of which rows are to be found: "author,time".
	Indexes []string `json:"indexes"`
	// Unique are likewise; of rows with the same values the one that had them first is the holder.
	Unique []string `json:"unique"`
	// Folds say of fields how the values of several writers of a row become one: "set", "counter" or "multi".
	Folds map[string]string `json:"folds"`
}

// CreateTable makes a table, which the machines of this household may read and write. Errors: ErrInvalid; fs.ErrExist if a table has that name here.
func (a *Agent) CreateTable(ctx context.Context, n NewTable) (Table, error) {
	if err := a.federation.Revoked(); err != nil {
		return Table{}, err
	}
	d := ptable.Definition{Name: n.Name, Folds: map[string]ptable.Fold{}}
	for i, fields := range append(slices.Clone(n.Indexes), n.Unique...) {
		x, err := query.ParseIndex(fields)
		if err != nil {
			return Table{}, fmt.Errorf("index %q: %w", fields, err)
		}
		d.Indexes = append(d.Indexes, ptable.Index{Fields: x.String(), Unique: i >= len(n.Indexes)})
	}
	for field, fold := range n.Folds {
		d.Folds[field] = ptable.Fold(fold)
	}
	own := a.federation.Self()
	for _, m := range a.ownMachines() {
		d.GrantWrite(ptable.Grant{Who: m, House: &own.Grid, Label: own.Name})
		d.Attest = append(d.Attest, m)
	}
	tables, feeds, err := a.openTables(true)
	if err != nil {
		return Table{}, err
	}
	if _, err := findTable(tables, n.Name); !errors.Is(err, fs.ErrNotExist) {
		return Table{}, cmp.Or(err, fmt.Errorf("a table is called %q here: %w", n.Name, fs.ErrExist))
	}
	id, err := tables.Create(ctx, d, feeds.Join)
	if err != nil {
		return Table{}, err
	}
	return a.Table(ctx, id.String())
}

// ownMachines are those of this household, this one among them.
func (a *Agent) ownMachines() []DID {
	out := []DID{a.key.DID()}
	for _, m := range a.federation.Home().Agents {
		if !slices.Contains(out, m.DID) {
			out = append(out, m.DID)
		}
	}
	slices.SortFunc(out, DID.Compare)
	return out
}

// Tables returns the tables that are kept here, by name.
func (a *Agent) Tables(context.Context) ([]Table, error) {
	tables, _, err := a.openTables(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := tables.All()
	if err != nil {
		return nil, err
	}
	out := make([]Table, len(all))
	for i, info := range all {
		out[i] = a.tableOf(info)
	}
	return out, nil
}

// Table returns a table by what it is called here, or its DID. Errors: fs.ErrNotExist; ErrInvalid where two are called so.
func (a *Agent) Table(_ context.Context, name string) (Table, error) {
	_, info, err := a.table(name)
	if err != nil {
		return Table{}, err
	}
	return a.tableOf(info), nil
}

// table finds a table that is kept here.
func (a *Agent) table(name string) (*table.Tables, table.Info, error) {
	tables, _, err := a.openTables(false)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("no table %q is kept here: %w", name, fs.ErrNotExist)
	}
	if err != nil {
		return nil, table.Info{}, err
	}
	info, err := findTable(tables, name)
	return tables, info, err
}

func findTable(tables *table.Tables, name string) (table.Info, error) {
	if id, err := core.ParseDID(name); err == nil {
		return tables.Info(id)
	}
	all, err := tables.All()
	if err != nil {
		return table.Info{}, err
	}
	var found []table.Info
	for _, info := range all {
		if info.Name == name {
			found = append(found, info)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return table.Info{}, fmt.Errorf("no table %q is kept here: %w", name, fs.ErrNotExist)
	}
	return table.Info{}, fmt.Errorf("%d tables are called %q here, say which by its DID: %w", len(found), name, ErrInvalid)
}

func (a *Agent) tableOf(info table.Info) Table {
	out := Table{ID: info.ID, Name: info.Name, Owned: info.Owned, Addresses: []string{}, Indexes: []string{}, Grants: []TableGrant{}, Stuck: map[string]string{}}
	for _, addr := range a.network.Addrs() {
		out.Addresses = append(out.Addresses, info.ID.String()+"@"+addr)
	}
	for author, why := range info.Stuck {
		out.Stuck[author.String()] = why
	}
	d := info.Definition
	if d == nil {
		return out
	}
	for _, x := range d.Indexes {
		out.Indexes = append(out.Indexes, x.String())
	}
	if len(d.Folds) > 0 {
		out.Folds = map[string]string{}
	}
	for field, fold := range d.Folds {
		out.Folds[field] = string(fold)
	}
	out.WriteAll, out.ReadAll, out.Quota = d.Write.All, d.Read.All, d.Write.Quota
	for _, g := range d.Write.Grants {
		out.Grants = append(out.Grants, TableGrant{g.Who, g.Label, true, g.Quota, g.Until, g.Stopped})
	}
	for _, g := range d.Read.Grants {
		out.Grants = append(out.Grants, TableGrant{Machine: g.Who, Label: g.Label})
	}
	c := info.Checkpoint
	out.Rows, out.Writers, out.Deleted, out.Checkpoint = c.Rows.Count, max(c.Feeds.Count, 1)-1, c.Gone.Count, c.Score().String()
	return out
}

// TableShare is what somebody may do with a table from now on.
type TableShare struct {
	Read  bool `json:"read"`
	Write bool `json:"write"`
	// Stop takes it back: what was written up to now stands.
	Stop bool `json:"stop"`
	// Quota is how many bytes one may write; nil leaves it as it is, 0 is any number.
	Quota *uint64 `json:"quota,omitempty"`
}

// ShareTable lets somebody read or write a table: "all", a partner by name or DID, or a machine by its DID. Errors: fs.ErrNotExist, ErrInvalid;
// ErrForbidden where the table's key is not here.
func (a *Agent) ShareTable(ctx context.Context, name, who string, s TableShare) (Table, error) {
	tables, info, err := a.table(name)
	if err != nil {
		return Table{}, err
	}
	machines, house, label, err := a.whom(who)
	if err != nil {
		return Table{}, err
	}
	now := feed.Next(a.c.Clock.Now().UnixMilli(), 0)
	err = tables.Change(ctx, info.ID, func(d *ptable.Definition) error {
		if who == everybody {
			d.Read.All = (d.Read.All || s.Read || s.Write) && !(s.Stop && s.Read)
			d.Write.All = (d.Write.All || s.Write) && !(s.Stop && s.Write)
			if s.Quota != nil {
				d.Write.Quota = *s.Quota
			}
			return nil
		}
		for _, m := range machines {
			if err := a.shareWith(d, info.ID, m, house, label, now, s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return Table{}, err
	}
	return a.Table(ctx, info.ID.String())
}

// everybody is who is meant by that word.
const everybody = "all"

// whom finds the machines of somebody.
func (a *Agent) whom(who string) (machines []DID, house *DID, label string, err error) {
	if who == everybody {
		return nil, nil, "", nil
	}
	p, err := a.partner(who)
	if err == nil {
		for _, m := range p.Agents {
			machines = append(machines, m.DID)
		}
		return machines, &p.Grid, p.Name, nil
	}
	if did, failed := core.ParseDID(who); failed == nil {
		return []DID{did}, nil, "", nil
	}
	return nil, nil, "", err
}

// shareWith changes what one machine may do.
func (a *Agent) shareWith(d *ptable.Definition, id, m DID, house *DID, label string, now uint64, s TableShare) error {
	has := slices.IndexFunc(d.Write.Grants, func(g ptable.Grant) bool { return g.Who == m })
	switch {
	case s.Stop:
		d.Read.Grants = slices.DeleteFunc(slices.Clone(d.Read.Grants), func(r ptable.Reader) bool { return r.Who == m && s.Read })
		if has < 0 || !s.Write || d.Write.Grants[has].Stopped {
			return nil
		}
		g := d.Write.Grants[has]
		_, feeds, err := a.openTables(false)
		if err != nil {
			return err
		}
		g.Until, err = logs{feeds}.End(id, m)
		g.Stopped = true
		d.GrantWrite(g)
		return err
	case s.Write || s.Quota != nil && has >= 0:
		g := ptable.Grant{Who: m, House: house, Label: label, Since: now}
		if has >= 0 {
			g = d.Write.Grants[has]
			g.Stopped, g.Until = g.Stopped && !s.Write, 0
		}
		if s.Quota != nil {
			g.Quota = *s.Quota
		}
		d.GrantWrite(g)
	case s.Quota != nil:
		return fmt.Errorf("machine %s may not write: %w", m.Short(), ErrInvalid)
	}
	if s.Read {
		d.GrantRead(ptable.Reader{Who: m, House: house, Label: label})
	}
	return nil
}

// writtenAt is when a clock of operations stood so.
func writtenAt(clock uint64) time.Time { return time.UnixMilli(feed.Millis(clock)).UTC() }

// IndexTable adds an index to a table, of fields with commas between, or drops the one that there is; whoever keeps the table makes its trees anew then.
// Errors: fs.ErrNotExist, also of an index; fs.ErrExist; ErrInvalid; ErrForbidden where the table's key is not here.
func (a *Agent) IndexTable(ctx context.Context, name, fields string, unique, drop bool) (Table, error) {
	tables, info, err := a.table(name)
	if err != nil {
		return Table{}, err
	}
	x, err := query.ParseIndex(fields)
	if err != nil {
		return Table{}, fmt.Errorf("index %q: %w", fields, err)
	}
	index := ptable.Index{Fields: x.String(), Unique: unique}
	err = tables.Change(ctx, info.ID, func(d *ptable.Definition) error {
		has := slices.Index(d.Indexes, index)
		switch {
		case drop && has < 0:
			return fmt.Errorf("the table has no index %s: %w", index, fs.ErrNotExist)
		case drop:
			d.Indexes = slices.Delete(slices.Clone(d.Indexes), has, has+1)
		case has >= 0:
			return fmt.Errorf("the table has an index %s: %w", index, fs.ErrExist)
		default:
			d.Indexes = append(slices.Clone(d.Indexes), index)
		}
		return nil
	})
	if err != nil {
		return Table{}, err
	}
	return a.Table(ctx, info.ID.String())
}
