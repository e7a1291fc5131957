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
	"github.com/grange-grid/grange/pure/seal"
)

// Limits of invitations.
const (
	// ExpiresMax is the longest that an invitation can wait to be accepted.
	ExpiresMax = 90 * 24 * time.Hour
	// UsesMax is how many households can accept one invitation.
	UsesMax = partnersMax
	// invitesMax bounds the invitations that wait to be accepted.
	invitesMax = 256
	// inviteKeep is how long an invitation or a proposal that came to nothing is
	// remembered past its date, in seconds, to say so to who comes late.
	inviteKeep = 30 * daySeconds
	// clockSlack is how far another's clock may be off when it dates a pact, in seconds.
	clockSlack = daySeconds
	daySeconds = 24 * 60 * 60
	// inviteSizeMax bounds the records of invitations and proposals, in bytes.
	inviteSizeMax = 16 << 10
	// acceptChartersMax is how many bytes of charters go with an acceptance.
	acceptChartersMax = 192 << 10
)

// Invite makes an invitation that one household can accept within expires (at
// most ExpiresMax), on terms whose zero fields mean the defaults. What is to be
// sent is its Code.
// Errors: core.ErrNotHere where this machine does not listen, core.ErrInvalid of the
// terms, core.ErrRevoked.
func (f *Federation) Invite(ctx context.Context, t pact.Terms, expires time.Duration) (pact.Invitation, error) {
	return f.InviteSeveral(ctx, t, expires, 1)
}

// InviteSeveral is Invite for so many households, 1 to UsesMax, each of which gets a pact of its own on those terms.
func (f *Federation) InviteSeveral(ctx context.Context, t pact.Terms, expires time.Duration, uses int) (pact.Invitation, error) {
	none := pact.Invitation{}
	if uses < 1 || uses > UsesMax {
		return none, fmt.Errorf("an invitation is for 1 to %d households: %w", UsesMax, core.ErrInvalid)
	}
	if err := f.Revoked(); err != nil {
		return none, err
	}
	if expires < time.Second || expires > ExpiresMax {
		return none, fmt.Errorf("an invitation waits for a second to %d days: %w", ExpiresMax/(24*time.Hour), core.ErrInvalid)
	}
	addrs := tidyAddrs(f.c.Addrs())
	if len(addrs) == 0 {
		return none, fmt.Errorf("invite: this machine does not listen, so nobody could accept: %w", core.ErrNotHere)
	}
	now := f.now()
	inv := pact.Invitation{
		V: codec.Version, Agent: f.self.Agent, Grid: f.self.Grid, Name: f.self.Name, Addrs: addrs,
		Expires: now + int64(expires/time.Second), Terms: f.terms(t),
	}
	seal.Random(inv.Secret[:])
	for {
		_, err := inv.Code()
		if err == nil {
			break
		}
		if !errors.Is(err, core.ErrTooLarge) || len(inv.Addrs) == 1 {
			return none, fmt.Errorf("invite: %w", err)
		}
		inv.Addrs = inv.Addrs[:len(inv.Addrs)-1]
	}
	if err := f.records.take(ctx); err != nil {
		return none, err
	}
	defer f.records.give()
	var c changes
	if err := f.forgetInvites(&c, now); err != nil {
		return none, fmt.Errorf("invite: %w", err)
	}
	id := inv.ID()
	c.set(key(keyInvite, id[:]), inviteRecord{V: codec.Version, Invitation: inv, Uses: uses})
	if err := c.apply(f.c.Books); err != nil {
		return none, fmt.Errorf("invite: %w", err)
	}
	return inv, nil
}

// Promised returns what we give by pacts, and would by the invitations that can still be accepted, if they were as often as
// they can be: of each resource, pact.AmountMax at most.
func (f *Federation) Promised() (map[core.Resource]int64, error) {
	out, now := map[core.Resource]int64{}, f.now()
	add := func(gives map[core.Resource]int64, times int) {
		for r, n := range gives {
			out[r] += int64(times) * min(n, (pact.AmountMax-out[r])/int64(times))
		}
	}
	for _, p := range f.Partners() {
		add(p.Given, 1)
	}
	for e, err := range scan[inviteRecord](f.c.Books, []byte(keyInvite), 16, inviteSizeMax) {
		if err != nil {
			return nil, err
		}
		left := max(e.value.Uses, 1) - e.value.used()
		if left > 0 && e.value.Invitation.Expires > now {
			add(e.value.Invitation.Terms.InviterGives, left)
		}
	}
	return out, nil
}

