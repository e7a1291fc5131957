package accounts

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
)

var (
	one, two = keyOf("storage server 1"), keyOf("storage server 2")
	nobody   = keyOf("nobody").DID()
)

func TestAStorageServerAsks(t *testing.T) {
	w := newWorld(t)
	w.plan()
	w.list(one.DID())
	anna := newCustomer(t, "anna")
	w.must(w.s.Add("anna", "month", anna.grid()))
	grid := anna.grid()
	want := Standing{Account: "anna", State: StateGood, Plan: "month", Grid: &grid, Bytes: 100 * gb, Seconds: AnswerSeconds}
	same := func(what string, got Standing) {
		t.Helper()
		if got.Grid == nil || *got.Grid != grid {
			t.Errorf("%s: household %v", what, got.Grid)
		}
		if got.Grid = &grid; got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	same("by name", w.standing(one.DID(), "anna"))
	if got := w.standing(one.DID(), "anna2"); got != (Standing{Account: "anna2", State: StateUnknown, Seconds: AnswerSeconds}) {
		t.Errorf("an unknown account: %+v", got)
	}
	if got := w.standing(one.DID(), "no/name"); got.State != StateUnknown || got.Account != "" {
		t.Errorf("no name: %+v", got)
	}
	token, err := w.token(keyOf("anna's laptop").DID(), anna.charter(t, 1, "anna's laptop"), "")
	w.must(err)
	answers, err := w.check(one.DID(), checkAsk{Token: &token})
	w.must(err)
	same("by token", answers[0])

	// The end of the contract bounds for how long the answer is good.
	w.clock.Advance(30*24*time.Hour - 10*time.Minute)
	want.Seconds = 600
	same("near the end", w.standing(one.DID(), "anna"))
	w.clock.Advance(10 * time.Minute)
	want.Seconds, want.State = AnswerSeconds, StateExpired
	same("after it", w.standing(one.DID(), "anna"))
	w.must(w.s.Add("anna", "month", anna.grid()))
	want.State = StateGood
	same("prolonged", w.standing(one.DID(), "anna"))
	answers, err = w.check(one.DID(), checkAsk{Token: &token})
	w.must(err)
	want.State = StateExpired
	same("by the old token", answers[0])
	if changed, err := w.s.Revoke("anna", false); !changed || err != nil {
		t.Error(changed, err)
	}
	want.State = StateRevoked
	same("revoked", w.standing(one.DID(), "anna"))
}

func TestTokensThatAreNotTheServers(t *testing.T) {
	w := newWorld(t)
	w.plan()
	w.list(one.DID())
	anna, bo := newCustomer(t, "anna"), newCustomer(t, "bo")
	w.must(w.s.Add("anna", "open", anna.grid()))
	good := account.Token{Server: w.key.DID(), Account: "anna", Plan: "open", Grid: anna.grid(), Bytes: 1, From: w.now(), Until: w.now() + 100, Nonce: [16]byte{1}}
	sign := func(k identity.Key, edit func(*account.Token)) *identity.Signed {
		x := good
		edit(&x)
		s, err := account.SignToken(k, x)
		w.must(err)
		return &s
	}
	broken := sign(w.key, func(*account.Token) {})
	broken.Sig[0] ^= 1
	for name, token := range map[string]*identity.Signed{
		"of another server":      sign(one, func(x *account.Token) { x.Server = one.DID() }),
		"that is broken":         broken,
		"for another household":  sign(w.key, func(x *account.Token) { x.Grid = bo.grid() }),
		"of an unknown account":  sign(w.key, func(x *account.Token) { x.Account = "cleo" }),
		"that is nothing at all": {},
	} {
		got, err := w.check(one.DID(), checkAsk{Token: token})
		if err != nil || got[0].State != StateUnknown {
			t.Errorf("a token %s: %+v, %v", name, got, err)
		}
	}
}

func TestWhoMayCall(t *testing.T) {
	w := newWorld(t)
	w.plan()
	w.list(one.DID())
	anna := newCustomer(t, "anna")
	w.must(w.s.Add("anna", "open", anna.grid()))
	if _, err := w.check(nobody, checkAsk{Account: "anna"}); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("a stranger asks: %v", err)
	}
	if _, err := w.report(two.DID(), w.usage(two, "anna", 1, 1, 1)); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("a stranger reports: %v", err)
	}
	for _, n := range []int{0, asksMax + 1} {
		if _, err := w.check(one.DID(), slices.Repeat([]checkAsk{{Account: "anna"}}, n)...); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%d asks: %v", n, err)
		}
	}
	if _, err := w.check(one.DID(), slices.Repeat([]checkAsk{{Account: "anna"}}, asksMax)...); err != nil {
		t.Errorf("%d asks: %v", asksMax, err)
	}
	for _, ask := range []checkAsk{{}, {Account: "anna", Token: &identity.Signed{}}} {
		if _, err := w.check(one.DID(), ask); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%+v: %v", ask, err)
		}
	}
	if changed, err := w.s.SetHolder(one.DID(), false); !changed || err != nil {
		t.Error(changed, err)
	}
	if _, err := w.check(one.DID(), checkAsk{Account: "anna"}); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("one that is listed no more asks: %v", err)
	}
}

