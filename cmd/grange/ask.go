package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/face/api"
	"github.com/grange-grid/grange/pure/policy"
)

type askCommand struct {
	gridFlag
	Who      string `arg:"" name:"WHO" placeholder:"WHO" help:"A partner, or somebody who lets you in as a guest."`
	Resource string `arg:"" name:"RESOURCE" placeholder:"RESOURCE" help:"storage, network, compute, content, work, or what config.toml names besides."`
	Amount   string `arg:"" name:"AMOUNT" placeholder:"AMOUNT" help:"A size such as 10GB of storage and network; of compute a number of steps; of all else a number, in its unit."`
	For      span   `placeholder:"30d" default:"30d" help:"For how long."`
	Quality  string `placeholder:"Q" default:"normal" help:"How urgently: idle, normal or prompt."`
	Why      string `placeholder:"KIND" help:"For what kind of reason: none, pact, account or voucher; else what there is with them."`
}

func (askCommand) detail() string {
	return `What is granted is an allowance: so much may be had until it ends. The partner's policy answers; a no has its reason, and what would be granted. When something was had, sign for it: 'grange sign'.

Of storage it only says whether it would be granted now: 'grange put' asks for itself.`
}

type signCommand struct {
	gridFlag
	Who      string `arg:"" name:"WHO" placeholder:"WHO" help:"The partner."`
	Resource string `arg:"" name:"RESOURCE" placeholder:"RESOURCE" help:"What you had, but storage, for which machines sign by themselves."`
	Amount   string `arg:"" name:"AMOUNT" placeholder:"AMOUNT" help:"How much more than you have signed for before."`
}

func (signCommand) detail() string {
	return `Your partner gets a receipt, and has it for good: it cannot be taken back. It draws on what you were allowed, the one first that ends first; before you sign for more than that you are asked.`
}

// amountOf reads an amount of a resource.
func amountOf(resource, text string) (int64, error) {
	if r := core.Resource(resource); r == core.Storage || r == core.Network {
		var s size
		if err := s.UnmarshalText([]byte(text)); err != nil {
			return 0, usage(err.Error(), "")
		}
		return int64(s), nil
	}
	n, err := strconv.ParseInt(strings.ReplaceAll(text, ",", ""), 10, 64)
	if err != nil {
		what := "a number, in its unit"
		if core.Resource(resource) == core.Compute {
			what = "a number of steps"
		}
		return 0, usage(fmt.Sprintf("%.40q is no whole number", text), "of "+clean(resource)+" it is "+what)
	}
	return n, nil
}

// amountIn writes an amount: "5 kg of potatoes".
func amountIn(r core.Resource, unit string, n int64) string {
	return policy.Unit{Resource: r, Name: unit}.Text(n)
}

func (c *askCommand) run(ctx context.Context, a *app) error {
	n, err := amountOf(c.Resource, c.Amount)
	if err != nil {
		return err
	}
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		got, err := s.Ask(ctx, api.AskRequest{
			Who: c.Who, Resource: core.Resource(c.Resource), Amount: n, Seconds: int64(time.Duration(c.For) / time.Second), Quality: core.Quality(c.Quality), Why: core.WhyKind(c.Why),
		})
		if err != nil {
			return err
		}
		a.value(got)
		what := amountIn(got.Resource, got.Unit, got.Amount)
		if got.Until.IsZero() {
			a.say("%s would let you have %s now.", clean(got.Name), what)
			return nil
		}
		a.say("%s lets you have %s until %s.", clean(got.Name), what, moment(got.Until, a.now()))
		a.tell("When you had it: grange sign %s %s AMOUNT", api.Word(got.Name), got.Resource)
		return nil
	})
}

func (c *signCommand) run(ctx context.Context, a *app) error {
	n, err := amountOf(c.Resource, c.Amount)
	if err != nil {
		return err
	}
	return a.withGrid(ctx, c.Grid, func(s *session) error {
		if yes, err := c.allowed(ctx, a, s, n); err != nil {
			return err
		} else if !yes {
			return &api.Error{Code: api.CodeFailed, Message: "nothing was done"}
		}
		had, err := s.Sign(ctx, api.SignRequest{Who: c.Who, Resource: core.Resource(c.Resource), Amount: n})
		if err != nil && !errors.Is(err, grange.ErrPartly) {
			return err
		}
		a.value(had)
		a.say("Signed for %s of %s: %s so far.", amountIn(had.Resource, had.Unit, n), clean(had.Name), amountIn(had.Resource, had.Unit, int64(min(had.Total, 1<<62))))
		return err
	})
}

// allowed tells whether so much is still allowed, or signed for all the same: a receipt cannot be taken back.
func (c *signCommand) allowed(ctx context.Context, a *app, s *session, n int64) (bool, error) {
	if a.yes || n <= 0 || c.Resource == string(core.Storage) {
		return true, nil
	}
	all, err := s.Ledger(ctx, c.Who)
	if err != nil {
		return false, err
	}
	for _, l := range all {
		if l.Errand != nil {
			continue // a guest signs for nothing, and is told so
		}
		left := "nothing of it"
		for _, f := range l.Flows {
			open := int64(0)
			for _, g := range f.Allowed {
				open += max(0, g.Amount-g.Drawn)
			}
			for _, h := range f.Had {
				open -= int64(min(h.Waiting, 1<<53))
			}
			if string(f.Resource) != c.Resource || open <= 0 {
				continue
			}
			if open >= n {
				return true, nil
			}
			left = amountIn(f.Resource, f.Unit, open)
		}
		only := fmt.Sprintf("%s lets you have %s now", clean(l.Name), left)
		return a.confirm(ctx, only+". Sign for more?", only+"; more is signed for on a terminal")
	}
	return true, nil
}

// flows says what there is of other resources than storage.
func (a *app) flows(name string, flows []grange.Flow) {
	for _, f := range flows {
		text := func(n int64) string { return amountIn(f.Resource, f.Unit, n) }
		if f.Gives > 0 || f.Has > 0 {
			a.say("Of %s: %s of %s had in the last 30 days.", name, text(f.Has), text(f.Gives))
		}
		for _, g := range f.Allowed {
			a.say("  You may have %s until %s, %s of it had.", text(g.Amount), moment(g.Until, a.now()), text(g.Drawn))
		}
		if f.Given > 0 || f.Used > 0 {
			a.say("For %s: %s of %s used in the last 30 days.", name, text(f.Used), text(f.Given))
		}
		for _, g := range f.Granted {
			a.say("  They may have %s until %s, %s of it had.", text(g.Amount), moment(g.Until, a.now()), text(g.Drawn))
		}
		a.flowLines(f.Had, "Had of "+name, text)
		a.flowLines(f.Gave, "Given to "+name, text)
	}
}

// flowLines says what one direction has come to.
func (a *app) flowLines(lines []grange.FlowLine, what string, text func(int64) string) {
	var signed, receipts int64
	var until time.Time
	waits := ""
	for _, l := range lines {
		signed += int64(min(l.Signed, 1<<53))
		receipts += l.Receipts
		if l.Until.After(until) {
			until = l.Until
		}
		if l.Waits {
			waits = "; the last receipt has still to be sent"
		}
	}
	if signed > 0 {
		a.say("%s so far: %s; %s up to %s%s.", what, text(signed), count(receipts, "receipt", "receipts"), moment(until, a.now()), waits)
	}
}
