package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

// pactCommand is the commands that begin with pact.
type pactCommand struct {
	Amend pactAmendCommand `cmd:"" help:"change what you and a partner keep for each other"`
	End   pactEndCommand   `cmd:"" help:"end a pact, with notice"`
}

type pactAmendCommand struct {
	gridFlag
	Who   string   `arg:"" name:"WHO" placeholder:"WHO" help:"The partner."`
	Give  []string `placeholder:"10GB" sep:"none" help:"What you give them, from now on, as 'grange invite' has it: 10GB, 20%,200GB, potatoes=5."`
	Want  []string `placeholder:"10GB" sep:"none" help:"What they give you: 10GB, 1.5x, potatoes=5."`
	For   days     `placeholder:"365d" help:"How long from now on it is, before it ends by itself."`
	Agree bool     `help:"Agree to what they have proposed; 'grange pacts' shows it."`
}

func (pactAmendCommand) detail() string {
	return `A partner's machine agrees at once to what costs them nothing: that you keep more for them, or want less. Otherwise it asks them, and 'grange pacts' shows on both sides what is proposed. It can be given again with other amounts until they have agreed. What is not named stays as it is.

Nothing that is kept already is dropped by it.`
}

type pactEndCommand struct {
	gridFlag
	Who string `arg:"" name:"WHO" placeholder:"WHO" help:"The partner."`
}

func (pactEndCommand) detail() string {
	return `The pact ends so many days after your partner's machine has heard of it as it says, usually 30. Until then everything can be read; nothing new goes there, and a running agent has your pieces made again elsewhere. At the end either side sets aside what it keeps for the other.

It cannot be taken back; a new 'grange invite' makes a new pact with somebody else.`
}

func (c *pactAmendCommand) run(ctx context.Context, a *app) error {
	give, err := amountsOf("--give", c.Give)
	if err != nil {
		return err
	}
	want, err := amountsOf("--want", c.Want)
	if err != nil {
		return err
	}
	switch some := give != "" || want != "" || c.For > 0; {
	case c.Agree && some:
		return usage("--agree is to what they propose, without --give, --want and --for", "")
	case !c.Agree && !some:
		return usage("nothing would change", "--give SIZE, --want SIZE, --for 365d or --agree")
	}
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		before, err := s.Pacts(ctx)
		if err != nil {
			return err
		}
		p, err := s.Amend(ctx, api.AmendRequest{Partner: c.Who, Give: give, Want: want, Days: uint(c.For), Agree: c.Agree})
		if err != nil && !errors.Is(err, grange.ErrPartly) {
			return err
		}
		a.value(p)
		if p.Mine != nil {
			a.say("Proposed to %s: %s", clean(p.Name), a.proposal(p, *p.Mine))
			if err == nil {
				a.tell("%s has to agree; 'grange pacts' shows it on both sides.", clean(p.Name))
			}
			return err
		}
		a.say("Agreed. %s", a.proposal(p, dealOf(p)))
		for _, old := range before {
			if old.Partner == p.Partner && old.Theirs != nil && p.Theirs == nil && !c.Agree {
				a.tell("What %s had proposed is gone with it: %s", clean(p.Name), a.proposal(old, *old.Theirs))
			}
		}
		if err == nil {
			var warnings []string
			warnings, err = promises(ctx, s)
			a.notes(warnings)
		}
		return err
	})
}

func (c *pactEndCommand) run(ctx context.Context, a *app) error {
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		pacts, err := s.Pacts(ctx)
		if err != nil {
			return err
		}
		for _, p := range pacts {
			if p.Name == c.Who && p.Ends.Equal(p.Until) && !p.Ending {
				a.tell("%s keeps %s for you, you %s for %s. It cannot be taken back.", clean(p.Name), amount(p.Has), amount(p.Keeps), clean(p.Name))
				yes, err := a.confirm(ctx, "End the pact?", "a pact is ended on a terminal")
				if err != nil {
					return err
				}
				if !yes {
					return &api.Error{Code: api.CodeFailed, Message: "nothing was done"}
				}
			}
		}
		p, err := s.End(ctx, c.Who)
		if err != nil && !errors.Is(err, grange.ErrPartly) {
			return err
		}
		a.value(p)
		if !p.Ends.IsZero() {
			a.say("The pact with %s ends on %s.", clean(p.Name), date(p.Ends, a.now()))
		}
		if p.Has > 0 {
			a.tell("What %s keeps for you is made again elsewhere by then, while grange runs and there is room. More room: grange invite", clean(p.Name))
		}
		return err
	})
}

// dealOf is what a pact says now.
func dealOf(p grange.Pact) grange.Change {
	return grange.Change{Gives: p.Gives, Given: p.Given, GivesOf: p.GivesOf, GivenOf: p.GivenOf, Units: p.Units}
}

// proposal says what a pact would come to, and until when if that would change.
func (a *app) proposal(p grange.Pact, c grange.Change) string {
	text := bargain(p.Name, c)
	if !c.Until.IsZero() && !c.Until.Equal(p.Until) {
		text += fmt.Sprintf(" It is until %s.", date(c.Until, a.now()))
	}
	return text
}

// soonEnds is how long before its end a pact that ends by itself is spoken of.
const soonEnds = 30 * day

// changes says what is about to become of pacts, a line each; with all also what stands in no table.
func (a *app) changes(pacts []grange.Pact, all bool) (lines []string) {
	for _, p := range pacts {
		name := clean(p.Name)
		if more := others(p.Name, dealOf(p)); all && more != "" {
			lines = append(lines, more)
		}
		switch {
		case p.Ending:
			lines = append(lines, fmt.Sprintf("The pact with %s ends; %s does not know yet.", name, name))
		case !p.Ends.IsZero() && p.Ends.Before(a.now()):
			lines = append(lines, fmt.Sprintf("The pact with %s has ended.", name))
		case !p.Ends.IsZero():
			text := fmt.Sprintf("The pact with %s ends on %s, in %s.", name, date(p.Ends, a.now()), age(ahead(p.Ends.Sub(a.now()))))
			soon := p.Leaving || p.Ends.Before(a.now().Add(soonEnds))
			if soon && p.Ends.Equal(p.Until) {
				text += " To go on: grange pact amend " + api.Word(p.Name) + " --for 365d"
			}
			if soon || all {
				lines = append(lines, text)
			}
		case p.Has > p.Gives:
			lines = append(lines, fmt.Sprintf("%s keeps %s more for you than the pact says.", name, amount(p.Has-p.Gives)))
		case p.Keeps > p.Given:
			lines = append(lines, fmt.Sprintf("You keep %s more for %s than the pact says.", amount(p.Keeps-p.Given), name))
		}
		if p.Theirs != nil {
			lines = append(lines, fmt.Sprintf("%s proposes: %s Agree: grange pact amend %s --agree", name, a.proposal(p, *p.Theirs), api.Word(p.Name)))
		}
		if p.Mine != nil {
			lines = append(lines, fmt.Sprintf("You have proposed to %s: %s", name, a.proposal(p, *p.Mine)))
		}
	}
	return lines
}