// forgetInvites drops invitations that nobody accepted long ago, and refuses
// where too many wait.
func (f *Federation) forgetInvites(c *changes, now int64) error {
	waiting := 0
	for e, err := range scan[inviteRecord](f.c.Books, []byte(keyInvite), 16, inviteSizeMax) {
		if err != nil {
			return err
		}
		switch {
		case e.value.used() > 0: // kept: who accepted may ask again
		case e.value.Invitation.Expires+inviteKeep < now:
			c.drop(e.key)
		case e.value.Invitation.Expires > now:
			waiting++
		}
	}
	if waiting >= invitesMax {
		return fmt.Errorf("%d invitations wait to be accepted already: %w", waiting, core.ErrRefused)
	}
	return nil
}

// News returns a channel that is closed when the next partner joins.
func (f *Federation) News() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news
}

// WaitJoined blocks until somebody has accepted the invitation with that id, and
// returns who. Errors: core.ErrNotExist where there is none, ErrExpired, core.ErrRevoked, ctx's.
func (f *Federation) WaitJoined(ctx context.Context, id [16]byte) (Partner, error) {
	for {
		news := f.News()
		p, left, err := f.joined(ctx, id)
		if err != nil || !p.Grid.IsZero() {
			return p, err
		}
		late := make(chan struct{})
		timer := f.c.Clock.AfterFunc(left, func() { close(late) })
		select {
		case <-news:
		case <-late:
		case <-f.revocation:
			err = f.Revoked()
		case <-ctx.Done():
			err = ctx.Err()
		}
		timer.Stop()
		if err != nil {
			return Partner{}, err
		}
	}
}

// joined returns who has accepted an invitation; of one that still waits, for how long.
func (f *Federation) joined(ctx context.Context, id [16]byte) (Partner, time.Duration, error) {
	fail := func(err error) (Partner, time.Duration, error) {
		return Partner{}, 0, fmt.Errorf("wait for a partner: %w", err)
	}
	// In turn, because a pact stands in the books a moment before its partner is known.
	if err := f.records.take(ctx); err != nil {
		return fail(err)
	}
	defer f.records.give()
	var r inviteRecord
	ok, err := get(f.c.Books, key(keyInvite, id[:]), &r, inviteSizeMax)
	switch left := r.Invitation.Expires - f.now(); {
	case err != nil:
		return fail(err)
	case !ok:
		return fail(fmt.Errorf("no invitation %x: %w", id, core.ErrNotExist))
	case r.used() == 0 && left <= 0:
		return fail(ErrExpired)
	case r.used() == 0:
		return Partner{}, time.Duration(left) * time.Second, nil
	}
	p, err := pact.OpenPact(r.Pact.Body)
	if err != nil {
		return fail(err)
	}
	partner, ok := f.Partner(p.Acceptor)
	if !ok { // the pact has ended since
		return fail(fmt.Errorf("partner %s: %w", p.Acceptor.Short(), core.ErrNotExist))
	}
	return partner, 0, nil
}

// errNoInvitation is the answer to an unknown id and to a wrong proof alike.
func errNoInvitation() error {
	return &wire.Error{Code: wire.CodeNotFound, Message: "no such invitation"}
}

// proven returns the invitation that a request proves to know.
func (f *Federation) proven(agent core.DID, in acceptRequest) (r inviteRecord, err error) {
	if len(in.Invitation) != 16 {
		return r, errNoInvitation()
	}
	ok, err := get(f.c.Books, key(keyInvite, in.Invitation), &r, inviteSizeMax)
	if err == nil && (!ok || !r.Invitation.Proves(agent, in.Proof)) {
		err = errNoInvitation()
	}
	return r, err
}

