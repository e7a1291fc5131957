package accounts

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/account"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/policy"
)

// holderWorld has the account server, anna, who has an account there, and a storage server.
type holderWorld struct {
	*world
	anna    customer
	charter identity.Signed // of anna's laptop
	token   identity.Signed
	disk1   *sim.Disk
	h       *Holder
	name    Name
	// trusted says that the storage server's policy names the account server.
	trusted bool
}

func newHolderWorld(t *testing.T) *holderWorld {
	t.Helper()
	w := &holderWorld{world: newWorld(t), anna: newCustomer(t, "anna"), disk1: sim.NewDisk(0), trusted: true}
	w.plan()
	w.list(one.DID(), two.DID())
	w.must(w.s.Add("anna", "open", w.anna.grid()))
	w.name, w.charter = Name{w.key.DID(), "anna"}, w.anna.charter(t, 1, "laptop")
	w.fresh()
	w.openHolder()
	return w
}

// fresh gets anna a fresh token.
func (w *holderWorld) fresh() {
	w.t.Helper()
	var err error
	w.token, err = w.world.token(keyOf("laptop").DID(), w.charter, "anna")
	w.must(err)
}

func (w *holderWorld) openHolder() {
	w.t.Helper()
	h, err := NewHolder(HolderConfig{
		Key: one, Books: w.disk1.Books(), Clock: w.clock, Wire: w.as(one.DID()), Trusted: func(did core.DID) bool { return w.trusted && did == w.key.DID() },
	})
	w.must(err)
	w.h = h
}

func (w *holderWorld) shows() {
	w.t.Helper()
	if r, err := w.h.Take(w.token, w.anna.grid()); err != nil || r.Account != "anna" || r.ID != w.token.Score() {
		w.t.Fatal(r, err)
	}
}

// stands checks what the policy is told.
func (w *holderWorld) stands(what, state string, used int64) {
	w.t.Helper()
	f := w.h.Facts(w.name, w.anna.grid())
	if f == nil || f.State != state || f.Used != used || f.ID != "anna" || f.Server != w.key.DID() || f.Plan != "open" || f.Quota != 10*gb {
		w.t.Errorf("%s: %+v, want %s, %d used", what, f, state, used)
	} else if state == policy.AccountGood && f.Until <= w.now() {
		w.t.Errorf("%s: good until %d, and it is %d", what, f.Until, w.now())
	}
}

func (w *holderWorld) later(d time.Duration) {
	w.t.Helper()
	w.clock.Advance(d)
	w.h.Look(w.t.Context())
}

func TestATokenIsGoodWithoutAsking(t *testing.T) {
	w := newHolderWorld(t)
	w.down()
	if f := w.h.Facts(w.name, w.anna.grid()); f != nil {
		t.Errorf("before it is shown: %+v", f)
	}
	w.shows()
	w.later(0)
	w.stands("the server is down", policy.AccountGood, 0)
	if f := w.h.Facts(w.name, w.key.DID()); f != nil {
		t.Errorf("for another household: %+v", f)
	}
	w.openHolder()
	w.stands("after a restart", policy.AccountGood, 0)
	w.later((TokenSeconds - 1) * time.Second)
	w.stands("at its end", policy.AccountGood, 0)
	w.later(time.Second)
	w.stands("after its end", policy.AccountDown, 0)
	if _, err := w.h.Take(w.token, w.anna.grid()); !errors.Is(err, core.ErrRefused) {
		t.Errorf("a token that has lapsed: %v", err)
	}
	w.up()
	w.later(time.Hour)
	w.stands("the server is back", policy.AccountGood, 0)
	w.down()
	w.later((AnswerSeconds - 1) * time.Second)
	w.stands("within the answer's lifetime", policy.AccountGood, 0)
	w.later(time.Second)
	w.stands("after it", policy.AccountDown, 0)
}

func TestTokensThatAreNotTaken(t *testing.T) {
	w := newHolderWorld(t)
	if _, err := w.h.Take(w.token, newCustomer(t, "bo").grid()); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("of another household: %v", err)
	}
	w.trusted = false
	if _, err := w.h.Take(w.token, w.anna.grid()); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("of a server that is not trusted: %v", err)
	}
	if f := w.h.Facts(w.name, w.anna.grid()); f != nil {
		t.Errorf("something is known of it: %+v", f)
	}
	for range w.disk1.Books().Scan(nil, nil) {
		t.Error("something is written")
	}
}

