package barter

import (
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// A guest has no pact here. A voucher lets it in, on behalf of a grid that has one: what it is granted counts for that
// pact, and all guests of a grid, with the grid itself, have no more together than the pact gives. Or an account does, and
// what it has, at all storage servers together, is no more than the account's plan gives.

// objection says why nothing is leased to a guest any more, "" where nothing does. Nobody else's pact is such.
func (v *Via) objection(now int64) string {
	switch {
	case v == nil:
	case v.Account != nil:
		return v.Account.Objection(now)
	case now >= v.Until:
		return policy.ReasonLapsed
	}
	return ""
}

// taken returns the bytes that are used or granted.
func (a *account) taken() int64 { return a.used.Bytes + a.promised }

// attribute notes on whose behalf households are guests, or that they are none. The caller holds b.mu.
func (b *Barter) attribute(households ...Partner) {
	for _, p := range households {
		var via core.DID
		if p.Via != nil {
			via = p.Via.Grid
		}
		if a := b.accounts[p.Grid]; a != nil || p.Via != nil {
			b.guestOf(b.account(p.Grid), via)
		}
	}
}

// guestOf notes on behalf of which grid a household is a guest; the zero DID: of none. The caller holds b.mu.
func (b *Barter) guestOf(a *account, via core.DID) {
	if a.via == via {
		return
	}
	b.touch(a)
	if !a.via.IsZero() {
		before := b.account(a.via)
		before.guests = slices.DeleteFunc(before.guests, func(g *account) bool { return g == a })
	}
	if a.via = via; !via.IsZero() {
		now := b.account(via)
		now.guests = append(now.guests, a)
		b.touch(now)
	}
}

// factsVia adds to the facts about a guest those about the grid on whose behalf it is one: it is offered no more than its
// share, and than what the grid has left, or what is left of its account's plan. The caller holds b.mu, and grants before it gives that back.
func (b *Barter) factsVia(v *Via, f *policy.Facts) {
	if v == nil {
		return
	}
	if v.Account != nil {
		elsewhere, c := max(v.Account.Used-v.Account.Here, 0), *v.Account
		c.Here = f.Used
		c.Used = elsewhere + c.Here
		f.Offered, f.Account = max(c.Quota-elsewhere, 0), &c
		return
	}
	used := b.account(v.Grid).withGuests()
	f.Offered = min(v.Share, f.Used+max(v.Offered-used, 0))
	f.Via = &policy.Via{Grid: v.Grid, Name: v.Name, Offered: v.Offered, Used: used, Share: v.Share, Until: v.Until, Refs: v.Refs}
}

// Keeps tells whether anything of a household's lies here, or was granted.
func (b *Barter) Keeps(owner core.DID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endIdle(b.c.Clock.Now())
	a := b.accounts[owner]
	return a != nil && (a.used.Pieces > 0 || len(a.grants) > 0)
}
