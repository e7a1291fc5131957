package barter

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/policy"
)

// Partner is what barter needs to know of a household with which we have a pact, or of our own.
type Partner struct {
	Grid core.DID
	Name string
	// Pact is the pact's id; our own household's is pact.Home.
	Pact core.Score
	// Gives is what they give us, Given what we give them, in bytes of storage, GivesOf and GivenOf of each resource, in its unit. To our own household a
	// machine gives all that it offers, whatever stands here.
	Gives, Given     int64
	GivesOf, GivenOf map[core.Resource]int64
	// LeaseDays is the pact's term for a lease, AsideDays for what is set aside.
	LeaseDays, AsideDays int64
	// Ends is when the pact ends, in Unix seconds, by a notice that both know of or by itself; 0 for never.
	// Leaving says that a notice was given, or that it runs out.
	Ends    int64
	Leaving bool
	// Agents are the machines that their newest charter lists.
	Agents []core.DID
	// Why is what our asks there cite; the zero Why is the pact. A household where a voucher lets us in has one,
	// and is given nothing.
	Why core.Why
	// Via is on whose behalf a guest is let in; nil of all others.
	Via *Via
}

// Via is on whose behalf a guest is let in: a grid on whose pact it draws by a voucher, or an account.
type Via struct {
	// Kind is core.WhyVoucher or core.WhyAccount.
	Kind core.WhyKind
	// Account is what is known of an account; nil of a voucher. Of an account all that follows but Name and Until is empty.
	Account *policy.Account
	Grid    core.DID
	// Pact is the pact's id, Name what the grid, or the account, is called here.
	Pact core.Score
	Name string
	// Offered is what the pact gives the grid, and so all of its guests and itself together, Share the most that this
	// guest may have of it, in bytes.
	Offered, Share int64
	// Until is when the voucher, or the account server's last word, ends, in Unix seconds: from then on nothing is granted or renewed.
	Until int64
	// Chain are the issuers of the voucher, from the grid's machine on.
	Chain []core.DID
	// Refs name the vouchers that an ask may cite.
	Refs []core.Score
}

// why is what an ask of the household's cites.
func (p Partner) why() core.Why {
	if p.Why.Kind != "" {
		return p.Why
	}
	return core.Why{Kind: core.WhyPact, Ref: p.Pact[:]}
}

// leaseSeconds is how long a lease of the pact runs.
func (p Partner) leaseSeconds() int64 { return p.LeaseDays * daySeconds }

// leaseMost is how long a lease that is given at now can run: no longer than the pact.
func (p Partner) leaseMost(now int64) int64 {
	if p.Ends == 0 {
		return p.leaseSeconds()
	}
	return max(0, min(p.leaseSeconds(), p.Ends-now))
}

// Partners tells who our partners are; federation knows. Our own household is among them, with all its
// machines. Its methods are called at once.
type Partners interface {
	// All returns every partner, in a stable order, those among them where only a voucher lets us in.
	All() []Partner
	// Of returns one partner.
	Of(grid core.DID) (Partner, bool)
	// Guests returns the households that a voucher has let in here, whether it still counts or not; who is a guest may be among All too.
	Guests() []Partner
	// Guest returns one of them.
	Guest(grid core.DID) (Partner, bool)
}

// owner returns a household as one whose pieces may lie here: a partner, or a guest.
func (b *Barter) owner(grid core.DID) (Partner, bool) {
	if p, ok := b.c.Partners.Of(grid); ok && p.Why.Kind == "" {
		return p, true
	}
	return b.c.Partners.Guest(grid)
}

// owners returns all of them.
func (b *Barter) owners() []Partner {
	out := slices.DeleteFunc(b.c.Partners.All(), func(p Partner) bool { return p.Why.Kind != "" })
	return append(out, b.c.Partners.Guests()...)
}

// Wire calls a partner's machine; *wire.Client is one, but for Fresh's context.
// Its errors are of the kinds that wire.Client lists.
type Wire interface {
	Call(ctx context.Context, to core.DID, method, path string, in, out any) error
	CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error
	Send(ctx context.Context, to core.DID, path string, body []byte) error
	Fetch(ctx context.Context, to core.DID, path string, buf []byte, limit int64) ([]byte, error)
	// Fresh drops what connections there are, so that the next call makes a new one.
	Fresh(to core.DID)
}

