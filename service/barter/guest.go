package barter

import (
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// A guest has no pact here. A voucher lets it in, on behalf of a grid that has one: what it is granted counts for that
// pact, and all guests of a grid, with the grid itself, have no more together than the pact gives.

// over tells whether a guest's voucher has ended. Nobody else's ever has.
func (v *Via) over(now int64) bool { return v != nil && now >= v.Until }

// taken returns the bytes that are used or granted.
func (a *account) taken() int64 { return a.used.Bytes + a.granted() }

// attribute notes on whose behalf households are guests, or that they are none. The caller holds b.mu.
func (b *Barter) attribute(households ...Partner) {
	for _, p := range households {
		var via core.DID
		if p.Via != nil {
			via = p.Via.Grid
		}
		if a := b.accounts[p.Grid]; a != nil || p.Via != nil {
			b.account(p.Grid).via = via
		}
	}
}

// guestsOf returns the bytes that the guests of a grid have, or were granted. The caller holds b.mu.
func (b *Barter) guestsOf(grid core.DID) (sum int64) {
	for _, a := range b.accounts {
		if a.via == grid {
			sum += a.taken()
		}
	}
	return sum
}

// factsVia adds to the facts about a guest those about the grid on whose behalf it is one: it is offered no more than its
// share, and than what the grid has left. The caller holds b.mu, and grants before it gives that back.
func (b *Barter) factsVia(v *Via, f *policy.Facts) {
	if v == nil {
		return
	}
	used := b.account(v.Grid).taken() + b.guestsOf(v.Grid)
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