func TestACustomersMachines(t *testing.T) {
	w := newWorld(t)
	w.plan()
	anna, bo := newCustomer(t, "anna"), newCustomer(t, "bo")
	laptop, nas := keyOf("laptop").DID(), keyOf("nas").DID()
	first, second := anna.charter(t, 1, "laptop", "nas"), anna.charter(t, 2, "nas")
	get := func(as core.DID, c identity.Signed, id string) error {
		t.Helper()
		w.clock.Advance(knockTime * time.Second)
		s, err := w.token(as, c, id)
		if err != nil {
			return err
		}
		right, err := account.Verify(s, func(did core.DID) bool { return did == w.key.DID() }, anna.grid(), w.now())
		if err != nil || right.Account != "anna" || right.Bytes != 10*gb || right.Until != w.now()+TokenSeconds || !slices.Equal(right.Addrs, []string{"/memory/1"}) {
			t.Errorf("%+v, %v", right, err)
		}
		return nil
	}
	if err := get(laptop, first, ""); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("without an account: %v", err)
	}
	w.must(w.s.Add("anna", "open", anna.grid()))
	for name, c := range map[string]struct {
		as      core.DID
		charter identity.Signed
		id      string
		want    error
	}{
		"its only one":           {laptop, first, "", nil},
		"by name":                {laptop, first, "anna", nil},
		"another's machine":      {nobody, first, "anna", core.ErrForbidden},
		"another's account":      {laptop, first, "bo", core.ErrForbidden},
		"another's charter":      {laptop, bo.charter(t, 1, "laptop"), "anna", core.ErrForbidden},
		"a charter of one's own": {laptop, identity.Signed{By: anna.grid()}, "anna", core.ErrForbidden},
		"no charter":             {laptop, identity.Signed{}, "", core.ErrForbidden},
		"a name that cannot be":  {laptop, first, "../anna", core.ErrForbidden},
		"by its other machine":   {nas, first, "anna", nil},
	} {
		if err := get(c.as, c.charter, c.id); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.must(get(nas, second, ""))
	if err := get(laptop, first, ""); !errors.Is(err, core.ErrStale) {
		t.Errorf("a machine that was removed, with the charter of before: %v", err)
	}
	if err := get(laptop, second, ""); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("a machine that was removed: %v", err)
	}
	w.must(get(nas, second, ""))
	w.must(w.s.Add("anna.2", "month", anna.grid()))
	if err := get(nas, second, ""); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("one of two accounts: %v", err)
	}
	w.must(get(nas, second, "anna"))
	_, err := w.s.Revoke("anna", false)
	w.must(err)
	if d, ok := errors.AsType[*core.Denial](get(nas, second, "anna")); !ok || d.Reason != "account anna is revoked" {
		t.Errorf("a revoked account: %v", d)
	}
}

func TestWhoAsksTooOftenWaits(t *testing.T) {
	w := newWorld(t)
	ask := func(as core.DID) error { return errOf(w.token(as, identity.Signed{}, "")) }
	for range knockTries {
		if err := ask(nobody); !errors.Is(err, core.ErrForbidden) {
			t.Error(err)
		}
	}
	if err := ask(nobody); !errors.Is(err, core.ErrBusy) {
		t.Errorf("once more: %v", err)
	}
	if err := ask(one.DID()); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("another: %v", err)
	}
	w.clock.Advance(knockTime * time.Second)
	if err := ask(nobody); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("a minute later: %v", err)
	}
	for i := range knocksMax {
		_ = w.s.knock(core.DID{byte(i), byte(i >> 8), 1})
	}
	if err := w.s.knock(core.DID{7}); !errors.Is(err, core.ErrBusy) || len(w.s.knocks) > knocksMax {
		t.Errorf("one machine too many: %v, %d are counted", err, len(w.s.knocks))
	}
	w.clock.Advance(knockTime * time.Second)
	if err := w.s.knock(core.DID{7}); err != nil || len(w.s.knocks) != 1 {
		t.Errorf("a minute later: %v, %d are counted", err, len(w.s.knocks))
	}
}

func TestATokenEndsWithTheContract(t *testing.T) {
	w := newWorld(t)
	w.plan()
	anna := newCustomer(t, "anna")
	w.must(w.s.Add("anna", "month", anna.grid()))
	until := w.now() + 30*daySeconds
	w.clock.Advance(29 * 24 * time.Hour)
	s, err := w.token(keyOf("m").DID(), anna.charter(t, 1, "m"), "")
	w.must(err)
	if x, err := account.OpenToken(s); err != nil || x.Until != until {
		t.Error(x, err)
	}
}