// Config is what a Barter needs; all of it but Needed, ClockTrusted, Alarm and Log is required.
type Config struct {
	// Key signs leases for this machine.
	Key identity.Key
	// Grid is our household.
	Grid     core.DID
	Books    core.Books
	Blobs    core.Blobs
	Clock    core.Clock
	Wire     Wire
	Partners Partners
	// Table is what rules may name. Rules answer what is asked of us until there were others.
	Table policy.Table
	Rules policy.Rules
	// Offers is what this machine gives of flows in all; what is not there is 0.
	Offers map[core.Resource]int64
	// Free returns the bytes free, and in all, on the disk that has the pieces.
	Free func() (free, total int64, err error)
	// Needed tells whether another service needs a blob, which is then not deleted
	// here. Nil: none does.
	Needed func(core.Score) (bool, error)
	// ClockTrusted tells whether partners that were heard lately agree with our clock; it
	// must not until they were heard again after a jump. Nil: nobody ever does.
	ClockTrusted func() bool
	// Uses is told how many bytes lie here for a household whenever that changes. It must not block, nor call back. Nil: nobody listens.
	Uses func(owner core.DID, bytes int64)
	// Alarm tells the person what should not have happened, and by whose doing; the zero DID: nobody's.
	// It must not block. Nil: nobody listens.
	Alarm func(partner core.DID, text string)
	Log   *slog.Logger
}

// Barter is both sides of the barter, for one machine. Its methods may be called at once.
type Barter struct {
	c Config
	// buffers are of erasure.PieceSizeMax bytes, for pieces on their way in or out.
	buffers sync.Pool
	turns   *turns

	// settling keeps the writes of the offer and of the owner's totals in one order.
	// It is held across the write on purpose; mu may be taken under it, not the other way.
	settling sync.Mutex

	// writing keeps the writes of decisions in one order. It is held across the write on purpose; deciding, under which
	// nothing is taken, may be taken under it, not the other way.
	writing  sync.Mutex
	deciding sync.Mutex
	decided  decisions

	mu       sync.Mutex
	force    force
	out      map[core.DID]usedRecord // what our pieces come to, by holder's household
	moves    uint64                  // changes of what Held tells
	offer    int64                   // bytes we give in total
	accounts map[core.DID]*account   // by owner's household, or holder's
	sums     sums
	idle     idle
	roster   *roster              // nil before the first ask
	down     map[core.DID]backoff // machines that did not answer lately
	// inHand counts who relies on a blob of a piece that may be in no record yet: grants
	// that it came under, puts and leases under way. What is there is not dropped.
	inHand map[core.Score]int
	// orphans may have become needless; dropping are those that drop is looking at.
	orphans, dropping map[core.Score]struct{}
	running           running
	// lines has a token for each machine that nothing is leased from or released to just now.
	lines map[core.DID]chan struct{}
	// foundMore says that something was found since Found was asked last.
	foundMore bool
	// asked is when holders were last asked how much they would take back.
	asked map[core.DID]asking
	// listed are partners' machines as GiveUpRemoved saw them last; nil before.
	listed map[core.DID]bool
	// coming is how many bytes are being put just now, landed how many have been
	// since the start: what was free before they landed is less by them.
	coming, landed int64
}

// New reads the books. It starts nothing.
func New(c Config) (*Barter, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Needed == nil {
		c.Needed = func(core.Score) (bool, error) { return false, nil }
	}
	if c.ClockTrusted == nil {
		c.ClockTrusted = func() bool { return false }
	}
	if c.Alarm == nil {
		c.Alarm = func(core.DID, string) {}
	}
	if c.Uses == nil {
		c.Uses = func(core.DID, int64) {}
	}
	b := &Barter{
		c:        c,
		turns:    newTurns(c.Clock, c.Grid),
		accounts: map[core.DID]*account{},
		down:     map[core.DID]backoff{},
		inHand:   map[core.Score]int{},
		orphans:  map[core.Score]struct{}{},
		dropping: map[core.Score]struct{}{},
		lines:    map[core.DID]chan struct{}{},
		asked:    map[core.DID]asking{},
	}
	b.buffers.New = func() any {
		buf := make([]byte, erasure.PieceSizeMax)
		return &buf
	}
	if err := b.loadOffer(); err != nil {
		return nil, err
	}
	if err := b.loadRunning(); err != nil {
		return nil, err
	}
	if err := b.loadDecisions(); err != nil {
		return nil, err
	}
	if err := b.loadRules(); err != nil {
		return nil, err
	}
	if err := b.loadStanding(); err != nil {
		return nil, err
	}
	if err := b.loadContradictions(); err != nil {
		return nil, err
	}
	if err := b.loadFlows(); err != nil {
		return nil, err
	}
	kept, err := b.totals(usedPrefix)
	if err != nil {
		return nil, err
	}
	for owner, used := range kept {
		b.setUsed(b.account(owner), used)
	}
	if b.out, err = b.totals(outPrefix); err != nil {
		return nil, err
	}
	for grid, r := range b.out {
		b.account(grid).gives = r.Bytes
	}
	b.lastAsks()
	return b, nil
}
