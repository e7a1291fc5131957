package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/edge/p2p"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/service/accounts"
	"github.com/grange-grid/grange/service/federation"
)

// accountsDir is the folder of the directory that has an account server's books.
const accountsDir = "accounts"

// AccountsPageMax is how many accounts one call of Accounts returns at most.
const AccountsPageMax = 1000

// AccountPlan is what accounts can be on.
type AccountPlan struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	// Days is how long an account is good from when it is put on the plan; 0 is without end.
	Days int64 `json:"days"`
}

// Account is a household's contract, as its account server has it.
type Account struct {
	ID   string `json:"id"`
	Plan string `json:"plan"`
	// For is the household.
	For DID `json:"for"`
	// State is "good", "revoked" or "expired".
	State string `json:"state"`
	// Bytes is what the plan gives, Used what the household has at all storage servers together.
	Bytes int64     `json:"bytes"`
	Used  int64     `json:"used"`
	Added time.Time `json:"added"`
	// Until is when the contract ends, Revoked since when it is revoked; zero for never.
	Until   time.Time      `json:"until,omitzero"`
	Revoked time.Time      `json:"revoked,omitzero"`
	At      []AccountUsage `json:"at"`
}

// AccountUsage is what a storage server last reported of an account.
type AccountUsage struct {
	Server DID   `json:"server"`
	Bytes  int64 `json:"bytes"`
	// ByteHours is what it has had there in all.
	ByteHours uint64    `json:"byte_hours"`
	Seq       uint64    `json:"seq"`
	Time      time.Time `json:"time"`
	// Taken and Rival prove, each as the CBOR of a Signed, that the storage server has signed two reports with one
	// number; nil if it has not.
	Taken []byte `json:"taken,omitempty"`
	Rival []byte `json:"rival,omitempty"`
}

// StorageServer is a machine that asks the account server, and reports to it.
type StorageServer struct {
	Machine DID       `json:"machine"`
	Added   time.Time `json:"added"`
	// TwoFaced are accounts of which it has signed two reports with one number.
	TwoFaced []string `json:"two_faced,omitempty"`
}

// AccountList is what an account server has.
type AccountList struct {
	// Server is this machine: whoever is to trust it names this.
	Server   DID             `json:"server"`
	Plans    []AccountPlan   `json:"plans"`
	Servers  []StorageServer `json:"servers"`
	Accounts []Account       `json:"accounts"`
	// More says that there are accounts after the last of these.
	More bool `json:"more"`
}

// UsedAccount is an account that this household has with somebody.
type UsedAccount struct {
	Server DID    `json:"server"`
	ID     string `json:"id"`
	Plan   string `json:"plan"`
	Bytes  int64  `json:"bytes"`
	// Since and Until are the newest token's.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
	// Trouble says why there is no newer one, "" where nothing does.
	Trouble string `json:"trouble,omitempty"`
	// At are the households where it lets this machine in, by name.
	At []string `json:"at"`
}

// accountRoom is what an agent has to do with accounts.
type accountRoom struct {
	customer *accounts.Customer
	holder   *accounts.Holder

	mu     sync.Mutex // of what follows
	server *accounts.Server
}

// openCustomer reads which accounts the household uses.
func (a *Agent) openCustomer() (err error) {
	a.accounts.customer, err = accounts.NewCustomer(accounts.CustomerConfig{
		Books: a.store.Books(), Clock: a.c.Clock, Wire: a.network, Charter: a.federation.Charter, Learn: a.network.addrs.Learn,
		Plain: wire.Plain, Log: a.c.Log.With("room", "accounts"),
	})
	return err
}

// openHolder reads what is known of accounts that others have, for whom something is kept here.
func (a *Agent) openHolder() (err error) {
	a.accounts.holder, err = accounts.NewHolder(accounts.HolderConfig{
		Key: a.key, Books: a.store.Books(), Clock: a.c.Clock, Wire: a.network, Learn: a.network.addrs.Learn, Log: a.c.Log.With("room", "accounts"),
		Trusted: func(server core.DID) bool {
			rules, _ := a.barter.Rules()
			return slices.Contains(rules.AccountServers(), server)
		},
	})
	return err
}

// token returns the newest of an account that this household uses.
func (a *Agent) token(n federation.AccountName) (identity.Signed, account.Right, bool) {
	u, ok := a.accounts.customer.Token(accounts.Name{Server: n.Server, Account: n.ID})
	return u.Signed, u.Right, ok
}

// usesAccount counts what lies here for a household on its account, if it is a guest by one.
func (a *Agent) usesAccount(grid core.DID, bytes int64) {
	if g, ok := a.federation.Guest(grid); ok && g.Account != (federation.AccountName{}) {
		a.accounts.holder.Uses(accounts.Name{Server: g.Account.Server, Account: g.Account.ID}, bytes)
	}
}

