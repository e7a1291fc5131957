package barter

import (
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// rosterKept is for how many seconds it is remembered who the partners are, and what they give, where they are many.
const rosterKept = 1

// roster is who may have something here on a pact of its own, as asks look at them. Guarded by Barter.mu.
type roster struct {
	at     int64 // Unix seconds
	all    []entry
	others []policy.Other // what policies see of each
	stale  []*account     // those of whom that has changed
}

type entry struct {
	home    bool
	given   int64
	flows   map[core.Resource]int64 // given too
	account *account
}

// seat is where an account stands in a roster.
type seat struct {
	in    *roster
	index int
	stale bool
}

// enroll sees to it that there is a roster. Where the partners are too many to be named in a decision, it may be of a second
// ago but for what is used: to look a thousand up for each ask would take longer than to decide.
func (b *Barter) enroll(now int64) {
	b.mu.Lock()
	r := b.roster
	b.mu.Unlock()
	if r != nil && len(r.all) > policy.OthersMax+1 && now >= r.at && now < r.at+rosterKept {
		return
	}
	r = &roster{at: now}
	owners := b.owners()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attribute(owners...)
	for _, p := range owners {
		if p.Via == nil && len(b.away(p)) > 0 { // what a guest has is its grid's
			a := b.account(p.Grid)
			a.seat = seat{in: r, index: len(r.all)}
			r.all = append(r.all, entry{home: b.isHome(p), given: p.Given, flows: p.GivenOf, account: a})
			r.others = append(r.others, b.other(r.all[a.seat.index], now))
		}
	}
	b.roster = r
}

// other is what policies see of a partner. The caller holds b.mu.
func (b *Barter) other(e entry, now int64) policy.Other {
	o := b.standing(e.account)
	o.Offered, o.Used, o.Asks = e.given, e.account.withGuests(), e.account.asked != 0 && now-e.account.asked < askedLately
	if e.home {
		o.Offered = b.offer
	}
	return o
}

// touch notes that what a household uses has changed, or whether it asks. The caller holds b.mu.
func (b *Barter) touch(a *account) {
	if p := &a.seat; p.in != nil && p.in == b.roster && !p.stale {
		p.stale = true
		p.in.stale = append(p.in.stale, a)
	}
	if !a.via.IsZero() {
		b.touch(b.account(a.via))
	}
}

// others returns what a policy may know of the partners beside one, until b.mu is let go. The caller holds it, after enroll.
func (b *Barter) others(p Partner, now int64) []policy.Other {
	r, mine := b.roster, b.account(p.Grid).seat
	for _, a := range r.stale {
		r.others[a.seat.index], a.seat.stale = b.other(r.all[a.seat.index], now), false
	}
	r.stale = r.stale[:0]
	if mine.in != r {
		return r.others
	}
	if len(r.all) <= policy.OthersMax+1 {
		return slices.Delete(slices.Clone(r.others), mine.index, mine.index+1)
	}
	last := len(r.all) - 1 // the order of so many does not matter
	r.all[mine.index], r.all[last] = r.all[last], r.all[mine.index]
	r.others[mine.index], r.others[last] = r.others[last], r.others[mine.index]
	r.all[mine.index].account.seat.index = mine.index
	r.all[last].account.seat.index = last
	return r.others[:last]
}

// withGuests returns the bytes that a household and its guests have, or were granted. The caller holds b.mu.
func (a *account) withGuests() int64 {
	sum := a.taken()
	for _, g := range a.guests {
		sum += g.taken()
	}
	return sum
}

// sums are over all households. Guarded by Barter.mu.
type sums struct {
	used     int64 // bytes under leases
	promised int64 // by grants, and not leased yet
	unsent   int64 // of those, for which no piece has come
}

// setUsed changes what a household uses. The caller holds b.mu.
func (b *Barter) setUsed(a *account, used usedRecord) {
	b.sums.used += used.Bytes - a.used.Bytes
	a.used = used
	b.touch(a)
}

// recount changes what a grant comes to. The caller holds b.mu.
func (b *Barter) recount(g *grant, amount, taken int64) {
	g.amount += amount
	g.taken += taken
	if !g.ended {
		g.of.promised += amount
		b.sums.promised += amount
		b.sums.unsent += amount - taken
		b.touch(g.of)
	}
}

// asksNow notes that a household has asked for something. The caller holds b.mu.
func (b *Barter) asksNow(a *account, now int64) {
	a.asked = max(now, 1)
	b.touch(a)
}

// lastAsks tells the accounts when their households asked last.
func (b *Barter) lastAsks() {
	for grid, d := range b.decided.last {
		b.asksNow(b.account(grid), d.Time)
	}
}
