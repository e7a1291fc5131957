package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/voucher"
)

const (
	// errandsMax is at how many households vouchers may let us in.
	errandsMax = 1024
	// errandSizeMax bounds an errand's record, in bytes.
	errandSizeMax = 512 << 10
	// errandPatience is for how many seconds after a voucher's end its holder still counts as one that stays: the grid that
	// gives the next may be out of reach for a while.
	errandPatience = 7 * daySeconds
)

// Errand is a household with which we have no pact, and where a voucher, or an account, lets us in.
type Errand struct {
	Grid core.DID
	Name string
	// Agents are the machines that its newest charter lists.
	Agents []core.DID
	// Account is by which account; zero where it is by a voucher.
	Account AccountName
	// Subject is the grid whose pact is drawn on, or the account server, Ref names the voucher, or the token.
	Subject core.DID
	Ref     core.Score
	// SubjectName is what that grid is called, as far as is known.
	SubjectName string
	// Amount is the most that we may have there, in bytes, Until when the voucher or token ends, in Unix seconds.
	Amount, Until int64
	// Ends is when that pact ends, 0 for never.
	Ends                 int64
	LeaseDays, AsideDays int64
	// Seen is when one of its machines was last within reach, zero for never; Quiet for how long none was, of the time that this machine ran.
	Seen  time.Time
	Quiet time.Duration
	// Leaving says that what lies there should lie elsewhere: the pact ends, there is no newer voucher, or we leave the club.
	Leaving bool
}

// errandRecord is an errand in the books. It is of one machine: another one's vouchers are its own.
type errandRecord struct {
	V    uint     `json:"v"`
	Grid core.DID `json:"grid"`
	Name string   `json:"name"`
	// Charter is the newest that the household has shown.
	Charter identity.Signed `json:"charter"`
	// At is the machine that was called first, and where.
	At AgentAddrs `json:"at"`
	// Chain has no invocation. Or it is by an account.
	Chain     []byte      `json:"chain,omitempty"`
	Account   AccountName `json:"account,omitzero"`
	Ends      int64       `json:"ends"`
	Ending    bool        `json:"ending,omitempty"`
	LeaseDays uint        `json:"lease_days"`
	AsideDays uint        `json:"aside_days"`
}

// errand is what is known of one; but for shown it is not changed.
type errand struct {
	record  errandRecord
	charter charter.Charter
	score   core.Score    // the charter's
	chain   voucher.Chain // and right: zero of an account
	right   voucher.Right
	// met is how long this machine had run when it was let in, or has started since.
	met int64
	// shown is what machines have seen last since this machine started, by its id. Guarded by Federation.mu.
	shown map[core.DID]core.Score
	turn  turn // whoever shows it
}

func (e *errand) byAccount() bool { return e.record.Account != AccountName{} }

func newErrand(r errandRecord) (*errand, error) {
	e, err := openErrand(r)
	if err != nil {
		return nil, err
	}
	if e.charter, err = charter.Open(r.Charter); err != nil {
		return nil, err
	}
	return e, nil
}

// openErrand opens what lets us in; the rest is left out.
func openErrand(r errandRecord) (*errand, error) {
	e := &errand{record: r, score: r.Charter.Score(), shown: map[core.DID]core.Score{}, turn: newTurn()}
	if e.byAccount() {
		return e, nil
	}
	var err error
	if e.chain, err = voucher.Parse(r.Chain); err != nil {
		return nil, err
	}
	e.right, err = voucher.Open(e.chain)
	return e, err
}

// loadErrands reads the errands. Nothing else runs yet.
func (f *Federation) loadErrands() error {
	for r, err := range scan[errandRecord](f.c.Books, []byte(keyErrand), didSize, errandSizeMax) {
		if err != nil {
			return err
		}
		e, err := newErrand(r.value)
		if err != nil {
			return fmt.Errorf("record %.16q: %w", r.key, err)
		}
		f.c.Known.Learn(r.value.At.DID, r.value.At.Addrs)
		e.met = f.ran
		f.errands[e.record.Grid] = e
	}
	f.indexErrands()
	return nil
}

// publicErrand returns what others may know. The caller holds f.mu.
func (f *Federation) publicErrand(e *errand, now int64) Errand {
	by := f.openingOf(e)
	out := Errand{
		Grid: e.record.Grid, Name: e.record.Name, Account: e.record.Account, Subject: by.subject, Ref: by.ref, Amount: by.amount, Until: by.until,
		Ends: e.record.Ends, LeaseDays: int64(e.record.LeaseDays), AsideDays: int64(e.record.AsideDays),
	}
	if p := f.partners[by.subject]; p != nil {
		out.SubjectName = p.record.Name
	} else if p := f.passes[by.subject]; p != nil {
		out.SubjectName = p.record.Name
	}
	out.Leaving = e.record.Ending || now >= out.Until+errandPatience || f.left(e)
	out.Agents = e.agents()
	last, seen := e.met, int64(0)
	for _, agent := range out.Agents {
		last, seen = max(last, f.seen[agent].ran), max(seen, f.seen[agent].at)
	}
	if seen != 0 {
		out.Seen = time.Unix(seen, 0)
	}
	out.Quiet = time.Duration(max(f.ran-last, 0)) * time.Second
	return out
}

