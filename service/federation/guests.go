package federation

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/voucher"
)

// Limits of guests.
const (
	guestsMax = 1024
	// guestsOfOneMax is how many of them are on behalf of one grid, which says itself how many members it has.
	guestsOfOneMax = 256
	// shownMax is how many machines of one household are let in.
	shownMax = 8
	// shownBefore is how many of the credentials that a machine has shown are known by their names.
	shownBefore = 4
	// guestSizeMax bounds a guest's record, in bytes.
	guestSizeMax = 64 << 10
)

// Guest is a household without a pact, that a voucher has let in on behalf of a partner, or a token of an account.
type Guest struct {
	Grid core.DID
	Name string
	// Agents are those of its machines that have shown a voucher or a token, and that its newest charter lists.
	Agents []core.DID
	// Via is the grid whose pact it draws on; Account is the account, which is zero of who draws on a pact, while Via is zero of an account's.
	Via     Partner
	Account AccountName
	// Share is the most that it may have, in bytes, Until when the last of its credentials ends, in Unix seconds; 0 of both if none
	// counts any more. Refs name those that count, Chain are the issuers of the one with the greatest share.
	Share, Until int64
	Refs         []core.Score
	Chain        []core.DID
}

// Terms are those of what is kept for it.
func (g Guest) Terms() pact.Terms {
	if g.Account != (AccountName{}) {
		return AccountTerms()
	}
	return g.Via.Terms
}

// guestRecord is a guest in the books.
type guestRecord struct {
	V    uint     `json:"v"`
	Grid core.DID `json:"grid"`
	Name string   `json:"name"`
	draws
	Shown []shownRecord `json:"shown"`
}

// draws is on what a guest draws: the pact of a partner, or an account.
type draws struct {
	Via     core.DID    `json:"via,omitzero"`
	Account AccountName `json:"account,omitzero"`
}

func (d draws) byAccount() bool { return d.Account != AccountName{} }

func (d draws) String() string {
	if d.byAccount() {
		return "account " + d.Account.ID
	}
	return d.Via.Short()
}

// shownRecord is what one machine has shown: the chain without its invocation, or a token's score.
type shownRecord struct {
	Agent  core.DID   `json:"agent"`
	Chain  []byte     `json:"chain,omitempty"`
	Token  core.Score `json:"token,omitzero"`
	Amount int64      `json:"amount"`
	Until  int64      `json:"until"`
	// Before names what it has shown before, the newest first: an ask that was under way when it showed this may still name them.
	Before []core.Score `json:"before,omitempty"`
}

// guest is what is known of a guest. Its household is guarded by Federation.mu; another takes its place when something else changes.
type guest struct {
	household
	record guestRecord
	// shown are the chains of record.Shown, opened; of a token there is but its score.
	shown []shown
}

// shown is a chain that was verified, and what it allows.
type shown struct {
	right voucher.Right
	ids   []core.Score
}

func newGuest(r guestRecord) (*guest, error) {
	g := &guest{household: newHousehold(r.Grid), record: r}
	if r.byAccount() != r.Via.IsZero() {
		return nil, fmt.Errorf("guest %s: not of one pact or account: %w", r.Grid.Short(), core.ErrInvalid)
	}
	for _, s := range r.Shown {
		if r.byAccount() {
			g.shown = append(g.shown, shown{right: voucher.Right{ID: s.Token}})
			continue
		}
		c, err := voucher.Parse(s.Chain)
		if err != nil {
			return nil, fmt.Errorf("guest %s: %w", r.Grid.Short(), err)
		}
		right, err := voucher.Open(c)
		if err != nil {
			return nil, fmt.Errorf("guest %s: %w", r.Grid.Short(), err)
		}
		g.shown = append(g.shown, shown{right, c.IDs()})
	}
	return g, nil
}

// loadGuests reads the guests. Nothing else runs yet.
func (f *Federation) loadGuests() error {
	for e, err := range scan[guestRecord](f.c.Books, []byte(keyGuest), didSize, guestSizeMax) {
		if err != nil {
			return err
		}
		g, err := newGuest(e.value)
		if err != nil {
			return err
		}
		f.setGuest(g)
	}
	return nil
}

// setGuest puts a guest in the place of what was known of it. The caller holds f.mu.
func (f *Federation) setGuest(g *guest) {
	f.dropGuest(g.grid)
	f.guests[g.grid] = g
	for _, s := range g.record.Shown {
		f.guestAt[s.Agent] = g.grid
	}
}

// dropGuest forgets a guest, if it is one. The caller holds f.mu.
func (f *Federation) dropGuest(grid core.DID) {
	if g := f.guests[grid]; g != nil {
		for _, s := range g.record.Shown {
			delete(f.guestAt, s.Agent)
		}
	}
	delete(f.guests, grid)
}

