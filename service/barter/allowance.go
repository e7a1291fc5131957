package barter

import (
	"bytes"
	"fmt"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/policy"
	"github.com/grange-grid/grange/pure/seal"
)

// askFlow answers an ask for a flow, and opens an allowance, which is written down before. overdue is as of askAs.
func (b *Barter) askFlow(p Partner, agent core.DID, in askRequest, overdue bool) (grantAnswer, error) {
	ask := clipped(in.Ask)
	s := asHolder.of(ask.Resource)
	now, at := b.c.Clock.Now().Unix(), b.moment()
	b.enroll(now)
	b.mu.Lock()
	a := b.account(p.Grid)
	b.mu.Unlock()
	a.commit.Lock() // so that nothing else changes the flow
	defer a.commit.Unlock()

	b.mu.Lock()
	before := a.flow(s)
	if old, ok := before.named(in, agent, at); ok {
		b.mu.Unlock()
		return grantAnswer{Grant: old.ID, Amount: old.Amount, Expires: old.Until}, nil
	}
	b.attribute(p)
	rules, id := b.force.rules, b.force.id
	facts := b.flowFacts(p, ask.Resource, now, at)
	facts.Overdue = overdue
	facts = rules.Weigh(ask, facts)
	d := rules.Decide(ask, facts)
	b.asksNow(a, now)
	decision := Decision{Time: now, Grid: p.Grid, Agent: agent, Ask: ask, Decision: d, Rules: id, Facts: facts}
	if !d.Grant {
		b.mu.Unlock()
		b.logDecision(decision)
		return grantAnswer{}, d.Denial()
	}
	if until := a.full(at); until != 0 {
		b.mu.Unlock()
		return grantAnswer{}, &core.Denial{Reason: fmt.Sprintf("you have %d allowances; the next ends on %s", allowancesMax, time.Unix(until, 0).UTC().Format(time.DateOnly))}
	}
	next := allowance{ID: in.ID, Agent: agent, Amount: ask.Amount, From: now, Until: now + ask.Seconds, Born: at.ran}
	if len(next.ID) == 0 {
		next.ID = make([]byte, grantIDSize)
		seal.Random(next.ID)
	}
	after := before.at(at)
	after.add(next)
	a.setFlow(s, after) // at once, so that nobody else is promised the same
	b.mu.Unlock()

	why, err := b.recordDecision(&decision)
	if err == nil {
		err = b.writeFlow(s, p.Grid, after, why)
	}
	if err != nil {
		b.mu.Lock()
		a.setFlow(s, before)
		b.mu.Unlock()
		return grantAnswer{}, err
	}
	b.c.Log.Info("an allowance", "owner", p.Name, "resource", ask.Resource, "amount", ask.Amount, "seconds", ask.Seconds)
	b.logDecision(decision)
	return grantAnswer{Grant: next.ID, Amount: next.Amount, Expires: next.Until}, nil
}

// named returns the open allowance that is the answer to an ask which comes again.
func (f *flowRecord) named(in askRequest, agent core.DID, at moment) (out allowance, ok bool) {
	if f == nil || len(in.ID) == 0 {
		return out, false
	}
	for _, a := range f.Open {
		if bytes.Equal(a.ID, in.ID) && a.Agent == agent && a.Amount == in.Amount && a.open(at) {
			return a, true
		}
	}
	return out, false
}

// full returns when the next allowance of a household ends if it has as many as it can, else 0. The caller holds b.mu.
func (a *account) full(at moment) int64 {
	open, next := 0, int64(pact.TimeMax)
	for name, f := range a.flows {
		if name.ours {
			continue
		}
		for _, one := range f.Open {
			if one.open(at) {
				open, next = open+1, min(next, one.Until)
			}
		}
	}
	if open < allowancesMax {
		return 0
	}
	return next
}

// writeFlow writes a flow down, with what was decided.
func (b *Barter) writeFlow(s side, grid core.DID, f *flowRecord, why core.Change) error {
	c, err := change(flowKey(s, grid, s.resource), f)
	if err != nil {
		return err
	}
	if err := b.c.Books.Apply(c, why); err != nil {
		return fmt.Errorf("record an allowance: %w", err)
	}
	return nil
}

// flowFacts gathers what a policy may know of a flow. The caller holds b.mu, after enroll.
func (b *Barter) flowFacts(p Partner, r core.Resource, now int64, at moment) policy.Facts {
	s, ours := asHolder.of(r), asOwner.of(r)
	out := b.facts(p, 0, 0, 0)
	mine := b.account(p.Grid)
	total := b.c.Offers[r]
	out.Total, out.Offered, out.Used, out.Gives, out.Missing = total, p.GivenOf[r], mine.flow(s).used(at), 0, 0
	out.SecondsMax = flowSeconds
	if p.Ends != 0 {
		out.SecondsMax = max(1, min(flowSeconds, p.Ends-now))
	}
	switch {
	case b.isHome(p):
		out.Offered = pact.AmountMax // the room alone bounds it
	case out.Via != nil: // vouchers and accounts are for storage
		out.Via.Offered, out.Via.Used, out.Via.Share = 0, 0, 0
	case out.Account != nil:
		out.Account.Quota, out.Account.Used, out.Account.Here = 0, 0, 0
	default:
		out.Gives, out.Missing = mine.flow(ours).had(at), lossLeft(mine.twice[r], at.day())
	}
	used := int64(0)
	out.Others = make([]policy.Other, 0, len(b.roster.all))
	for _, e := range b.roster.all {
		f, given := e.account.flow(s), e.flows[r]
		open, drawn := f.sums(at)
		o := b.standing(e.account)
		o.Offered, o.Used = given, flowSum(open, drawn)
		used = flowSum(used, min(o.Used, max(open, given))) // who signs for more than it was given harms nobody else
		if e.account == mine || given == 0 && f == nil {
			continue
		}
		o.Gives, o.Missing = e.account.flow(ours).had(at), lossLeft(e.account.twice[r], at.day())
		o.Asks = e.account.asked != 0 && now-e.account.asked < askedLately
		out.Others = append(out.Others, o)
	}
	for _, a := range b.accounts { // those with whom there is no pact any more, and our own machines
		if a.seat.in != b.roster {
			open, _ := a.flow(s).sums(at)
			used = flowSum(used, open)
		}
	}
	out.Room = max(0, total-used)
	return out
}

// checkFlow refuses a receipt that can be none of what it is for.
func (b *Barter) checkFlow(p Partner, r pact.Receipt) error {
	if r.Resource == core.Storage {
		return nil
	}
	if _, known := b.c.Table.Resources[r.Resource]; !known || p.Via != nil || r.Total > flowTotalMax {
		return fmt.Errorf("a receipt for %d of %s: %w", r.Total, r.Resource, core.ErrInvalid)
	}
	return nil
}

// Allowance is so much of a flow that may be had until a date.
type Allowance struct {
	ID []byte
	// Agent is the machine on their side.
	Agent    core.DID
	Resource core.Resource
	// Amount is what was granted, Drawn what of it was had, by receipts.
	Amount, Drawn int64
	// From and Until are in Unix seconds.
	From, Until int64
}

func (a allowance) public(r core.Resource) Allowance {
	return Allowance{ID: a.ID, Agent: a.Agent, Resource: r, Amount: a.Amount, Drawn: a.Drawn, From: a.From, Until: a.Until}
}
