package federation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/pact"
)

// Accept accepts an invitation, if agree says yes to it, and returns the new partner.
//
// It can be cut at any point on either side and called again with the same
// code: what was signed is kept before it is sent, and sent again as it was,
// without asking a second time.
// Errors: of the code those of pact.ParseInvitation; ErrExpired, ErrUsed, ErrAlready,
// ErrOwn; core.ErrNotExist where the inviter does not
// know it; core.ErrUnreachable; core.ErrRefused with the inviter's reason;
// core.ErrRevoked.
func (f *Federation) Accept(ctx context.Context, code string, agree func(pact.Invitation) bool) (Partner, error) {
	if err := f.Revoked(); err != nil {
		return Partner{}, err
	}
	inv, err := pact.ParseInvitation(code)
	if err != nil {
		return Partner{}, fmt.Errorf("accept: %w", err)
	}
	if inv.Grid == f.self.Grid {
		return Partner{}, fmt.Errorf("accept: %w", ErrOwn)
	}
	id := inv.ID()
	r, begun, err := f.proposal(id)
	if err != nil {
		return Partner{}, fmt.Errorf("accept: %w", err)
	}
	if p, done, err := f.alreadyWith(inv); done || err != nil {
		return p, err
	}
	if !begun {
		if now := f.now(); now >= inv.Expires {
			return Partner{}, fmt.Errorf("accept: the invitation of %s was good until %s: %w", inv.Name, time.Unix(inv.Expires, 0).UTC().Format(time.DateOnly), ErrExpired)
		}
		if !agree(inv) {
			return Partner{}, errors.New("accept: the terms were not agreed to")
		}
		if r, err = f.propose(ctx, inv); err != nil {
			return Partner{}, fmt.Errorf("accept: %w", err)
		}
	}
	p, err := f.conclude(ctx, id, r)
	if err != nil {
		return Partner{}, fmt.Errorf("accept the invitation of %s: %w", inv.Name, f.Heed(ctx, err))
	}
	return p, nil
}

// alreadyWith tells whether there is a pact with the inviter already: done if it
// came of this very invitation, and does not end.
func (f *Federation) alreadyWith(inv pact.Invitation) (p Partner, done bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.partners[inv.Grid]
	if known == nil {
		return Partner{}, false, nil
	}
	p = f.public(known)
	if known.pact.Invitation != inv.ID() || p.Leaving() {
		return Partner{}, false, fmt.Errorf("%w with %s, %s", ErrAlready, p.Name, p.span())
	}
	return p, true, nil
}

// span says since when there is a pact, and when it ends where that is near.
func (p Partner) span() string {
	out := "since " + time.Unix(p.From, 0).UTC().Format(time.DateOnly)
	switch {
	case p.Leaving() && p.Ends != 0:
		out += ", by a pact that ends on " + time.Unix(p.Ends, 0).UTC().Format(time.DateOnly) + " and is not made anew"
	case p.Leaving():
		out += ", by a pact of which notice was given"
	}
	return out
}

func (f *Federation) proposal(id [16]byte) (r proposalRecord, ok bool, err error) {
	ok, err = get(f.c.Books, key(keyProposal, id[:]), &r, inviteSizeMax)
	return r, ok, err
}

// propose signs the pact that an invitation offers, and keeps it before anybody hears of it.
func (f *Federation) propose(ctx context.Context, inv pact.Invitation) (proposalRecord, error) {
	if err := f.records.take(ctx); err != nil {
		return proposalRecord{}, err
	}
	defer f.records.give()
	id := inv.ID()
	if r, ok, err := f.proposal(id); ok || err != nil {
		return r, err
	}
	if _, _, err := f.alreadyWith(inv); err != nil {
		return proposalRecord{}, err
	}
	now := f.now()
	var c changes
	for e, err := range scan[proposalRecord](f.c.Books, []byte(keyProposal), len(id), inviteSizeMax) {
		if err != nil {
			return proposalRecord{}, err
		}
		if e.value.Invitation.Expires+inviteKeep < now {
			c.drop(e.key)
		}
	}
	body, sig, err := pact.SignPact(f.c.Key, inv.Pact(f.self.Grid, now))
	if err != nil {
		return proposalRecord{}, err
	}
	r := proposalRecord{V: codec.Version, Invitation: inv, Body: body, Sig: sig}
	c.set(key(keyProposal, id[:]), r)
	return r, c.apply(f.c.Books)
}