func TestTheOperatorsMistakes(t *testing.T) {
	w := newWorld(t)
	w.plan()
	anna, bo := newCustomer(t, "anna"), newCustomer(t, "bo")
	w.must(w.s.Add("anna", "open", anna.grid()))
	for name, c := range map[string]struct{ err, want error }{
		"a plan of nothing":     {w.s.SetPlan(Plan{"x", 0, 0}), core.ErrInvalid},
		"of too much":           {w.s.SetPlan(Plan{"x", account.BytesMax + 1, 0}), core.ErrInvalid},
		"for days below zero":   {w.s.SetPlan(Plan{"x", 1, -1}), core.ErrInvalid},
		"for ever":              {w.s.SetPlan(Plan{"x", 1, DaysMax + 1}), core.ErrInvalid},
		"without a name":        {w.s.SetPlan(Plan{"", 1, 0}), core.ErrInvalid},
		"an account of no plan": {w.s.Add("bo", "none", bo.grid()), core.ErrNotExist},
		"without a name, too":   {w.s.Add("", "open", bo.grid()), core.ErrInvalid},
		"for nobody":            {w.s.Add("bo", "open", core.DID{}), core.ErrCorrupt},
		"another household's":   {w.s.Add("anna", "open", bo.grid()), fs.ErrExist},
		"to revoke what is not": {errOf(w.s.Revoke("bo", false)), core.ErrNotExist},
		"to show what is not":   {errOf(w.s.Show("bo")), core.ErrNotExist},
		"a server that is none": {errOf(w.s.SetHolder(core.DID{}, true)), core.ErrCorrupt},
	} {
		if !errors.Is(c.err, c.want) && !errors.Is(c.err, core.ErrInvalid) {
			t.Errorf("%s: %v, want %v", name, c.err, c.want)
		}
	}
	for i := range GridAccountsMax - 1 {
		w.must(w.s.Add("anna"+strconv.Itoa(i), "open", anna.grid()))
	}
	if err := w.s.Add("more", "open", anna.grid()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("too many accounts of one household: %v", err)
	}
	if changed, err := w.s.Revoke("anna", true); changed || err != nil {
		t.Errorf("restored, and was not revoked: %v, %v", changed, err)
	}
	all, err := w.s.Accounts("anna1", 3)
	if err != nil || len(all) != 3 || all[0].ID != "anna10" || all[2].ID != "anna12" {
		t.Errorf("%+v, %v", all, err)
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestTheListOfRevocations(t *testing.T) {
	w := newWorld(t)
	w.plan()
	w.list(one.DID())
	w.must(w.s.Add("anna", "open", newCustomer(t, "anna").grid()))
	if _, err := callRevoked(t.Context(), w.as(nobody), w.key.DID(), 0); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("a stranger reads it: %v", err)
	}
	fetch := func(after uint64) account.Revocations {
		t.Helper()
		r, err := callRevoked(t.Context(), w.as(one.DID()), w.key.DID(), after)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := fetch(0); r.Last != 0 || len(r.Entries) != 0 || r.Server != w.key.DID() {
		t.Errorf("at first: %+v", r)
	}
	flip := func(n int) {
		for range n {
			a, err := w.s.Show("anna")
			w.must(err)
			_, err = w.s.Revoke("anna", a.State == StateRevoked)
			w.must(err)
		}
	}
	flip(account.EntriesMax + 5)
	r := fetch(0)
	after, more := r.Next()
	if len(r.Entries) != account.EntriesMax || !more || after != account.EntriesMax || r.Entries[0] != (account.Revocation{N: 1, Account: "anna", Time: w.now()}) || !r.Entries[1].Restored {
		t.Errorf("%d entries, next %d, %v", len(r.Entries), after, more)
	}
	if r = fetch(after); len(r.Entries) != 5 || r.Entries[4].N != account.EntriesMax+5 {
		t.Errorf("the second page: %+v", r)
	}
	if r = fetch(1 << 63); len(r.Entries) != 0 || r.Last != account.EntriesMax+5 {
		t.Errorf("after more than there are: %+v", r)
	}
	// What is old is forgotten, and the numbers go on.
	w.clock.Advance(revokedKept * time.Second)
	flip(1)
	if r = fetch(0); r.Entries[0].N != forgetMax+1 {
		t.Errorf("after %v it begins at %d", revokedKept, r.Entries[0].N)
	}
	w.open() // again, from the books
	if r = fetch(account.EntriesMax + 5); len(r.Entries) != 1 || r.Entries[0].N != account.EntriesMax+6 {
		t.Errorf("opened again: %+v", r)
	}
	err := w.as(one.DID()).Call(t.Context(), w.key.DID(), "GET", "/accounts/revoked?after=x", nil, nil)
	if e, ok := errors.AsType[*wire.Error](err); !ok || e.Code != wire.CodeInvalid {
		t.Errorf("after x: %v", err)
	}
}
