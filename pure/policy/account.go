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
	if c.Until < facts.Now {
		return "what the account server said last was good until " + date(c.Until)
	}
	return ""
}
