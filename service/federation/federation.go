package federation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/voucher"
)

// Errors of invitations that callers branch on.
var (
	// ErrAlready says that there is a pact with that household already.
	ErrAlready = errors.New("already partners")
	// ErrOwn says that the invitation is our own.
	ErrOwn = fmt.Errorf("the invitation is from this household itself: %w", core.ErrInvalid)
	// ErrUsed says that somebody else accepted the invitation before.
	ErrUsed = errors.New("invitation already used")
	// ErrExpired says that the invitation is past its date.
	ErrExpired = errors.New("invitation expired")
)

// Wire calls another machine; *wire.Client is one.
type Wire interface {
	Call(ctx context.Context, to core.DID, method, path string, in, out any) error
	CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error
	Send(ctx context.Context, to core.DID, path string, body []byte) error
	Fetch(ctx context.Context, to core.DID, path string, buf []byte, limit int64) ([]byte, error)
}

// Config is what a Federation is made of. All of it is required, unless said otherwise.
type Config struct {
	// Key is this machine's key, Seal its X-Wing key.
	Key   identity.Key
	Seal  *seal.PrivateKey
	Books core.Books
	Blobs core.Blobs
	Clock core.Clock
	Wire  Wire
	// Known is where Wire looks addresses up; what is learned here goes there.
	// Nil makes one, which is of use only if AddrsOf is what Wire asks.
	Known *Addresses
	// Addrs returns the addresses at which this machine can be dialled; nil and none are the same.
	Addrs func() []string
	// Needed tells whether another service needs a blob; such are not deleted
	// here. Nil: none does.
	Needed func(core.Score) bool
	// Keeps tells whether anything of a household's is kept here: if not, it can be forgotten when
	// its voucher has ended. Nil: of everybody's there is.
	Keeps func(grid core.DID) bool
	// Take verifies the token of an account that a machine of a household shows, and remembers the account. Nil: no token is taken.
	Take func(token identity.Signed, grid core.DID) (account.Right, error)
	// Token returns the newest token of an account of our own household, false where it is used no more. It must call nobody.
	// Nil: there is none.
	Token func(AccountName) (identity.Signed, account.Right, bool)
	// Told is told of what became of the pact with a partner. It must not block. Nil: nobody listens.
	Told func(partner core.DID, what PactNews)
	// Log may be nil.
	Log *slog.Logger
	// Policy names the policy that stands in the terms of our invitations where
	// they name none; empty is the default of pact.Terms.
	Policy string
	// Machine is what this machine is called within its household, in its charter; it
	// may be empty, and is cut to what fits there.
	Machine string
}

