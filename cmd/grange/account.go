package main

import (
	"context"
	"fmt"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

// accountCommand is the commands that begin with account.
type accountCommand struct {
	Use     accountUseCommand     `cmd:"" help:"use an account that you have there"`
	Plan    accountPlanCommand    `cmd:"" help:"server: make or change a plan"`
	Add     accountAddCommand     `cmd:"" help:"server: make or prolong an account"`
	Show    accountShowCommand    `cmd:"" help:"server: plans, accounts, usage"`
	Revoke  accountRevokeCommand  `cmd:"" help:"server: end an account"`
	Restore accountRestoreCommand `cmd:"" help:"server: make it good again"`
	Server  accountServerCommand  `cmd:"" help:"server: who may ask how they stand"`
}

// didText is a DID on the command line.
type didText grange.DID

// UnmarshalText reads a DID.
func (d *didText) UnmarshalText(text []byte) error {
	if err := (*grange.DID)(d).UnmarshalText(text); err != nil {
		return fmt.Errorf("%.60q is no DID; one is like did:key:z6Mk…", text)
	}
	return nil
}

type accountPlanCommand struct {
	Name  string `arg:"" name:"NAME" placeholder:"NAME" help:"What the plan is called."`
	Bytes size   `arg:"" name:"SIZE" placeholder:"100GB" help:"What it gives, at all storage servers together."`
	Days  int    `placeholder:"30" help:"For how many days an account is good. Else without end."`
}

func (accountPlanCommand) detail() string {
	return `What a plan gives changes for all accounts on it at once; its days are for accounts that are put on it from now on.

An account server is a 'grange run --accounts'. These commands are for its machine. Storage servers ask it how accounts stand, and tell it what they use; where they trust it their policy names it.`
}

type accountAddCommand struct {
	ID   string  `arg:"" name:"ID" placeholder:"ID" help:"What the account is called: letters, digits and . _ @ + -"`
	Plan string  `required:"" placeholder:"P" help:"Its plan."`
	For  didText `required:"" placeholder:"DID" help:"The household that it is for; its 'grange status --json' has this as grid."`
}

func (accountAddCommand) detail() string {
	return `Any machine of the household, and nobody else, gets tokens for the account: there it is 'grange account use ADDRESS'. An account that there is already is put on the plan from now on.`
}

type accountShowCommand struct {
	ID    string `arg:"" name:"ID" optional:"" placeholder:"ID" help:"One account. Without it plans, storage servers and all accounts."`
	After string `aside:"" placeholder:"ID" help:"Begin after this account: a thousand are shown."`
}

type accountRevokeCommand struct {
	ID string `arg:"" name:"ID" placeholder:"ID" help:"The account."`
}

func (accountRevokeCommand) detail() string {
	return `It gets no more tokens. Storage servers hear of it within minutes, and grant nothing from then on; one that cannot reach this machine goes by what it heard last, for the two days of a token at most. What lies there stays until its leases end.`
}

type accountRestoreCommand struct {
	ID string `arg:"" name:"ID" placeholder:"ID" help:"The account."`
}

type accountServerCommand struct {
	Do  string  `arg:"" name:"add|remove" enum:"add,remove" placeholder:"add|remove" help:"Which of the two."`
	DID didText `arg:"" name:"DID" placeholder:"DID" help:"The storage server's machine; its 'grange status --json' has this as machine."`
}

func (accountServerCommand) detail() string {
	return `Only storage servers that are listed may ask how accounts stand and report what they use. What one has reported that is taken off the list counts no more.`
}

type accountUseCommand struct {
	Address string `arg:"" name:"ADDRESS" optional:"" placeholder:"ADDRESS" help:"The account server's, as its 'grange run' shows it. Without it, the accounts that are used."`
	At      string `placeholder:"ADDRESS" help:"Use it at this storage server too; the account server's ADDRESS is needed the first time only."`
	Account string `placeholder:"ID" help:"The account. Else the only one that your household has there."`
	Stop    bool   `help:"Use the account no more."`
}

func (accountUseCommand) detail() string {
	return `Gets a token, with which storage servers that trust the account server let your household in, and renews it while this machine runs.

With --at it shows the token to a storage server, with which you need no pact, and 'grange put' stores there too. If the account is stopped, or revoked, nothing new is stored there; what is there can be read until its leases end, a month later at most.`
}

func (c *accountPlanCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		plan := grange.AccountPlan{Name: c.Name, Bytes: int64(c.Bytes), Days: int64(c.Days)}
		if err := s.SetAccountPlan(ctx, plan); err != nil {
			return err
		}
		a.value(plan)
		a.tell("Plan %s: %s, %s. Next: grange account add ID --plan %s --for DID", clean(c.Name), amount(plan.Bytes), planDays(plan.Days), clean(c.Name))
		return nil
	})
}

