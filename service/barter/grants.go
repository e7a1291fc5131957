package barter

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/seal"
)

// Limits of grants. A grant lives in memory alone: after a restart the owner
// asks again, and sends again what was not leased.
const (
	grantIDSize    = 16
	grantIdle      = time.Hour        // a grant ends when unused for so long
	grantsMax      = 16               // open grants a household
	grantLeft      = 30 * time.Second // one unused for so long makes room for another: its owner may have been killed
	grantPiecesMax = 4096             // pieces under one grant that are not leased yet
	provesMax      = 2                // requests for proof that are answered at once, a household
)

// account is what one household has here.
type account struct {
	// commit keeps the leases given to the household in one order, because each writes
	// the running total of what is used. It is held across the write on purpose;
	// Barter.mu may be taken under it, not the other way.
	commit sync.Mutex
	// proving has room for provesMax.
	proving chan struct{}

	// Guarded by Barter.mu; used is changed only by who holds commit besides.
	used   usedRecord
	via    core.DID   // the grid on whose behalf the household is a guest; zero of all others
	guests []*account // those who are guests on its behalf
	grants map[[grantIDSize]byte]*grant
	// promised is the bytes promised by grants and not yet leased.
	promised int64
	// asked is when the household asked for something last; 0: it never did.
	asked int64
	// gives is what our pieces there come to, lost what it was found to have lost, since what this machine had run when
	// it became a partner; 0: it is none.
	gives int64
	lost  []lossDay
	twice map[core.Resource][]lossDay // what its receipts contradict each other by
	since int64
	// flows are what either side has had of the other of all but storage.
	flows map[flowName]*flowRecord
	seat  seat
}

func newAccount(used usedRecord) *account {
	return &account{used: used, grants: map[[grantIDSize]byte]*grant{}, proving: make(chan struct{}, provesMax)}
}

// grant is room promised to an owner; guarded by Barter.mu.
type grant struct {
	of      *account
	id      [grantIDSize]byte
	haste   haste // of what comes under it
	amount  int64 // bytes promised and not yet leased
	taken   int64 // of those, what the slots come to
	expires int64
	ended   bool
	leases  int                  // under way
	slots   map[core.Score]*slot // pieces that are coming or stored, and not leased
}

// slot is one piece under a grant; guarded by Barter.mu.
type slot struct {
	size   int64
	puts   int  // under way
	stored bool // at least one has ended well
}

// account returns the owner's account, making it if need be. The caller holds b.mu.
func (b *Barter) account(owner core.DID) *account {
	a := b.accounts[owner]
	if a == nil {
		a = newAccount(usedRecord{V: 1})
		b.accounts[owner] = a
	}
	return a
}

// ask answers an ask by capacity, then by policy, and opens a grant. Each
// decision is written down. A denial is a *core.Denial.
func (b *Barter) ask(owner, agent core.DID, in askRequest) (grantAnswer, error) {
	p, ok := b.owner(owner)
	if !ok {
		return grantAnswer{}, fmt.Errorf("ask of %s: %w", owner, core.ErrForbidden)
	}
	overdue, err := b.owesReceipt(owner, agent)
	if err != nil {
		return grantAnswer{}, err
	}
	if in.Resource != core.Storage {
		return b.askFlow(p, agent, in, overdue)
	}
	return b.askAs(p, agent, in.Ask, overdue)
}

