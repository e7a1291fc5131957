package barter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/seal"
)

// wantedRecord is an ask for a flow whose outcome is not known.
type wantedRecord struct {
	V   uint     `json:"v"`
	ID  []byte   `json:"id"`
	Ask core.Ask `json:"ask"`
}

// Ask asks a household for something, and returns what was granted. The zero Why is what there is with them. Room for storage that
// is granted is given back at once, and Until is 0. What is asked again because the answer was lost is granted once.
// Errors: a *core.Denial; core.ErrNotExist if it is none of our partners, core.ErrUnreachable.
func (b *Barter) Ask(ctx context.Context, grid core.DID, ask core.Ask) (Allowance, error) {
	p, ok := b.c.Partners.Of(grid)
	if !ok || b.isHome(p) {
		return Allowance{}, fmt.Errorf("ask %s: %w", grid, core.ErrNotExist)
	}
	if why := p.why(); ask.Why.Kind == "" || ask.Why.Kind == why.Kind {
		ask.Why = why
	}
	agent, err := b.answering(ctx, p)
	if err != nil {
		return Allowance{}, err
	}
	unlock, err := b.lockLine(ctx, agent)
	if err != nil {
		return Allowance{}, err
	}
	defer unlock()
	if ask.Resource != core.Storage {
		return b.askForFlow(ctx, p, agent, ask)
	}
	out, err := b.askInTurn(ctx, p, agent, askRequest{Ask: ask})
	if err != nil {
		return Allowance{}, err
	}
	if err := b.c.Wire.Call(ctx, agent, "POST", "/leases", leaseRequest{Pieces: []core.Piece{}, Close: [][]byte{out.Grant}}, &leaseAnswer{}); err != nil {
		b.c.Log.Info("a grant could not be given back", "holder", p.Name, "err", err) // it ends in an hour
	}
	return Allowance{Agent: agent, Resource: ask.Resource, Amount: ask.Amount}, nil
}

// answering returns the first machine of a household that answers.
func (b *Barter) answering(ctx context.Context, p Partner) (agent core.DID, err error) {
	err = fmt.Errorf("%s has no machine: %w", p.Name, core.ErrUnreachable)
	for _, agent = range p.Agents {
		if err = b.reach(ctx, agent); err == nil || ctx.Err() != nil {
			return agent, err
		}
	}
	return agent, err
}

// askInTurn asks a machine, and sends the receipt that it says is overdue. The caller has the line.
func (b *Barter) askInTurn(ctx context.Context, p Partner, agent core.DID, in askRequest) (out grantAnswer, err error) {
	err = b.c.Wire.Call(ctx, agent, "POST", "/ask", in, &out)
	if denial, ok := errors.AsType[*core.Denial](err); ok && denial.Reason == reasonOverdue {
		if sent := b.receiptInTurn(ctx, p, agent); sent != nil {
			return out, fmt.Errorf("%w, and it cannot be sent: %v", err, sent)
		}
		err = b.c.Wire.Call(ctx, agent, "POST", "/ask", in, &out)
	}
	if err == nil && (len(out.Grant) != grantIDSize || out.Amount != in.Amount || len(in.ID) > 0 && !bytes.Equal(out.Grant, in.ID)) {
		err = fmt.Errorf("a grant of %d for an ask of %d: %w", out.Amount, in.Amount, core.ErrInvalid)
	}
	return out, err
}

// askForFlow asks for an allowance, which is written down. The caller has the line.
func (b *Barter) askForFlow(ctx context.Context, p Partner, agent core.DID, ask core.Ask) (Allowance, error) {
	in, err := b.want(agent, ask)
	if err != nil {
		return Allowance{}, err
	}
	out, err := b.askInTurn(ctx, p, agent, in)
	forget := core.Change{Key: join(wantedPrefix, agent[:])}
	if errors.Is(err, core.ErrRefused) || errors.Is(err, core.ErrForbidden) || final(err) { // so there is none
		err = errors.Join(err, b.c.Books.Apply(forget))
	}
	if err != nil {
		return Allowance{}, err
	}
	s, now, at := asOwner.of(ask.Resource), b.c.Clock.Now().Unix(), b.moment()
	got := allowance{ID: out.Grant, Agent: agent, Amount: out.Amount, From: now, Until: max(now, min(out.Expires, now+ask.Seconds)), Born: at.ran}
	b.settling.Lock()
	defer b.settling.Unlock()
	b.mu.Lock()
	f := b.account(p.Grid).flow(s).at(at)
	b.mu.Unlock()
	f.add(got)
	f.Open = f.Open[max(0, len(f.Open)-allowancesMax):]
	c, err := change(flowKey(s, p.Grid, ask.Resource), f)
	if err == nil {
		err = b.c.Books.Apply(c, forget)
	}
	if err != nil {
		return Allowance{}, fmt.Errorf("record an allowance: %w", err)
	}
	b.mu.Lock()
	b.account(p.Grid).setFlow(s, f)
	b.mu.Unlock()
	return got.public(ask.Resource), nil
}

