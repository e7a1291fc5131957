package api

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// Tables is the answer to GET /v1/tables.
type Tables struct {
	Tables []grange.Table `json:"tables"`
	// Parts are of tables that are not kept whole.
	Parts []grange.TablePart `json:"parts"`
}

// TableRequest is the body of POST requests that need a table's name, or its DID, alone.
type TableRequest struct {
	Name string `json:"name"`
}

// JoinTableRequest is the body of POST /v1/table-join.
type JoinTableRequest struct {
	// Address is "DID@MULTIADDR", or a DID of which a partner's machine has the table.
	Address string `json:"address"`
	// As is what it is called here; "" is as its owner calls it.
	As string `json:"as,omitempty"`
}

// TablePartRequest is the body of POST /v1/table-part.
type TablePartRequest struct {
	JoinTableRequest
	// Only has the conditions that the rows fulfil.
	Only string `json:"only"`
}

// ShareTableRequest is the body of POST /v1/table-share.
type ShareTableRequest struct {
	Name string `json:"name"`
	// Who is a partner by name or DID, a machine by its DID, or "all".
	Who string `json:"who"`
	grange.TableShare
}

// IndexTableRequest is the body of POST /v1/table-index.
type IndexTableRequest struct {
	Name string `json:"name"`
	// Fields have commas between.
	Fields string `json:"fields"`
	Unique bool   `json:"unique,omitempty"`
	// Drop takes it away.
	Drop bool `json:"drop,omitempty"`
}

// AttestedTable is the answer to POST /v1/table-attest.
type AttestedTable struct {
	grange.TableAttestation
	Checkpoint string `json:"checkpoint"`
}

// Forks is the answer to GET /v1/table-forks.
type Forks struct {
	Forks     []grange.TableFork     `json:"forks"`
	Omissions []grange.TableOmission `json:"omissions"`
}

// SyncedTable is the answer to POST /v1/table-sync.
type SyncedTable struct {
	// Reached is how many machines were.
	Reached int `json:"reached"`
	grange.Table
}

// TableFailure is what an error about a table is to whoever asked for it. suggest is an index that would have helped, "" for none.
func TableFailure(err error, suggest string) error {
	if err == nil {
		return nil
	}
	e := ErrorOf(err)
	e.Message = strings.TrimSuffix(e.Message, ": "+fs.ErrNotExist.Error())
	is := func(kinds ...error) bool {
		for _, kind := range kinds {
			if errors.Is(err, kind) {
				return true
			}
		}
		return false
	}
	switch {
	case is(grange.ErrLeave):
		e.Code, e.Hint = CodeRefused, "whoever owns the table gives it: grange table share TABLE WHO --write"
	case is(grange.ErrQuota):
		e.Code, e.Hint = CodeRefused, "whoever owns the table raises it: grange table quota TABLE WHO SIZE"
	case is(grange.ErrForged, grange.ErrRoot, grange.ErrRow, grange.ErrNotProven, grange.ErrOtherQuery, grange.ErrOld):
		e.Code, e.Hint = CodeCorrupt, "ask another machine that has the table"
	case is(grange.ErrTooMany):
		e.Code, e.Hint = CodeTooLarge, "narrow it"
		if suggest != "" {
			e.Hint = "an index would help, where the table was made: grange table index TABLE " + Word(suggest)
		}
	case is(grange.ErrOutside):
		e.Code, e.Hint = CodeNotFound, "--from ADDRESS asks a machine that has all of it"
	case is(core.ErrForbidden) && foreign(err):
		e.Code, e.Message, e.Hint = CodeRefused, "whoever was asked does not let this machine read the table", "its owner gives leave: grange table share TABLE WHO --read"
	case e.Code == CodeNotFound && foreign(err):
		e.Message, e.Hint = "whoever was asked has no such table that this machine may read", "its owner gives leave: grange table share TABLE WHO --read"
	case is(core.ErrForbidden):
		e.Code, e.Hint = CodeFailed, "grange table show says where the table was made"
	case e.Code == CodeUnreachable:
		e.Hint = "grange table join ADDRESS, as 'grange table show' says it where the table is"
	case e.Code == CodeNotFound && strings.HasPrefix(e.Message, "no table "):
		e.Hint = "grange table list"
	}
	return e
}

// foreign tells whether another machine has said so.
func foreign(err error) bool {
	_, ok := errors.AsType[*wire.Error](err)
	return ok
}

// tableValue answers with a value about a table.
func tableValue(v any, err error) answer { return value(v, TableFailure(err, "")) }

func (o *owner) tables(r *http.Request) answer {
	out, err := o.agent.Tables(r.Context())
	if err != nil {
		return tableValue(nil, err)
	}
	parts, err := o.agent.TableParts(r.Context())
	return tableValue(Tables{append([]grange.Table{}, out...), append([]grange.TablePart{}, parts...)}, err)
}

func (o *owner) table(r *http.Request) answer {
	return tableValue(o.agent.Table(r.Context(), param(r, "name")))
}

