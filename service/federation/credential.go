package federation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/voucher"
)

// A machine may show credentialTries credentials in credentialTime seconds, one at a time; knocksMax machines are
// counted, and more have to wait.
const (
	credentialTries = 4
	credentialTime  = 60
	knocksMax       = 256
)

type credentialRequest struct {
	// Charter is the newest of the caller's household, Chain a voucher.Chain with an invocation, or Token an account's.
	Charter identity.Signed  `json:"charter"`
	Chain   []byte           `json:"chain,omitempty"`
	Token   *identity.Signed `json:"token,omitempty"`
	Name    string           `json:"name"`
}

type credentialAnswer struct {
	// Charter is the newest of the holder's household.
	Charter identity.Signed `json:"charter"`
	Name    string          `json:"name"`
	Addrs   []string        `json:"addrs"`
	Amount  int64           `json:"amount"`
	Until   int64           `json:"until"`
	// Ends is when the pact that is drawn on ends, 0 for never; its terms bound what lies here. Ending says that what
	// lies here should lie elsewhere.
	Ends      int64 `json:"ends"`
	Ending    bool  `json:"ending,omitempty"`
	LeaseDays uint  `json:"lease_days"`
	AsideDays uint  `json:"aside_days"`
}

// knock counts what a machine shows.
type knock struct {
	since int64
	tries int
	busy  bool
}

// handleCredential lets a household in, by a voucher of a partner's, or the token of an account, that its machine shows.
func (f *Federation) handleCredential(ctx context.Context, in credentialRequest) (credentialAnswer, error) {
	caller := wire.CallerOf(ctx)
	if caller.Class&(wire.Partner|wire.Own) != 0 {
		return credentialAnswer{}, &wire.Error{Code: wire.CodeInvalid, Message: "a household that has a pact here needs no voucher, and no account"}
	}
	if err := f.knock(caller.Agent); err != nil {
		return credentialAnswer{}, err
	}
	defer f.knocked(caller.Agent)
	if _, club := f.Roll(); club {
		return credentialAnswer{}, &core.Denial{Reason: "this is a club, which keeps nothing itself"}
	}
	if (in.Token != nil) == (len(in.Chain) > 0) {
		return credentialAnswer{}, &wire.Error{Code: wire.CodeInvalid, Message: "a credential is a voucher, or the token of an account"}
	}
	if in.Token != nil {
		return f.letInByToken(ctx, caller.Agent, in)
	}
	chain, right, err := f.vouchers.Verify(in.Chain, voucher.Facts{
		Now: f.now(), Caller: caller.Agent, Holder: f.self.Agent, Grid: f.self.Grid, Lists: f.listsPartner,
	})
	if err != nil {
		return credentialAnswer{}, denied(err)
	}
	if err := errors.Join(f.honours(chain, right), CheckName(in.Name)); err != nil {
		return credentialAnswer{}, denied(err)
	}
	c, err := f.charterOf(caller.Agent, in.Charter, right.Subject)
	if err != nil {
		return credentialAnswer{}, err
	}
	links, err := voucher.Chain{Links: chain.Links}.Marshal()
	if err != nil {
		return credentialAnswer{}, err
	}
	what := shownRecord{Agent: caller.Agent, Chain: links, Amount: right.Amount, Until: right.Until}
	if err := f.letIn(ctx, in, c.Grid, draws{Via: right.Subject}, what); err != nil {
		return credentialAnswer{}, err
	}
	p, ok := f.Partner(right.Subject)
	if !ok {
		return credentialAnswer{}, fmt.Errorf("partner %s: %w", right.Subject.Short(), core.ErrNotExist)
	}
	out := f.welcome(what, p.Terms)
	out.Ends, out.Ending = p.Ends, p.Leaving()
	return out, nil
}

