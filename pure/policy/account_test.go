package policy

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func customer() (core.Ask, Facts) {
	a := ask(2 * gigabyte)
	a.Why.Kind = core.WhyAccount
	f := roomy()
	f.Partner = "carl"
	f.Account = &Account{Server: core.DID{1}, ID: "17", Plan: "small", Quota: 5 * gigabyte, Used: 3 * gigabyte, State: AccountGood, Until: f.Now}
	return a, f
}

func TestAccount(t *testing.T) {
	trusted := rules("account account server=" + core.DID{2}.String() + "," + core.DID{1}.String())
	for name, c := range map[string]struct {
		rules  Rules
		change func(*core.Ask, *Facts)
		want   Decision
	}{
		"within the plan": {
			trusted, func(*core.Ask, *Facts) {},
			Decision{Grant: true, Policy: "account", Reason: "carl has plan small; 0 B left of 5 GB after this"},
		},
		"more than the plan": {
			trusted, func(_ *core.Ask, f *Facts) { f.Account.Used++ },
			Decision{Policy: "account", Reason: "1.9 GB left of your plan's 5 GB; 2 GB needed", Counter: most(2*gigabyte - 1)},
		},
		"no server is trusted": {
			rules("account account"), func(*core.Ask, *Facts) {},
			Decision{Policy: "account", Reason: "no account server is trusted here"},
		},
		"another server": {
			trusted, func(_ *core.Ask, f *Facts) { f.Account.Server = core.DID{3} },
			Decision{Policy: "account", Reason: "account server " + core.DID{3}.String() + " is not trusted here"},
		},
		"no account": {
			trusted, func(_ *core.Ask, f *Facts) { f.Account = nil },
			Decision{Policy: "account", Reason: "no account was shown"},
		},
		"revoked": {
			trusted, func(_ *core.Ask, f *Facts) { f.Account.State = AccountRevoked },
			Decision{Policy: "account", Reason: "the account was revoked"},
		},
		"expired": {
			trusted, func(_ *core.Ask, f *Facts) { f.Account.State = AccountExpired },
			Decision{Policy: "account", Reason: "the account has expired"},
		},
		"unknown": {
			trusted, func(_ *core.Ask, f *Facts) { f.Account.State = "?" },
			Decision{Policy: "account", Reason: "the account server does not know the account"},
		},
		"the server is down": {
			trusted, func(_ *core.Ask, f *Facts) { f.Account.State = AccountDown },
			Decision{Policy: "account", Reason: "the account server cannot be reached, and what it said last is too old", Retry: 300},
		},
		"what it said is too old": {
			trusted, func(_ *core.Ask, f *Facts) { f.Account.Until-- },
			Decision{Policy: "account", Reason: "what the account server said last was good until 2027-01-15"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, f := customer()
			c.change(&a, &f)
			if got := c.rules.Decide(a, f); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got  %+v (%+v)\nwant %+v (%+v)", got, got.Counter, c.want, c.want.Counter)
			}
		})
	}
}

// Whatever the numbers: a grant is of a good account of a trusted server, and within its plan.
func TestAccountProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := anyFacts(t)
		c := Account{
			Server: core.DID{rapid.ByteRange(1, 2).Draw(t, "server")}, Quota: anyNumber.Draw(t, "quota"), Used: anyNumber.Draw(t, "used"),
			State: rapid.SampledFrom([]string{AccountGood, AccountGood, AccountDown, ""}).Draw(t, "state"), Until: rapid.Int64Range(-1, 1).Draw(t, "until"),
		}
		f.Account = &c
		a := anyAsk(t)
		a.Why.Kind = core.WhyAccount
		d := checkAnswer(t, rules("account account server="+core.DID{1}.String()), a, f)
		if d.Grant && (c.Server != core.DID{1} || c.State != AccountGood || c.Until < 0 || a.Amount > over(c.Quota, c.Used)) {
			t.Fatalf("%+v with %+v", d, c)
		}
	})
}