func planDays(days int64) string {
	if days == 0 {
		return "without end"
	}
	return count(days, "day", "days")
}

func (c *accountAddCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		out, err := s.AddAccount(ctx, api.AccountRequest{ID: c.ID, Plan: c.Plan, For: grange.DID(c.For)})
		if err != nil {
			return err
		}
		a.value(out)
		a.tell("Account %s has plan %s: %s, %s.", clean(out.ID), clean(out.Plan), amount(out.Bytes), a.accountEnd(out))
		return nil
	})
}

// accountEnd says until when an account is good, or why it is not.
func (a *app) accountEnd(x grange.Account) string {
	switch {
	case !x.Revoked.IsZero():
		return "revoked " + moment(x.Revoked, a.now())
	case x.Until.IsZero():
		return "without end"
	case x.State == "expired":
		return "expired " + moment(x.Until, a.now())
	}
	return "until " + moment(x.Until, a.now())
}

func (c *accountShowCommand) run(ctx context.Context, a *app) error {
	if c.ID != "" && c.After != "" {
		return usage("--after is for all accounts", "")
	}
	return a.with(ctx, func(s *session) error {
		if c.ID != "" {
			return a.account(ctx, s, c.ID)
		}
		out, err := s.Accounts(ctx, c.After)
		if err != nil {
			return err
		}
		a.value(out)
		if len(out.Plans) == 0 {
			a.tell("There is no plan. Next: grange account plan NAME 100GB")
			return nil
		}
		a.say("Account server %s", out.Server)
		rows := [][]string{{"PLAN", "GIVES", "FOR"}}
		for _, p := range out.Plans {
			rows = append(rows, []string{clean(p.Name), amount(p.Bytes), planDays(p.Days)})
		}
		a.table(rows...)
		rows = [][]string{{"STORAGE SERVER", "LISTED"}}
		for _, m := range out.Servers {
			rows = append(rows, []string{m.Machine.String(), moment(m.Added, a.now())})
		}
		a.table(rows...)
		rows = [][]string{{"ACCOUNT", "PLAN", "USED", "OF", ""}}
		for _, x := range out.Accounts {
			rows = append(rows, []string{clean(x.ID), clean(x.Plan), amount(x.Used), amount(x.Bytes), a.accountEnd(x)})
		}
		a.table(rows...)
		if out.More {
			a.tell("There are more: grange account show --after %s", clean(out.Accounts[len(out.Accounts)-1].ID))
		}
		for _, m := range out.Servers {
			if len(m.TwoFaced) > 0 {
				a.warn("%s has signed two reports with one number, of %s: grange account show %s", m.Machine, clean(list(m.TwoFaced)), clean(m.TwoFaced[0]))
			}
		}
		return nil
	})
}

// account shows one.
func (a *app) account(ctx context.Context, s *session, id string) error {
	x, err := s.Account(ctx, id)
	if err != nil {
		return err
	}
	a.value(x)
	a.say("%s: plan %s, %s of %s used, %s", clean(x.ID), clean(x.Plan), amount(x.Used), amount(x.Bytes), a.accountEnd(x))
	a.say("for %s", x.For)
	if len(x.At) > 0 {
		rows := [][]string{{"STORAGE SERVER", "USED", "AS OF"}}
		for _, r := range x.At {
			rows = append(rows, []string{r.Server.String(), amount(r.Bytes), moment(r.Time, a.now())})
		}
		a.table(rows...)
	}
	for _, r := range x.At {
		if r.Rival != nil {
			a.warn("%s has signed two reports with one number: --json has both", r.Server)
		}
	}
	return nil
}

