package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
)

type account struct{ servers []core.DID }

// ForAccounts makes the policy "account": yes if and only if a trusted account server vouches for the account, within its plan.
// The option server names the servers that are trusted; without it none is.
func ForAccounts(o *Options) Policy { return account{o.DIDs("server")} }

func (account) Name() string { return "account" }

func (a account) Options() string {
	var out []string
	for _, d := range a.servers {
		out = append(out, d.String())
	}
	return optionText("server", strings.Join(out, ","))
}

func (a account) Words() string {
	if len(a.servers) == 0 {
		return "nothing, because no account server is named that is trusted (server=did:key:…)"
	}
	return "what is left of their plan, if a trusted account server vouches for it"
}

func (a account) Decide(ask core.Ask, facts Facts, unit Unit) Decision {
	d := Decision{Policy: "account", Reason: a.objection(facts)}
	if d.Reason != "" {
		if facts.Account != nil && facts.Account.State == AccountDown {
			d.Retry = accountRetry
		}
		return d
	}
	rest := over(facts.Account.Quota, facts.Account.Used)
	if ask.Amount <= rest {
		d.Grant = true
		d.Reason = fmt.Sprintf("%s has plan %s; %s left of %s after this", facts.Partner, facts.Account.Plan, unit.atMost(rest-ask.Amount), unit.Text(facts.Account.Quota))
		return d
	}
	d.Reason = fmt.Sprintf("%s left of your plan's %s; %s needed", unit.atMost(rest), unit.Text(max(facts.Account.Quota, 0)), unit.atLeast(ask.Amount))
	d.Counter = &core.Counter{Amount: rest, Seconds: max(facts.SecondsMax, 0)}
	return d
}

// accountRetry is in how many seconds to ask again when the account server is down.
const accountRetry = 5 * minute

// objection returns why the account is no good, or "".
func (a account) objection(facts Facts) string {
	c := facts.Account
	switch {
	case c == nil:
		return "no account was shown"
	case len(a.servers) == 0:
		return "no account server is trusted here"
	case !slices.Contains(a.servers, c.Server):
		return fmt.Sprintf("account server %s is not trusted here", c.Server)
	}
	return c.Objection(facts.Now)
}

// Objection returns why the account is no good at a date, as its server has it; "" if it is good.
func (c *Account) Objection(now int64) string {
	switch c.State {
	case AccountGood:
	case AccountRevoked:
		return "the account was revoked"
	case AccountExpired:
		return "the account has expired"
	case AccountDown:
		return "the account server cannot be reached, and what it said last is too old"
	default:
		return "the account server does not know the account"
	}
	if c.Until < now {
		return "what the account server said last was good until " + date(c.Until)
	}
	return ""
}

// refuse refuses what a holder of an account asks for, whatever the rules say, if the account is no good or the ask is not on it.
func (c *Account) refuse(ask core.Ask, now int64) (Decision, bool) {
	d := Decision{Policy: "account", Reason: c.Objection(now)}
	named := len(c.Refs) == 0 || slices.ContainsFunc(c.Refs, func(shown core.Score) bool { return string(shown[:]) == string(ask.Why.Ref) })
	switch {
	case d.Reason == "" && (ask.Why.Kind != core.WhyAccount || !named):
		d.Reason = "you are a guest here, and the ask does not name a token of your account that you have shown"
	case c.State == AccountDown:
		d.Retry = accountRetry
	}
	return d, d.Reason != ""
}

// AccountServers returns the account servers that a rule names: those that are trusted.
func (r Rules) AccountServers() (out []core.DID) {
	for _, rule := range r.rules {
		if p, ok := rule.Policy.(account); ok {
			out = append(out, p.servers...)
		}
	}
	return out
}
