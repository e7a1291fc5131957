package federation

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// PactNews is what became of a pact.
type PactNews string

// What Config.Told is told.
const (
	PactAsked   PactNews = "asked"   // they propose an amendment, and wait
	PactAmended PactNews = "amended" // there is another amendment
	PactEnds    PactNews = "ending"  // a notice was given, by whichever side
	// ClubTwofaced says that they are a club, which has signed two rolls of one number.
	ClubTwofaced PactNews = "twofaced"
	// ClubLess says that they are a club, of which a home keeps nothing for us any more.
	ClubLess PactNews = "less"
)

// termsMessage is what two partners tell each other of their pact, as question and as answer.
type termsMessage struct {
	// Amendment is the newest that the sender has, Notice the one that counts there.
	Amendment *pact.SignedPact `json:"amendment,omitempty"`
	Notice    *identity.Signed `json:"notice,omitempty"`
	// Pact is an amendment that the sender proposes, with its signature. Only a question has it.
	Pact []byte          `json:"pact,omitempty"`
	Sig  *pact.Signature `json:"sig,omitempty"`
}

// Changes are what an amendment is to change.
type Changes struct {
	// Give is what we give, Want what they give, of the resources named, in their units.
	Give, Want map[core.Resource]int64
	// Units are what the resources named are counted in, as far as the pact has no unit of them yet.
	Units map[core.Resource]string
	// Until is when the pact ends, in Unix seconds; 0 leaves that as it is.
	Until int64
}

// Amend proposes changes of the pact to a partner. What costs a side nothing it agrees to at once;
// else its person does, and Theirs is set there until then. The same again asks again.
// Errors: core.ErrNotExist where it is no partner, core.ErrInvalid where nothing would
// change, core.ErrRefused where the pact ends, core.ErrUnreachable where they hear of
// it from Run.
func (f *Federation) Amend(ctx context.Context, grid core.DID, c Changes) (Partner, error) {
	if err := f.proposeTo(ctx, grid, c); err != nil {
		return Partner{}, fmt.Errorf("amend the pact: %w", err)
	}
	return f.settleNow(ctx, grid)
}

func (f *Federation) proposeTo(ctx context.Context, grid core.DID, c Changes) error {
	p, err := f.partnerTurn(ctx, grid)
	if err != nil {
		return err
	}
	defer f.records.give()
	if p.notice.Until != 0 || p.waits.End {
		return fmt.Errorf("it ends: %w", core.ErrRefused)
	}
	gives, given := f.amounts(p.terms)
	ours, theirs := p.sides(f.self.Grid, changed(given, c.Give), changed(gives, c.Want))
	next := p.terms.Amend(p.id, p.terms.N+1, ours, theirs)
	next.Until = cmp.Or(c.Until, next.Until)
	next.Terms.Units = unitsOf(next.Terms, c.Units)
	if next.Terms.Equal(p.terms.Terms) && next.Until == p.terms.Until {
		return fmt.Errorf("that is what there is: %w", core.ErrInvalid)
	}
	body, sig, err := pact.SignPact(f.c.Key, next)
	if err != nil {
		return err
	}
	w := p.waits
	w.Mine = &proposed{Body: body, Sig: sig}
	return f.keepTerms(p, p.record, w, false)
}

// unitsOf returns the units of terms: of what one side gives, as they are, else as they are said.
func unitsOf(t pact.Terms, said map[core.Resource]string) map[core.Resource]string {
	var out map[core.Resource]string
	for _, gives := range []map[core.Resource]int64{t.InviterGives, t.AcceptorGives} {
		for r := range gives {
			unit := cmp.Or(t.Units[r], said[r])
			if unit == "" || pact.HasUnit(r) {
				continue
			}
			if out == nil {
				out = map[core.Resource]string{}
			}
			out[r] = unit
		}
	}
	return out
}

// changed returns amounts with some of them changed. Of what is given no more there is nothing to say, but of storage.
func changed(amounts, changes map[core.Resource]int64) map[core.Resource]int64 {
	out := map[core.Resource]int64{}
	maps.Copy(out, amounts)
	maps.Copy(out, changes)
	maps.DeleteFunc(out, func(r core.Resource, n int64) bool { return n == 0 && r != core.Storage })
	return out
}

// sides sorts what we give and what they give into the inviter's and the acceptor's.
func (p *partner) sides(self core.DID, ours, theirs map[core.Resource]int64) (inviter, acceptor map[core.Resource]int64) {
	if p.pact.Inviter == self {
		return ours, theirs
	}
	return theirs, ours
}

