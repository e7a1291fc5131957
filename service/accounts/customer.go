package accounts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
)

// UsesMax bounds the accounts that a household uses.
const UsesMax = 16

const (
	usePrefix   = "a/use/" // + DID of the account server + id, in the agent's books
	renewEvery  = 60 * 60  // seconds between two tries to renew a token, at the least
	useSizeMax  = 8 << 10  // bytes of a record
	renewLook   = 10 * 60 * second
	troubleMost = 512 // bytes of its text
)

// CustomerConfig is what a Customer needs; all but Learn and Log is required.
type CustomerConfig struct {
	// Books are the agent's.
	Books core.Books
	Clock core.Clock
	Wire  Wire
	// Charter returns the newest of the own household.
	Charter func() identity.Signed
	// Learn is told where an account server can be reached; nil is not.
	Learn func(server core.DID, addrs []string)
	// Plain says what a person can make of an error of a call, after the server's name.
	Plain func(error) string
	Log   *slog.Logger
}

// Customer keeps the tokens of the own household's accounts fresh. Its methods may be called at once.
type Customer struct {
	c     CustomerConfig
	write sync.Mutex // one change at a time

	mu   sync.Mutex
	uses map[Name]*use
}

// Use is an account that the own household has.
type Use struct {
	account.Right
	// Signed is the newest token.
	Signed identity.Signed
	// Tried is when a newer one was last asked for, Trouble why there is none; both empty if it came.
	Tried   int64
	Trouble string
}

type use struct {
	Use
	addrs []string
}

type useRecord struct {
	V     uint            `json:"v"`
	Token identity.Signed `json:"token"`
	// Addrs are where the person said that the server is.
	Addrs []string `json:"addrs"`
}

// NewCustomer reads the books. It starts nothing.
func NewCustomer(c CustomerConfig) (*Customer, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Learn == nil {
		c.Learn = func(core.DID, []string) {}
	}
	out := &Customer{c: c, uses: map[Name]*use{}}
	for change, err := range c.Books.Scan([]byte(usePrefix), nil) {
		if err != nil {
			return nil, fmt.Errorf("read the tokens of accounts: %w", err)
		}
		r, err := parseUse(change.Key, change.Value)
		if err != nil {
			return nil, err
		}
		out.uses[Name{r.Server, r.Account}] = r
		c.Learn(r.Server, slices.Concat(r.addrs, r.Addrs))
	}
	return out, nil
}

func parseUse(key, value []byte) (*use, error) {
	r, err := parseMax[useRecord](key, value, useSizeMax)
	if err != nil {
		return nil, err
	}
	token, err := account.OpenToken(r.Token)
	if err != nil {
		return nil, fmt.Errorf("record %q: %w", key, err)
	}
	return &use{Use: Use{Right: account.Right{ID: r.Token.Score(), Token: token}, Signed: r.Token}, addrs: r.Addrs}, nil
}

// Use gets a token of an account at a server, which then is kept fresh. Without an account's name it is the only one
// that the household has there. Errors: those of the call; core.ErrInvalid if there are too many, or the
// token is none of this household's.
func (c *Customer) Use(ctx context.Context, server core.DID, addrs []string, id string) (Use, error) {
	c.c.Learn(server, addrs)
	c.write.Lock()
	defer c.write.Unlock()
	return c.fetch(ctx, server, addrs, id)
}

// fetch gets a token and keeps it. The caller holds c.write.
func (c *Customer) fetch(ctx context.Context, server core.DID, addrs []string, id string) (Use, error) {
	newest := c.c.Charter()
	ctx, cancel := within(ctx, c.c.Clock)
	defer cancel()
	var out tokenAnswer
	err := c.c.Wire.CallLimit(ctx, server, http.MethodPost, "/accounts/token", tokenRequest{newest, id}, &out, 2*account.TokenSizeMax)
	if err != nil {
		return Use{}, err
	}
	right, err := account.Verify(out.Token, func(by core.DID) bool { return by == server }, newest.By, c.c.Clock.Now().Unix())
	if err == nil && id != "" && right.Account != id {
		err = fmt.Errorf("a token of account %s: %w", right.Account, core.ErrInvalid)
	}
	if err != nil {
		return Use{}, fmt.Errorf("the account server's answer: %w", err)
	}
	name := Name{server, right.Account}
	c.mu.Lock()
	full := c.uses[name] == nil && len(c.uses) >= UsesMax
	c.mu.Unlock()
	if full {
		return Use{}, fmt.Errorf("%d accounts are used already: %w", UsesMax, core.ErrInvalid)
	}
	if err := save(c.c.Books, map[string]any{string(didKey(usePrefix, server, right.Account)): useRecord{1, out.Token, account.Addrs(addrs)}}); err != nil {
		return Use{}, fmt.Errorf("record the token of account %s: %w", right.Account, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	u := &use{Use: Use{Right: right, Signed: out.Token}, addrs: account.Addrs(addrs)}
	c.uses[name] = u
	return u.Use, nil
}

// Stop uses an account no more. Errors: core.ErrNotExist.
func (c *Customer) Stop(n Name) error {
	c.write.Lock()
	defer c.write.Unlock()
	c.mu.Lock()
	has := c.uses[n] != nil
	c.mu.Unlock()
	if !has {
		return fmt.Errorf("account %q: %w", n.Account, core.ErrNotExist)
	}
	if err := save(c.c.Books, map[string]any{string(didKey(usePrefix, n.Server, n.Account)): nil}); err != nil {
		return fmt.Errorf("forget account %s: %w", n.Account, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.uses, n)
	return nil
}

// Uses returns all accounts that are used, by server and name.
func (c *Customer) Uses() []Use {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Use
	for _, n := range slices.SortedFunc(maps.Keys(c.uses), Name.compare) {
		out = append(out, c.uses[n].Use)
	}
	return out
}

// Token returns the newest token of an account, false if it is not used. It asks nobody.
func (c *Customer) Token(n Name) (Use, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.uses[n]
	if u == nil {
		return Use{}, false
	}
	return u.Use, true
}

// Run renews tokens when half of their time has gone by, until ctx ends. It returns nil.
func (c *Customer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		c.Renew(ctx)
		_ = c.c.Clock.Sleep(ctx, renewLook)
	}
	return nil
}

// Renew renews once what is due now.
func (c *Customer) Renew(ctx context.Context) {
	now := c.c.Clock.Now().Unix()
	for _, u := range c.Uses() {
		waited := now - u.Tried
		fresh := now >= u.From-account.SkewMax && now < u.From+(u.Until-u.From)/2
		if fresh || u.Tried > 0 && waited >= 0 && waited < renewEvery {
			continue
		}
		c.renew(ctx, Name{u.Server, u.Account}, now)
	}
}

func (c *Customer) renew(ctx context.Context, n Name, now int64) {
	c.write.Lock()
	defer c.write.Unlock()
	c.mu.Lock()
	u := c.uses[n]
	c.mu.Unlock()
	if u == nil {
		return // stopped meanwhile
	}
	_, err := c.fetch(ctx, n.Server, u.addrs, n.Account)
	if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return
	}
	c.c.Log.Info("a token could not be renewed", "account", n.Account, "server", n.Server.Short(), "err", err)
	text := c.c.Plain(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	u.Tried, u.Trouble = now, text[:min(len(text), troubleMost)]
}
