package federation

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/voucher"
)

// A pass brings vouchers to a machine whose household has no pact with who gives them: a person of a club, or somebody to whom
// a member gives some of what it has.

const (
	// passesMax is from how many grids we keep a pass.
	passesMax = 64
	// passSizeMax bounds the record of one, in bytes.
	passSizeMax = clubLimit
)

// passRecord is what we have of one grid.
type passRecord struct {
	V    uint     `json:"v"`
	Grid core.DID `json:"grid"`
	Name string   `json:"name"`
	// From is who gives newer ones, nil for nobody; Asked is when it was asked last.
	From  *AgentAddrs `json:"from,omitempty"`
	Asked int64       `json:"asked"`
	Homes []clubHome  `json:"homes"`
}

// pass is what is known of one; it is not changed.
type pass struct {
	record passRecord
	homes  []keptHome
}

func (f *Federation) newPass(r passRecord) (*pass, error) {
	p := &pass{record: r}
	for _, h := range r.Homes {
		k, err := openHome(h, f.self.Agent)
		if err == nil && k.right.Subject != r.Grid {
			err = fmt.Errorf("a voucher of %s: %w", k.right.Subject.Short(), core.ErrInvalid)
		}
		if err != nil {
			return nil, err
		}
		p.homes = append(p.homes, k)
	}
	return p, nil
}

// loadPasses reads the passes. Nothing else runs yet.
func (f *Federation) loadPasses() error {
	for e, err := range scan[passRecord](f.c.Books, []byte(keyPass), didSize, passSizeMax) {
		if err != nil {
			return err
		}
		p, err := f.newPass(e.value)
		if err != nil {
			return fmt.Errorf("record %.16q: %w", e.key, err)
		}
		if from := e.value.From; from != nil {
			f.c.Known.Learn(from.DID, from.Addrs)
		}
		f.passes[p.record.Grid] = p
	}
	return nil
}

// MakePass returns a pass for somebody's machine. Of our own grid, if that is a club, it has what the club has for a person, with us as who gives
// more; amount and until say nothing then. Of a club among our partners it has what that has given us, up to amount at each home (0: all of
// it) and until a date in Unix seconds, at the latest until ours ends. Errors: core.ErrNotExist where it is no club, has nothing for us, or
// the machine is no person of the club's; core.ErrInvalid.
func (f *Federation) MakePass(ctx context.Context, grid, to core.DID, amount, until int64) (voucher.Pass, error) {
	out := voucher.Pass{V: codec.Version, Grid: grid, Name: f.self.Name, Homes: []voucher.Home{}}
	if grid == f.self.Grid {
		if r, ok := f.Roll(); !ok || !isPerson(r, to) {
			return out, fmt.Errorf("%s is no person whom the club has admitted: %w", to.Short(), core.ErrNotExist)
		}
		answer, err := f.vouchersFor(ctx, to, to)
		if err != nil {
			return out, err
		}
		from := placeOf(AgentAddrs{DID: f.self.Agent, Addrs: tidyAddrs(f.c.Addrs())})
		out.From = &from
		return out, addHomes(&out, answer.Homes)
	}
	f.mu.Lock()
	p, c := f.partners[grid], f.clubs[grid]
	if p != nil {
		out.Name = p.record.Name
	}
	f.mu.Unlock()
	if p == nil || c == nil {
		return out, fmt.Errorf("%s is no club among our partners: %w", grid.Short(), core.ErrNotExist)
	}
	homes, now := []clubHome{}, f.now()
	for _, h := range c.homes {
		if h.right.Until <= now || len(h.chain.Links) >= voucher.LinksMax || slices.Contains(h.right.Via, to) {
			continue
		}
		t := voucher.Terms{Audience: to, Resource: core.Storage, Amount: cmp.Or(min(amount, h.right.Amount), h.right.Amount), From: now, Until: min(until, h.right.Until)}
		seal.Random(t.Nonce[:])
		chain, err := h.chain.Narrow(f.c.Key, t)
		if err != nil {
			return out, fmt.Errorf("a voucher for %s at %s: %w", to.Short(), h.Name, err)
		}
		one := h.clubHome
		if one.Chain, err = chain.Marshal(); err != nil {
			return out, err
		}
		homes = append(homes, one)
	}
	if len(homes) == 0 {
		return out, fmt.Errorf("%s has nothing for this machine that can be given on: %w", out.Name, core.ErrNotExist)
	}
	return out, addHomes(&out, homes)
}

// addHomes puts homes into a pass, as many as have room.
func addHomes(p *voucher.Pass, homes []clubHome) error {
	homes = slices.SortedFunc(slices.Values(homes), func(a, b clubHome) int { return a.Grid.Compare(b.Grid) })
	for _, h := range homes[:min(len(homes), voucher.PassHomesMax)] {
		home := voucher.Home{Grid: h.Grid, Name: h.Name, Chain: h.Chain}
		for _, a := range h.Agents[:min(len(h.Agents), voucher.PlacesMax)] {
			home.Agents = append(home.Agents, placeOf(a))
		}
		if len(home.Agents) > 0 {
			p.Homes = append(p.Homes, home)
		}
	}
	_, err := p.Open()
	return err
}

func placeOf(a AgentAddrs) voucher.Place {
	return voucher.Place{DID: a.DID, Addrs: append([]string{}, a.Addrs[:min(len(a.Addrs), voucher.AddrsMax)]...)}
}

