package barter

import "github.com/grange-grid/grange/pure/policy"

// rosterKept is for how many seconds it is remembered who the partners are, where they are many.
const rosterKept = 1

// roster is who may have something here on a pact of its own, as asks look at them.
type roster struct {
	at  int64 // Unix seconds
	all []entry
}

type entry struct {
	home    bool
	given   int64
	account *account
}

// rosterAt returns the partners. Where they are too many to be named in a decision they may be those of a second ago: to look
// a thousand up for each ask would take longer than to decide.
func (b *Barter) rosterAt(now int64) *roster {
	b.mu.Lock()
	r := b.roster
	b.mu.Unlock()
	if r != nil && len(r.all) > policy.OthersMax+1 && now >= r.at && now < r.at+rosterKept {
		return r
	}
	r = &roster{at: now}
	owners := b.owners()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attribute(owners...)
	for _, p := range owners {
		if p.Via == nil && len(b.away(p)) > 0 { // what a guest has is its grid's
			r.all = append(r.all, entry{home: b.isHome(p), given: p.Given, account: b.account(p.Grid)})
		}
	}
	b.roster = r
	return r
}

// others gathers what a policy may know of the partners beside one, in b.scratch. The caller holds b.mu.
func (b *Barter) others(p Partner, r *roster, now int64) []policy.Other {
	out, mine := b.scratch[:0], b.account(p.Grid)
	for i := range r.all {
		e := &r.all[i]
		if e.account == mine {
			continue
		}
		o := b.standing(e.account)
		o.Offered, o.Used, o.Asks = e.given, e.account.withGuests(), e.account.asked != 0 && now-e.account.asked < askedLately
		if e.home {
			o.Offered = b.offer
		}
		out = append(out, o)
	}
	b.scratch = out
	return out
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
}

// recount changes what a grant comes to. The caller holds b.mu.
func (b *Barter) recount(g *grant, amount, taken int64) {
	g.amount += amount
	g.taken += taken
	if !g.ended {
		g.of.promised += amount
		b.sums.promised += amount
		b.sums.unsent += amount - taken
	}
}

// asksNow notes that a household has asked for something. The caller holds b.mu.
func (a *account) asksNow(now int64) { a.asked = max(now, 1) }

// lastAsks tells the accounts when their households asked last.
func (b *Barter) lastAsks() {
	for grid, d := range b.decided.last {
		b.account(grid).asksNow(d.Time)
	}
}
