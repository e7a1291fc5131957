package barter

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/policy"
)

func (h *home) viaOf(grid core.DID) *Via {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.vias[grid]
}

// Guests returns the homes that a voucher has let in.
func (h *home) Guests() (out []Partner) {
	for _, o := range h.w.homes {
		if p, ok := h.Guest(o.grid); ok {
			out = append(out, p)
		}
	}
	return out
}

// Guest returns one of them.
func (h *home) Guest(grid core.DID) (Partner, bool) {
	v := h.viaOf(grid)
	if v == nil {
		return Partner{}, false
	}
	for _, o := range h.w.homes {
		if o.grid == grid {
			h.mu.Lock()
			defer h.mu.Unlock()
			via := *v
			return Partner{
				Grid: grid, Name: "guest", Pact: pact.Home(v.Grid), Given: v.Share, LeaseDays: h.days, AsideDays: 14, Ends: h.ends, Leaving: h.ends != 0, Via: &via, Agents: []core.DID{o.agent()},
			}, true
		}
	}
	return Partner{}, false
}

// errand is another home where a voucher lets this one in.
func (h *home) errand(grid core.DID) (Partner, bool) {
	h.mu.Lock()
	why, ok := h.whys[grid]
	days := h.days
	h.mu.Unlock()
	for _, o := range h.w.homes {
		if !ok || o.grid != grid {
			continue
		}
		via := o.viaOf(h.grid)
		return Partner{Grid: grid, Name: "errand", Pact: pact.Home(via.Grid), Gives: via.Share, LeaseDays: days, AsideDays: 14, Why: why, Agents: []core.DID{o.agent()}}, true
	}
	return Partner{}, false
}

// club is a home whose members are guests at another by vouchers.
type club struct {
	home, holder *home
}

// clubWorld has a club (home 0), a holder that gives it so much (home 1), and n members without a pact there.
func clubWorld(t *testing.T, n int, offered int64) (*world, club, []*home) {
	t.Helper()
	w, _ := simWorld(t, n+2)
	c := club{home: w.homes[0], holder: w.homes[1]}
	c.holder.given = offered
	for _, m := range w.homes[2:] {
		for _, o := range w.homes {
			m.without[o.grid], o.without[m.grid] = true, true
		}
		c.admit(m, offered)
	}
	return w, c, w.homes[2:]
}