// askAs answers an ask for storage of a partner's machine; overdue says that it owes a receipt.
func (b *Barter) askAs(p Partner, agent core.DID, ask core.Ask, overdue bool) (grantAnswer, error) {
	owner := p.Grid
	b.mu.Lock()
	landed := b.landed
	b.mu.Unlock()
	free, total, err := b.c.Free()
	if err != nil {
		return grantAnswer{}, fmt.Errorf("ask the disk for its free room: %w", err)
	}
	ask = clipped(ask)
	now := b.c.Clock.Now()
	b.enroll(now.Unix())

	b.mu.Lock()
	b.endIdle(now)
	b.attribute(p)
	facts := b.facts(p, free, total, landed)
	facts.Others, facts.Overdue = b.others(p, now.Unix()), overdue
	facts.Busy = b.busy(owner, ask)
	rules, id := b.force.rules, b.force.id
	facts = rules.Weigh(ask, facts)
	facts.Others = slices.Clone(facts.Others)
	d := rules.Decide(ask, facts)
	var out grantAnswer
	a := b.account(owner)
	b.asksNow(a, now.Unix())
	if d.Grant && len(a.grants) >= grantsMax {
		b.endOldest(a, now)
	}
	switch {
	case !d.Grant:
		err = d.Denial()
	case len(a.grants) >= grantsMax:
		err = fmt.Errorf("%d grants are open: %w", len(a.grants), core.ErrBusy)
	default:
		g := &grant{of: a, haste: hasteOf(ask.Quality), slots: map[core.Score]*slot{}}
		b.use(g, now)
		seal.Random(g.id[:])
		a.grants[g.id] = g
		b.recount(g, ask.Amount, 0)
		out = grantAnswer{Grant: g.id[:], Amount: g.amount, Expires: g.expires}
	}
	b.mu.Unlock()
	b.c.Log.Info("ask", "owner", p.Name, "amount", ask.Amount, "why", fmt.Sprintf("%.40s", ask.Why.Kind), "policy", d.Policy,
		"granted", d.Grant, "reason", d.Reason, "room", facts.Room, "offered", facts.Offered, "used", facts.Used)
	if !errors.Is(err, core.ErrBusy) {
		b.logDecision(Decision{Time: now.Unix(), Grid: owner, Agent: agent, Ask: ask, Decision: d, Rules: id, Facts: facts})
	}
	return out, err
}

// use puts the end of the grant off. The caller holds b.mu.
func (b *Barter) use(g *grant, now time.Time) {
	g.expires = now.Add(grantIdle).Unix()
	b.idle.next = min(b.idle.next, g.expires)
}

// endIdle ends grants that were not used for an hour. The caller holds b.mu.
func (b *Barter) endIdle(now time.Time) {
	if now.Unix() < b.idle.next && now.Unix() >= b.idle.seen {
		b.idle.seen = now.Unix()
		return // none can have ended since
	}
	last := now.Add(grantIdle).Unix()
	b.idle = idle{seen: now.Unix(), next: math.MaxInt64}
	for _, a := range b.accounts {
		for _, g := range a.grants {
			g.expires = min(g.expires, last) // the clock may have been set back
			if g.expires <= now.Unix() {
				b.end(a, g)
			} else {
				b.idle.next = min(b.idle.next, g.expires)
			}
		}
	}
}

// idle is when grants were last looked at, and the first date on which one may end. Guarded by Barter.mu.
type idle struct{ seen, next int64 }

// endOldest ends the grant that was not used for longest, unless that is too short a time. The caller holds b.mu.
func (b *Barter) endOldest(a *account, now time.Time) {
	var oldest *grant
	for _, g := range a.grants {
		if g.leases == 0 && !g.coming() && (oldest == nil || cmp.Or(cmp.Compare(g.expires, oldest.expires), bytes.Compare(g.id[:], oldest.id[:])) < 0) {
			oldest = g
		}
	}
	if oldest != nil && oldest.expires <= now.Add(grantIdle-grantLeft).Unix() {
		b.end(a, oldest)
	}
}

// coming tells whether pieces are on their way under the grant.
func (g *grant) coming() bool {
	for _, s := range g.slots {
		if s.puts > 0 {
			return true
		}
	}
	return false
}