// guestOf returns the guest whose machine an agent is, and whether its newest charter lists it. The caller holds f.mu.
func (f *Federation) guestOf(agent core.DID) (g *guest, lists bool) {
	if g = f.guests[f.guestAt[agent]]; g == nil {
		return nil, false
	}
	return g, g.chain.Lists(agent)
}

// publicGuest returns what others may know; false of a household that is a partner now. revoked are ids of the grid on whose
// behalf it is a guest. The caller holds f.mu.
func (f *Federation) publicGuest(g *guest, revoked map[core.Score]bool) (Guest, bool) {
	via := f.partners[g.record.Via]
	if via == nil && !g.record.byAccount() || f.partners[g.grid] != nil {
		return Guest{}, false
	}
	out := Guest{Grid: g.grid, Name: g.record.Name, Account: g.record.Account}
	if via != nil {
		out.Via = f.public(via)
	}
	now := f.now()
	for i, s := range g.shown {
		r := g.record.Shown[i]
		if !g.chain.Lists(r.Agent) {
			continue
		}
		out.Agents = append(out.Agents, r.Agent)
		bad := slices.ContainsFunc(s.ids, func(id core.Score) bool { return revoked[id] })
		if bad || now >= r.Until || via != nil && s.right.Via[0] != via.grid && !via.lists(s.right.Via[0]) {
			continue
		}
		out.Refs, out.Until = append(append(out.Refs, s.right.ID), r.Before...), max(out.Until, r.Until)
		if r.Amount > out.Share {
			out.Share, out.Chain = r.Amount, slices.Clone(s.right.Via)
		}
	}
	return out, true
}

// Guests returns all guests, by DID.
func (f *Federation) Guests() []Guest {
	var out []Guest
	for _, grid := range f.guestGrids() {
		if g, ok := f.Guest(grid); ok {
			out = append(out, g)
		}
	}
	return out
}

func (f *Federation) guestGrids() []core.DID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.SortedFunc(maps.Keys(f.guests), core.DID.Compare)
}

// Guest returns one guest.
func (f *Federation) Guest(grid core.DID) (Guest, bool) {
	f.mu.Lock()
	g := f.guests[grid]
	f.mu.Unlock()
	if g == nil {
		return Guest{}, false
	}
	revoked := f.revokedBy(g.record.Via) // whose it is may want f.mu
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.publicGuest(g, revoked)
}

// IsGuest tells whether a machine is one of a guest's.
func (f *Federation) IsGuest(agent core.DID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, lists := f.guestOf(agent)
	return lists
}

// forgetGuests forgets guests whose credentials have ended, and of whom nothing is kept.
func (f *Federation) forgetGuests(ctx context.Context) error {
	if err := f.records.take(ctx); err != nil {
		return err
	}
	defer f.records.give()
	now := f.now()
	var lapsed []core.DID
	f.mu.Lock()
	for grid, g := range f.guests {
		if !slices.ContainsFunc(g.record.Shown, func(s shownRecord) bool { return now < s.Until+voucher.ClockSlack }) {
			lapsed = append(lapsed, grid)
		}
	}
	f.mu.Unlock()
	lapsed = slices.DeleteFunc(lapsed, f.c.Keeps)
	for _, grid := range lapsed {
		if err := f.forgetState(ctx, grid); err != nil {
			return err
		}
	}
	var c changes
	f.mu.Lock()
	for _, grid := range lapsed {
		c.drop(key(keyGuest, grid[:]))
		if f.partners[grid] != nil { // its charters are the partner's
			continue
		}
		for score := range f.guests[grid].kept {
			c.drop(key(keyCharter, grid[:], score[:]))
		}
	}
	f.mu.Unlock()
	if err := c.apply(f.c.Books); err != nil {
		return fmt.Errorf("forget guests: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, grid := range lapsed {
		f.dropGuest(grid)
	}
	return nil
}

// forgetState drops the heads and pages of a guest, unless it is a partner by now.
func (f *Federation) forgetState(ctx context.Context, grid core.DID) error {
	if _, partner := f.Partner(grid); partner {
		return nil
	}
	s := f.shelfOf(grid)
	if err := s.turn.take(ctx); err != nil {
		return err
	}
	defer s.turn.give()
	var c changes
	for e, err := range scan[heldRecord](f.c.Books, key(keyHeld, grid[:]), didSize, headSizeMax) {
		if err != nil {
			return err
		}
		c.drop(e.key)
	}
	if err := c.apply(f.c.Books); err != nil {
		return fmt.Errorf("forget the heads of guest %s: %w", grid.Short(), err)
	}
	return f.shed(ctx, s, grid, math.MaxInt, func(pageRecord) bool { return true })
}