func (c *accountRevokeCommand) run(ctx context.Context, a *app) error {
	return a.revokeAccount(ctx, c.ID, false)
}

func (c *accountRestoreCommand) run(ctx context.Context, a *app) error {
	return a.revokeAccount(ctx, c.ID, true)
}

func (a *app) revokeAccount(ctx context.Context, id string, restore bool) error {
	return a.with(ctx, func(s *session) error {
		out, err := s.RevokeAccount(ctx, api.AccountRevokeRequest{ID: id, Restore: restore})
		if err != nil {
			return err
		}
		a.value(out)
		done := map[bool]string{false: "is revoked", true: "is good again"}[restore]
		if !out.Changed {
			done = map[bool]string{false: "was revoked before", true: "was not revoked"}[restore]
		}
		a.tell("Account %s %s.", clean(id), done)
		return nil
	})
}

func (c *accountServerCommand) run(ctx context.Context, a *app) error {
	return a.with(ctx, func(s *session) error {
		out, err := s.ListStorageServer(ctx, api.AccountServerRequest{Machine: grange.DID(c.DID), Remove: c.Do == "remove"})
		if err != nil {
			return err
		}
		a.value(out)
		done := map[string]string{"add": "is listed as a storage server", "remove": "is listed no more"}[c.Do]
		if !out.Changed {
			done = map[string]string{"add": "was listed before", "remove": "was not listed"}[c.Do]
		}
		a.tell("%s %s.", grange.DID(c.DID), done)
		return nil
	})
}

func (c *accountUseCommand) run(ctx context.Context, a *app) error {
	if c.Stop && (c.Account == "" || c.Address != "" || c.At != "") {
		return usage("--stop needs --account ID, and no address", "grange account use")
	}
	if c.Account != "" && !c.Stop && c.Address == "" && c.At == "" {
		return usage("ADDRESS is missing", "the account server's, as its 'grange run' shows it")
	}
	return a.with(ctx, func(s *session) error {
		switch {
		case c.Stop:
			left, err := s.StopAccount(ctx, c.Account)
			if err != nil {
				return err
			}
			a.value(left)
			a.tell("Account %s is used no more.", clean(c.Account))
			return nil
		case c.Address == "" && c.At == "":
			return a.usedAccounts(ctx, s)
		}
		out, err := s.UseAccount(ctx, api.AccountUseRequest{Address: c.Address, ID: c.Account, At: c.At})
		if err != nil {
			return err
		}
		a.value(out)
		a.tell("Account %s: plan %s, %s. Its token is good until %s, and is renewed by 'grange run'.", clean(out.ID), clean(out.Plan), amount(out.Bytes), moment(out.Until, a.now()))
		if c.At != "" {
			a.tell("It lets you in at %s.", clean(list(out.At)))
		}
		return nil
	})
}

func (a *app) usedAccounts(ctx context.Context, s *session) error {
	all, err := s.UsedAccounts(ctx)
	if err != nil {
		return err
	}
	a.value(all)
	if len(all) == 0 {
		a.tell("No account is used. Next: grange account use ADDRESS")
		return nil
	}
	rows := [][]string{{"ACCOUNT", "PLAN", "GIVES", "TOKEN UNTIL", "AT", ""}}
	for _, u := range all {
		trouble := ""
		if u.Trouble != "" {
			trouble = "not renewed: its server " + clean(u.Trouble)
		}
		rows = append(rows, []string{clean(u.ID), clean(u.Plan), amount(u.Bytes), moment(u.Until, a.now()), clean(list(u.At)), trouble})
	}
	a.table(rows...)
	return nil
}