func (o *owner) createTable(r *http.Request) answer {
	var in grange.NewTable
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	out, err := o.agent.CreateTable(r.Context(), in)
	if errors.Is(err, fs.ErrExist) {
		err = &Error{Code: CodeExists, Message: message(err), Hint: "grange table list; or choose another name"}
	}
	return tableValue(out, err)
}

func (o *owner) joinTable(r *http.Request) answer {
	var in JoinTableRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return long(r, func(progress func(grange.Progress)) (any, error) {
		out, err := o.agent.JoinTable(r.Context(), in.Address, in.As, progress)
		err = TableFailure(err, "")
		if err != nil && !errors.Is(err, grange.ErrPartly) {
			return nil, err
		}
		return out, err
	})
}

func (o *owner) joinTablePart(r *http.Request) answer {
	var in TablePartRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return tableValue(o.agent.JoinTablePart(r.Context(), in.Address, in.As, in.Only))
}

func (o *owner) leaveTable(r *http.Request) answer {
	var in TableRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return tableValue(in, o.agent.LeaveTable(r.Context(), in.Name))
}

func (in ShareTableRequest) check() error {
	if !in.Read && !in.Write && in.Quota == nil {
		return invalid("say what: read, write or a quota", "")
	}
	return nil
}

func (o *owner) shareTable(r *http.Request) answer {
	var in ShareTableRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return tableValue(o.agent.ShareTable(r.Context(), in.Name, in.Who, in.TableShare))
}

func (o *owner) indexTable(r *http.Request) answer {
	var in IndexTableRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return tableValue(o.agent.IndexTable(r.Context(), in.Name, in.Fields, in.Unique, in.Drop))
}

func (o *owner) attestTable(r *http.Request) answer {
	var in TableRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	at, checkpoint, err := o.agent.AttestTable(r.Context(), in.Name)
	return tableValue(AttestedTable{at, checkpoint}, err)
}

func (o *owner) tableForks(r *http.Request) answer {
	forks, err := o.agent.TableForks(r.Context(), param(r, "name"))
	if err != nil {
		return tableValue(Forks{}, err)
	}
	omissions, err := o.agent.TableOmissions(r.Context(), param(r, "name"))
	return tableValue(Forks{forks, omissions}, err)
}

func (o *owner) syncTable(r *http.Request) answer {
	var in TableRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	reached, err := o.agent.SyncTable(r.Context(), in.Name)
	if errors.Is(err, grange.ErrUnreachable) {
		err = &Error{Code: CodeUnreachable, Message: "none of the machines that are known to have it can be reached", Hint: "those that keep it come by themselves when they are on"}
	}
	if err != nil {
		return failure(nil, TableFailure(err, ""))
	}
	out, err := o.agent.Table(r.Context(), in.Name)
	return tableValue(SyncedTable{reached, out}, err)
}

// Tables returns the tables that are kept here, and the parts of others.
func (c *Client) Tables(ctx context.Context) (out Tables, err error) {
	return out, c.get(ctx, "tables", nil, &out)
}

// Table returns one table.
func (c *Client) Table(ctx context.Context, name string) (out grange.Table, err error) {
	return out, c.get(ctx, "table", url.Values{"name": {name}}, &out)
}

// CreateTable makes a table.
func (c *Client) CreateTable(ctx context.Context, in grange.NewTable) (out grange.Table, err error) {
	return out, c.post(ctx, "table", in, &out)
}

// JoinTable begins to keep a table that another machine has. With grange.ErrPartly it is returned too.
func (c *Client) JoinTable(ctx context.Context, in JoinTableRequest, progress func(grange.Progress)) (out grange.Table, err error) {
	return out, c.long(ctx, "table-join", in, progress, &out)
}

// JoinTablePart begins to keep some rows of a table.
func (c *Client) JoinTablePart(ctx context.Context, in TablePartRequest) (out grange.TablePart, err error) {
	return out, c.post(ctx, "table-part", in, &out)
}

// LeaveTable drops a table that is kept here, or the part of one.
func (c *Client) LeaveTable(ctx context.Context, name string) error {
	var out TableRequest
	return c.post(ctx, "table-leave", TableRequest{name}, &out)
}

// ShareTable says what somebody may do with a table.
func (c *Client) ShareTable(ctx context.Context, in ShareTableRequest) (out grange.Table, err error) {
	return out, c.post(ctx, "table-share", in, &out)
}

// IndexTable adds an index to a table, or drops one.
func (c *Client) IndexTable(ctx context.Context, in IndexTableRequest) (out grange.Table, err error) {
	return out, c.post(ctx, "table-index", in, &out)
}

// AttestTable signs what a table is here.
func (c *Client) AttestTable(ctx context.Context, name string) (out AttestedTable, err error) {
	return out, c.post(ctx, "table-attest", TableRequest{name}, &out)
}

// TableForks returns the writers of a table that are proven to have forked, and the machines that have left out what was written.
func (c *Client) TableForks(ctx context.Context, name string) (out Forks, err error) {
	err = c.get(ctx, "table-forks", url.Values{"name": {name}}, &out)
	return out, err
}

// SyncTable brings a table level with the machines that have it.
func (c *Client) SyncTable(ctx context.Context, name string) (out SyncedTable, err error) {
	return out, c.post(ctx, "table-sync", TableRequest{name}, &out)
}
