package federation

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/roll"
	"github.com/grange-grid/grange/pure/voucher"
)

// What a member of a club does: it asks for the roll and its vouchers each day, keeps them, and shows them at the homes
// that they open. While the club is out of reach, all of that goes on.

const (
	// clubEvery is how often a club is asked, in seconds, if it says nothing new before.
	clubEvery = daySeconds
	// clubLimit bounds a club's answer, and clubSizeMax the record of one, in bytes.
	clubLimit   = 4 << 20
	clubSizeMax = clubLimit + 2*rollSizeMax
	// clubAgentsMax is how many machines of one home are taken in.
	clubAgentsMax = 16
)

// clubRecord is what a club gave us last.
type clubRecord struct {
	V    uint            `json:"v"`
	Roll identity.Signed `json:"roll"`
	// Rival is another roll with the number of one that stood: evidence that the club said two things.
	Rival *identity.Signed `json:"rival,omitempty"`
	Homes []clubHome       `json:"homes"`
	// Asked is when that was, in Unix seconds.
	Asked int64 `json:"asked"`
}

// club is what is known of a club among our partners; but for heard and had it is not changed.
type club struct {
	roll    roll.Roll // its N is 0 before there is any
	record  clubRecord
	revoked map[core.Score]bool
	homes   []keptHome
	// heard is what the club says of what it has for us, had what it said when that was fetched. Guarded by Federation.mu.
	heard, had uint64
}

// keptHome is a home with its voucher, opened.
type keptHome struct {
	clubHome
	chain voucher.Chain
	right voucher.Right
}

// Club is a club among our partners.
type Club struct {
	Grid core.DID
	// Roll is the one that stands, Asked when it was fetched last, in Unix seconds.
	Roll  roll.Roll
	Asked int64
	// Homes are those for which there is a voucher, and how much it gives.
	Homes []ClubHome
	// Twofaced says that the club has signed two rolls of one number.
	Twofaced bool
}

// ClubHome is a home that keeps something for members of a club.
type ClubHome struct {
	Grid   core.DID
	Name   string
	Amount int64
	Until  int64
}

func newClub(r clubRecord, agent core.DID) (*club, error) {
	c := &club{record: r, revoked: map[core.Score]bool{}}
	var err error
	if c.roll, err = roll.Open(r.Roll); err != nil {
		return nil, err
	}
	for _, x := range c.roll.Revoked {
		c.revoked[x.ID] = true
	}
	for _, h := range r.Homes {
		k, err := openHome(h, agent)
		if err != nil {
			return nil, err
		}
		c.homes = append(c.homes, k)
	}
	return c, nil
}

// openHome checks what a club says of a home.
func openHome(h clubHome, agent core.DID) (keptHome, error) {
	k := keptHome{clubHome: h}
	err := CheckName(h.Name)
	if err == nil {
		k.chain, err = voucher.Parse(h.Chain)
	}
	if err == nil {
		k.right, err = voucher.Open(k.chain)
	}
	if err != nil {
		return k, err
	}
	if len(k.chain.Invocation) > 0 || k.right.Agent != agent || h.Grid.IsZero() || len(h.Agents) > clubAgentsMax {
		return k, fmt.Errorf("a voucher for %s: %w", k.right.Agent.Short(), core.ErrInvalid)
	}
	return k, nil
}

// loadClubs reads the clubs. Nothing else runs yet.
func (f *Federation) loadClubs() error {
	for e, err := range scan[clubRecord](f.c.Books, []byte(keyClub), didSize, clubSizeMax) {
		if err != nil {
			return err
		}
		c, err := newClub(e.value, f.self.Agent)
		if err != nil {
			return fmt.Errorf("record %.16q: %w", e.key, err)
		}
		f.clubs[core.DID(e.rest)] = c
	}
	return nil
}

// hearClub takes in what a partner says of its club.
func (f *Federation) hearClub(grid core.DID, serial uint64) {
	if serial == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.partners[grid] == nil {
		return
	}
	c := f.clubs[grid]
	if c == nil {
		c = &club{}
		f.clubs[grid] = c
	}
	if c.heard = serial; c.had != serial {
		wake(f.visits)
	}
}

