package accounts

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/policy"
)

// HoldingsMax bounds the accounts of which a storage server keeps what it knows.
const HoldingsMax = 100_000

// Wire calls other agents; *wire.Client is one.
type Wire interface {
	CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error
}

// HolderConfig is what a Holder needs; all but Learn and Log is required.
type HolderConfig struct {
	// Key is the agent's, which signs reports.
	Key identity.Key
	// Books are the agent's.
	Books core.Books
	Clock core.Clock
	Wire  Wire
	// Trusted tells whether an account server is one that the policy names.
	Trusted func(server core.DID) bool
	// Learn is told where an account server can be reached; nil is not.
	Learn func(server core.DID, addrs []string)
	Log   *slog.Logger
}

// Name names an account: of one account server.
type Name struct {
	Server  core.DID
	Account string
}

func (n Name) compare(o Name) int {
	return cmp.Or(n.Server.Compare(o.Server), cmp.Compare(n.Account, o.Account))
}

// Holder is the storage server's side. Its methods may be called at once.
type Holder struct {
	c    HolderConfig
	kick chan struct{} // there is something to ask, or to report

	write sync.Mutex // one write to the books at a time

	mu    sync.Mutex // never held while anything is written
	known map[Name]*holding
	lists map[core.DID]*list
}

// holding is an account as this storage server knows it.
type holding struct {
	holdingRecord
	// wanted says that somebody has looked at it since it was last asked for; changed that it is not reported.
	wanted, changed bool
	// asked and reported are when that was last tried.
	asked, reported int64
}

// holdingRecord is what the books have of it.
type holdingRecord struct {
	V    uint     `json:"v"`
	Grid core.DID `json:"grid"`
	Plan string   `json:"plan"`
	// Quota is what the plan gives.
	Quota int64 `json:"quota"`
	// Token is until when the last token that was shown is good; 0 is none.
	Token int64 `json:"token"`
	// State is what the server answered at Checked, by this clock, to be relied on until Until; "" if it never has.
	State   string `json:"state,omitempty"`
	Checked int64  `json:"checked"`
	Until   int64  `json:"until"`
	// Used is what it said of all storage servers together, of which Ours was what this one had reported.
	Used int64 `json:"used"`
	Ours int64 `json:"ours"`
	// Bytes lie here, and count from Since on: before, they were Total byte-hours and Rest byte-seconds.
	Bytes int64  `json:"bytes"`
	Since int64  `json:"since"`
	Total uint64 `json:"total"`
	Rest  uint64 `json:"rest"`
	// Seq is the number of the last report that was signed, Sent is what of Bytes the server has taken in.
	Seq  uint64 `json:"seq"`
	Sent int64  `json:"sent"`
}

// list is what is known of an account server's revocations.
type list struct {
	listRecord
	// tried is when anything was last asked, fails how often in a row it was not answered; read is when the list was.
	tried, read int64
	fails       uint
}

type listRecord struct {
	V     uint     `json:"v"`
	After uint64   `json:"after"`
	Addrs []string `json:"addrs"`
}

// The keys of the holder's records, in the agent's books.
const (
	holdingPrefix = "a/holding/" // + DID of the account server + id
	listPrefix    = "a/list/"    // + DID of the account server
)

func (n Name) key() string { return string(didKey(holdingPrefix, n.Server, n.Account)) }

// NewHolder reads the books. It starts nothing.
func NewHolder(c HolderConfig) (*Holder, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Learn == nil {
		c.Learn = func(core.DID, []string) {}
	}
	h := &Holder{c: c, kick: make(chan struct{}, 1), known: map[Name]*holding{}, lists: map[core.DID]*list{}}
	if err := h.load(); err != nil {
		return nil, fmt.Errorf("read what is known of accounts: %w", err)
	}
	return h, nil
}