// charterOf opens the charter that a machine shows with a credential, which lists it and is neither ours nor a grid's own.
func (f *Federation) charterOf(agent core.DID, signed identity.Signed, subject core.DID) (charter.Charter, error) {
	c, err := charter.Open(signed)
	switch {
	case err != nil:
		return c, denied(err)
	case !c.Lists(agent):
		return c, &core.Denial{Reason: "the charter does not list the machine that shows it"}
	case c.Grid == f.self.Grid || c.Grid == subject:
		return c, &core.Denial{Reason: "a household is no guest of its own"}
	}
	return c, nil
}

// listsPartner tells whether a partner's newest charter lists a machine.
func (f *Federation) listsPartner(grid, agent core.DID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.partners[grid]
	return p != nil && p.lists(agent)
}

// honours tells whether a voucher is one that counts here.
func (f *Federation) honours(c voucher.Chain, r voucher.Right) error {
	f.mu.Lock()
	p := f.partners[r.Subject]
	ended := p != nil && p.ends() != 0 && p.ends() <= f.now()
	f.mu.Unlock()
	revoked := f.revokedBy(r.Subject)
	switch {
	case p == nil:
		return &core.Denial{Reason: "the voucher draws on a pact with " + r.Subject.Short() + ", which there is not"}
	case ended:
		return &core.Denial{Reason: "the pact on which the voucher draws has ended"}
	case r.Resource != core.Storage:
		return &core.Denial{Reason: fmt.Sprintf("a voucher for %s; only %s is given to guests", r.Resource, core.Storage)}
	}
	for i, id := range c.IDs() {
		if revoked[id] {
			return &core.Denial{Reason: fmt.Sprintf("voucher: link %d: it was revoked", i+1)}
		}
	}
	return nil
}

// denied makes what is wrong with a voucher an answer with its reason.
func denied(err error) error {
	if errors.Is(err, core.ErrRefused) {
		if _, ok := errors.AsType[*core.Denial](err); !ok {
			return &core.Denial{Reason: err.Error()}
		}
		return err
	}
	return invalid(err)
}

// knock counts that a machine shows a credential, which costs work, and tells it to wait where it does so too often.
func (f *Federation) knock(agent core.DID) error {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for a, k := range f.knocks {
		if !k.busy && (now < k.since || now-k.since >= credentialTime) {
			delete(f.knocks, a)
		}
	}
	k := f.knocks[agent]
	if k.busy || k.tries >= credentialTries || k.tries == 0 && len(f.knocks) >= knocksMax {
		return &wire.Error{Code: wire.CodeBusy, Message: "too many credentials are being shown", RetrySeconds: credentialTime}
	}
	if k.tries == 0 {
		k.since = now
	}
	k.tries, k.busy = k.tries+1, true
	f.knocks[agent] = k
	return nil
}

func (f *Federation) knocked(agent core.DID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.knocks[agent]
	k.busy = false
	f.knocks[agent] = k
}

// letIn makes a guest of a household, or takes in what its machine shows anew.
func (f *Federation) letIn(ctx context.Context, in credentialRequest, grid core.DID, d draws, what shownRecord) error {
	if err := f.forgetGuests(ctx); err != nil {
		return err
	}
	if err := f.records.take(ctx); err != nil {
		return err
	}
	defer f.records.give()
	next, fresh, err := f.nextGuest(what.Agent, grid, d)
	if err != nil {
		return err
	}
	next.Name = in.Name
	if len(next.Shown) > 0 {
		what.Before = f.shownBy(grid, what.Agent)
	}
	next.Shown = slices.DeleteFunc(slices.Clone(next.Shown), func(s shownRecord) bool { return s.Agent == what.Agent })
	if len(next.Shown) == shownMax { // the one that lapses first may be of a machine that is no more
		oldest := slices.MinFunc(next.Shown, func(a, b shownRecord) int { return cmp.Compare(a.Until, b.Until) })
		next.Shown = slices.DeleteFunc(next.Shown, func(s shownRecord) bool { return s.Agent == oldest.Agent })
	}
	next.Shown = append(next.Shown, what)
	g, err := newGuest(next)
	if err != nil {
		return err
	}
	last := len(next.Shown) - 1
	next.Shown[last].Before = slices.DeleteFunc(what.Before, func(id core.Score) bool { return id == g.shown[last].right.ID })
	if !fresh {
		f.mu.Lock()
		g.household = f.guests[grid].household
		f.mu.Unlock()
	}
	return f.keepGuest(g, in.Charter)
}