// agents returns the machines that its household's newest charter lists.
func (e *errand) agents() (out []core.DID) {
	for _, a := range e.charter.Agents {
		out = append(out, a.DID)
	}
	return out
}

// Errands returns the households where a voucher lets us in, by DID, but for those that have become partners.
func (f *Federation) Errands() []Errand {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Errand
	for grid, e := range f.errands {
		if f.partners[grid] == nil {
			out = append(out, f.publicErrand(e, now))
		}
	}
	slices.SortFunc(out, func(a, b Errand) int { return a.Grid.Compare(b.Grid) })
	return out
}

// Errand returns one of them.
func (f *Federation) Errand(grid core.DID) (Errand, bool) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.errands[grid]
	if e == nil || f.partners[grid] != nil {
		return Errand{}, false
	}
	return f.publicErrand(e, now), true
}

// UseVoucher shows a voucher, a voucher.Chain without an invocation that ends with this machine, to a machine of a household with
// which we have no pact, and remembers where it lets us in; a newer one takes the place of the last. Errors: those of
// voucher.Open; core.ErrInvalid where the voucher is another machine's; ErrAlready where there is a
// pact, ErrOwn at home; core.ErrRefused with the holder's reason; core.ErrUnreachable.
func (f *Federation) UseVoucher(ctx context.Context, home AgentAddrs, chain []byte) (Errand, error) {
	out, err := f.enter(ctx, home, errandRecord{Chain: chain})
	if err != nil {
		return Errand{}, fmt.Errorf("use the voucher at %s: %w", home.DID.Short(), f.Heed(ctx, err))
	}
	return out, nil
}

// enter shows to a machine of a household, for the first time, what next has, and keeps where it was let in.
func (f *Federation) enter(ctx context.Context, home AgentAddrs, next errandRecord) (Errand, error) {
	if err := f.Revoked(); err != nil {
		return Errand{}, err
	}
	e, err := openErrand(next)
	switch {
	case err != nil:
		return Errand{}, err
	case !e.byAccount() && (len(e.chain.Invocation) > 0 || e.right.Agent != f.self.Agent):
		return Errand{}, fmt.Errorf("the voucher is not for this machine, or was used: %w", core.ErrInvalid)
	case f.lists(f.self.Grid, home.DID):
		return Errand{}, ErrOwn
	}
	if p, ok := f.ByAgent(home.DID); ok {
		return Errand{}, fmt.Errorf("%w with %s", ErrAlready, p.Name)
	}
	f.c.Known.Learn(home.DID, home.Addrs)
	by := f.openingOf(e)
	out, c, err := f.show(ctx, home.DID, e.chain, by)
	if err != nil {
		return Errand{}, err
	}
	addrs := tidyAddrs(out.Addrs)
	if len(addrs) == 0 {
		addrs = tidyAddrs(home.Addrs)
	}
	f.c.Known.Learn(home.DID, addrs)
	next.V, next.Grid, next.Name, next.Charter, next.At = codec.Version, c.Grid, out.Name, out.Charter, AgentAddrs{DID: home.DID, Addrs: addrs}
	next.Ends, next.Ending, next.LeaseDays, next.AsideDays = out.Ends, out.Ending, out.LeaseDays, out.AsideDays
	return f.keepErrand(ctx, next, by.ref)
}

// invoke makes a chain one that this machine shows to another now.
func (f *Federation) invoke(to core.DID, chain voucher.Chain, amount int64) ([]byte, error) {
	call := voucher.Call{Holder: to, Resource: core.Storage, Amount: amount, At: f.now()}
	seal.Random(call.Nonce[:])
	invoked, err := chain.Invoke(f.c.Key, call)
	if err != nil {
		return nil, err
	}
	return invoked.Marshal()
}

