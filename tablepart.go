package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/service/table"
)

// ErrOutside says that a query is for more than the part of a table that is kept here.
var ErrOutside = table.ErrOutside

// TablePart is what is kept of a table that is not kept whole: the rows of a query, as another machine answered it, and checked.
type TablePart struct {
	Table DID    `json:"table"`
	Name  string `json:"name"`
	Only  string `json:"only"`
	From  DID    `json:"from"`
	Rows  uint64 `json:"rows"`
	// Checkpoint is the score of what it was read from.
	Checkpoint string `json:"checkpoint"`
}

// JoinTablePart keeps the rows of a table for which some conditions hold; it is asked for again, from the machine that the address names, while this machine
// runs. Queries inside of the part are answered here, also when nobody is within reach. Errors: ErrInvalid, fs.ErrExist where the table is kept whole, those of QueryTable.
func (a *Agent) JoinTablePart(ctx context.Context, address, name, only string) (TablePart, error) {
	id, machine, addr, err := ParseTableAddress(address)
	if err != nil {
		return TablePart{}, err
	}
	tables, _, err := a.openTables(true)
	if err != nil {
		return TablePart{}, err
	}
	if _, err := tables.Info(id); !errors.Is(err, fs.ErrNotExist) {
		return TablePart{}, cmp.Or(err, fmt.Errorf("table %s is kept here, all of it: %w", id.Short(), fs.ErrExist))
	}
	if addr != "" {
		a.network.addrs.Learn(machine, []string{addr})
	}
	err = fmt.Errorf("no machine is known that has table %s: %w", id.Short(), ErrUnreachable)
	for _, from := range a.mayHave(machine) {
		var p table.Part
		if p, err = tables.JoinPart(ctx, id, from, cmp.Or(name, id.Short()), only); err == nil {
			return partOf(p), tables.Meet(id, from, a.network.addrs.Of(from))
		}
	}
	return TablePart{}, err
}

// TableParts returns what is kept of tables that are not kept whole.
func (a *Agent) TableParts(context.Context) ([]TablePart, error) {
	tables, _, err := a.openTables(false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	parts, err := tables.Parts()
	out := make([]TablePart, len(parts))
	for i, p := range parts {
		out[i] = partOf(p)
	}
	return out, err
}

func partOf(p table.Part) TablePart {
	return TablePart{p.Table, p.Name, p.Only, p.From, p.Rows, p.Checkpoint.String()}
}

// part finds a part by what it is called here, or its table's DID. Errors: fs.ErrNotExist.
func (a *Agent) part(name string) (*table.Tables, table.Part, error) {
	tables, _, err := a.openTables(false)
	if err != nil {
		return nil, table.Part{}, err
	}
	parts, err := tables.Parts()
	if err != nil {
		return nil, table.Part{}, err
	}
	id, _ := core.ParseDID(name)
	for _, p := range parts {
		if p.Name == name || p.Table == id {
			return tables, p, nil
		}
	}
	return nil, table.Part{}, fmt.Errorf("no table %q is kept here: %w", name, fs.ErrNotExist)
}

// refreshParts asks again for the parts of tables that are kept here.
func (a *Agent) refreshParts(ctx context.Context, tables *table.Tables) {
	parts, err := tables.Parts()
	for _, p := range parts {
		if err == nil && !a.network.lost(p.From) {
			if failed := tables.RefreshPart(ctx, p); failed != nil {
				a.c.Log.Debug("refresh the part of a table", "table", p.Table, "err", failed)
			}
		}
	}
	if err != nil {
		a.c.Log.Warn("parts of tables", "err", err)
	}
}