// withDefaults fills in what may be left out.
func (c Config) withDefaults() Config {
	if c.Known == nil {
		c.Known = &Addresses{}
	}
	if c.Addrs == nil {
		c.Addrs = func() []string { return nil }
	}
	if c.Needed == nil {
		c.Needed = func(core.Score) bool { return false }
	}
	if c.Keeps == nil {
		c.Keeps = func(core.DID) bool { return true }
	}
	if c.Take == nil {
		c.Take = func(identity.Signed, core.DID) (account.Right, error) {
			return account.Right{}, &core.Denial{Reason: "no account is honoured here"}
		}
	}
	if c.Token == nil {
		c.Token = func(AccountName) (s identity.Signed, r account.Right, ok bool) { return s, r, false }
	}
	if c.Told == nil {
		c.Told = func(core.DID, PactNews) {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Federation is one machine's part in its household and among its partners. All
// methods may be called at once.
type Federation struct {
	c      Config
	self   selfRecord
	packer *chunk.Packer
	// vouchers are those that were verified.
	vouchers voucher.Cache
	// lastHead is our newest head, as last opened.
	lastHead atomic.Pointer[openedHead]

	records turn // whoever changes charters, invitations, proposals or partners
	heading turn // whoever makes a head of ours
	pulling turn // whoever takes in heads of our other machines
	showing turn // whoever shows vouchers

	// revocation is closed when revoked is set.
	revocation chan struct{}
	// dirty holds a token when the partners in the state have changed.
	dirty chan struct{}
	// brought holds a token when another machine of ours has brought its head.
	brought chan struct{}
	// enrol holds a token when the roll may have to change, visits when a club has something new for us.
	enrol, visits chan struct{}
	// merged holds a token when another machine's records have come into the state.
	merged chan struct{}

	mu         sync.Mutex
	own        household
	secrets    charter.Secrets
	revoked    error
	partners   map[core.DID]*partner
	seen       map[core.DID]seen
	siblings   map[core.DID]*sibling
	news       chan struct{} // closed, and made anew, when a partner or a machine of ours joins
	nonces     []nonce
	admissions []admission
	bearers    []admission
	guests     map[core.DID]*guest
	guestAt    map[core.DID]core.DID // the guest whose machine an agent is
	knocks     map[core.DID]knock
	errands    map[core.DID]*errand
	errandBy   map[core.DID]core.DID // the errand whose machine an agent is
	roll       *ownRoll              // nil where our grid is no club
	serial     uint64                // see clubSerial
	clubs      map[core.DID]*club    // those among the partners, by grid
	passes     map[core.DID]*pass    // by the grid on whose pacts they draw
	shelves    map[core.DID]*shelf   // what partners keep here, by grid
	lanes      map[core.DID]turn     // one push at a time to an agent
	refs       refCache
	pages      pageGuard
	ran        int64 // seconds that this machine has run
	wall       int64 // what the clock said at the last of Run's steps; 0 before
	clocks     map[core.DID]heardClock
}

// Self is who this machine is.
type Self struct {
	// Agent is the machine, Grid its household.
	Agent, Grid core.DID
	// Name is what the household calls itself.
	Name string
	// Charter is the newest charter's score; Recoveries and Epoch are its numbers.
	Charter           core.Score
	Epoch, Recoveries uint64
}

// Found makes a new household of one machine: its first charter, signed by the
// grid root that entropy gives, and the record of who we are, in one Apply.
// name is what the household calls itself, 1 to 64 printable bytes. It refuses
// where there is a household on this machine already. Errors: core.ErrInvalid of the name.
func Found(c Config, entropy [32]byte, name string) error {
	c = c.withDefaults()
	if err := CheckName(name); err != nil {
		return fmt.Errorf("found household: %w", err)
	}
	var self selfRecord
	if ok, err := get(c.Books, []byte(keySelf), &self, recordSizeMax); err != nil || ok {
		return errors.Join(err, fmt.Errorf("found household: household %s is on this machine already", self.Name))
	}
	root := identity.RootOf(entropy)
	now := c.Clock.Now().Unix()
	signed, err := firstCharter(c, entropy, root, name, now)
	if err != nil {
		return fmt.Errorf("found household: %w", err)
	}
	self = selfRecord{V: codec.Version, Grid: root.DID(), Agent: c.Key.DID(), Name: name, Time: now}
	var out changes
	out.charter(self.Grid, signed)
	out.set([]byte(keySelf), self)
	if err := out.apply(c.Books); err != nil {
		return fmt.Errorf("found household: %w", err)
	}
	return nil
}

func firstCharter(c Config, entropy [32]byte, root identity.Key, name string, now int64) (identity.Signed, error) {
	recovery, err := seal.NewPrivateKey(identity.RecoverySeed(entropy))
	if err != nil {
		return identity.Signed{}, err
	}
	secrets := charter.Secrets{V: codec.Version, Vault: []charter.VaultSecret{{Epoch: 1}}}
	seal.Random(secrets.Chunker[:])
	seal.Random(secrets.Vault[0].Key[:])
	sealed, err := charter.SealName(secrets, label(c.Machine, name))
	if err != nil {
		return identity.Signed{}, err
	}
	first := charter.Charter{
		V: codec.Version, Grid: root.DID(), Epoch: 1, Time: now,
		Agents:   []charter.Agent{{DID: c.Key.DID(), Seal: c.Seal.Public(), Name: sealed}},
		Recovery: recovery.Public(),
	}
	return charter.Seal(root, first, secrets)
}

// New reads the books. It starts nothing and calls nobody.
// Errors: core.ErrNotExist where no household was founded or recovered here;
// core.ErrRevoked where a newer charter no longer lists this machine.
func New(c Config) (*Federation, error) {
	c = c.withDefaults()
	f := &Federation{
		c: c, packer: chunk.NewPacker(),
		records: newTurn(), heading: newTurn(), pulling: newTurn(), showing: newTurn(),
		revocation: make(chan struct{}), dirty: make(chan struct{}, 1), brought: make(chan struct{}, 1), merged: make(chan struct{}, 1), enrol: make(chan struct{}, 1), visits: make(chan struct{}, 1), news: make(chan struct{}),
		partners: map[core.DID]*partner{}, siblings: map[core.DID]*sibling{}, seen: map[core.DID]seen{},
		shelves: map[core.DID]*shelf{}, lanes: map[core.DID]turn{}, clocks: map[core.DID]heardClock{},
		guests: map[core.DID]*guest{}, guestAt: map[core.DID]core.DID{}, knocks: map[core.DID]knock{}, errands: map[core.DID]*errand{}, errandBy: map[core.DID]core.DID{}, clubs: map[core.DID]*club{}, passes: map[core.DID]*pass{},
	}
	switch ok, err := get(c.Books, []byte(keySelf), &f.self, recordSizeMax); {
	case err != nil:
		return nil, fmt.Errorf("open household: %w", err)
	case !ok:
		return nil, fmt.Errorf("open household: none on this machine yet; a recovery that was cut short is begun again: %w", core.ErrNotExist)
	case f.self.Agent != c.Key.DID():
		return nil, fmt.Errorf("open household: the books are those of machine %s, and the key is that of %s: %w", f.self.Agent, c.Key.DID(), core.ErrInvalid)
	}
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("open household %s: %w", f.self.Name, err)
	}
	if f.revoked != nil {
		return nil, f.revoked
	}
	wake(f.brought) // before the last stop, perhaps
	return f, nil
}

// load fills the memory from the books. Nothing else runs yet.
func (f *Federation) load() error {
	f.own = newHousehold(f.self.Grid)
	if err := f.loadRan(); err != nil {
		return err
	}
	for e, err := range scan[partnerRecord](f.c.Books, []byte(keyPartner), len(core.DID{}), partnerSizeMax) {
		if err != nil {
			return err
		}
		p, err := f.openPartner(e.value, core.DID(e.rest))
		if err != nil {
			return err
		}
		p.met = f.ran
		f.partners[p.grid] = p
		if _, err := get(f.c.Books, key(keyTerms, p.grid[:]), &p.waits, partnerSizeMax); err != nil {
			return err
		}
		for _, a := range e.value.Agents {
			f.c.Known.Learn(a.DID, a.Addrs)
		}
	}
	if err := errors.Join(f.loadGuests(), f.loadErrands(), f.loadRoll(), f.loadClubs(), f.loadPasses()); err != nil {
		return err
	}
	for e, err := range scan[signedRecord](f.c.Books, []byte(keyCharter), len(core.DID{})+core.ScoreSize, signedSizeMax) {
		if err != nil {
			return err
		}
		h := f.householdOf(core.DID(e.rest[:32]))
		if h == nil {
			continue // of a household whose pact was never made
		}
		if err := h.add(e.value.Signed); err != nil {
			return fmt.Errorf("record %.16q: %w", e.key, err)
		}
	}
	if f.own.empty() {
		return fmt.Errorf("no charter of it in the books: %w", core.ErrCorrupt)
	}
	for e, err := range scan[seenRecord](f.c.Books, []byte(keySeen), len(core.DID{}), recordSizeMax) {
		if err != nil {
			return err
		}
		f.seen[core.DID(e.rest)] = seen{at: e.value.Time, stored: e.value.Time, ran: e.value.Ran}
	}
	if err := errors.Join(f.judge(), f.loadSiblings()); err != nil {
		return err
	}
	return f.loadShelves()
}

// Self returns who this machine is.
func (f *Federation) Self() Self {
	f.mu.Lock()
	defer f.mu.Unlock()
	newest, score := f.own.chain.Newest()
	return Self{
		Agent: f.self.Agent, Grid: f.self.Grid, Name: f.self.Name,
		Charter: score, Epoch: newest.Epoch, Recoveries: newest.Recoveries,
	}
}

// Secrets returns the household's secrets, opened with this machine's key.
func (f *Federation) Secrets() charter.Secrets {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.secrets
}

// Revoked returns an error of kind core.ErrRevoked that says by which charter
// this machine was removed from its household; nil as long as it was not.
func (f *Federation) Revoked() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.revoked
}

// now returns the time in Unix seconds.
func (f *Federation) now() int64 { return f.c.Clock.Now().Unix() }

// Routes returns federation's piece of the peer protocol.
func (f *Federation) Routes() []wire.Route { return f.routes() }

// terms fills in our policy and the defaults.
func (f *Federation) terms(t pact.Terms) pact.Terms {
	if t.InviterPolicy == "" {
		t.InviterPolicy = f.c.Policy
	}
	if t.AcceptorPolicy == "" {
		t.AcceptorPolicy = f.c.Policy
	}
	return t.WithDefaults()
}