// admit makes a member a guest at the holder, for a week.
func (c club) admit(m *home, share int64) {
	c.holder.mu.Lock()
	defer c.holder.mu.Unlock()
	ref := core.ScoreOf(m.grid[:])
	c.holder.vias[m.grid] = &Via{
		Grid: c.home.grid, Pact: pactOf(c.home.grid, c.holder.grid), Name: "club", Offered: c.holder.given, Share: share,
		Until: c.holder.time().Now().Unix() + 7*daySeconds, Chain: []core.DID{c.home.agent()}, Refs: []core.Score{ref},
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.whys[c.holder.grid] = core.Why{Kind: core.WhyVoucher, Ref: ref[:]}
}

// asks asks the holder as a member.
func (c club) asks(t *testing.T, m *home, amount int64, change ...func(*core.Ask)) (grantAnswer, error) {
	t.Helper()
	ask := core.Ask{Resource: core.Storage, Amount: amount, Seconds: 180 * daySeconds, Quality: core.Normal, Why: m.whys[c.holder.grid]}
	for _, f := range change {
		f(&ask)
	}
	var out grantAnswer
	err := m.client.Call(t.Context(), c.holder.agent(), "POST", "/ask", ask, &out)
	return out, err
}

func wantReason(t *testing.T, err error, reason string) {
	t.Helper()
	if denial := new(core.Denial); !errors.As(err, &denial) || !strings.Contains(denial.Reason, reason) {
		t.Errorf("got %v, want the denial %q", err, reason)
	}
}

func TestAGuestStores(t *testing.T) {
	_, c, members := clubWorld(t, 1, 1_000_000)
	m := members[0]
	p := mustPlace(t, m, 20*4_000)
	mustSegment(t, p, 1, 4_000, upTo(20))
	commit(t, p, true)
	s, data := segmentOf(1, 10, 10, 4_000)
	c.holder.wantUsed(t, m, 80_000, 20, 80_000)
	for i := range data {
		got, err := m.now().Fetch(t.Context(), core.Piece{Score: s.Piece(i), Size: 4_000}, nil, false)
		if err != nil || !slices.Equal(got, data[i]) {
			t.Fatalf("piece %d: %v", i, err)
		}
	}
	var states []core.PieceState
	pieces := []core.Piece{{Score: s.Piece(0), Size: 4_000}, {Score: s.Piece(1), Size: 4_000}}
	if err := m.now().Audit(t.Context(), pieces, func(f core.Finding) { states = append(states, f.State) }); err != nil || !slices.Equal(states, []core.PieceState{core.PieceOK, core.PieceOK}) {
		t.Errorf("proven: %v, %v", states, err)
	}
	m.receipt(t, c.holder)
	l := c.holder.ledger(t, m)
	if l.Via == nil || l.Via.Grid != c.home.grid || !slices.Equal(l.Via.Chain, []core.DID{c.home.agent()}) || l.Used != 80_000 || len(l.Gave) != 1 || l.Gave[0].Receipts != 1 || l.Room != 920_000 {
		t.Errorf("the holder's ledger: %+v", l)
	}
	if l.Decisions[0].Facts.Via == nil || l.Decisions[0].Facts.Via.Grid != c.home.grid || l.Decisions[0].Ask.Why.Kind != core.WhyVoucher {
		t.Errorf("the decision: %+v", l.Decisions[0])
	}
	if l := m.ledger(t, c.holder); l.Placed != 80_000 || len(l.Had) != 1 || l.Had[0].Differs() || l.Gives != 1_000_000 || l.Given != 0 {
		t.Errorf("the member's ledger: %+v", l)
	}
	c.holder.check(t)
	m.letGo(t, pieces)
	m.deliver(t)
	if n := c.holder.aside(m); n == 0 {
		t.Error("nothing is set aside of what was given up")
	}
	// The member gives nothing in return, and does not ask for more than what it was let in for.
	if _, err := c.holder.ask(t, m, 1); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("the holder asks its guest: %v", err)
	}
}

func TestGuestsAreBounded(t *testing.T) {
	_, c, members := clubWorld(t, 2, 1_000)
	anna, bo := members[0], members[1]
	c.admit(anna, 700)
	_, err := c.asks(t, anna, 701)
	wantDenial(t, err, 700, "700 B left of your 700 B")
	if _, err := c.asks(t, anna, 600); err != nil {
		t.Fatal(err)
	}
	_, err = c.asks(t, bo, 500)
	wantDenial(t, err, 400, "400 B left")
	if _, err := c.asks(t, bo, 250); err != nil {
		t.Fatal(err)
	}
	// The grid itself draws on the same pact.
	_, err = c.home.ask(t, c.holder, 151)
	wantDenial(t, err, 150, "150 B left")
	_ = c.home.mustAsk(t, c.holder, 100)
	_, err = c.asks(t, anna, 51)
	wantDenial(t, err, 50, "50 B left")
	d := c.holder.decisions(t, anna)[0]
	want := policy.Via{Grid: c.home.grid, Name: "club", Offered: 1_000, Used: 950, Share: 700, Until: c.holder.vias[anna.grid].Until, Refs: c.holder.vias[anna.grid].Refs}
	if !reflect.DeepEqual(*d.Facts.Via, want) || d.Facts.Offered != 650 || d.Facts.Used != 600 {
		t.Errorf("facts %+v, via %+v", d.Facts, *d.Facts.Via)
	}
	if _, err := c.asks(t, anna, 50); err != nil {
		t.Fatal(err)
	}
	_, err = c.asks(t, anna, 1)
	wantDenial(t, err, 0, "nothing is left of your share, or of what the pact gives to all for whom it is")
	// To the others of the holder's partners it is the grid that has all of it.
	if others := d.Facts.Others; len(others) != 1 || others[0].Used != 950 || others[0].Offered != 1_000 {
		t.Errorf("others %+v", others)
	}
}