// shownBy names what a machine of a guest's has shown, the newest first.
func (f *Federation) shownBy(grid, agent core.DID) []core.Score {
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.guests[grid]
	if g == nil {
		return nil
	}
	i := slices.IndexFunc(g.record.Shown, func(s shownRecord) bool { return s.Agent == agent })
	if i < 0 {
		return nil
	}
	newest := g.shown[i].right.ID
	older := g.record.Shown[i].Before
	return append([]core.Score{newest}, older[:min(len(older), shownBefore-1)]...)
}

// nextGuest returns the record of a guest, new or as it is. The caller has f.records.
func (f *Federation) nextGuest(agent, grid core.DID, d draws) (r guestRecord, fresh bool, err error) {
	keeps := f.c.Keeps(grid)
	f.mu.Lock()
	defer f.mu.Unlock()
	g := f.guests[grid]
	other, _ := f.guestOf(agent)
	switch {
	case f.partners[grid] != nil:
		err = &core.Denial{Reason: "there is a pact with this household"}
	case other != nil && other != g:
		err = &core.Denial{Reason: "this machine is a guest here for another household"}
	case g == nil && (len(f.guests) >= guestsMax || !d.byAccount() && f.guestsVia(d.Via) >= guestsOfOneMax):
		err = &wire.Error{Code: wire.CodeBusy, Message: "there are too many guests", RetrySeconds: credentialTime}
	case g == nil:
		return guestRecord{V: codec.Version, Grid: grid, draws: d}, true, nil
	case g.record.draws != d && keeps:
		err = &core.Denial{Reason: "what is kept here for you counts for " + g.record.String() + "; when that has ended, or you have given it up, you can be the guest of another"}
	default:
		r = g.record
		if r.draws != d {
			r.draws, r.Shown = d, nil
		}
	}
	return r, false, err
}

// guestsVia counts the guests on behalf of a grid. The caller holds f.mu.
func (f *Federation) guestsVia(via core.DID) (n int) {
	for _, g := range f.guests {
		if g.record.Via == via {
			n++
		}
	}
	return n
}

// keepGuest writes a guest down, with a charter that it has shown, unless a newer one is known. The caller has f.records.
func (f *Federation) keepGuest(g *guest, signed identity.Signed) error {
	f.mu.Lock()
	if _, err := g.chain.Add(signed); err != nil {
		f.mu.Unlock()
		return denied(err)
	}
	set, drop := g.unkept()
	newest := g.newest()
	f.mu.Unlock()
	if !bytes.Equal(newest.Sig, signed.Sig) {
		return staleError(newest)
	}
	var c changes
	for _, s := range set {
		c.charter(g.grid, s)
	}
	for _, score := range drop {
		c.drop(key(keyCharter, g.grid[:], score[:]))
	}
	c.set(key(keyGuest, g.grid[:]), g.record)
	if err := c.apply(f.c.Books); err != nil {
		return fmt.Errorf("keep guest %s: %w", g.grid.Short(), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range set {
		g.kept[s.Score()] = struct{}{}
	}
	for _, score := range drop {
		delete(g.kept, score)
	}
	f.setGuest(g)
	return nil
}

// welcome is what a guest is answered.
func (f *Federation) welcome(what shownRecord, terms pact.Terms) credentialAnswer {
	f.mu.Lock()
	own := f.own.newest()
	f.mu.Unlock()
	return credentialAnswer{
		Charter: own, Name: f.self.Name, Addrs: tidyAddrs(f.c.Addrs()), Amount: what.Amount, Until: what.Until,
		LeaseDays: uint(terms.LeaseDays), AsideDays: uint(terms.AsideDays),
	}
}
