package federation

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/roll"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/voucher"
)

// handleClub gives a member the roll, and vouchers for what the others offer. A person has no pact: its machine is a stranger.
func (f *Federation) handleClub(ctx context.Context, _ struct{}) (clubAnswer, error) {
	caller := wire.CallerOf(ctx)
	f.mu.Lock()
	own := f.roll
	f.mu.Unlock()
	if caller.Class != wire.Partner {
		if own == nil || !isPerson(own.roll, caller.Agent) {
			return clubAnswer{}, &wire.Error{Code: wire.CodeUnknown, Message: "this is for members"}
		}
		caller.Grid = caller.Agent
	}
	if own == nil {
		return clubAnswer{}, &wire.Error{Code: wire.CodeNotFound, Message: "this grid is no club"}
	}
	return f.vouchersFor(ctx, caller.Grid, caller.Agent)
}

// isPerson tells whether a machine is that of a person whom the club has admitted.
func isPerson(r roll.Roll, agent core.DID) bool {
	m, ok := r.Member(agent)
	return ok && m.Kind == roll.KindPerson
}

// vouchersFor returns our roll, and vouchers for a member's machine. A person is its machine.
func (f *Federation) vouchersFor(ctx context.Context, member, agent core.DID) (clubAnswer, error) {
	if err := f.records.take(ctx); err != nil {
		return clubAnswer{}, err
	}
	defer f.records.give()
	f.mu.Lock()
	own := f.roll
	f.mu.Unlock()
	if own == nil {
		return clubAnswer{}, errNoClub()
	}
	out := clubAnswer{Roll: own.signed, Homes: []clubHome{}}
	var c changes
	for _, h := range f.offers(member, own.roll) {
		if len(out.Homes) == homesMax {
			break
		}
		amount := own.roll.Portion(member, h.from, h.home.Amount)
		chain, err := f.issue(&c, member, agent, h, amount)
		if err != nil {
			return clubAnswer{}, err
		}
		if chain != nil {
			h.home.Amount, h.home.Chain = amount, chain
			out.Homes = append(out.Homes, h.home)
		}
	}
	return out, c.apply(f.c.Books)
}

// offered is what a home has for our members: from is the member by whom it comes, base the chain that we were given
// for it, and zero where the home is that member.
type offered struct {
	home clubHome
	from core.DID
	base voucher.Chain
	via  []core.DID
}

// offers returns what there is for a member: one a home, that with the shortest way, and then the greatest.
func (f *Federation) offers(member core.DID, r roll.Roll) []offered {
	now := f.now()
	best := map[core.DID]offered{}
	f.mu.Lock()
	defer f.mu.Unlock()
	better := func(h offered) {
		o, there := best[h.home.Grid]
		if !there || cmp.Or(cmp.Compare(len(h.via), len(o.via)), cmp.Compare(o.home.Amount, h.home.Amount), h.from.Compare(o.from)) < 0 {
			best[h.home.Grid] = h
		}
	}
	for grid, p := range f.partners {
		if _, stays := r.Member(grid); grid == member || !stays {
			continue
		}
		if club := f.clubs[grid]; club != nil { // it has no disk of its own
			for _, h := range club.homes {
				if f.canPassOn(h, member, now) {
					better(offered{from: grid, home: h.clubHome, base: h.chain, via: h.right.Via})
				}
			}
			continue
		}
		gives, _ := f.amounts(p.terms)
		better(offered{from: grid, home: clubHome{Grid: grid, Name: p.record.Name, Agents: f.public(p).Agents, Amount: gives[core.Storage]}})
	}
	return slices.SortedFunc(maps.Values(best), func(a, b offered) int { return a.home.Grid.Compare(b.home.Grid) })
}

// canPassOn tells whether what a club has given us can be given on to a member: nobody gets his own, or what came from
// him. The caller holds f.mu.
func (f *Federation) canPassOn(h keptHome, member core.DID, now int64) bool {
	his := func(agent core.DID) bool { return agent == member } // a person
	if p := f.partners[member]; p != nil {
		his = p.lists
	}
	if h.Grid == member || h.right.Until <= now || len(h.chain.Links) >= voucher.LinksMax {
		return false
	}
	return !slices.ContainsFunc(h.right.Via, his)
}

// issue returns a voucher for a member's machine: the one that it was given last, as long as that is good for some time
// and says the same. Nil where there is nothing to give. The caller has f.records.
func (f *Federation) issue(c *changes, member, agent core.DID, h offered, amount int64) ([]byte, error) {
	amount = min(amount, voucher.AmountMax)
	if amount < 1 {
		return nil, nil
	}
	k := key(keyIssued, member[:], agent[:], h.home.Grid[:])
	var last issuedRecord
	had, err := get(f.c.Books, k, &last, issuedSizeMax)
	if err != nil {
		return nil, err
	}
	now, base := f.now(), core.Score{}
	if len(h.base.Links) > 0 {
		base = h.base.ID()
	}
	same := had && last.Amount == amount && last.Base == base
	if same && (last.Until-now > voucherRenew || base != (core.Score{}) && last.Until > now) && last.Until-now <= voucher.LifeMax {
		return last.Chain, nil
	}
	older := []roll.Revoked{}
	if had {
		for _, x := range append(last.Older, roll.Revoked{ID: last.Link, Until: last.Until}) {
			if x.Until > now {
				older = append(older, x)
			}
		}
	}
	if len(older) > olderMax {
		return last.Chain, nil // what is good must be known, to be revoked
	}
	terms := voucher.Terms{Audience: agent, Resource: core.Storage, Amount: amount, From: now, Until: now + voucher.LifeMax}
	seal.Random(terms.Nonce[:])
	var chain voucher.Chain
	if base == (core.Score{}) {
		chain, err = voucher.Issue(f.c.Key, f.self.Grid, terms)
	} else {
		chain, err = h.base.Narrow(f.c.Key, terms)
	}
	if err != nil {
		return nil, fmt.Errorf("a voucher for %s at %s: %w", agent.Short(), h.home.Grid.Short(), err)
	}
	right, err := voucher.Open(chain)
	if err != nil {
		return nil, err
	}
	raw, err := chain.Marshal()
	if err != nil {
		return nil, err
	}
	ids := chain.IDs()
	next := issuedRecord{V: codec.Version, Chain: raw, Link: ids[len(ids)-1], Base: base, Amount: amount, Until: right.Until, Older: older}
	c.set(k, next)
	return raw, nil
}