// show shows a chain, or the token that by has, to one machine, and returns its answer, with its household's charter.
func (f *Federation) show(ctx context.Context, to core.DID, chain voucher.Chain, by opening) (out credentialAnswer, c charter.Charter, err error) {
	in := credentialRequest{Token: by.token, Name: f.self.Name}
	if in.Token == nil {
		if in.Chain, err = f.invoke(to, chain, by.amount); err != nil {
			return out, c, err
		}
	}
	f.mu.Lock()
	in.Charter = f.own.newest()
	f.mu.Unlock()
	if out, err = post[credentialAnswer](ctx, f.c, shortTime, to, "/credential", in); err != nil {
		return out, c, err
	}
	var forget changes // it may have forgotten our head too
	forget.drop(key(keyAck, to[:]))
	if err := forget.apply(f.c.Books); err != nil {
		return out, c, err
	}
	if c, err = charter.Open(out.Charter); err == nil {
		err = errors.Join(CheckName(out.Name), checkWelcome(out))
	}
	if err == nil && (!c.Lists(to) || c.Grid == f.self.Grid) {
		err = fmt.Errorf("its charter does not list it: %w", core.ErrInvalid)
	}
	if err != nil {
		return out, c, fmt.Errorf("the answer: %w", err)
	}
	return out, c, nil
}

// checkWelcome bounds what a holder says of its pact.
func checkWelcome(out credentialAnswer) error {
	if out.Ends < 0 || out.Ends > voucher.TimeMax || out.LeaseDays < 1 || out.LeaseDays > pact.DaysMax || out.AsideDays < 1 || out.AsideDays > pact.DaysMax {
		return fmt.Errorf("ends at %d, leases of %d days, %d days aside: %w", out.Ends, out.LeaseDays, out.AsideDays, core.ErrInvalid)
	}
	return nil
}

// keepErrand writes down where we were let in, by what has that id.
func (f *Federation) keepErrand(ctx context.Context, r errandRecord, ref core.Score) (Errand, error) {
	e, err := newErrand(r)
	if err != nil {
		return Errand{}, err
	}
	if err := f.records.take(ctx); err != nil {
		return Errand{}, err
	}
	defer f.records.give()
	f.mu.Lock()
	old := f.errands[r.Grid]
	full := old == nil && len(f.errands) >= errandsMax
	if old != nil && charter.Compare(old.charter, old.score, e.charter, e.score) > 0 {
		e.charter, e.score, e.record.Charter = old.charter, old.score, old.record.Charter
	}
	f.mu.Unlock()
	if full {
		return Errand{}, fmt.Errorf("at most %d households: %w", errandsMax, core.ErrRefused)
	}
	var c changes
	c.set(key(keyErrand, r.Grid[:]), e.record)
	if err := c.apply(f.c.Books); err != nil {
		return Errand{}, fmt.Errorf("keep where a voucher lets us in: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	e.shown[r.At.DID], e.met = ref, f.ran
	f.errands[r.Grid] = e
	f.indexErrands()
	close(f.news)
	f.news = make(chan struct{})
	wake(f.dirty)
	return f.publicErrand(e, f.now()), nil
}

// tendErrand brings our newest head where a voucher lets us in, for as long as there is no pact.
func (f *Federation) tendErrand(ctx context.Context, grid core.DID) {
	f.tend(ctx, grid, nil, func() (bool, error) {
		if _, still := f.Errand(grid); !still {
			return false, nil
		}
		return true, f.PushHead(ctx, grid)
	})
}

// Enter makes sure that a machine where a voucher or an account lets us in has seen the newest; again says that it seems to have forgotten
// it. It tells whether it was shown now: then a call that was refused is worth another. What cannot be shown is
// no error: what the holder still knows it answers all the same.
func (f *Federation) Enter(ctx context.Context, agent core.DID, again bool) (shown bool) {
	e := f.errandAt(agent)
	if e == nil {
		return false
	}
	by := f.openingOf(e)
	if f.now() >= by.until || e.turn.take(ctx) != nil {
		return false
	}
	defer e.turn.give()
	f.mu.Lock()
	seen := e.shown[agent] == by.ref
	f.mu.Unlock()
	if seen && !again {
		return false
	}
	_, _, err := f.show(ctx, agent, e.chain, by)
	if err != nil {
		f.c.Log.Info("a credential does not let us in", "at", agent.Short(), "err", f.Heed(ctx, err))
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	e.shown[agent] = by.ref
	return true
}

// Opens tells whether a machine is of a household where a voucher lets us in.
func (f *Federation) Opens(agent core.DID) bool { return f.errandAt(agent) != nil }

// errandAt returns the errand to whose household a machine belongs, unless there is a pact with it.
func (f *Federation) errandAt(agent core.DID) *errand {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.errandAtLocked(agent)
}

func (f *Federation) errandAtLocked(agent core.DID) *errand {
	grid, ok := f.errandBy[agent]
	if !ok || f.partners[grid] != nil {
		return nil
	}
	return f.errands[grid]
}

// indexErrands notes whose machine an agent is. One that several households list stays with whom it was found first. The
// caller holds f.mu.
func (f *Federation) indexErrands() {
	next := map[core.DID]core.DID{}
	for grid, e := range f.errands {
		for _, agent := range e.agents() {
			if _, taken := next[agent]; !taken || f.errandBy[agent] == grid {
				next[agent] = grid
			}
		}
	}
	f.errandBy = next
}
