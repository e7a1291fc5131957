package accounts

import (
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/policy"
)

// A storage server grants if and only if an account server that its policy names vouches for the right contract.
func TestGrantedIfAndOnlyIf(t *testing.T) {
	w := newHolderWorld(t)
	table := policy.Table{
		Whys: map[core.WhyKind]string{core.WhyAccount: "an account"}, Resources: map[core.Resource]string{core.Storage: ""},
		Policies: map[string]func(*policy.Options) policy.Policy{"account": policy.ForAccounts},
	}
	rules, err := table.Parse("account account server=" + w.key.DID().String() + "\n")
	w.must(err)
	ask := func(what string, amount int64, grant bool, reason string) {
		t.Helper()
		d := rules.Decide(core.Ask{Resource: core.Storage, Amount: amount, Seconds: 1000, Quality: core.Normal, Why: core.Why{Kind: core.WhyAccount}},
			policy.Facts{Now: w.now(), Room: 100 * gb, Offered: 100 * gb, Partner: "anna", Account: w.h.Facts(w.name, w.anna.grid())})
		if d.Grant != grant || d.Reason != reason {
			t.Errorf("%s: %v, %q, want %v, %q", what, d.Grant, d.Reason, grant, reason)
		}
	}
	revoke := func(restore bool) {
		t.Helper()
		_, err := w.s.Revoke("anna", restore)
		w.must(err)
		w.later(time.Hour)
	}
	const revoked, fits = "the account was revoked", "anna has plan open; 0 B left of 10 GB after this"
	ask("without a token", 1, false, "no account was shown")
	w.shows()
	ask("with one, and nobody asked", 10*gb, true, fits)
	ask("too much", 11*gb, false, "10 GB left of your plan's 10 GB; 11 GB needed")
	w.h.Uses(w.name, 9*gb)
	w.later(0)
	ask("more than is left", 2*gb, false, "1 GB left of your plan's 10 GB; 2 GB needed")
	revoke(false)
	ask("revoked", 1, false, revoked)
	revoke(true)
	ask("restored", gb, true, fits)
	w.down()
	w.later((AnswerSeconds - 1) * time.Second)
	ask("down, within the answer's lifetime", gb, true, fits)
	w.later(time.Second)
	ask("down, after it", 1, false, "the account server cannot be reached, and what it said last is too old")
	w.up()
	w.later(time.Hour)
	ask("up again", gb, true, fits)
}