// conclude sends a proposal and takes in the answer.
func (f *Federation) conclude(ctx context.Context, id [16]byte, r proposalRecord) (Partner, error) {
	inv := r.Invitation
	f.c.Known.Learn(inv.Agent, inv.Addrs)
	proof := pact.InvitationProof(inv.Secret, inv.Agent, f.self.Agent)
	in := acceptRequest{
		Invitation: id[:], Proof: proof[:], Pact: r.Body, Sig: r.Sig,
		Charters: f.ownCharters(acceptChartersMax), Name: f.self.Name, Addrs: tidyAddrs(f.c.Addrs()),
	}
	out, err := f.callAccept(ctx, inv.Agent, in)
	if err != nil {
		return Partner{}, f.declined(ctx, id, inv, err)
	}
	charters, err := f.checkAnswer(inv, r, out)
	if err != nil {
		return Partner{}, fmt.Errorf("the answer: %w", err)
	}
	f.c.Known.Learn(inv.Agent, out.Addrs)
	if err := f.records.take(ctx); err != nil {
		return Partner{}, err
	}
	defer f.records.give()
	if p, done, err := f.alreadyWith(inv); done || err != nil {
		return p, err
	}
	var c changes
	c.drop(key(keyProposal, id[:]))
	p, err := f.join(&c, out.Name, out.Pact, inv.Grid, charters)
	if err != nil {
		return Partner{}, err
	}
	f.Saw(inv.Agent)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.public(p), nil
}

// declined gives the inviter's no its kind. Where it is final, and no pact can have
// come of it, the proposal is forgotten: a later invitation is not to wait for it.
func (f *Federation) declined(ctx context.Context, id [16]byte, inv pact.Invitation, err error) error {
	final := errors.Is(err, core.ErrNotExist) || errors.Is(err, core.ErrRefused)
	if e, ok := errors.AsType[*wire.Error](err); ok {
		switch e.Code {
		case wire.CodeInvitationUsed:
			err = fmt.Errorf("%w: %w", ErrUsed, err)
		case wire.CodeInvitationExpired:
			err = fmt.Errorf("%w: %w", ErrExpired, err)
		}
	}
	if !final || f.records.take(ctx) != nil {
		return err
	}
	defer f.records.give()
	if p, done, already := f.alreadyWith(inv); done && already == nil {
		f.c.Log.Warn("an inviter denies its own pact", "name", p.Name)
	}
	var c changes
	c.drop(key(keyProposal, id[:]))
	return errors.Join(err, c.apply(f.c.Books))
}

// checkAnswer verifies what the inviter answered, and returns its charters.
func (f *Federation) checkAnswer(inv pact.Invitation, r proposalRecord, out acceptAnswer) ([]opened, error) {
	s := out.Pact
	if !bytes.Equal(s.Body, r.Body) || s.Acceptor.By != r.Sig.By || !bytes.Equal(s.Acceptor.Sig, r.Sig.Sig) {
		return nil, fmt.Errorf("it signs another pact: %w", core.ErrInvalid)
	}
	if _, err := s.Verify(); err != nil {
		return nil, err
	}
	if err := CheckName(out.Name); err != nil {
		return nil, err
	}
	charters, err := openCharters(inv.Grid, out.Charters)
	if err != nil {
		return nil, err
	}
	newest, ok := newestOf(charters)
	if !ok || !newest.Lists(s.Inviter.By) || !newest.Lists(inv.Agent) {
		return nil, fmt.Errorf("the household's newest charter does not list the machine that signs: %w", core.ErrInvalid)
	}
	return charters, nil
}