// countAccounts counts what lies here on all accounts: what was not written down before the last stop is made good.
func (a *Agent) countAccounts() {
	for _, g := range a.federation.Guests() {
		bytes, _ := a.barter.Used(g.Grid)
		a.usesAccount(g.Grid, bytes)
	}
}

// accountServer opens the account server's books; with create it makes them if there are none. Errors: fs.ErrNotExist.
func (a *Agent) accountServer(create bool) (*accounts.Server, error) {
	a.accounts.mu.Lock()
	defer a.accounts.mu.Unlock()
	if a.accounts.server != nil {
		return a.accounts.server, nil
	}
	books, err := a.store.Separate(accountsDir, create)
	if err != nil {
		return nil, fmt.Errorf("the account server's books: %w", err)
	}
	a.accounts.server, err = accounts.NewServer(accounts.ServerConfig{
		Key: a.key, Books: books, Clock: a.c.Clock, Addrs: a.network.Addrs, Log: a.c.Log.With("room", "accounts"),
	})
	return a.accounts.server, err
}

// servesAccount tells whether an agent is one of the account server's storage servers.
func (a *Agent) servesAccount(agent core.DID) bool {
	a.accounts.mu.Lock()
	s := a.accounts.server
	a.accounts.mu.Unlock()
	return s != nil && s.Lists(agent)
}

// accountRoutes are those of an account server; none if this agent is not one.
func (a *Agent) accountRoutes() ([]wire.Route, error) {
	if !a.c.Accounts {
		return nil, nil
	}
	s, err := a.accountServer(true)
	if err != nil {
		return nil, err
	}
	return s.Routes(), nil
}

// SetAccountPlan makes a plan, or changes one: what it gives changes for all accounts on it at once. Errors: ErrInvalid.
func (a *Agent) SetAccountPlan(_ context.Context, p AccountPlan) error {
	s, err := a.accountServer(true)
	if err != nil {
		return err
	}
	return s.SetPlan(accounts.Plan(p))
}

// AddAccount makes an account on a plan for a household, or puts one that there is on the plan from now on. Errors:
// fs.ErrNotExist if there is no such plan; fs.ErrExist if the account is another household's; ErrInvalid.
func (a *Agent) AddAccount(ctx context.Context, id, plan string, household DID) (Account, error) {
	s, err := a.accountServer(true)
	if err != nil {
		return Account{}, err
	}
	if err := s.Add(id, plan, household); err != nil {
		return Account{}, err
	}
	return a.Account(ctx, id)
}

// RevokeAccount ends an account at once, or restores it; storage servers hear of it within the hour. It says whether that
// changed anything. Errors: fs.ErrNotExist.
func (a *Agent) RevokeAccount(_ context.Context, id string, restore bool) (changed bool, err error) {
	s, err := a.accountServer(false)
	if err != nil {
		return false, err
	}
	return s.Revoke(id, restore)
}

// ListStorageServer lists a machine as one that may ask how accounts stand and report what they use, or takes it off the
// list. It says whether that changed anything. Errors: ErrInvalid.
func (a *Agent) ListStorageServer(_ context.Context, machine DID, listed bool) (changed bool, err error) {
	s, err := a.accountServer(true)
	if err != nil {
		return false, err
	}
	return s.SetHolder(machine, listed)
}

// Account returns one account. Errors: fs.ErrNotExist.
func (a *Agent) Account(_ context.Context, id string) (Account, error) {
	s, err := a.accountServer(false)
	if err != nil {
		return Account{}, err
	}
	x, err := s.Show(id)
	if err != nil {
		return Account{}, err
	}
	return accountOf(x)
}

// Accounts returns plans, storage servers, and the first AccountsPageMax accounts whose names come after one.
func (a *Agent) Accounts(_ context.Context, after string) (AccountList, error) {
	out := AccountList{Server: a.key.DID(), Plans: []AccountPlan{}, Servers: []StorageServer{}, Accounts: []Account{}}
	s, err := a.accountServer(false)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	for _, p := range s.Plans() {
		out.Plans = append(out.Plans, AccountPlan(p))
	}
	servers, err := s.StorageServers()
	if err != nil {
		return out, err
	}
	for _, h := range servers {
		out.Servers = append(out.Servers, StorageServer{Machine: h.Agent, Added: date(h.Added), TwoFaced: h.Rivals})
	}
	all, err := s.Accounts(after, AccountsPageMax+1)
	for i, x := range all {
		if out.More = i == AccountsPageMax; out.More {
			break
		}
		shown, err := accountOf(x)
		if err != nil {
			return out, err
		}
		out.Accounts = append(out.Accounts, shown)
	}
	return out, err
}