func TestRevoked(t *testing.T) {
	w := newHolderWorld(t)
	w.shows()
	w.later(0)
	revoke := func(restore bool) {
		t.Helper()
		if changed, err := w.s.Revoke("anna", restore); err != nil || !changed {
			t.Fatal(changed, err)
		}
	}
	revoke(false)
	w.stands("not heard of yet", policy.AccountGood, 0)
	w.later(listEvery * time.Second)
	w.stands("by the list", policy.AccountRevoked, 0)
	if d, ok := errors.AsType[*core.Denial](errOf(w.h.Take(w.token, w.anna.grid()))); !ok || d.Reason != "account anna is revoked, says its server" {
		t.Error(d)
	}
	w.openHolder()
	w.down()
	w.later(AnswerSeconds * time.Second)
	w.stands("the server is down", policy.AccountRevoked, 0)
	w.up()
	revoke(true)
	w.later(time.Hour)
	w.stands("restored", policy.AccountGood, 0)
	w.shows()

	// Without the list it is heard of at half of the answer's lifetime.
	revoke(false)
	w.stands("not heard of yet", policy.AccountGood, 0)
	w.clock.Advance(AnswerSeconds / 2 * time.Second)
	w.must(w.h.ask(t.Context(), w.key.DID()))
	w.stands("by an answer", policy.AccountRevoked, 0)
	if !errors.Is(errOf(w.h.Take(w.token, w.anna.grid())), core.ErrRefused) {
		t.Error("a revoked account's token is taken")
	}
}

func TestWhatIsUsedIsReported(t *testing.T) {
	w := newHolderWorld(t)
	w.shows()
	w.h.Uses(w.name, 3*gb)
	w.stands("at once", policy.AccountGood, 3*gb)
	w.later(0)
	w.stands("reported and asked", policy.AccountGood, 3*gb)
	if got := w.used("anna"); got != 3*gb {
		t.Errorf("the server has %d", got)
	}
	// What lies elsewhere comes with the next answer; what is new here counts at once.
	if out, err := w.report(two.DID(), w.usage(two, "anna", 1, 2*gb, 0)); err != nil || out.Taken != 1 {
		t.Fatal(out, err)
	}
	w.later(AnswerSeconds / 2 * time.Second)
	w.stands("with what lies elsewhere", policy.AccountGood, 5*gb)
	w.h.Uses(w.name, 4*gb)
	w.stands("with what is new", policy.AccountGood, 6*gb)
	w.later(reportWait * time.Second)
	if got := w.used("anna"); got != 6*gb {
		t.Errorf("the server has %d", got)
	}
	// Changes close together are one report.
	a, err := w.s.Show("anna")
	w.must(err)
	seq := func() uint64 {
		b, err := w.s.Show("anna")
		w.must(err)
		for i, r := range b.At {
			if r.Holder == one.DID() {
				return b.At[i].Seq
			}
		}
		return 0
	}
	before := seq()
	for i := range 10 {
		w.h.Uses(w.name, int64(i))
		w.later(time.Second)
	}
	if got := seq(); got != before {
		t.Errorf("%d reports within ten seconds, %+v", got-before, a)
	}
	w.later(reportWait * time.Second)
	if got := seq(); got != before+1 || w.used("anna") != 2*gb+9 {
		t.Errorf("%d reports a minute later, %d used", got-before, w.used("anna"))
	}
}