// The sum of what a grid's guests are granted never exceeds what the pact gives, even when they ask at once.
func TestGuestsThatAskAtOnce(t *testing.T) {
	_, c, members := clubWorld(t, 8, 10_000)
	var mu sync.Mutex
	var sum int64
	var g sync.WaitGroup
	for _, m := range append(members, c.home) {
		g.Go(func() {
			for range 12 {
				var err error
				if m == c.home {
					_, err = m.ask(t, c.holder, 300)
				} else {
					_, err = c.asks(t, m, 300)
				}
				mu.Lock()
				if err == nil {
					sum += 300
				} else if !errors.Is(err, core.ErrRefused) && !errors.Is(err, core.ErrBusy) {
					t.Errorf("%v", err)
				}
				mu.Unlock()
			}
		})
	}
	g.Wait()
	if sum != 9_900 {
		t.Errorf("%d bytes granted of 10,000, in asks for 300", sum)
	}
}

func TestWhatAGuestMustSay(t *testing.T) {
	_, c, members := clubWorld(t, 1, 1_000)
	m := members[0]
	id := pact.Home(c.home.grid)
	for name, why := range map[string]core.Why{
		"a pact":          {Kind: core.WhyPact, Ref: id[:]},
		"no reason":       {Kind: core.WhyNone},
		"another voucher": {Kind: core.WhyVoucher, Ref: id[:]},
		"no voucher":      {Kind: core.WhyVoucher},
	} {
		_, err := c.asks(t, m, 1, func(a *core.Ask) { a.Why = why })
		if t.Run(name, func(t *testing.T) { wantReason(t, err, "does not name a voucher that you have shown") }); err == nil {
			t.Error(name)
		}
	}
	ref := core.ScoreOf(m.grid[:])
	var out grantAnswer
	err := c.home.client.Call(t.Context(), c.holder.agent(), "POST", "/ask", core.Ask{
		Resource: core.Storage, Amount: 1, Seconds: 1, Quality: core.Normal, Why: core.Why{Kind: core.WhyVoucher, Ref: ref[:]},
	}, &out)
	wantReason(t, err, "you need no voucher here, for you have a pact")
}