// amounts returns what they give us and what we give them, to be changed by the caller.
func (f *Federation) amounts(p pact.Pact) (gives, given map[core.Resource]int64) {
	gives, given = maps.Clone(p.Terms.AcceptorGives), maps.Clone(p.Terms.InviterGives)
	if p.Acceptor == f.self.Grid {
		gives, given = given, gives
	}
	return gives, given
}

// proposalOf returns what a proposal would change the pact to.
func (f *Federation) proposalOf(w *proposed) *Proposal {
	if w == nil {
		return nil
	}
	p, err := pact.OpenPact(w.Body)
	if err != nil {
		return nil // it was opened when it was kept
	}
	gives, given := f.amounts(p)
	return &Proposal{Gives: gives, Given: given, Units: p.Terms.Units, Until: p.Until}
}

// Agree agrees to what a partner has proposed. Errors: core.ErrNotExist where it has
// proposed nothing, or is none; core.ErrRefused where the pact ends.
func (f *Federation) Agree(ctx context.Context, grid core.DID) (Partner, error) {
	if err := f.agreeWith(ctx, grid); err != nil {
		return Partner{}, fmt.Errorf("agree to an amendment: %w", err)
	}
	p, err := f.settleNow(ctx, grid)
	if errors.Is(err, core.ErrUnreachable) {
		return p, nil // it is agreed; they hear of it from Run
	}
	return p, err
}

func (f *Federation) agreeWith(ctx context.Context, grid core.DID) error {
	p, err := f.partnerTurn(ctx, grid)
	if err != nil {
		return err
	}
	defer f.records.give()
	switch {
	case p.waits.Theirs == nil:
		return fmt.Errorf("nothing is proposed: %w", core.ErrNotExist)
	case p.notice.Until != 0 || p.waits.End:
		return fmt.Errorf("it ends: %w", core.ErrRefused)
	}
	return f.countersign(p, *p.waits.Theirs)
}

// countersign agrees to an amendment of a partner's. The caller has f.records.
func (f *Federation) countersign(p *partner, theirs proposed) error {
	next, err := pact.OpenPact(theirs.Body)
	if err != nil {
		return err
	}
	body, mine, err := pact.SignPact(f.c.Key, next)
	if err != nil {
		return err
	}
	s := pact.SignedPact{Body: body, Inviter: mine, Acceptor: theirs.Sig}
	if p.pact.Acceptor == f.self.Grid {
		s.Inviter, s.Acceptor = theirs.Sig, mine
	}
	return f.takeAmendment(p, s)
}

// End gives a partner notice: the pact ends as many days after they have heard of it as its
// terms say. Once given, by either side, a notice stands. Errors: core.ErrNotExist where it is no partner,
// core.ErrUnreachable where they hear of it from Run.
func (f *Federation) End(ctx context.Context, grid core.DID) (Partner, error) {
	p, err := f.partnerTurn(ctx, grid)
	if err == nil {
		w := p.waits
		w.End, w.Mine, w.Theirs = p.notice.Until == 0, nil, nil
		err = f.keepTerms(p, p.record, w, false)
		f.records.give()
	}
	if err != nil {
		return Partner{}, fmt.Errorf("end the pact: %w", err)
	}
	return f.settleNow(ctx, grid)
}