func accountOf(x accounts.Account) (Account, error) {
	out := Account{
		ID: x.ID, Plan: x.Plan, For: x.Grid, State: x.State, Bytes: x.Bytes, Used: x.Used,
		Added: date(x.Added), Until: date(x.Until), Revoked: date(x.Revoked), At: []AccountUsage{},
	}
	for _, r := range x.At {
		u := AccountUsage{Server: r.Holder, Bytes: r.Bytes, ByteHours: r.Total, Seq: r.Seq, Time: date(r.Time)}
		if r.Rival != nil {
			var taken, rival error
			u.Taken, taken = r.Taken.Marshal()
			u.Rival, rival = r.Rival.Marshal()
			if err := cmp.Or(taken, rival); err != nil {
				return out, err
			}
		}
		out.At = append(out.At, u)
	}
	return out, nil
}

// UseAccount gets a token of an account that this household has at the account server at an address, and keeps it fresh
// from then on. Without a name it is the only one that it has there; without an address one that is used already. Errors: ErrInvalid,
// ErrUnreachable; a *Denial if the account is good no more; core.ErrForbidden if there is none; fs.ErrNotExist if none is used.
func (a *Agent) UseAccount(ctx context.Context, address, id string) (UsedAccount, error) {
	if err := a.federation.Revoked(); err != nil {
		return UsedAccount{}, err
	}
	if address == "" {
		return a.usedAccount(id)
	}
	server, err := p2p.ParseAddr(address)
	if err == nil && id != "" {
		err = account.CheckID(id)
	}
	if err != nil {
		return UsedAccount{}, err
	}
	u, err := a.accounts.customer.Use(ctx, server, []string{address}, id)
	if err != nil {
		return UsedAccount{}, err
	}
	return a.usedAccountOf(u), nil
}

// usedAccount returns the account of that name that is used, or for "" the only one.
func (a *Agent) usedAccount(id string) (UsedAccount, error) {
	all := slices.DeleteFunc(a.accounts.customer.Uses(), func(u accounts.Use) bool { return id != "" && u.Account != id })
	switch len(all) {
	case 0:
		return UsedAccount{}, fmt.Errorf("account %q: %w", id, fs.ErrNotExist)
	case 1:
		return a.usedAccountOf(all[0]), nil
	}
	return UsedAccount{}, fmt.Errorf("several accounts are meant: %w", ErrInvalid)
}

// UseAccountAt lets an account that is used let this machine in to a storage server, at an address: from then on what is put is placed there
// too. Errors: ErrInvalid, ErrUnreachable, ErrAlready; a *Denial with the storage server's reason.
func (a *Agent) UseAccountAt(ctx context.Context, u UsedAccount, address string) (UsedAccount, error) {
	holder, err := p2p.ParseAddr(address)
	if err != nil {
		return UsedAccount{}, err
	}
	name := federation.AccountName{Server: u.Server, ID: u.ID}
	if _, err := a.federation.UseAccount(ctx, federation.AgentAddrs{DID: holder, Addrs: []string{address}}, name); err != nil {
		return UsedAccount{}, err
	}
	u.At = a.accountAt(name)
	return u, nil
}

// accountAt returns the names of the households where an account lets this machine in.
func (a *Agent) accountAt(name federation.AccountName) []string {
	out := []string{}
	for _, e := range a.federation.Errands() {
		if e.Account == name {
			out = append(out, e.Name)
		}
	}
	return out
}

// UsedAccounts returns the accounts that this household uses.
func (a *Agent) UsedAccounts(context.Context) []UsedAccount {
	out := []UsedAccount{}
	for _, u := range a.accounts.customer.Uses() {
		out = append(out, a.usedAccountOf(u))
	}
	return out
}

// StopAccount uses all accounts of that name no more. Errors: fs.ErrNotExist.
func (a *Agent) StopAccount(_ context.Context, id string) error {
	found := false
	for _, u := range a.accounts.customer.Uses() {
		if u.Account != id {
			continue
		}
		found = true
		if err := a.accounts.customer.Stop(accounts.Name{Server: u.Server, Account: id}); err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("account %q: %w", id, fs.ErrNotExist)
	}
	return nil
}

func (a *Agent) usedAccountOf(u accounts.Use) UsedAccount {
	return UsedAccount{
		Server: u.Server, ID: u.Account, Plan: u.Plan, Bytes: u.Bytes, Since: time.Unix(u.From, 0), Until: time.Unix(u.Until, 0), Trouble: u.Trouble,
		At: a.accountAt(federation.AccountName{Server: u.Server, ID: u.Account}),
	}
}
