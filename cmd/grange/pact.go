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
	Give  share    `placeholder:"10GB" help:"What you keep for them, from now on: a size, or 20% of what this machine gives in all."`
	Want  optional `placeholder:"10GB" help:"What they keep for you."`
	Agree bool     `help:"Agree to what they have proposed; 'grange pacts' shows it."`
}

func (pactAmendCommand) detail() string {
	return `A partner's machine agrees at once to what costs them nothing: that you keep more for them, or want less. Otherwise it asks them, and 'grange pacts' shows on both sides what is proposed. It can be given again with other sizes until they have agreed.

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

// optional is a size that may be left out.
type optional struct {
	size
	set bool
}

// UnmarshalText reads "10GB".
func (o *optional) UnmarshalText(text []byte) error {
	o.set = true
	return o.size.UnmarshalText(text)
}

func (o optional) bytes() *int64 {
	if !o.set {
		return nil
	}
	n := int64(o.size)
	return &n
}

func (c *pactAmendCommand) run(ctx context.Context, a *app) error {
	switch some := c.Give.set || c.Want.set; {
	case c.Agree && some:
		return usage("--agree is to what they propose, without --give and --want", "")
	case !c.Agree && !some:
		return usage("nothing would change", "--give SIZE, --want SIZE or --agree")
	}
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		give, err := c.give(ctx, s)
		if err != nil {
			return err
		}
		p, err := s.Amend(ctx, api.AmendRequest{Partner: c.Who, Give: give, Want: c.Want.bytes(), Agree: c.Agree})
		if err != nil && !errors.Is(err, grange.ErrPartly) {
			return err
		}
		a.value(p)
		if p.Mine != nil {
			a.say("Proposed to %s: %s", clean(p.Name), bargain(p.Name, p.Mine.Given, p.Mine.Gives))
			if err == nil {
				a.tell("%s has to agree; 'grange pacts' shows it on both sides.", clean(p.Name))
			}
			return err
		}
		a.say("Agreed. %s", bargain(p.Name, p.Given, p.Gives))
		if err == nil {
			err = promises(ctx, a, s, 0)
		}
		return err
	})
}

// give returns what is to be given in bytes, nil for what there is.
func (c *pactAmendCommand) give(ctx context.Context, s *session) (*int64, error) {
	if !c.Give.set {
		return nil, nil
	}
	if c.Give.percent < 0 {
		return &c.Give.bytes, nil
	}
	offer, err := s.Offer(ctx)
	part := offer.Total / 100 * c.Give.percent
	return &part, err
}

func (c *pactEndCommand) run(ctx context.Context, a *app) error {
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		pacts, err := s.Pacts(ctx)
		if err != nil {
			return err
		}
		for _, p := range pacts {
			if p.Name == c.Who && p.Ends.IsZero() && !p.Ending {
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

// changes says what is about to become of pacts, a line each.
func (a *app) changes(pacts []grange.Pact) (lines []string) {
	for _, p := range pacts {
		name := clean(p.Name)
		switch {
		case p.Ending:
			lines = append(lines, fmt.Sprintf("The pact with %s ends; %s does not know yet.", name, name))
		case !p.Ends.IsZero() && p.Ends.Before(a.now()):
			lines = append(lines, fmt.Sprintf("The pact with %s has ended.", name))
		case !p.Ends.IsZero():
			lines = append(lines, fmt.Sprintf("The pact with %s ends on %s, in %s.", name, date(p.Ends, a.now()), age(p.Ends.Sub(a.now()))))
		case p.Has > p.Gives:
			lines = append(lines, fmt.Sprintf("%s keeps %s more for you than the pact says.", name, amount(p.Has-p.Gives)))
		case p.Keeps > p.Given:
			lines = append(lines, fmt.Sprintf("You keep %s more for %s than the pact says.", amount(p.Keeps-p.Given), name))
		}
		if p.Theirs != nil {
			lines = append(lines, fmt.Sprintf("%s proposes: %s Agree: grange pact amend %s --agree", name, bargain(p.Name, p.Theirs.Given, p.Theirs.Gives), api.Word(p.Name)))
		}
		if p.Mine != nil {
			lines = append(lines, fmt.Sprintf("You have proposed to %s: %s", name, bargain(p.Name, p.Mine.Given, p.Mine.Gives)))
		}
	}
	return lines
}
