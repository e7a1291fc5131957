package grange

import (
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
	"github.com/grange-grid/grange/service/federation"
)

// Behalf is on whose behalf somebody is a guest.
type Behalf struct {
	// Kind is "voucher", with the Grid whose pact is drawn on, or "account", with the account's server as Grid.
	Kind core.WhyKind `json:"kind"`
	Grid DID          `json:"grid"`
	// Name is the grid's, as far as it is known here, or the account's.
	Name string `json:"name"`
}

// Errand is a household where this machine is a guest: it keeps something for us without a pact.
type Errand struct {
	Grid DID    `json:"grid"`
	Name string `json:"name"`
	By   Behalf `json:"by"`
	// Gives is the most that we may have there, Has what we have, in bytes.
	Gives int64 `json:"gives"`
	Has   int64 `json:"has"`
	// Until is when the voucher, or the account's token, ends; there will be a newer one. Leaving says that there is none, or that the
	// pact that is drawn on ends: what lies there is brought elsewhere.
	Until   time.Time `json:"until,omitzero"`
	Leaving bool      `json:"leaving,omitempty"`
	// Seen, Here and Away are as in a Pact.
	Seen time.Time `json:"seen,omitzero"`
	Here bool      `json:"here"`
	Away bool      `json:"away,omitempty"`
}

// Guest is a household without a pact for which something is kept here, or may be.
type Guest struct {
	Grid DID    `json:"grid"`
	Name string `json:"name"`
	By   Behalf `json:"by"`
	// Share is the most that it may have, Keeps what it has here, in bytes.
	Share int64 `json:"share"`
	Keeps int64 `json:"keeps"`
	// Until is when the last of what it has shown ends; zero where nothing counts any more. Then nothing new is kept for it.
	Until time.Time `json:"until,omitzero"`
}

// Errands returns the households where this machine is a guest, by DID; not those where it has nothing, and may have nothing new.
func (a *Agent) Errands() []Errand {
	out, now := []Errand{}, a.c.Clock.Now()
	for _, e := range a.federation.Errands() {
		if one := a.errandOf(e); one.Has > 0 || one.Until.After(now) && !one.Leaving {
			out = append(out, one)
		}
	}
	return out
}

func (a *Agent) errandOf(e federation.Errand) Errand {
	out := Errand{
		Grid: e.Grid, Name: e.Name, By: a.behalf(e.Subject, e.Account), Gives: e.Amount, Has: a.barter.Placed(e.Grid), Leaving: e.Leaving, Seen: e.Seen,
	}
	if out.By.Kind == core.WhyVoucher && e.SubjectName != "" {
		out.By.Name = e.SubjectName
	}
	if e.Until > 0 {
		out.Until = time.Unix(e.Until, 0)
	}
	out.Away = a.lost(e.Agents)
	recent := !e.Seen.IsZero() && a.c.Clock.Now().Sub(e.Seen) < hereFor
	for _, agent := range e.Agents {
		out.Here = out.Here || recent && !a.network.lost(agent)
	}
	return out
}

// Guests returns the households that a voucher or an account has let in here, by DID.
func (a *Agent) Guests() []Guest {
	out := []Guest{}
	for _, g := range a.federation.Guests() {
		by := a.partners().guestOf(g)
		one := Guest{Grid: g.Grid, Name: g.Name, By: a.behalf(g.Via.Grid, g.Account), Share: by.Given}
		one.Keeps, _ = a.barter.Used(g.Grid)
		if by.Via.Until > 0 {
			one.Until = time.Unix(by.Via.Until, 0)
		}
		out = append(out, one)
	}
	return out
}

// behalf names a grid, or an account where there is one.
func (a *Agent) behalf(grid core.DID, account federation.AccountName) Behalf {
	if account != (federation.AccountName{}) {
		return Behalf{core.WhyAccount, account.Server, account.ID}
	}
	if p, ok := a.federation.Partner(grid); ok {
		return Behalf{core.WhyVoucher, grid, p.Name}
	}
	return Behalf{core.WhyVoucher, grid, grid.Short()}
}

// issuer names a machine in the chain of a voucher: by its household's name here, if that is known.
func (a *Agent) issuer(agent core.DID) string {
	if p, ok := a.federation.ByAgent(agent); ok {
		return p.Name
	}
	if p, ok := a.federation.Partner(agent); ok { // it was issued by a grid's own key
		return p.Name
	}
	return agent.Short()
}

// lookAtGuests tells what is the matter with vouchers and accounts that let this machine in, and who is a guest here.
func (a *Agent) lookAtGuests() (out []Examined) {
	now := a.c.Clock.Now()
	for _, e := range a.Errands() {
		x := Examined{What: "guest", Text: "at " + e.Name + " by " + e.By.String() + ": " + policy.Bytes(e.Has) + " of " + policy.Bytes(e.Gives)}
		switch {
		case !e.Until.After(now):
			x.Fault, x.Text = FaultVoucher, "what lets this machine in at "+e.Name+", "+e.By.String()+", has ended, and there is nothing newer"
		case e.Leaving:
			x.Fault, x.Text = FaultVoucher, "what lies at "+e.Name+" by "+e.By.String()+" has to go: nothing new is kept there, and what is there ends with its leases"
		}
		out = append(out, x)
	}
	guests, kept := a.Guests(), int64(0)
	for _, g := range guests {
		kept += g.Keeps
	}
	if len(guests) > 0 {
		out = append(out, Examined{What: "guest", Text: policy.Bytes(kept) + " are kept here for guests: grange status"})
	}
	return out
}

// String is how it stands after "by".
func (b Behalf) String() string {
	if b.Kind == core.WhyAccount {
		return "account " + b.Name
	}
	return b.Name
}
