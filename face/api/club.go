package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// Clubs is the answer to GET and POST /v1/clubs.
type Clubs struct {
	Clubs []grange.Membership `json:"clubs"`
}

// ClubRequest is the body of POST /v1/clubs.
type ClubRequest struct {
	// Club is a partner's name, as in the list of pacts, or a DID.
	Club string `json:"club"`
}

// AdmitRequest is the body of POST /v1/admit.
type AdmitRequest struct {
	// Member is a name, as in the roll, or a DID. Of a person who is no member yet it is a machine's DID, and Name what the person is called.
	Member string `json:"member"`
	Name   string `json:"name,omitempty"`
	// Share is how much of what each member offers it may have, in percent; 0 is an even part of what is left. Nothing says that it may
	// keep nothing at the others'. With neither that stays as it is; of who is new it is an even part.
	Share   *uint `json:"share,omitempty"`
	Nothing bool  `json:"nothing,omitempty"`
}

// ExpelRequest is the body of POST /v1/expel.
type ExpelRequest struct {
	Member string `json:"member"`
}

func (o *owner) clubs(r *http.Request) answer {
	return value(Clubs{o.agent.Memberships(r.Context())}, nil)
}

func (o *owner) visitClub(r *http.Request) answer {
	var in ClubRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	err := o.agent.VisitClub(r.Context(), in.Club)
	if errors.Is(err, fs.ErrNotExist) {
		err = &Error{Code: CodeNotFound, Message: fmt.Sprintf("no partner %q that is a club", Clean(in.Club)), Hint: "grange grid show"}
	}
	return value(Clubs{o.agent.Memberships(r.Context())}, err)
}

func (o *owner) admit(r *http.Request) answer {
	var in AdmitRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	m, err := o.agent.Member(in.Member)
	if errors.Is(err, fs.ErrNotExist) && in.Name != "" {
		m = grange.ClubMember{Kind: "person", Store: true}
		if m.DID, err = core.ParseDID(in.Member); err != nil {
			err = invalid(fmt.Sprintf("%.80q is no DID of a person's machine", Clean(in.Member)), "")
		}
	}
	if err != nil {
		return failure(nil, noMember(in.Member, err))
	}
	if in.Name != "" {
		m.Name = in.Name
	}
	if in.Share != nil {
		m.Share, m.Store = *in.Share, true
	}
	if in.Nothing {
		m.Share, m.Store = 0, false
	}
	err = o.agent.Admit(r.Context(), m)
	return value(m, noMember(in.Member, err))
}

func (o *owner) expel(r *http.Request) answer {
	var in ExpelRequest
	if err := read(r, &in); err != nil {
		return failure(nil, err)
	}
	m, err := o.agent.Member(in.Member)
	if err != nil {
		return failure(nil, noMember(in.Member, err))
	}
	return long(r, func(func(grange.Progress)) (any, error) {
		err := o.agent.Expel(r.Context(), in.Member)
		return later(grange.Pact{Name: m.Name, Partner: m.DID}, err)
	})
}

// noMember says who is meant where nobody is.
func noMember(who string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &Error{Code: CodeNotFound, Message: fmt.Sprintf("no member %q", Clean(who)), Hint: "a household joins by a code: grange invite --grid NAME"}
}

// Clubs returns the clubs among the partners; of a club's own agent that club first.
func (c *Client) Clubs(ctx context.Context) ([]grange.Membership, error) {
	var out Clubs
	err := c.get(ctx, "clubs", nil, &out)
	return out.Clubs, err
}

// VisitClub asks a club now for what there is for us.
func (c *Client) VisitClub(ctx context.Context, club string) ([]grange.Membership, error) {
	var out Clubs
	err := c.post(ctx, "clubs", ClubRequest{club}, &out)
	return out.Clubs, err
}

// Admit says what a member of a club may do.
func (c *Client) Admit(ctx context.Context, in AdmitRequest) (out grange.ClubMember, err error) {
	return out, c.post(ctx, "admit", in, &out)
}

// Expel strikes a member off a club's roll. With grange.ErrPartly it hears of it later.
func (c *Client) Expel(ctx context.Context, member string) error {
	var out grange.Pact
	return c.long(ctx, "expel", ExpelRequest{member}, nil, &out)
}