func TestTotalsGoOn(t *testing.T) {
	w := newHolderWorld(t)
	w.shows()
	w.h.Uses(w.name, 7200)
	w.later(0)
	w.later(reportMost * time.Second)
	total := func() uint64 {
		a, err := w.s.Show("anna")
		w.must(err)
		return a.At[0].Total
	}
	if got := total(); got != 7200*6 {
		t.Errorf("after six hours %d byte-hours", got)
	}
	// The storage server loses its books: it goes on from where the account server has it.
	w.disk1 = sim.NewDisk(0)
	w.openHolder()
	w.shows()
	w.h.Uses(w.name, 3600)
	w.later(time.Minute)
	w.later(time.Minute)
	w.later(reportMost * time.Second)
	if got := total(); got < 7200*6+3600*6 || got > 7200*6+3600*7 {
		t.Errorf("after books were lost %d byte-hours", got)
	}
	if a, err := w.s.Show("anna"); err != nil || a.At[0].Bytes != 3600 {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestNoTwoReportsWithOneNumber crashes the storage server at each of its writes.
func TestNoTwoReportsWithOneNumber(t *testing.T) {
	for _, kept := range []bool{false, true} {
		for n := range 12 {
			w := newHolderWorld(t)
			w.disk1.CrashAfter(n, kept)
			for i := range 6 {
				_, _ = w.h.Take(w.token, w.anna.grid())
				w.h.Uses(w.name, int64(1000*n+i+1))
				w.later(2 * time.Minute)
				if w.disk1.Crashed() {
					w.disk1.Restart()
					w.openHolder()
				}
			}
			_, _ = w.h.Take(w.token, w.anna.grid())
			w.h.Uses(w.name, 77)
			w.later(10 * time.Minute)
			a, err := w.s.Show("anna")
			if err != nil || len(a.At) != 1 || a.At[0].Bytes != 77 || a.At[0].Rival != nil {
				t.Errorf("a crash at write %d: %+v, %v", n, a, err)
			}
		}
	}
}

func TestAServerThatLies(t *testing.T) {
	grid := keyOf("grid").DID()
	good := Standing{Account: "anna", State: StateGood, Plan: "open", Grid: &grid, Bytes: gb, Seconds: 10}
	for name, c := range map[string]struct {
		edit func(*Standing)
		ok   bool
	}{
		"good": {func(*Standing) {}, true}, "another account": {func(a *Standing) { a.Account = "bo" }, false},
		"no state": {func(a *Standing) { a.State = "best" }, false}, "below zero": {func(a *Standing) { a.Bytes = -1 }, false},
		"used below zero": {func(a *Standing) { a.Used = -1 }, false}, "too much": {func(a *Standing) { a.Bytes = account.BytesMax + 1 }, false},
		"time below zero": {func(a *Standing) { a.Seconds = -1 }, false},
	} {
		a := good
		c.edit(&a)
		if err := a.check("anna"); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := holdingRecord{Grid: grid}
	endless := good
	endless.Seconds = 1 << 60
	if r.hear(endless, 1000); r.Until != 1000+AnswerSecondsMax {
		t.Errorf("an answer for ever is relied on until %d", r.Until)
	}
	r.Grid = keyOf("another").DID()
	if r.hear(good, 1000); r.State != StateUnknown {
		t.Errorf("an account that is another household's is %s", r.State)
	}
}

func TestACustomerKeepsItsTokenFresh(t *testing.T) {
	w := newHolderWorld(t)
	disk := sim.NewDisk(0)
	laptop, newest := w.as(keyOf("laptop").DID()), w.charter
	open := func() *Customer {
		c, err := NewCustomer(CustomerConfig{
			Books: disk.Books(), Clock: w.clock, Wire: laptop, Plain: wire.Plain,
			Charter: func() identity.Signed { return newest },
		})
		w.must(err)
		return c
	}
	c := open()
	u, err := c.Use(t.Context(), w.key.DID(), []string{"/memory/1"}, "")
	if err != nil || u.Account != "anna" || u.Bytes != 10*gb {
		t.Fatal(u, err)
	}
	if _, err := w.h.Take(u.Signed, w.anna.grid()); err != nil {
		t.Error(err)
	}
	c = open()
	w.clock.Advance(TokenSeconds / 2 * time.Second)
	c.Renew(t.Context())
	again := c.Uses()
	if len(again) != 1 || again[0].From != w.now() || again[0].Trouble != "" {
		t.Errorf("%+v", again)
	}
	w.down()
	w.clock.Advance(TokenSeconds * time.Second)
	c.Renew(t.Context())
	if u := c.Uses()[0]; u.Trouble != "could not be reached" || u.From != again[0].From {
		t.Errorf("%+v", u)
	}
	w.up()
	w.clock.Advance(time.Hour)
	c.Renew(t.Context())
	if u := c.Uses()[0]; u.Trouble != "" || u.From != w.now() {
		t.Errorf("%+v", u)
	}
	if err := c.Stop(Name{w.key.DID(), "bo"}); !errors.Is(err, core.ErrNotExist) {
		t.Error(err)
	}
	w.must(c.Stop(w.name))
	if left := append(c.Uses(), open().Uses()...); len(left) > 0 {
		t.Errorf("%+v", left)
	}
}

func TestManyAccountsAreManyRequests(t *testing.T) {
	w := newHolderWorld(t)
	const many = 2*asksMax + 7
	grid := w.anna.grid()
	for i := range many {
		name := Name{w.key.DID(), "account" + strconv.Itoa(i)}
		w.must(save(w.disk.Books(), map[string]any{string(accountKey(name.Account)): accountRecord{V: 1, Plan: "open", Grid: grid}}))
		token, err := account.SignToken(w.key, account.Token{
			Server: w.key.DID(), Account: name.Account, Plan: "open", Grid: grid, From: w.now(), Until: w.now() + 9, Nonce: [16]byte{1},
		})
		w.must(err)
		_, err = w.h.Take(token, grid)
		w.must(err)
		w.h.Uses(name, int64(i+1))
	}
	w.down()
	w.later(0)
	w.up()
	w.later(reportWait * time.Second)
	for i := range many {
		id := "account" + strconv.Itoa(i)
		if f := w.h.Facts(Name{w.key.DID(), id}, grid); f == nil || f.State != policy.AccountGood || f.Quota != 10*gb || f.Used != int64(i+1) || w.used(id) != int64(i+1) {
			t.Fatalf("%s: %+v, %d used", id, f, w.used(id))
		}
	}
}