func (h *Holder) load() error {
	for c, err := range h.c.Books.Scan([]byte(listPrefix), nil) {
		if err != nil {
			return err
		}
		r, err := parse[listRecord](c.Key, c.Value)
		if err != nil {
			return err
		}
		var server core.DID
		if err := server.UnmarshalBinary(c.Key[len(listPrefix):]); err != nil {
			return err
		}
		h.lists[server] = &list{listRecord: r}
		h.c.Learn(server, r.Addrs)
	}
	for c, err := range h.c.Books.Scan([]byte(holdingPrefix), nil) {
		if err != nil {
			return err
		}
		r, err := parse[holdingRecord](c.Key, c.Value)
		if err != nil {
			return err
		}
		rest := c.Key[len(holdingPrefix):]
		if len(rest) <= len(core.DID{}) {
			return fmt.Errorf("record %q: %w", c.Key, core.ErrInvalid)
		}
		name := Name{core.DID(rest[:32]), string(rest[32:])}
		h.known[name] = &holding{holdingRecord: r, wanted: true, changed: r.Bytes != r.Sent}
		if h.lists[name.Server] == nil {
			h.lists[name.Server] = &list{}
		}
	}
	return nil
}

func (h *Holder) now() int64 { return h.c.Clock.Now().Unix() }

// Take verifies a token that a machine of a household shows, without asking anybody, and remembers the account: how it
// stands is asked in the background. Errors: those of account.Verify; a *core.Denial too where the server has
// said no; core.ErrBusy at HoldingsMax.
func (h *Holder) Take(signed identity.Signed, grid core.DID) (account.Right, error) {
	right, err := account.Verify(signed, h.c.Trusted, grid, h.now())
	if err != nil {
		return account.Right{}, err
	}
	name := Name{right.Server, right.Account}
	h.c.Learn(right.Server, right.Addrs)
	h.write.Lock()
	defer h.write.Unlock()
	isNew, err := h.place(name)
	if err != nil {
		return account.Right{}, err
	}
	defer h.wake()
	state, next, was := h.shown(name, right)
	if state != "" && state != StateGood {
		// Only the server can say that this has changed: whose word is the newer, clocks cannot tell.
		return account.Right{}, &core.Denial{Reason: fmt.Sprintf("account %s is %s, says its server", name.Account, state)}
	}
	if next == was {
		return right, nil
	}
	listed := listRecord{1, h.listOf(right.Server).After, right.Addrs}
	err = h.commit(map[Name]func(*holdingRecord){name: func(r *holdingRecord) { r.show(right) }}, map[core.DID]listRecord{right.Server: listed})
	if err != nil && isNew {
		h.mu.Lock()
		delete(h.known, name)
		h.mu.Unlock()
	}
	if err != nil {
		return account.Right{}, fmt.Errorf("record account %s: %w", name.Account, err)
	}
	return right, nil
}

// place sees to it that an account has its place among those known. The caller holds h.write.
func (h *Holder) place(name Name) (isNew bool, err error) {
	h.mu.Lock()
	full, has := len(h.known) >= HoldingsMax, h.known[name] != nil
	h.mu.Unlock()
	if has {
		return false, nil
	}
	if full && !h.dropOne() {
		return false, fmt.Errorf("account %s: %d are known already: %w", name.Account, HoldingsMax, core.ErrBusy)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known[name] = &holding{holdingRecord: holdingRecord{V: 1}}
	if h.lists[name.Server] == nil {
		h.lists[name.Server] = &list{listRecord: listRecord{V: 1}}
	}
	return true, nil
}

// shown notes that an account is wanted, and returns what the server has said of it, and what is known of it with a right and without.
func (h *Holder) shown(name Name, right account.Right) (state string, next, was holdingRecord) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.known[name]
	e.wanted = true
	if e.State != StateGood {
		e.asked = 0
	}
	next = e.holdingRecord
	next.show(right)
	return e.State, next, e.holdingRecord
}