// handleAccept is the inviter's side: it binds the invitation to the first
// acceptors who prove it, as many as it is for, and answers each of them the same for ever.
func (f *Federation) handleAccept(ctx context.Context, in acceptRequest) (acceptAnswer, error) {
	caller := wire.CallerOf(ctx)
	if _, err := f.proven(caller.Agent, in); err != nil { // a stranger who has none waits for no turn
		return acceptAnswer{}, err
	}
	if err := f.records.take(ctx); err != nil {
		return acceptAnswer{}, err
	}
	defer f.records.give()
	r, err := f.proven(caller.Agent, in)
	if err != nil {
		return acceptAnswer{}, err
	}
	before, done, err := f.acceptedBy(r, in.Invitation, caller.Agent)
	switch {
	case err != nil:
		return acceptAnswer{}, err
	case done && bytes.Equal(before.Body, in.Pact):
		return f.accepted(before), nil
	case done || r.used() >= max(r.Uses, 1):
		return acceptAnswer{}, &wire.Error{Code: wire.CodeInvitationUsed, Message: "the invitation was already used"}
	}
	now := f.now()
	if now >= r.Invitation.Expires {
		return acceptAnswer{}, &wire.Error{Code: wire.CodeInvitationExpired, Message: "the invitation has expired"}
	}
	p, charters, err := f.checkAcceptance(caller.Agent, in, r.Invitation, now)
	if err != nil {
		return acceptAnswer{}, err
	}
	if err := f.checkFree(p.Acceptor, now); err != nil {
		return acceptAnswer{}, err
	}
	var c changes
	if r.Before = r.used(); r.Before > 0 {
		c.set(key(keyUsed, in.Invitation, r.Pact.Acceptor.By[:]), usedRecord{V: codec.Version, Pact: r.Pact})
	}
	if r.Pact, err = pact.Countersign(f.c.Key, in.Pact, in.Sig); err != nil {
		return acceptAnswer{}, invalid(err)
	}
	f.c.Known.Learn(caller.Agent, in.Addrs)
	c.set(key(keyInvite, in.Invitation), r)
	partner, err := f.join(&c, in.Name, r.Pact, p.Acceptor, charters)
	if err != nil {
		return acceptAnswer{}, err
	}
	f.Saw(caller.Agent)
	f.c.Log.Info("partner joined", "name", partner.record.Name, "grid", p.Acceptor, "agent", caller.Agent)
	return f.accepted(r.Pact), nil
}

// acceptedBy returns the pact that came of an invitation with a machine's household; done says that there is one.
func (f *Federation) acceptedBy(r inviteRecord, id []byte, agent core.DID) (s pact.SignedPact, done bool, err error) {
	if r.used() > 0 && r.Pact.Acceptor.By == agent {
		return r.Pact, true, nil
	}
	var used usedRecord
	done, err = get(f.c.Books, key(keyUsed, id, agent[:]), &used, inviteSizeMax)
	return used.Pact, done, err
}

// checkAcceptance holds what an acceptor sent against the invitation.
func (f *Federation) checkAcceptance(agent core.DID, in acceptRequest, inv pact.Invitation, now int64) (pact.Pact, []opened, error) {
	p, err := pact.OpenPact(in.Pact)
	if err == nil {
		err = inv.Match(p)
	}
	if err == nil {
		err = CheckName(in.Name)
	}
	if err != nil {
		return p, nil, invalid(err)
	}
	earliest := inv.Expires - int64(ExpiresMax/time.Second) - clockSlack
	switch {
	case p.Acceptor == f.self.Grid:
		return p, nil, invalid(errors.New("the pact is with the inviter's own household"))
	case in.Sig.By != agent:
		return p, nil, invalid(errors.New("the pact is signed by another machine than the one that sends it"))
	case p.From > now+clockSlack || p.From < earliest:
		return p, nil, invalid(fmt.Errorf("the pact runs from %d on; here it is %d", p.From, now))
	}
	charters, err := openCharters(p.Acceptor, in.Charters)
	if err != nil {
		return p, nil, invalid(err)
	}
	if newest, ok := newestOf(charters); !ok || !newest.Lists(agent) {
		return p, nil, invalid(errors.New("the acceptor's newest charter does not list the machine that signs"))
	}
	return p, charters, nil
}

// checkFree refuses a second pact with one household. If we are ourselves about to
// accept an invitation of theirs, then of the two pacts the one that the lower DID
// accepts is made: both sides decide alike, whatever they hear first.
func (f *Federation) checkFree(grid core.DID, now int64) error {
	if p, ok := f.Partner(grid); ok {
		return &core.Denial{Reason: "already partners, " + p.span()}
	}
	for e, err := range scan[proposalRecord](f.c.Books, []byte(keyProposal), 16, inviteSizeMax) {
		if err != nil {
			return err
		}
		if inv := e.value.Invitation; inv.Grid == grid && inv.Expires > now && f.self.Grid.Compare(grid) < 0 {
			return &wire.Error{Code: wire.CodeBusy, Message: "this household is about to accept your own invitation", Hint: "wait for it"}
		}
	}
	return nil
}

// accepted is the answer to the acceptor.
func (f *Federation) accepted(signed pact.SignedPact) acceptAnswer {
	return acceptAnswer{
		Pact: signed, Charters: f.ownCharters(acceptChartersMax),
		Name: f.self.Name, Addrs: tidyAddrs(f.c.Addrs()),
	}
}

// invalid makes what is wrong with a request an answer.
func invalid(err error) error {
	if errors.Is(err, core.ErrVersion) {
		return &wire.Error{Code: wire.CodeVersion, Message: err.Error()}
	}
	return &wire.Error{Code: wire.CodeInvalid, Message: err.Error()}
}
