package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/face/api"
	"github.com/grange-grid/grange/pure/policy"
)

// policyCommand is the commands that begin with policy.
type policyCommand struct {
	Show policyShowCommand `cmd:"" help:"who is answered how"`
	Edit policyEditCommand `cmd:"" help:"change that, tried on past asks first"`
	Test policyTestCommand `cmd:"" help:"only check it, and try it"`
}

type policyShowCommand struct{}

func (policyShowCommand) detail() string {
	return `Shows the rules in force and what each means. The first that fits an ask decides; what none fits is refused. Capacity comes before them: nobody gets what was not promised to them, or what there is no room for.

They are the lines of the file 'policy' beside config.toml; without it there is a default. A line is

WHY [QUALITY] [RESOURCE] [from WHO] POLICY [KEY=VALUE]...

WHY is the reason that an ask gives: pact, voucher, account, none, or any for all. QUALITY is idle, normal or prompt. RESOURCE is storage, network, compute, content, work, or one that [resources] of config.toml names with its unit. WHO is a partner's name or DID. What follows a # is a comment.

POLICY is one of: open, yes while there is room; deny [reason="..."], no; even, evenly among friends who were promised more than there is; reciprocal [newcomer=1GB] [patience=30d] [slack=25%], in proportion to what they keep for you, where newcomers begin with an allowance that shrinks; account [server=DID,...], if a trusted account server vouches for them; voucher, within the pact of the grid that sent them, and their share of it.`
}

type policyEditCommand struct{}

func (policyEditCommand) detail() string {
	return `Opens a copy of the file 'policy' in $VISUAL, $EDITOR or vi. When that has ended it checks the copy, shows which of the last thousand asks it would have answered otherwise, asks, and puts it in force at once. What is wrong with it has its line, and nothing changes.

It can be edited by hand as well: a running agent looks every two seconds. What is wrong is told then by 'grange status', 'grange doctor', in the log and as an alarm, and what was in force stays so.`
}

type policyTestCommand struct {
	File string `arg:"" name:"FILE" optional:"" placeholder:"FILE" help:"What to check; - is stdin. Else the file 'policy' as it is."`
}

func (policyTestCommand) detail() string {
	return `Says what the rules mean, and which of the last thousand asks they would have answered otherwise. Nothing changes. With an error in them it exits with 2, and names its line.`
}

func (c *policyShowCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		out, err := s.Policy(ctx)
		if err != nil {
			return err
		}
		a.value(out)
		if out.Default {
			a.tell("There is no file %s; these are the default rules:", clean(string(out.File)))
		} else {
			a.tell("%s, in force since %s:", clean(string(out.File)), moment(out.Since, a.now()))
		}
		a.rules(out.Rules)
		if out.Fault != nil {
			a.say("%s", a.paint(red, clean(faultText(out))+". The rules above stay in force."))
			a.say("hint: %s", clean(out.Fault.Hint))
		}
		return nil
	})
}

func faultText(p grange.Policy) string {
	e := grange.PolicyError{PolicyFault: *p.Fault}
	return e.In(string(p.File))
}

// rules shows each, and below it what it means.
func (a *app) rules(rules []grange.PolicyRule) {
	if len(rules) == 0 {
		a.say("No rule: all are refused.")
	}
	width := a.width
	if !a.outTerminal {
		width = math.MaxInt // for grep
	}
	for _, r := range rules {
		a.say("%s", clean(r.Rule))
		a.say("    %s", wrap(clean(r.Words), width, "    "))
	}
}

func (c *policyTestCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		in, err := c.read(ctx, a, s)
		if err != nil {
			return err
		}
		out, err := s.TryPolicy(ctx, in)
		if err != nil {
			return err
		}
		a.value(out)
		a.rules(out.Rules)
		a.trial(out)
		return nil
	})
}