// want writes down that something is asked for, and how that is named: as it was, if just that was asked for and nobody knows the outcome.
func (b *Barter) want(agent core.DID, ask core.Ask) (in askRequest, err error) {
	var before wantedRecord
	key := join(wantedPrefix, agent[:])
	known, err := b.read(key, &before)
	if err != nil {
		return in, err
	}
	if known && sameAsk(before.Ask, ask) {
		return askRequest{ask, before.ID}, nil
	}
	in = askRequest{ask, make([]byte, grantIDSize)}
	seal.Random(in.ID)
	c, err := change(key, wantedRecord{codec.Version, in.ID, ask})
	if err != nil {
		return in, fmt.Errorf("%w: %w", core.ErrInvalid, err) // its text is the caller's
	}
	if err := b.c.Books.Apply(c); err != nil {
		return in, fmt.Errorf("record what is asked for: %w", err)
	}
	return in, nil
}

func sameAsk(x, y core.Ask) bool {
	return x.Resource == y.Resource && x.Amount == y.Amount && x.Seconds == y.Seconds && x.Quality == y.Quality && x.Why.Kind == y.Why.Kind && bytes.Equal(x.Why.Ref, y.Why.Ref)
}

// Had signs for so much more of a flow that we have had of a partner. It returns the total of the receipt, and whether that waits:
// with an error, it is signed all the same, and Run sends it when they take it. Errors: core.ErrInvalid; core.ErrNotExist if they are no partner.
func (b *Barter) Had(ctx context.Context, grid core.DID, r core.Resource, amount int64) (total uint64, waits bool, err error) {
	p, ok := b.c.Partners.Of(grid)
	_, known := b.c.Table.Resources[r]
	_, agreed := p.GivesOf[r]
	switch {
	case !ok || b.isHome(p) || p.Why.Kind != "" || len(p.Agents) == 0:
		return 0, false, fmt.Errorf("sign for %s: %w", grid, core.ErrNotExist)
	case !known && !agreed || r == core.Storage:
		return 0, false, fmt.Errorf("nobody signs for %q: %w", r, core.ErrInvalid)
	case amount <= 0 || amount > flowTotalMax:
		return 0, false, fmt.Errorf("a receipt for %d more; it must be 1 to %d: %w", amount, int64(flowTotalMax), core.ErrInvalid)
	}
	s := asOwner.of(r)
	agent := b.provider(p, s)
	err = b.signFor(ctx, s, p, agent, uint64(amount))
	l, readErr := b.lineOf(s, grid, agent)
	if readErr != nil {
		return 0, false, errors.Join(err, readErr)
	}
	return l.rec.Total, !l.answered(), err
}

// provider returns the machine for whose flow we sign: of the allowance that ends first, or one that seems to be on.
func (b *Barter) provider(p Partner, s side) core.DID {
	at := b.moment()
	b.mu.Lock()
	f := b.account(p.Grid).flow(s).at(at)
	b.mu.Unlock()
	for _, a := range f.Open {
		if slices.Contains(p.Agents, a.Agent) {
			return a.Agent
		}
	}
	return b.likely(p.Agents)
}

// LedgerFlow is what there is between us and one partner of one flow.
type LedgerFlow struct {
	Resource core.Resource
	// Gives is what they promised us for 30 days of running, Given what we promised them.
	Gives, Given int64
	// Has is what we had of Gives in that time, Used what counts of Given: open allowances, whole, and what was drawn besides.
	Has, Used int64
	// Allowed are open allowances of ours there, Granted of theirs here.
	Allowed, Granted []Allowance
	// Had and Gave are as in Ledger; only their receipts count.
	Had, Gave []LedgerLine
}

// ledgerFlows returns those of which there is anything to say.
func (b *Barter) ledgerFlows(p, there Partner) (out []LedgerFlow, err error) {
	at := b.moment()
	for _, r := range b.resources() {
		if r == core.Storage {
			continue
		}
		given, had := asHolder.of(r), asOwner.of(r)
		b.mu.Lock()
		theirs, ours := b.account(p.Grid).flow(given), b.account(p.Grid).flow(had)
		b.mu.Unlock()
		f := LedgerFlow{Resource: r, Gives: there.GivesOf[r], Given: p.GivenOf[r], Has: ours.had(at), Used: theirs.used(at)}
		f.Allowed, f.Granted = ours.allowances(r, at), theirs.allowances(r, at)
		if f.Gave, err = b.ledgerLines(given, p, false); err != nil {
			return nil, err
		}
		if f.Had, err = b.ledgerLines(had, there, false); err != nil {
			return nil, err
		}
		if f.Gives+f.Given > 0 || theirs != nil || ours != nil || len(f.Gave)+len(f.Had) > 0 {
			out = append(out, f)
		}
	}
	return out, nil
}

func (f *flowRecord) allowances(r core.Resource, at moment) (out []Allowance) {
	if f == nil {
		return nil
	}
	for _, a := range f.Open {
		if a.open(at) {
			out = append(out, a.public(r))
		}
	}
	return out
}