// TakePass keeps what a pass has for this machine; UseVouchers shows it. What an earlier one of that grid had besides stays. Errors: core.ErrInvalid
// where it is another machine's; ErrOwn; core.ErrRefused beyond passesMax.
func (f *Federation) TakePass(ctx context.Context, in voucher.Pass) error {
	agent, err := in.Open()
	switch {
	case err != nil:
		return err
	case in.Grid == f.self.Grid:
		return ErrOwn
	case !agent.IsZero() && agent != f.self.Agent:
		return fmt.Errorf("the voucher is for machine %s, and this is %s: %w", agent, f.self.Agent, core.ErrInvalid)
	}
	next := passRecord{V: codec.Version, Grid: in.Grid, Name: in.Name, Homes: []clubHome{}}
	if in.From != nil {
		next.From = &AgentAddrs{DID: in.From.DID, Addrs: in.From.Addrs}
	}
	for _, h := range in.Homes {
		home := clubHome{Grid: h.Grid, Name: h.Name, Chain: h.Chain}
		for _, a := range h.Agents {
			home.Agents = append(home.Agents, AgentAddrs{DID: a.DID, Addrs: a.Addrs})
		}
		next.Homes = append(next.Homes, home)
	}
	return f.keepPass(ctx, next, true)
}

// keepPass writes a pass down; with merge, what there was besides, or of a later date, stays as long as it is good.
func (f *Federation) keepPass(ctx context.Context, next passRecord, merge bool) error {
	if err := f.records.take(ctx); err != nil {
		return err
	}
	defer f.records.give()
	now := f.now()
	var c changes
	var over []core.DID
	f.mu.Lock()
	for grid, p := range f.passes {
		if p.record.From == nil && !slices.ContainsFunc(p.homes, func(h keptHome) bool { return h.right.Until > now }) {
			over = append(over, grid)
			c.drop(key(keyPass, grid[:]))
		}
	}
	old, full := f.passes[next.Grid], len(f.passes)-len(over) >= passesMax
	f.mu.Unlock()
	if old == nil && full {
		return fmt.Errorf("at most %d grids whose vouchers are used: %w", passesMax, core.ErrRefused)
	}
	p, err := f.newPass(next)
	if err != nil {
		return err
	}
	if old != nil && merge {
		p.take(old, now)
	}
	next = p.record
	c.set(key(keyPass, next.Grid[:]), next)
	if err := c.apply(f.c.Books); err != nil {
		return fmt.Errorf("keep the vouchers of %s: %w", next.Name, err)
	}
	if next.From != nil {
		f.c.Known.Learn(next.From.DID, next.From.Addrs)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, grid := range over {
		delete(f.passes, grid)
	}
	f.passes[next.Grid] = p
	return nil
}

// Pass is what was brought to us of a grid's vouchers.
type Pass struct {
	Grid core.DID
	Name string
	// Renews says that the grid gives newer ones; Asked is when it was asked last, in Unix seconds, 0 for never.
	Renews bool
	Asked  int64
	Homes  []ClubHome
}

// Passes returns them, by DID of the grid.
func (f *Federation) Passes() []Pass {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Pass
	for grid, p := range f.passes {
		one := Pass{Grid: grid, Name: p.record.Name, Renews: p.record.From != nil, Asked: p.record.Asked}
		for _, h := range p.homes {
			one.Homes = append(one.Homes, ClubHome{h.Grid, h.Name, h.right.Amount, h.right.Until})
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b Pass) int { return a.Grid.Compare(b.Grid) })
	return out
}

// take adds what an earlier pass has besides, or of a later date.
func (p *pass) take(old *pass, now int64) {
	if p.record.From == nil {
		p.record.From = old.record.From
	}
	p.record.Asked = old.record.Asked
	for _, h := range old.homes {
		at := slices.IndexFunc(p.homes, func(n keptHome) bool { return n.Grid == h.Grid })
		switch {
		case h.right.Until <= now || at < 0 && len(p.homes) == homesMax:
		case at < 0:
			p.homes, p.record.Homes = append(p.homes, h), append(p.record.Homes, h.clubHome)
		case h.right.From > p.homes[at].right.From:
			p.homes[at], p.record.Homes[at] = h, h.clubHome
		}
	}
}

// duePasses returns the grids that are to be asked for newer vouchers.
func (f *Federation) duePasses() (out []core.DID) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for grid, p := range f.passes {
		if p.record.From != nil && (now-p.record.Asked >= clubEvery || now < p.record.Asked) {
			out = append(out, grid)
		}
	}
	slices.SortFunc(out, core.DID.Compare)
	return out
}

// VisitPass asks who gives newer vouchers of a grid for them; nothing is done where nobody does. Errors: core.ErrUnreachable;
// core.ErrForbidden where we are no person of that club any more.
func (f *Federation) VisitPass(ctx context.Context, grid core.DID) error {
	f.mu.Lock()
	p := f.passes[grid]
	f.mu.Unlock()
	if p == nil || p.record.From == nil {
		return nil
	}
	in, err := f.callClub(ctx, p.record.From.DID)
	if err != nil {
		return err
	}
	next := p.record
	next.Asked, next.Homes = f.now(), []clubHome{}
	for _, h := range in.Homes[:min(len(in.Homes), homesMax)] {
		for i := range h.Agents {
			h.Agents[i].Addrs = tidyAddrs(h.Agents[i].Addrs)
		}
		if k, err := openHome(h, f.self.Agent); err != nil || k.right.Subject != grid {
			f.c.Log.Warn("a club gives what is no voucher", "grid", grid.Short(), "err", err)
			continue
		}
		next.Homes = append(next.Homes, h)
	}
	return f.keepPass(ctx, next, false)
}