func (c *policyTestCommand) read(ctx context.Context, a *app, s *session) (api.PolicyRequest, error) {
	switch c.File {
	case "":
		now, err := s.Policy(ctx)
		if err == nil && now.Fault != nil && now.Fault.Line == 0 {
			err = usage(faultText(now), now.Fault.Hint)
		}
		return api.PolicyRequest{Text: now.Text, File: string(now.File)}, err
	case "-":
		text, err := readAll(ctx, a.in, policy.TextMax)
		return api.PolicyRequest{Text: text, File: "stdin"}, err
	}
	text, err := patient(ctx, func() (string, error) { // it may be a pipe
		f, err := os.Open(c.File)
		if err != nil {
			return "", err
		}
		defer f.Close()
		return readAll(ctx, f, policy.TextMax)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return api.PolicyRequest{}, &api.Error{Code: api.CodeNotFound, Message: fmt.Sprintf("%s: %v", c.File, cause(err))}
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", c.File, cause(err))
	}
	return api.PolicyRequest{Text: text, File: c.File}, err
}

// trialShown bounds how many answers are listed.
const trialShown = 20

// trial shows what would have been answered otherwise.
func (a *app) trial(t grange.PolicyTrial) {
	for _, name := range t.Nobody {
		a.note("Nobody here is called %s: its rule answers nobody.", clean(name))
	}
	a.say("")
	switch {
	case t.Tried == 0:
		a.say("Nobody has asked for anything yet.")
	case len(t.Changed) == 0:
		a.say("It would have answered all of the last %s the same.", count(int64(t.Tried), "ask", "asks"))
	default:
		a.say("Of the last %s it would have answered %s otherwise:", count(int64(t.Tried), "ask", "asks"), number(int64(len(t.Changed))))
	}
	if t.Untold > 0 {
		a.say("Of %s more it cannot be told.", number(int64(t.Untold)))
	}
	if len(t.Changed) == 0 {
		return
	}
	rows := [][]string{{"ID", "TIME", "WHO", "ASKED", "THEN", "NOW", "BECAUSE"}}
	for _, c := range t.Changed[:min(len(t.Changed), trialShown)] {
		rows = append(rows, []string{
			fmt.Sprint(c.ID), moment(c.Time, a.now()), clean(c.Partner), asked(c.Decision), yes(c.Granted, c.Counter, c.Decision), yes(c.Now.Granted, c.Now.Counter, c.Decision), clean(c.Now.Reason),
		})
	}
	a.table(rows...)
}

// asked is what was asked for: "12 GB", "12 kg of potatoes".
func asked(d grange.Decision) string { return unitOf(d).Text(d.Amount) }

func unitOf(d grange.Decision) policy.Unit { return policy.Unit{Resource: d.Resource, Name: d.Unit} }

// yes is an answer in short, with what was offered instead.
func yes(granted bool, counter *core.Counter, d grange.Decision) string {
	switch {
	case granted:
		return "yes"
	case counter == nil:
		return "no"
	}
	return fmt.Sprintf("no, %s", unitOf(d).Text(counter.Amount))
}

func (c *policyEditCommand) run(ctx context.Context, a *app) error {
	var before grange.Policy
	err := a.with(ctx, func(s *session) (err error) {
		before, err = s.Policy(ctx)
		return err
	})
	if err != nil {
		return err
	}
	draft, err := writeDraft(before.Text)
	if err != nil {
		return err
	}
	for {
		in, err := c.edited(ctx, a, draft)
		if err != nil {
			if text, unread := os.ReadFile(draft); unread == nil && string(text) == before.Text {
				return errors.Join(err, os.Remove(draft))
			}
			a.note("What you wrote is in %s.", draft)
			return err
		}
		if in.Text == before.Text {
			a.value(before)
			a.tell("Nothing was changed.")
			return os.Remove(draft)
		}
		done, err := c.putInForce(ctx, a, in)
		if err == nil && done {
			return os.Remove(draft)
		}
		e, wrong := errors.AsType[*api.Error](err)
		if !wrong || e.Code != api.CodeInvalid || !a.inTerminal || a.yes {
			a.note("What you wrote is in %s.", draft)
			return err
		}
		_ = a.report(err) // it is shown, and may be mended
		if again, err := a.confirm(ctx, "Edit it again?", ""); err != nil || !again {
			a.note("What you wrote is in %s.", draft)
			return cmp.Or(err, error(reported(exitUsage)))
		}
	}
}

// writeDraft makes a copy to be edited.
func writeDraft(text string) (string, error) {
	f, err := os.CreateTemp("", "grange-policy-*")
	if err != nil {
		return "", fmt.Errorf("make a copy to edit: %w", err)
	}
	_, err = f.WriteString(text)
	return f.Name(), errors.Join(err, f.Close())
}

// edited has a person edit the draft.
func (c *policyEditCommand) edited(ctx context.Context, a *app, draft string) (api.PolicyRequest, error) {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	program := exec.CommandContext(ctx, "/bin/sh", "-c", editor+` "$1"`, "sh", draft)
	program.Stdin, program.Stdout, program.Stderr = os.Stdin, a.err, a.err
	if err := program.Run(); err != nil {
		return api.PolicyRequest{}, &api.Error{Code: api.CodeFailed, Message: fmt.Sprintf("%s: %v", editor, err), Hint: "EDITOR names the editor; nothing was changed"}
	}
	raw, err := os.ReadFile(draft)
	return api.PolicyRequest{Text: string(raw), File: "policy"}, err
}

// putInForce tries a policy, asks, and puts it in force. It returns whether that was wanted.
func (c *policyEditCommand) putInForce(ctx context.Context, a *app, in api.PolicyRequest) (done bool, err error) {
	err = a.with(ctx, func(s *session) error {
		trial, err := s.TryPolicy(ctx, in)
		if err != nil {
			return err
		}
		if !a.quiet {
			a.rules(trial.Rules)
			a.trial(trial)
		}
		if done, err = a.confirm(ctx, "Put it in force?", "it is not put in force without being agreed to"); err != nil || !done {
			return err
		}
		now, err := s.SetPolicy(ctx, in)
		if err != nil {
			return err
		}
		a.value(now)
		a.tell("In force, in %s.", clean(string(now.File)))
		return nil
	})
	return done, err
}
