package grange_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/service/federation"
)

func (m *machine) dial() federation.AgentAddrs {
	m.w.t.Helper()
	return federation.AgentAddrs{DID: m.did, Addrs: m.addrs()}
}

// market is an account server with a plan of 100 MB, a storage server that trusts it, and a customer, who has an account there and
// a pact with nobody.
func (w *world) market() (shop, bo, anna *machine) {
	w.t.Helper()
	shop = w.machine("shop")
	shop.accounts = true
	shop.create()
	shop.run()
	bo, anna = w.found("bo"), w.found("anna")
	bo.run()
	anna.run()
	ctx := w.t.Context()
	if _, err := bo.SetPolicy(ctx, "pact open\naccount account server="+shop.did.String()+"\nnone deny\n"); err != nil {
		w.t.Fatal(err)
	}
	_, err := shop.ListStorageServer(ctx, bo.did, true)
	err = errors.Join(err, shop.SetAccountPlan(ctx, grange.AccountPlan{Name: "home", Bytes: 100e6}))
	if err == nil {
		_, err = shop.AddAccount(ctx, "anna", "home", anna.house)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return shop, bo, anna
}

// mustRefuse fails the test unless a put is refused with a reason.
func (m *machine) mustRefuse(what string, seed uint64, reason string) {
	m.w.t.Helper()
	out, err := m.Put(m.w.t.Context(), "more", randomTree(seed, 100_000).fs(), nil)
	if err == nil || !strings.Contains(fmt.Sprint(out.Refused), reason) {
		m.w.t.Errorf("%s: %v, %v, want %q", what, err, out.Refused, reason)
	}
}

// A customer stores at a storage server without any pact, as long as the account server vouches for its contract: its last word
// counts while it is good, also when nobody can reach it.
func TestACustomerStoresByItsAccount(t *testing.T) {
	bubble(t, func(w *world) {
		t, ctx := w.t, w.t.Context()
		shop, bo, anna := w.market()
		if _, err := anna.Put(ctx, "photos", randomTree(1, 10).fs(), nil); err == nil {
			t.Error("a put without an account")
		}
		if err := anna.UseAccountFrom(ctx, shop.dial(), bo.dial()); err != nil {
			t.Fatal(err)
		}
		want := randomTree(1, 1_000_000)
		anna.put("photos", want)
		anna.mustHave("photos", want)
		w.later(10 * time.Minute)
		l := bo.booksOn(anna)
		if v := l.Via; v == nil || v.Kind != core.WhyAccount || v.Account == nil || v.Account.Server != shop.did || v.Account.ID != "anna" || v.Account.Plan != "home" ||
			v.Account.Quota != 100e6 || v.Account.Used != l.Keeps || l.Keeps < 1_000_000 || l.Given != 100e6 || l.Name != "anna (account anna)" {
			t.Errorf("bo's ledger: %+v, via %+v", l, l.Via)
		}
		if d := l.Decisions; len(d) == 0 || !d[0].Granted || d[0].Policy != "account" || d[0].Why != core.WhyAccount || d[0].Facts.Account == nil {
			t.Errorf("bo's decisions: %+v", d)
		}
		if a, err := shop.Account(ctx, "anna"); err != nil || a.Used != l.Keeps {
			t.Errorf("the account server counts %d, %v; bo keeps %d", a.Used, err, l.Keeps)
		}
		anna.mustHave("photos", want)
		bo.restart()
		anna.mustHave("photos", want)
		revoke := func(restore bool) {
			if _, err := shop.RevokeAccount(ctx, "anna", restore); err != nil {
				t.Fatal(err)
			}
			w.later(time.Hour)
		}
		revoke(false)
		anna.mustRefuse("revoked", 2, "the account was revoked")
		anna.mustHave("photos", want)
		revoke(true)
		anna.put("again", randomTree(3, 100_000))
		shop.stop()
		w.later(30 * time.Minute)
		anna.put("down", randomTree(4, 100_000))
		w.later(3 * 24 * time.Hour)
		anna.mustRefuse("down for longer", 5, "the account server cannot be reached, and what it said last is too old")
		anna.mustHave("photos", want)
		shop.open()
		shop.run()
		w.later(3 * time.Hour)
		anna.put("up", randomTree(6, 100_000))
	})
}

// A storage server grants nothing to whom its policy does not name the account server, from the moment that it does so no more.
func TestAPolicyNamesNoAccountServerAnyMore(t *testing.T) {
	bubble(t, func(w *world) {
		ctx := w.t.Context()
		shop, bo, anna := w.market()
		if err := anna.UseAccountFrom(ctx, shop.dial(), bo.dial()); err != nil {
			t.Fatal(err)
		}
		want := randomTree(1, 100_000)
		anna.put("photos", want)
		if _, err := bo.SetPolicy(ctx, "pact open\naccount account\n"); err != nil {
			t.Fatal(err)
		}
		anna.mustRefuse("named no more", 2, "no account server is trusted here")
		anna.mustHave("photos", want)
		dan := w.found("dan")
		dan.run()
		if _, err := shop.AddAccount(ctx, "dan", "home", dan.house); err != nil {
			t.Fatal(err)
		}
		if err := dan.UseAccountFrom(ctx, shop.dial(), bo.dial()); !errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "not trusted here") {
			t.Errorf("dan: %v", err)
		}
	})
}