// revokedBy returns the ids of vouchers' links that a club among our partners has revoked. It is not changed.
func (f *Federation) revokedBy(grid core.DID) map[core.Score]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if c := f.clubs[grid]; c != nil {
		return c.revoked
	}
	return nil
}

// Clubs returns the clubs among our partners that have shown their roll, by DID.
func (f *Federation) Clubs() []Club {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Club
	for grid, c := range f.clubs {
		if c.roll.N == 0 {
			continue
		}
		one := Club{Grid: grid, Roll: c.roll, Asked: c.record.Asked, Twofaced: c.record.Rival != nil}
		for _, h := range c.homes {
			one.Homes = append(one.Homes, ClubHome{h.Grid, h.Name, h.right.Amount, h.right.Until})
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Club) int { return a.Grid.Compare(b.Grid) })
	return out
}

// keepClubs asks clubs for what they have for us, and uses it.
func (f *Federation) keepClubs(ctx context.Context) {
	for ctx.Err() == nil {
		for _, grid := range f.dueClubs() {
			if err := f.VisitClub(ctx, grid); err != nil && ctx.Err() == nil {
				f.c.Log.Info("ask a club for its roll", "grid", grid.Short(), "err", err)
			}
		}
		for _, grid := range f.duePasses() {
			if err := f.VisitPass(ctx, grid); err != nil && ctx.Err() == nil {
				f.c.Log.Info("ask for newer vouchers", "grid", grid.Short(), "err", err)
			}
		}
		f.UseVouchers(ctx)
		f.pause(ctx, f.visits, sweepEvery)
	}
}

// dueClubs returns whom to ask.
func (f *Federation) dueClubs() []core.DID {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []core.DID
	for grid, c := range f.clubs {
		if f.partners[grid] != nil && (c.heard != 0 && c.had != c.heard || now-c.record.Asked >= clubEvery || now < c.record.Asked) {
			out = append(out, grid)
		}
	}
	slices.SortFunc(out, core.DID.Compare)
	return out
}

// VisitClub asks a partner that is a club for its roll, and for vouchers for what its members offer.
// Errors: core.ErrNotExist where it is no partner or no club, core.ErrUnreachable, core.ErrInvalid of what does not verify.
func (f *Federation) VisitClub(ctx context.Context, grid core.DID) error {
	err := fmt.Errorf("%s is no partner: %w", grid.Short(), core.ErrNotExist)
	for _, agent := range f.machines(grid) {
		f.mu.Lock()
		var heard uint64
		if c := f.clubs[grid]; c != nil {
			heard = c.heard
		}
		f.mu.Unlock()
		var out clubAnswer
		if out, err = f.callClub(ctx, agent); err == nil {
			return f.takeClub(ctx, grid, out, heard)
		}
	}
	return f.Heed(ctx, err)
}

func (f *Federation) callClub(ctx context.Context, to core.DID) (out clubAnswer, err error) {
	ctx, cancel := within(ctx, f.c.Clock, longTime)
	defer cancel()
	err = f.c.Wire.CallLimit(ctx, to, http.MethodGet, "/club", nil, &out, clubLimit)
	return out, cause(ctx, err)
}

