package api

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// AccountRequest is the body of POST /v1/account.
type AccountRequest struct {
	ID   string `json:"id"`
	Plan string `json:"plan"`
	// For is the household.
	For grange.DID `json:"for"`
}

// AccountRevokeRequest is the body of POST /v1/account-revoke.
type AccountRevokeRequest struct {
	ID string `json:"id"`
	// Restore makes it good again.
	Restore bool `json:"restore,omitempty"`
}

// AccountServerRequest is the body of POST /v1/account-server.
type AccountServerRequest struct {
	Machine grange.DID `json:"machine"`
	Remove  bool       `json:"remove,omitempty"`
}

// AccountUseRequest is the body of POST /v1/account-use: an address, or two, or what to stop.
type AccountUseRequest struct {
	// Address is the account server's, as its 'grange run' shows it; with At it may be left out.
	Address string `json:"address,omitempty"`
	// ID is the account's; it may be left out where the household has only one there.
	ID string `json:"id,omitempty"`
	// At is a storage server's address, where the account is to be used from now on.
	At   string `json:"at,omitempty"`
	Stop bool   `json:"stop,omitempty"`
}

// Changed is the answer to what may have been so before.
type Changed struct {
	Changed bool `json:"changed"`
}

// UsedAccounts is the answer to GET /v1/account-use, and to what stops one.
type UsedAccounts struct {
	Accounts []grange.UsedAccount `json:"accounts"`
}

func (o *owner) accounts(r *http.Request) answer {
	return value(o.agent.Accounts(r.Context(), param(r, "after")))
}

func (o *owner) account(r *http.Request) answer {
	out, err := o.agent.Account(r.Context(), param(r, "id"))
	return value(out, noAccount(param(r, "id"), err))
}

func (o *owner) accountPlan(r *http.Request) answer {
	var in grange.AccountPlan
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	return value(in, o.agent.SetAccountPlan(r.Context(), in))
}

func (o *owner) addAccount(r *http.Request) answer {
	var in AccountRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	if in.For.IsZero() {
		return failure(nil, invalid(`an account is "for" a household`, "its DID is what its 'grange status --json' has as grid"))
	}
	out, err := o.agent.AddAccount(r.Context(), in.ID, in.Plan, in.For)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = &Error{Code: CodeNotFound, Message: "there is no plan " + Clean(in.Plan), Hint: "grange account plan NAME 100GB"}
	case errors.Is(err, fs.ErrExist):
		err = &Error{Code: CodeExists, Message: "account " + Clean(in.ID) + " is for another household", Hint: "take another ID; grange account revoke ends that one"}
	}
	return value(out, err)
}

// noAccount says in its own words that there is none; nil stays nil.
func noAccount(id string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Code: CodeNotFound, Message: "there is no account " + Clean(id), Hint: "grange account show"}
	}
	return err
}

func (o *owner) revokeAccount(r *http.Request) answer {
	var in AccountRevokeRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	changed, err := o.agent.RevokeAccount(r.Context(), in.ID, in.Restore)
	return value(Changed{changed}, noAccount(in.ID, err))
}

func (o *owner) accountServer(r *http.Request) answer {
	var in AccountServerRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	if in.Machine.IsZero() {
		return failure(nil, invalid(`"machine" is the DID of a storage server`, "its 'grange status --json' has it as machine"))
	}
	changed, err := o.agent.ListStorageServer(r.Context(), in.Machine, !in.Remove)
	return value(Changed{changed}, err)
}

func (o *owner) usedAccounts(r *http.Request) answer {
	return value(UsedAccounts{o.agent.UsedAccounts(r.Context())}, nil)
}

func (o *owner) useAccount(r *http.Request) answer {
	var in AccountUseRequest
	err := read(r, &in)
	if err == nil {
		err = in.check()
	}
	if err != nil {
		return failure(nil, err)
	}
	if in.Stop {
		if err := o.agent.StopAccount(r.Context(), in.ID); err != nil {
			return failure(nil, &Error{Code: CodeNotFound, Message: "account " + Clean(in.ID) + " is not used here", Hint: "grange account use"})
		}
		return o.usedAccounts(r)
	}
	out, err := o.agent.UseAccount(r.Context(), in.Address, in.ID)
	if in.Address == "" && errors.Is(err, fs.ErrNotExist) {
		return failure(nil, &Error{Code: CodeNotFound, Message: "no such account is used here", Hint: "grange account use ADDRESS, the account server's"})
	}
	if err != nil || in.At == "" {
		return value(out, noToken(err))
	}
	out, err = o.agent.UseAccountAt(r.Context(), out, in.At)
	return value(out, notLetIn(err))
}