// partnerTurn returns a partner, with f.records taken unless there is an error.
func (f *Federation) partnerTurn(ctx context.Context, grid core.DID) (*partner, error) {
	if err := f.Revoked(); err != nil {
		return nil, err
	}
	if err := f.records.take(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	p := f.partners[grid]
	f.mu.Unlock()
	if p == nil {
		f.records.give()
		return nil, fmt.Errorf("%s is no partner: %w", grid.Short(), core.ErrNotExist)
	}
	return p, nil
}

// unsettled tells whether a partner has to be told something about the pact, or may have something to tell:
// once after each start the two compare what they have.
func (f *Federation) unsettled(grid core.DID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.partners[grid]
	return p != nil && !p.settled
}

// settleAgain is how long after an answer that settled nothing the next greeting leads to
// another question, in seconds: two who never come to terms do not keep each other awake.
const settleAgain = 60

// toSettle tells whether a partner that has called should be told something now.
func (f *Federation) toSettle(grid core.DID) bool {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.partners[grid]
	return p != nil && !p.settled && (now < p.answered || now-p.answered >= settleAgain)
}

// settleNow tells a partner what it has to be told, by the first of its machines that answers.
func (f *Federation) settleNow(ctx context.Context, grid core.DID) (Partner, error) {
	err := fmt.Errorf("no machine of it is known: %w", core.ErrUnreachable)
	for _, agent := range f.machines(grid) {
		if err = f.settleTerms(ctx, grid, agent); err == nil || !errors.Is(err, core.ErrUnreachable) {
			break
		}
	}
	out, _ := f.Partner(grid)
	return out, f.Heed(ctx, err)
}

// settleTerms exchanges with a partner's machine what either has of the pact, with what we
// propose, and with our notice. That is signed when it is sent: who is away loses none of its days.
func (f *Federation) settleTerms(ctx context.Context, grid, agent core.DID) error {
	p, err := f.partnerTurn(ctx, grid)
	if err != nil {
		return err
	}
	in, waits := f.said(p), p.waits
	f.records.give()
	if waits.Mine != nil {
		in.Pact, in.Sig = waits.Mine.Body, &waits.Mine.Sig
	}
	if waits.End && in.Notice == nil {
		now := f.now()
		n, err := pact.SignNotice(f.c.Key, pact.Notice{
			Pact: p.id, By: f.self.Grid, Agent: f.self.Agent, Time: now, Until: now + int64(p.pact.Terms.NoticeDays)*daySeconds,
		})
		if err != nil {
			return err
		}
		in.Notice = &n
	}
	out, err := post[termsMessage](ctx, f.c, shortTime, agent, "/amend", in)
	if !errors.Is(err, core.ErrUnreachable) {
		f.mu.Lock()
		p.answered = f.now()
		f.mu.Unlock()
	}
	if err != nil {
		return err
	}
	if waits.End && out.Notice == nil {
		return fmt.Errorf("%s did not take the notice: %w", agent.Short(), core.ErrInvalid)
	}
	if p, err = f.partnerTurn(ctx, grid); err != nil {
		return err
	}
	defer f.records.give()
	if err := f.takeTerms(p, out.Amendment, out.Notice); err != nil {
		return fmt.Errorf("the answer of %s: %w", agent.Short(), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := p.waits // somebody may have said more meanwhile
	p.settled = !now.End && (now.Mine == nil || now.Mine == waits.Mine)
	return nil
}

// said is what we tell of a pact. The caller has f.records.
func (f *Federation) said(p *partner) termsMessage {
	f.mu.Lock()
	defer f.mu.Unlock()
	return termsMessage{Amendment: p.record.Amendment, Notice: p.record.Notice}
}

// handleAmend takes in what a partner tells of the pact, and answers with what counts then.
func (f *Federation) handleAmend(ctx context.Context, in termsMessage) (termsMessage, error) {
	caller := wire.CallerOf(ctx)
	p, err := f.partnerTurn(ctx, caller.Grid)
	if err != nil {
		return termsMessage{}, err
	}
	defer f.records.give()
	if err := f.takeTerms(p, in.Amendment, in.Notice); err != nil {
		return termsMessage{}, invalid(err)
	}
	if in.Pact != nil {
		if err := f.consider(p, caller.Agent, in); err != nil {
			return termsMessage{}, err
		}
	}
	return f.said(p), nil
}

// consider answers a proposal. One for a number that is taken gets no answer of its own: the sender
// learns what has that number. The caller has f.records.
func (f *Federation) consider(p *partner, from core.DID, in termsMessage) error {
	next, err := pact.OpenPact(in.Pact)
	if err == nil {
		err = next.CheckAmends(p.pact, p.id)
	}
	if err == nil && (in.Sig == nil || in.Sig.By != from) {
		err = errors.New("an amendment is proposed by the machine that signs it")
	}
	if err == nil {
		err = in.Sig.Verify(in.Pact)
	}
	theirs := proposed{Body: in.Pact}
	w := p.waits
	switch {
	case err != nil:
		return invalid(err)
	case next.N <= p.terms.N:
		return nil
	case next.N > p.terms.N+1:
		return invalid(fmt.Errorf("amendment %d, and %d is the newest", next.N, p.terms.N))
	case p.notice.Until != 0 || w.End:
		return &core.Denial{Reason: "the pact ends"}
	}
	theirs.Sig = *in.Sig
	if w.Mine != nil && bytes.Equal(w.Mine.Body, in.Pact) || p.terms.Generous(f.self.Grid, next) {
		return f.countersign(p, theirs)
	}
	if w.Theirs != nil && bytes.Equal(w.Theirs.Body, in.Pact) {
		return nil
	}
	w.Theirs = &theirs
	if err := f.keepTerms(p, p.record, w, p.settled); err != nil {
		return err
	}
	f.c.Told(p.grid, PactAsked)
	return nil
}