// closeGrants ends grants that their owner uses no more.
func (b *Barter) closeGrants(owner core.DID, ids [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.account(owner)
	for _, id := range ids {
		if len(id) != grantIDSize {
			continue
		}
		if g := a.grants[[grantIDSize]byte(id)]; g != nil {
			b.end(a, g)
		}
	}
}

// end gives a grant's room back, at the latest when the leases under way have been
// given. Pieces that are still coming are dropped when they have come. The caller holds b.mu.
func (b *Barter) end(a *account, g *grant) {
	if g.leases > 0 { // what is being leased must not be promised to others as well
		g.expires, b.idle.next = 0, 0
		return
	}
	b.sums.promised -= g.amount
	b.sums.unsent -= g.amount - g.taken
	a.promised -= g.amount
	g.ended = true
	b.touch(a)
	delete(a.grants, g.id)
	for piece, s := range g.slots {
		if s.puts == 0 {
			b.vacate(g, piece)
			b.orphans[piece] = struct{}{}
		}
	}
}

// vacate takes a piece out of its grant. The caller holds b.mu.
func (b *Barter) vacate(g *grant, piece core.Score) {
	b.recount(g, 0, -g.slots[piece].size)
	delete(g.slots, piece)
	b.letGo(piece)
}

// letGo undoes one inHand. The caller holds b.mu.
func (b *Barter) letGo(piece core.Score) {
	if b.inHand[piece]--; b.inHand[piece] == 0 {
		delete(b.inHand, piece)
	}
}

// arrival is one put of a piece under way.
type arrival struct {
	grant *grant
	slot  *slot // nil: the owner has the piece here already, so that it needs no room
	piece core.Score
	size  int64
}

// reserve takes room of a grant for a piece that is about to be put. known says that
// the owner has it under a lease. arrive must be called once afterwards.
func (b *Barter) reserve(owner core.DID, id [grantIDSize]byte, piece core.Score, size int64, known bool) (arrival, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.c.Clock.Now()
	a := b.account(owner)
	g := a.grants[id]
	if g != nil && g.expires <= now.Unix() {
		b.end(a, g)
		g = nil
	}
	if g == nil {
		return arrival{}, fmt.Errorf("grant %x: %w", id, core.ErrNotExist)
	}
	if _, ok := b.dropping[piece]; ok { // it would be deleted behind the put
		return arrival{}, fmt.Errorf("piece %s is just being dropped: %w", piece.Short(), core.ErrBusy)
	}
	s := g.slots[piece]
	if s == nil && !known {
		switch left := g.amount - g.taken; {
		case size > left:
			return arrival{}, &core.Denial{
				Reason:  fmt.Sprintf("%d bytes left of the grant; %d needed", left, size),
				Counter: &core.Counter{Amount: left},
			}
		case len(g.slots) >= grantPiecesMax:
			return arrival{}, &core.Denial{Reason: fmt.Sprintf("%d pieces under the grant wait for a lease", len(g.slots))}
		}
		s = &slot{size: size}
		g.slots[piece] = s
		b.recount(g, 0, size)
		b.inHand[piece]++
	}
	if s != nil {
		s.puts++
	}
	b.use(g, now)
	b.inHand[piece]++
	b.coming += size
	return arrival{grant: g, slot: s, piece: piece, size: size}, nil
}

// arrive says how a put has ended. Errors: core.ErrNotExist if the grant has ended
// meanwhile, so that the piece is not kept.
func (b *Barter) arrive(in arrival, stored bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.coming -= in.size
	b.landed += in.size
	b.letGo(in.piece)
	g, s := in.grant, in.slot
	if s == nil {
		return nil
	}
	s.puts--
	s.stored = s.stored || stored
	if g.slots[in.piece] != s { // leased meanwhile
		return nil
	}
	if s.puts == 0 && (g.ended || !s.stored) {
		b.vacate(g, in.piece)
		b.orphans[in.piece] = struct{}{} // also if the put failed: the bytes may have been here before
	}
	if g.ended && stored {
		return fmt.Errorf("grant %x has ended meanwhile: %w", g.id, core.ErrNotExist)
	}
	return nil
}