// show takes in what a token says.
func (r *holdingRecord) show(right account.Right) {
	r.Grid, r.Token = right.Grid, max(r.Token, right.Until)
	if r.State == "" {
		r.Plan, r.Quota = right.Plan, right.Bytes
	}
}

func (h *Holder) listOf(server core.DID) listRecord {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lists[server].listRecord
}

// commit makes changes to what is known of accounts and lists, in the books and then here. Each function is called
// twice, and sets nothing that Uses does. The caller holds h.write.
func (h *Holder) commit(changes map[Name]func(*holdingRecord), lists map[core.DID]listRecord) error {
	records := map[string]any{}
	h.mu.Lock()
	for name, change := range changes {
		if e := h.known[name]; e != nil { // else it was dropped meanwhile
			r := e.holdingRecord
			change(&r)
			records[name.key()] = r
		}
	}
	h.mu.Unlock()
	for server, r := range lists {
		records[string(didKey(listPrefix, server, ""))] = r
	}
	if err := save(h.c.Books, records); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, change := range changes {
		if e := h.known[name]; e != nil {
			change(&e.holdingRecord)
		}
	}
	for server, r := range lists {
		h.lists[server].listRecord = r
	}
	return nil
}

// dropOne makes room: of accounts that are of no use, and of which nothing was ever reported. The caller holds h.write.
func (h *Holder) dropOne() bool {
	now := h.now()
	h.mu.Lock()
	var useless *Name
	for name, e := range h.known {
		if e.Seq == 0 && e.Bytes == 0 && e.Token <= now && e.Until <= now {
			useless = &name
			break
		}
	}
	h.mu.Unlock()
	if useless == nil || h.c.Books.Apply(core.Change{Key: []byte(useless.key())}) != nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.known, *useless)
	return true
}

// Facts returns what is known for a policy of an account that a household uses, nil if nothing is, or it is another's. It is
// cheap, and asks nobody: but an account that is looked at will be asked for.
func (h *Holder) Facts(n Name, grid core.DID) *policy.Account {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.known[n]
	if e == nil || e.Grid != grid {
		return nil
	}
	now := h.now()
	out := &policy.Account{Server: n.Server, ID: n.Account, Plan: e.Plan, Quota: e.Quota, Used: max(0, e.Used+e.Bytes-e.Ours), Here: e.Bytes, Checked: e.Checked}
	out.State, out.Until = e.standing(now)
	if !e.wanted {
		e.wanted = true
		h.wake()
	}
	return out
}

// standing says what may be said of an account now, and until when.
func (e *holding) standing(now int64) (state string, until int64) {
	if e.State != "" && e.State != StateGood {
		return e.State, e.Until
	}
	until = e.Token
	if e.State == StateGood && now >= e.Checked-account.SkewMax { // a clock that was put back makes it no younger
		until = max(until, e.Until)
	}
	if now < until {
		return policy.AccountGood, until
	}
	return policy.AccountDown, until
}

// Uses says how many bytes lie here for an account now. It is cheap; a while later the account server is told.
func (h *Holder) Uses(n Name, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.known[n]
	if e == nil || e.Bytes == bytes {
		return
	}
	e.count(h.now())
	e.Bytes, e.changed = max(0, min(bytes, account.BytesMax)), true
	h.wake()
}

// countMax is what is counted in one go at most, in seconds: a clock that leaps costs nobody more.
const countMax = 2 * daySeconds

// count brings the total up to date.
func (e *holding) count(now int64) {
	if e.Since > 0 && e.Bytes > 0 {
		seconds := uint64(min(max(now-e.Since, 0), countMax))
		// Bytes is at most 2^53, seconds below 2^18: no overflow before the year 10000.
		hours, rest := uint64(e.Bytes)/3600, uint64(e.Bytes)%3600
		e.Rest += rest * seconds
		e.Total += hours*seconds + e.Rest/3600
		e.Rest %= 3600
	}
	e.Since = now
}

func (h *Holder) wake() {
	select {
	case h.kick <- struct{}{}:
	default: // it is awake
	}
}