// takeClub takes in what a club has answered; heard is what it had said before that it has.
func (f *Federation) takeClub(ctx context.Context, grid core.DID, in clubAnswer, heard uint64) error {
	if err := f.records.take(ctx); err != nil {
		return err
	}
	defer f.records.give()
	f.mu.Lock()
	old := f.clubs[grid]
	f.mu.Unlock()
	next := clubRecord{V: codec.Version, Roll: in.Roll, Homes: []clubHome{}, Asked: f.now()}
	if err := f.judgeRoll(grid, old, &next); err != nil {
		return fmt.Errorf("the roll of %s: %w", grid.Short(), err)
	}
	for _, h := range in.Homes[:min(len(in.Homes), homesMax)] {
		for i := range h.Agents {
			h.Agents[i].Addrs = tidyAddrs(h.Agents[i].Addrs)
		}
		if _, err := openHome(h, f.self.Agent); err != nil {
			f.c.Log.Warn("a club gives what is no voucher", "grid", grid.Short(), "err", err)
			continue
		}
		next.Homes = append(next.Homes, h)
	}
	c, err := newClub(next, f.self.Agent)
	if err != nil {
		return err
	}
	var changes changes
	changes.set(key(keyClub, grid[:]), next)
	if err := changes.apply(f.c.Books); err != nil {
		return fmt.Errorf("keep the roll of %s: %w", grid.Short(), err)
	}
	f.mu.Lock()
	c.heard, c.had = heard, heard
	if now := f.clubs[grid]; now != nil {
		c.heard = now.heard
	}
	f.clubs[grid] = c
	own := f.roll != nil
	f.mu.Unlock()
	if old != nil && slices.ContainsFunc(old.homes, func(h keptHome) bool {
		return !slices.ContainsFunc(c.homes, func(n keptHome) bool { return n.Grid == h.Grid })
	}) {
		f.c.Told(grid, ClubLess)
	}
	if own {
		wake(f.enrol)
		if old == nil || !slices.EqualFunc(old.record.Homes, next.Homes, func(a, b clubHome) bool { return slices.Equal(a.Chain, b.Chain) }) {
			f.bump()
		}
	}
	return nil
}

// judgeRoll verifies the roll of next and holds it against the one before, which stays where it stands over it. The
// caller has f.records.
func (f *Federation) judgeRoll(grid core.DID, old *club, next *clubRecord) error {
	r, err := roll.Open(next.Roll)
	switch {
	case err != nil:
		return err
	case r.Grid != grid:
		return fmt.Errorf("it is that of %s: %w", r.Grid.Short(), core.ErrInvalid)
	case !f.listsPartner(grid, next.Roll.By):
		return fmt.Errorf("signed by %s, which is no machine of the club's: %w", next.Roll.By.Short(), core.ErrForbidden)
	}
	if old == nil || old.roll.N == 0 {
		return nil
	}
	next.Rival = old.record.Rival
	was, is := old.record.Roll.Score(), next.Roll.Score()
	switch {
	case was == is:
	case r.N < old.roll.N:
		return fmt.Errorf("its number is %d, and that of one before %d: %w", r.N, old.roll.N, core.ErrInvalid)
	case r.N == old.roll.N:
		rival := old.record.Roll
		if !r.Stands(is, old.roll, was) {
			rival, next.Roll = next.Roll, old.record.Roll
		}
		known := old.record.Rival != nil && old.record.Rival.Score() == rival.Score()
		if next.Rival = &rival; known {
			return nil
		}
		f.c.Log.Warn("a club has signed two rolls of one number", "grid", grid, "n", r.N)
		f.c.Told(grid, ClubTwofaced)
	}
	return nil
}

// left tells whether who gave us the voucher of an errand gives us none for that household any more: it is a club that we leave, or
// that the household has left, or nothing is left for us there. The caller holds f.mu.
func (f *Federation) left(e *errand) bool {
	if e.byAccount() {
		return false
	}
	now := f.now()
	p, _ := f.belongs(e.right.Via[len(e.right.Via)-1])
	if p != nil && p.leaving(now) {
		return true
	}
	if len(e.chain.Links) > 1 && now >= e.right.Until { // the club between may be out of reach for a while: errandPatience
		return false
	}
	gives := func(homes []keptHome) bool {
		return slices.ContainsFunc(homes, func(h keptHome) bool { return h.Grid == e.record.Grid })
	}
	if p != nil {
		c := f.clubs[p.grid]
		return c != nil && c.roll.N != 0 && !gives(c.homes)
	}
	pass := f.passes[e.right.Subject]
	return pass != nil && pass.record.From != nil && !gives(pass.homes)
}
