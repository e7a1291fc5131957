package grange

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/service/federation"
)

// Change is what a pact would be changed to: its fields are as in Pact.
type Change struct {
	Gives   int64             `json:"gives"`
	Given   int64             `json:"given"`
	GivesOf map[string]int64  `json:"gives_of,omitempty"`
	GivenOf map[string]int64  `json:"given_of,omitempty"`
	Units   map[string]string `json:"units,omitempty"`
	Until   time.Time         `json:"until,omitzero"`
}

// Amendment says what to change of a pact: the resources that are named, and if Days is not zero, that it ends so many
// days from now.
type Amendment struct {
	Give Amounts
	Want Amounts
	Days uint
}

// Amend proposes to a partner, given by name or DID, to change the pact. A partner agrees at once to what costs it nothing: then the pact that is returned
// is the new one. Otherwise its person is asked, and Mine is set until there is an answer.
// Errors: fs.ErrNotExist for nobody of that name, ErrInvalid where nothing would change, ErrRefused where
// the pact ends; ErrUnreachable where a running agent asks later, with the pact as it is.
func (a *Agent) Amend(ctx context.Context, who string, to Amendment) (Pact, error) {
	return a.change(ctx, who, func(p federation.Partner) (federation.Partner, error) {
		units := a.units(p.Terms.Units)
		give, err := a.settle(to.Give, units, true, 0)
		if err != nil {
			return p, err
		}
		given, said := give[core.Storage]
		if !said {
			given = p.Given[core.Storage]
		}
		want, err := a.settle(to.Want, units, false, given)
		if err != nil {
			return p, err
		}
		c := federation.Changes{Give: give, Want: want, Units: unitsOf(units, give, want)}
		if to.Days > pact.DaysMax {
			return p, fmt.Errorf("a pact for %d days, at most %d: %w", to.Days, pact.DaysMax, ErrInvalid)
		} else if to.Days > 0 {
			c.Until = a.c.Clock.Now().Unix() + int64(to.Days)*24*60*60
		}
		return a.federation.Amend(ctx, p.Grid, c)
	})
}

// Agree agrees to what a partner has proposed. Errors: fs.ErrNotExist where there is nothing to agree to,
// ErrRefused where the pact ends.
func (a *Agent) Agree(ctx context.Context, who string) (Pact, error) {
	return a.change(ctx, who, func(p federation.Partner) (federation.Partner, error) {
		return a.federation.Agree(ctx, p.Grid)
	})
}

// End gives a partner notice. The pact ends as many days after they have heard of it as it says; until then
// a running agent has our pieces made again elsewhere. It cannot be taken back. Errors: fs.ErrNotExist for nobody
// of that name; ErrUnreachable where a running agent tells them later, with the pact as it is.
func (a *Agent) End(ctx context.Context, who string) (Pact, error) {
	return a.change(ctx, who, func(p federation.Partner) (federation.Partner, error) {
		return a.federation.End(ctx, p.Grid)
	})
}

func (a *Agent) change(ctx context.Context, who string, do func(federation.Partner) (federation.Partner, error)) (Pact, error) {
	p, err := a.partner(who)
	if err != nil {
		return Pact{}, err
	}
	changed, err := do(p)
	if err != nil && !errors.Is(err, ErrUnreachable) {
		return Pact{}, err
	}
	if _, bad := a.federation.SaveHead(ctx); bad != nil { // or a recovery would not know of it
		a.c.Log.Warn("save the head", "err", bad)
	}
	return a.pactOf(changed), err
}

// partner finds a partner by name or DID.
func (a *Agent) partner(who string) (federation.Partner, error) {
	did, _ := core.ParseDID(who) // or it is a name
	for _, p := range a.federation.Partners() {
		if p.Name == who || p.Grid == did {
			return p, nil
		}
	}
	return federation.Partner{}, fmt.Errorf("no partner %q: %w", who, fs.ErrNotExist)
}

// told tells whoever listens what became of a pact.
func (a *Agent) told(grid core.DID, news federation.PactNews) {
	p, ok := a.federation.Partner(grid)
	if !ok {
		return
	}
	e := Event{Time: a.c.Clock.Now(), Kind: string(news), Partner: p.Name}
	switch news {
	case federation.PactAsked:
		e.Text = p.Name + " asks to change the pact"
	case federation.PactAmended:
		e.Text = "the pact with " + p.Name + " has changed"
	case federation.PactEnds:
		e.Text = "the pact with " + p.Name + " ends on " + time.Unix(p.Ends, 0).UTC().Format(time.DateOnly)
		leave(a.came) // our pieces are to lie elsewhere
	case federation.ClubLess:
		e.Text = "a member of " + p.Name + " keeps nothing for us any more"
		leave(a.came) // likewise
	case federation.ClubTwofaced:
		e.Kind, e.Text = "alarm", p.Name+" has signed two lists of its members under one number: ask them why"
	}
	a.events.send(e)
}

func (a *Agent) changeOf(p *federation.Proposal) *Change {
	if p == nil {
		return nil
	}
	out := &Change{Gives: p.Gives[core.Storage], Given: p.Given[core.Storage], Until: dateOf(p.Until)}
	out.GivesOf, out.GivenOf, out.Units = a.others(p.Gives, p.Given, p.Units)
	return out
}

// units returns what resources are counted in: as it is fixed for all, as a pact has it, or as config.toml has it; "" is bytes.
func (a *Agent) units(agreed map[core.Resource]string) map[core.Resource]string {
	out := maps.Clone(a.policy.table.Resources)
	maps.Copy(out, agreed)
	return out
}

// unitsOf returns, of units, those which terms have to say.
func unitsOf(units map[core.Resource]string, sides ...map[core.Resource]int64) map[core.Resource]string {
	var out map[core.Resource]string
	for _, gives := range sides {
		for r := range gives {
			if unit := units[r]; unit != "" && !pact.HasUnit(r) {
				if out == nil {
					out = map[core.Resource]string{}
				}
				out[r] = unit
			}
		}
	}
	return out
}

// others returns what both sides give but storage, with the units of that, in a pact that says these.
func (a *Agent) others(theirs, ours map[core.Resource]int64, agreed map[core.Resource]string) (theirsOf, oursOf map[string]int64, units map[string]string) {
	known := a.units(agreed)
	of := func(all map[core.Resource]int64) (out map[string]int64) {
		for r, n := range all {
			if r == core.Storage || n == 0 {
				continue
			}
			if out == nil {
				out = map[string]int64{}
			}
			if units == nil {
				units = map[string]string{}
			}
			unit, ok := known[r]
			if !ok { // and so counted in nobody knows what
				unit = "units"
			}
			out[string(r)], units[string(r)] = n, unit
		}
		return out
	}
	return of(theirs), of(ours), units
}

// dateOf returns a date in Unix seconds, the zero time for 0.
func dateOf(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
