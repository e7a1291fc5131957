package grange

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/roll"
	"github.com/grange-grid/grange/service/federation"
)

// Membership is what is known of a club: of one among our partners, or, at a club's own agent, of that club.
type Membership struct {
	Club DID    `json:"club"`
	Name string `json:"name"`
	// Own says that the club is the grid of this very agent.
	Own bool `json:"own,omitempty"`
	// Guest says that we are no member, but have vouchers of it that were brought to us, as a person has. Its members are not known then.
	Guest bool `json:"guest,omitempty"`
	// Number and Time are the roll's.
	Number  uint64       `json:"number"`
	Time    time.Time    `json:"time,omitzero"`
	Members []ClubMember `json:"members"`
	// Homes are those where this machine may keep something on the club's behalf.
	Homes []ClubHome `json:"homes"`
	// Asked is when the club was asked last; it is asked once a day, and when it has something new.
	Asked time.Time `json:"asked,omitzero"`
	// Leaving says that we, or the club, have given notice.
	Leaving bool `json:"leaving,omitempty"`
	// Twofaced says that the club has signed two rolls under one number.
	Twofaced bool `json:"twofaced,omitempty"`
}

// ClubMember is a member of a club.
type ClubMember struct {
	DID  DID    `json:"did"`
	Name string `json:"name"`
	// Kind is "grid", or "person" of a person's machine.
	Kind string `json:"kind"`
	// Store says that it may keep something at the others', Share how much of what each offers, in percent; 0 is an even part.
	Store bool `json:"store"`
	Share uint `json:"share,omitempty"`
}

// ClubHome is a member's household, or one in a club within the club, that keeps something for us.
type ClubHome struct {
	Grid DID    `json:"grid"`
	Name string `json:"name"`
	// Amount is the most that we may have there, in bytes, by a voucher that is good until Until.
	Amount int64     `json:"amount"`
	Until  time.Time `json:"until"`
}

// Memberships returns the clubs among our partners, by DID, and those of which vouchers were brought to us; at a club's own agent that club
// first.
func (a *Agent) Memberships(context.Context) []Membership {
	out := []Membership{}
	self := a.federation.Self()
	if r, ok := a.federation.Roll(); ok {
		own := membershipOf(federation.Club{Grid: self.Grid, Roll: r})
		own.Name, own.Own = self.Name, true
		out = append(out, own)
	}
	for _, c := range a.federation.Clubs() {
		p, ok := a.federation.Partner(c.Grid)
		if !ok {
			continue
		}
		m := membershipOf(c)
		m.Name, m.Leaving, m.Asked = p.Name, p.Leaving(), time.Unix(c.Asked, 0)
		out = append(out, m)
	}
	for _, p := range a.federation.Passes() {
		if _, member := a.federation.Partner(p.Grid); member {
			continue
		}
		m := Membership{Club: p.Grid, Name: p.Name, Guest: true, Members: []ClubMember{}, Homes: homesOf(p.Homes)}
		if p.Asked > 0 {
			m.Asked = time.Unix(p.Asked, 0)
		}
		out = append(out, m)
	}
	return out
}

func homesOf(homes []federation.ClubHome) []ClubHome {
	out := []ClubHome{}
	for _, h := range homes {
		out = append(out, ClubHome{Grid: h.Grid, Name: h.Name, Amount: h.Amount, Until: time.Unix(h.Until, 0)})
	}
	return out
}

func membershipOf(c federation.Club) Membership {
	out := Membership{
		Club: c.Grid, Number: c.Roll.N, Time: time.Unix(c.Roll.Time, 0), Members: []ClubMember{}, Homes: homesOf(c.Homes), Twofaced: c.Twofaced,
	}
	for _, m := range c.Roll.Members {
		out.Members = append(out.Members, ClubMember{DID: m.DID, Name: m.Name, Kind: m.Kind, Store: m.Can(roll.MayStore), Share: m.Share})
	}
	return out
}

// VisitClub asks a club among our partners, by name or DID, for its roll and what there is for us, or one of which vouchers were brought to us
// for newer ones; an agent that runs does so by
// itself. Errors: fs.ErrNotExist where it is none, ErrUnreachable.
func (a *Agent) VisitClub(ctx context.Context, who string) error {
	p, err := a.partner(who)
	passes := a.federation.Passes()
	if err == nil {
		err = a.federation.VisitClub(ctx, p.Grid)
	} else if i := slices.IndexFunc(passes, func(p federation.Pass) bool { return p.Name == who || p.Grid.String() == who }); i >= 0 {
		err = a.federation.VisitPass(ctx, passes[i].Grid)
	}
	if err == nil {
		a.federation.UseVouchers(ctx)
	}
	return err
}

// Admit says, at a club's own agent, what a member may do. A grid is a member by its pact with the club; a person is by this,
// by the DID of a machine and a name. Errors: fs.ErrNotExist, ErrInvalid.
func (a *Agent) Admit(ctx context.Context, m ClubMember) error {
	out := roll.Member{DID: m.DID, Kind: m.Kind, Name: m.Name, Share: m.Share}
	if m.Store {
		out.May = []string{roll.MayStore}
	}
	return a.federation.Admit(ctx, out)
}

// Member finds, at a club's own agent, a member by name or DID. Errors: fs.ErrNotExist; ErrAlready of one that has left, whose pact
// ends.
func (a *Agent) Member(who string) (ClubMember, error) {
	did, _ := core.ParseDID(who) // or it is a name
	for _, m := range a.Memberships(context.Background()) {
		for _, one := range m.Members {
			if m.Own && (one.Name == who || one.DID == did) {
				return one, nil
			}
		}
	}
	if p, err := a.partner(who); err == nil && p.Leaving() {
		ends := "of which notice was given"
		if p.Ends != 0 {
			ends = "that ends on " + time.Unix(p.Ends, 0).UTC().Format(time.DateOnly)
		}
		return ClubMember{}, fmt.Errorf("%s is no member any more; %w, by a pact %s", p.Name, ErrAlready, ends)
	}
	return ClubMember{}, fmt.Errorf("no member %q: %w", who, fs.ErrNotExist)
}

// Expel strikes a member off the roll of a club, at its own agent, and revokes its vouchers; a grid's pact ends with notice. With
// ErrUnreachable it is done, and the member hears of the notice later. Errors: fs.ErrNotExist.
func (a *Agent) Expel(ctx context.Context, who string) error {
	m, err := a.Member(who)
	if err != nil {
		return err
	}
	err = a.federation.Expel(ctx, m.DID)
	if err == nil || errors.Is(err, ErrUnreachable) {
		if _, bad := a.federation.SaveHead(ctx); bad != nil { // or a recovery would not know of it
			a.c.Log.Warn("save the head", "err", bad)
		}
	}
	return err
}