// notLetIn says why a storage server does not let in who has an account; nil stays nil.
func notLetIn(err error) error {
	if err == nil {
		return nil
	}
	e := ErrorOf(err)
	if denied, refused := errors.AsType[*core.Denial](err); refused {
		e.Message, e.Hint = "the storage server said no: "+Clean(denied.Reason), "its policy names the account servers that it trusts"
	} else if e.Code == CodeUnreachable {
		e.Message, e.Hint = "the storage server could not be reached", "is the address right, and is its 'grange run' on?"
	}
	return e
}

// noToken says why an account server gave none; nil stays nil.
func noToken(err error) error {
	e := ErrorOf(err)
	told, answered := errors.AsType[*wire.Error](err)
	denied, refused := errors.AsType[*core.Denial](err)
	switch {
	case err == nil:
		return nil
	case e.Code == CodeUnreachable:
		e.Message, e.Hint = "the account server could not be reached", "is the address right, and is its 'grange run' on?"
	case e.Code == CodeUnknown:
		e.Message, e.Hint = "the account server has no such account for this household", "whoever runs it makes one: grange account add ID --plan P --for DID"
	case refused:
		e.Message, e.Hint = "the account server said no: "+Clean(denied.Reason), "ask whoever runs it"
	case answered && told.Code == wire.CodeNotFound:
		e.Message, e.Hint = "that machine is no account server", "there it is: grange run --accounts"
	case answered:
		e.Message = "the account server " + Clean(wire.Plain(err))
	}
	return e
}

func (in AccountUseRequest) check() error {
	switch {
	case in.Stop && (in.ID == "" || in.Address != "" || in.At != ""):
		return invalid("what is stopped is named by its ID alone", "grange account use")
	case !in.Stop && in.Address == "" && in.At == "":
		return invalid("the account server's address is missing", "as its 'grange run' shows it: /ip4/192.0.2.7/tcp/4726/p2p/12D3...")
	}
	return nil
}

// Accounts returns what an account server has: of its accounts the first whose names come after one.
func (c *Client) Accounts(ctx context.Context, after string) (out grange.AccountList, err error) {
	return out, c.get(ctx, "accounts", url.Values{"after": {after}}, &out)
}

// Account returns one account of an account server.
func (c *Client) Account(ctx context.Context, id string) (out grange.Account, err error) {
	return out, c.get(ctx, "account", url.Values{"id": {id}}, &out)
}

// SetAccountPlan makes or changes a plan.
func (c *Client) SetAccountPlan(ctx context.Context, in grange.AccountPlan) error {
	return c.post(ctx, "account-plan", in, &in)
}

// AddAccount makes an account, or prolongs it.
func (c *Client) AddAccount(ctx context.Context, in AccountRequest) (out grange.Account, err error) {
	return out, c.post(ctx, "account", in, &out)
}

// RevokeAccount ends an account, or restores it.
func (c *Client) RevokeAccount(ctx context.Context, in AccountRevokeRequest) (out Changed, err error) {
	return out, c.post(ctx, "account-revoke", in, &out)
}

// ListStorageServer lists a machine as a storage server, or no more.
func (c *Client) ListStorageServer(ctx context.Context, in AccountServerRequest) (out Changed, err error) {
	return out, c.post(ctx, "account-server", in, &out)
}

// UsedAccounts returns the accounts that the household uses.
func (c *Client) UsedAccounts(ctx context.Context) ([]grange.UsedAccount, error) {
	var out UsedAccounts
	err := c.get(ctx, "account-use", nil, &out)
	return out.Accounts, err
}

// UseAccount uses an account from now on.
func (c *Client) UseAccount(ctx context.Context, in AccountUseRequest) (out grange.UsedAccount, err error) {
	if err := in.check(); err != nil {
		return out, err
	}
	return out, c.post(ctx, "account-use", in, &out)
}

// StopAccount uses an account no more, and returns those that still are used.
func (c *Client) StopAccount(ctx context.Context, id string) ([]grange.UsedAccount, error) {
	in := AccountUseRequest{ID: id, Stop: true}
	if err := in.check(); err != nil {
		return nil, err
	}
	var out UsedAccounts
	err := c.post(ctx, "account-use", in, &out)
	return out.Accounts, err
}