// When a voucher has ended nothing new is granted or renewed; what is there is kept, and can be read, until its
// lease ends.
func TestAVoucherThatEnds(t *testing.T) {
	_, c, members := clubWorld(t, 1, 1_000_000)
	m := members[0]
	grant, err := c.asks(t, m, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	piece, late := bytesOf(1, 1_000), bytesOf(2, 1_000)
	m.mustPut(t, c.holder, grant.Grant, piece)
	m.mustLease(t, c.holder, piece)
	c.holder.runs(t, 7*days)
	_, err = c.asks(t, m, 1)
	wantReason(t, err, "your voucher has ended; show a newer one")
	_, err = m.lease(t, c.holder, nil, piece)
	wantReason(t, err, "your voucher has ended; show a newer one")
	c.holder.wantHere(t, m, 1, piece)
	c.admit(m, 1_000_000)
	if _, err := m.hand(t, c.holder, m.sign(t, c.holder, func(r *pact.Receipt) { r.Pact = pact.Home(c.home.grid) })); err != nil {
		t.Fatal(err)
	}
	grant, err = c.asks(t, m, 1_000)
	if err != nil {
		t.Fatal(err)
	}
	m.mustPut(t, c.holder, grant.Grant, late)
	m.mustLease(t, c.holder, late)
	c.holder.runs(t, 174*days)
	if n := c.holder.aside(m); n != 1_000 {
		t.Errorf("%d bytes are aside after the first lease has ended", n)
	}
	c.holder.runs(t, 30*days)
	if used, pieces := c.holder.now().Used(m.grid); used != 0 || pieces != 0 || c.holder.now().Keeps(m.grid) {
		t.Errorf("%d bytes, %d pieces are left", used, pieces)
	}
}

// A guest is kept nothing for longer than the grid on whose pact it draws.
func TestAGuestOfAPactThatEnds(t *testing.T) {
	_, c, members := clubWorld(t, 1, 1_000_000)
	m := members[0]
	grant, err := c.asks(t, m, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	piece := bytesOf(1, 1_000)
	m.mustPut(t, c.holder, grant.Grant, piece)
	ends := c.holder.leaves(30)
	out, err := m.lease(t, c.holder, nil, piece)
	if err != nil {
		t.Fatal(err)
	}
	if lease, err := pact.OpenLease(*out.Lease); err != nil || lease.Until != ends || lease.Pact != pact.Home(c.home.grid) {
		t.Errorf("a lease %+v, %v, want until %d", lease, err, ends)
	}
	_, err = c.asks(t, m, 1)
	wantReason(t, err, "the pact ends on "+time.Unix(ends, 0).UTC().Format(time.DateOnly))
	c.holder.runs(t, 31*days)
	if n := c.holder.aside(m); n != 1_000 {
		t.Errorf("%d bytes are aside after the pact has ended", n)
	}
}

// After a start the books do not say who is whose guest: the sum is right all the same.
func TestGuestsAfterAStart(t *testing.T) {
	_, c, members := clubWorld(t, 2, 10_000)
	anna, bo := members[0], members[1]
	grant, err := c.asks(t, anna, 9_000)
	if err != nil {
		t.Fatal(err)
	}
	piece := bytesOf(1, 9_000)
	anna.mustPut(t, c.holder, grant.Grant, piece)
	anna.mustLease(t, c.holder, piece)
	c.holder.open()
	_, err = c.asks(t, bo, 1_001)
	wantDenial(t, err, 1_000, "1 kB left")
	if l := c.holder.ledger(t, c.home); l.Room != 1_000 || l.Used != 0 || l.Via != nil {
		t.Errorf("the grid's ledger: %+v", l)
	}
}

// account makes a member a guest at the holder by an account with so many bytes, of which so many are used elsewhere.
func (c club) account(m *home, quota, elsewhere int64) (ref core.Score, stand *policy.Account) {
	now := c.holder.time().Now().Unix()
	ref = core.ScoreOf([]byte("token"))
	stand = &policy.Account{
		Server: core.DID{7}, ID: "anna", Plan: "home", Quota: quota, Used: elsewhere, State: policy.AccountGood, Checked: now, Until: now + 7*daySeconds, Refs: []core.Score{ref},
	}
	c.holder.mu.Lock()
	c.holder.vias[m.grid] = &Via{Kind: core.WhyAccount, Account: stand, Grid: core.DID{7}, Name: "anna", Share: quota, Until: stand.Until}
	c.holder.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.whys[c.holder.grid] = core.Why{Kind: core.WhyAccount, Ref: ref[:]}
	return ref, stand
}

// What an account has elsewhere is taken of what it can have here; grants that are open count, and nothing is granted or leased
// when it is no good, whatever the rules say.
func TestAGuestByAnAccount(t *testing.T) {
	_, c, members := clubWorld(t, 1, 1000)
	m := members[0]
	_, stand := c.account(m, 1000, 400)
	for _, text := range []string{"account account server=" + core.DID{7}.String(), "any open"} {
		rules, err := table().Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.holder.barter.SetRules(rules); err != nil {
			t.Fatal(err)
		}
		_, err = c.asks(t, m, 601)
		wantReason(t, err, "600 B left of your plan's 1 kB; 601 B needed")
		g, err := c.asks(t, m, 500)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.asks(t, m, 101)
		wantReason(t, err, "100 B left of your plan's 1 kB")
		d := c.holder.barter.decided.last[m.grid]
		if a := d.Facts.Account; a == nil || a.Used != 900 || a.Here != 500 || d.Facts.Offered != 600 {
			t.Errorf("facts %+v, account %+v", d.Facts, a)
		}
		_, err = c.asks(t, m, 1, func(a *core.Ask) { a.Why.Ref = make([]byte, 32) })
		wantReason(t, err, "does not name a token of your account")
		_, err = c.asks(t, m, 1, func(a *core.Ask) { a.Why = core.Why{Kind: core.WhyNone} })
		wantReason(t, err, "does not name a token of your account")
		for state, reason := range map[string]string{
			policy.AccountRevoked: "the account was revoked", policy.AccountExpired: "the account has expired",
			policy.AccountDown: "the account server cannot be reached, and what it said last is too old", "": "the account server does not know the account",
		} {
			stand.State = state
			_, err = c.asks(t, m, 1)
			wantReason(t, err, reason)
			_, err = c.holder.barter.lease(t.Context(), m.grid, m.agent(), leaseRequest{Seconds: 10})
			wantReason(t, err, reason)
		}
		stand.State = policy.AccountGood
		c.holder.barter.closeGrants(m.grid, [][]byte{g.Grant})
	}
}
