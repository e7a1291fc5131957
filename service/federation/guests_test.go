package federation_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/roll"
	"github.com/grange-grid/grange/pure/voucher"
	"github.com/grange-grid/grange/service/federation"
)

const week = 7 * 24 * 60 * 60

// voucherOf is what a club's machine gives a member's: so much storage for a week.
func voucherOf(club, member *machine, amount int64) voucher.Chain {
	club.w.t.Helper()
	now := club.w.clock.Now().Unix()
	c, err := voucher.Issue(club.key, club.grid(), voucher.Terms{Audience: member.did(), Resource: core.Storage, Amount: amount, From: now, Until: now + week})
	if err != nil {
		club.w.t.Fatal(err)
	}
	return c
}

func (m *machine) uses(at *machine, c voucher.Chain) (federation.Errand, error) {
	m.w.t.Helper()
	raw, err := c.Marshal()
	if err != nil {
		m.w.t.Fatal(err)
	}
	return m.f.UseVoucher(m.w.t.Context(), federation.AgentAddrs{DID: at.did(), Addrs: at.peers.Addrs()}, raw)
}

func (m *machine) mustUse(at *machine, c voucher.Chain) federation.Errand {
	m.w.t.Helper()
	e, err := m.uses(at, c)
	if err != nil {
		m.w.t.Fatal(err)
	}
	return e
}

func (m *machine) classOf(other *machine) string {
	m.w.t.Helper()
	c, err := m.f.Classify(m.w.t.Context(), other.did())
	if err != nil {
		return codeOf(err)
	}
	return fmt.Sprint(map[wire.Class]string{wire.Stranger: "stranger", wire.Partner: "partner", wire.Own: "own", wire.Guest: "guest", wire.Admitted: "admitted"}[c.Class], " ", c.Grid == other.grid())
}

// clubhouse is a club with a pact with bo, and anna, who has none.
func clubhouse(t *testing.T) (w *world, club, anna, bo *machine) {
	w = newWorld(t)
	club, anna, bo = w.household("club"), w.household("anna"), w.household("bo")
	w.befriend(bo, club)
	return w, club, anna, bo
}

func TestAVoucherLetsIn(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	want(t, "before", bo.classOf(anna), "stranger false")
	chain := voucherOf(club, anna, 5_000)
	e := anna.mustUse(bo, chain)
	until := w.clock.Now().Unix() + week
	if e.Grid != bo.grid() || e.Name != "bo" || e.Subject != club.grid() || e.Ref != chain.ID() || e.Amount != 5_000 || e.Until != until || e.Ends != 0 ||
		e.LeaseDays != 180 || e.AsideDays != 14 || e.Leaving || !slices.Equal(e.Agents, []core.DID{bo.did()}) {
		t.Errorf("errand %+v", e)
	}
	check := func() {
		t.Helper()
		want(t, "anna", bo.classOf(anna), "guest true")
		g, ok := bo.f.Guest(anna.grid())
		if !ok || g.Name != "anna" || g.Via.Name != "club" || g.Share != 5_000 || g.Until != until || !slices.Equal(g.Refs, []core.Score{chain.ID()}) ||
			!slices.Equal(g.Chain, []core.DID{club.did()}) || !slices.Equal(g.Agents, []core.DID{anna.did()}) {
			t.Errorf("guest %+v, %v", g, ok)
		}
		want(t, "guests", len(bo.f.Guests()), 1)
		wantList(t, "bo's partners", bo.partners(), "club")
	}
	check()
	// A guest is no partner: it can neither greet nor bring a head, though it brings its head.
	for _, route := range []string{"/greet", "/amend"} {
		if code, _ := anna.call(bo, "POST", route, struct{}{}); code != wire.CodeUnknown {
			t.Errorf("%s: %s", route, code)
		}
	}
	anna.write("s/one", "a record")
	if saved := anna.save(); !slices.Equal(saved.Done, []core.DID{bo.grid()}) {
		t.Errorf("the head is at %v", saved.Done)
	}
	want(t, "heads at bo's", heads(bo), 1)
	bo.restart()
	check()
	anna.restart()
	if got := anna.f.Errands(); len(got) != 1 || got[0].Ref != chain.ID() || got[0].Grid != bo.grid() {
		t.Errorf("after a restart: %+v", got)
	}
	// The club may be off: what it has signed counts.
	club.off()
	anna.mustUse(bo, chain)
	check()
}

func TestAVoucherIsRenewed(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	first := voucherOf(club, anna, 5_000)
	anna.mustUse(bo, first)
	w.clock.Advance(7 * 24 * time.Hour)
	g, _ := bo.f.Guest(anna.grid())
	if g.Until != 0 || g.Share != 0 || len(g.Refs) != 0 {
		t.Errorf("when it has ended: %+v", g)
	}
	want(t, "what is there can be read", bo.classOf(anna), "guest true")
	if e, _ := anna.f.Errand(bo.grid()); e.Leaving {
		t.Error("given up on the day that the voucher ends")
	}
	w.clock.Advance(7 * 24 * time.Hour)
	if e, _ := anna.f.Errand(bo.grid()); !e.Leaving {
		t.Error("not given up a week later")
	}
	next := voucherOf(club, anna, 6_000)
	anna.mustUse(bo, next)
	// An ask that was under way may still name the one before.
	if g, _ := bo.f.Guest(anna.grid()); g.Share != 6_000 || !slices.Equal(g.Refs, []core.Score{next.ID(), first.ID()}) {
		t.Errorf("after a newer one: %+v", g)
	}
	if e, _ := anna.f.Errand(bo.grid()); e.Leaving || e.Amount != 6_000 {
		t.Errorf("after a newer one: %+v", e)
	}
}

func TestUseVoucherRefuses(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	dan := w.household("dan") // with no pact with anybody
	good := voucherOf(club, anna, 5_000)
	_, err := dan.uses(bo, good)
	wantError(t, "another's", err, core.ErrInvalid)
	_, err = anna.uses(dan, good)
	wantError(t, "where there is no pact", err, core.ErrRefused)
	_, err = anna.uses(bo, voucherOf(dan, anna, 1))
	wantError(t, "of who has no pact", err, core.ErrRefused)
	_, err = anna.uses(anna, good)
	wantError(t, "at home", err, federation.ErrOwn)
	_, err = anna.f.UseVoucher(t.Context(), federation.AgentAddrs{DID: bo.did()}, []byte("x"))
	wantError(t, "no voucher", err, core.ErrInvalid)
	c, err := voucher.Issue(anna.key, club.grid(), voucher.Terms{Audience: anna.did(), Resource: core.Storage, Amount: 1, From: w.clock.Now().Unix(), Until: w.clock.Now().Unix() + week})
	if err == nil {
		_, err = anna.uses(bo, c)
	}
	wantError(t, "of her own making", err, core.ErrInvalid)
	mallory := w.stranger("mallory")
	forged, err := voucher.Issue(mallory.key, club.grid(), voucher.Terms{Audience: anna.did(), Resource: core.Storage, Amount: 1, From: w.clock.Now().Unix(), Until: w.clock.Now().Unix() + week})
	if err == nil {
		w.clock.Advance(time.Minute)
		_, err = anna.uses(bo, forged)
	}
	wantError(t, "by who is no machine of the club", err, core.ErrRefused)
	want(t, "anna", bo.classOf(anna), "stranger false")
	w.befriend(bo, anna)
	_, err = anna.uses(bo, good)
	wantError(t, "with a pact", err, federation.ErrAlready)
	w.clock.Advance(7 * 24 * time.Hour)
}

// Guests are forgotten when their vouchers have ended and nothing of theirs is kept.
func TestGuestsAreForgotten(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	bo.keeps = func(core.DID) bool { return true }
	bo.restart()
	anna.mustUse(bo, voucherOf(club, anna, 5_000))
	anna.write("s/one", "a record")
	anna.save()
	w.clock.Advance(9 * 24 * time.Hour)
	if err := bo.f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, "with pieces", bo.classOf(anna), "guest true")
	bo.keeps = func(core.DID) bool { return false }
	bo.restart()
	if err := bo.f.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, "without", bo.classOf(anna), "stranger false")
	bo.restart()
	want(t, "without, after a restart", bo.classOf(anna), "stranger false")
	want(t, "heads", heads(bo), 0)
	for c := range bo.disk.Books().Scan([]byte("f/page/"), nil) {
		t.Errorf("a page is left: %x", c.Key)
	}
	// It comes again, and brings its head again.
	anna.mustUse(bo, voucherOf(club, anna, 5_000))
	anna.save()
	want(t, "heads of who came again", heads(bo), 1)
}

// heads is how many heads a machine keeps of other households.
func heads(m *machine) (n int) {
	for range m.disk.Books().Scan([]byte("f/held/"), nil) {
		n++
	}
	return n
}

// A guest's household is recovered from where it is a guest.
func TestAGuestIsRecovered(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	anna.mustUse(bo, voucherOf(club, anna, 5_000))
	anna.write("s/one", "a record")
	anna.save()
	anna.off()
	again := w.machine("again", "anna")
	if _, err := again.recover(bo, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	again.on()
	want(t, "the state", again.state()["s/one"], "a record")
	want(t, "the lost machine", bo.classOf(anna), wire.CodeRevoked)
	want(t, "the new one", bo.classOf(again), "admitted true")
	again.mustUse(bo, voucherOf(club, again, 6_000))
	want(t, "with a voucher of its own", bo.classOf(again), "guest true")
	if g, _ := bo.f.Guest(anna.grid()); g.Share != 6_000 || len(g.Agents) != 1 {
		t.Errorf("%+v", g)
	}
}

// What is revoked counts no more, though its holder stays a guest as long as something is kept.
func TestARevokedVoucher(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	chain := voucherOf(club, anna, 5_000)
	anna.mustUse(bo, chain)
	signed, err := roll.Sign(club.key, roll.Roll{Grid: club.grid(), N: 1, Revoked: []roll.Revoked{{ID: chain.IDs()[0], Until: w.clock.Now().Unix() + week}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := bo.f.TakeRoll(t.Context(), club.grid(), signed); err != nil {
		t.Fatal(err)
	}
	bo.restart()
	if g, ok := bo.f.Guest(anna.grid()); !ok || g.Until != 0 || g.Share != 0 || len(g.Refs) != 0 {
		t.Errorf("%+v, %v", g, ok)
	}
	want(t, "anna", bo.classOf(anna), "guest true")
	w.clock.Advance(time.Minute)
	_, err = anna.uses(bo, chain)
	wantError(t, "shown again", err, core.ErrRefused)
	anna.mustUse(bo, voucherOf(club, anna, 4_000))
	if g, _ := bo.f.Guest(anna.grid()); g.Share != 4_000 {
		t.Errorf("another one: %+v", g)
	}
}

// What is kept for a guest counts for the grid that let it in; another one's voucher is of use when nothing is kept.
func TestAGuestChangesClubs(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	other := w.household("other")
	w.befriend(bo, other)
	bo.keeps = func(core.DID) bool { return true }
	bo.restart()
	anna.mustUse(bo, voucherOf(club, anna, 5_000))
	_, err := anna.uses(bo, voucherOf(other, anna, 6_000))
	wantError(t, "with pieces", err, core.ErrRefused)
	if g, _ := bo.f.Guest(anna.grid()); g.Via.Name != "club" || g.Share != 5_000 {
		t.Errorf("%+v", g)
	}
	bo.keeps = func(core.DID) bool { return false }
	bo.restart()
	anna.mustUse(bo, voucherOf(other, anna, 6_000))
	if g, _ := bo.f.Guest(anna.grid()); g.Via.Name != "other" || g.Share != 6_000 || len(g.Refs) != 1 {
		t.Errorf("%+v", g)
	}
}

// Whoever becomes a partner is no guest any more, and nobody's errand.
func TestAGuestBecomesAPartner(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	anna.mustUse(bo, voucherOf(club, anna, 5_000))
	w.befriend(bo, anna)
	want(t, "anna", bo.classOf(anna), "partner true")
	want(t, "guests", len(bo.f.Guests()), 0)
	want(t, "errands", len(anna.f.Errands()), 0)
	bo.restart()
	anna.restart()
	want(t, "anna, after a restart", bo.classOf(anna), "partner true")
}

// A holder that has forgotten a guest is shown the voucher again.
func TestEnter(t *testing.T) {
	_, club, anna, bo := clubhouse(t)
	anna.mustUse(bo, voucherOf(club, anna, 5_000))
	want(t, "known", anna.f.Enter(t.Context(), bo.did(), false), false)
	for c, err := range bo.disk.Books().Scan([]byte("f/guest/"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		if err := bo.disk.Books().Apply(core.Change{Key: c.Key}); err != nil {
			t.Fatal(err)
		}
	}
	bo.restart()
	want(t, "forgotten", bo.classOf(anna), "stranger false")
	want(t, "shown again", anna.f.Enter(t.Context(), bo.did(), true), true)
	want(t, "known again", bo.classOf(anna), "guest true")
	want(t, "to others", anna.f.Enter(t.Context(), club.did(), true), false)
	anna.restart()
	want(t, "after a start", anna.f.Enter(t.Context(), bo.did(), false), true)
}

// Each machine of a guest's household shows a voucher of its own, and the greatest share of those that count is the household's.
func TestTwoMachinesOfAGuest(t *testing.T) {
	w, club, anna, bo := clubhouse(t)
	w.befriend(anna, w.household("dan"))
	pc := w.machine("pc", "anna")
	pc.add(anna)
	first := voucherOf(club, anna, 5_000)
	anna.mustUse(bo, first)
	want(t, "the other machine", bo.classOf(pc), "stranger false")
	w.clock.Advance(24 * time.Hour)
	second := voucherOf(club, pc, 7_000)
	pc.mustUse(bo, second)
	want(t, "the other machine, with a voucher", bo.classOf(pc), "guest true")
	want(t, "the first", bo.classOf(anna), "guest true")
	g, _ := bo.f.Guest(anna.grid())
	if g.Share != 7_000 || g.Until != w.clock.Now().Unix()+week || !slices.Equal(g.Refs, []core.Score{first.ID(), second.ID()}) {
		t.Errorf("%+v", g)
	}
	w.clock.Advance(6 * 24 * time.Hour)
	if g, _ := bo.f.Guest(anna.grid()); g.Share != 7_000 || !slices.Equal(g.Refs, []core.Score{second.ID()}) {
		t.Errorf("when the first has ended: %+v", g)
	}
	if a, b := len(anna.f.Errands()), len(pc.f.Errands()); a != 1 || b != 1 {
		t.Errorf("errands %d and %d", a, b)
	}
	// What is shown with an older charter than the other machine has shown is stale, and heals by itself.
	anna.restart()
	anna.mustUse(bo, voucherOf(club, anna, 5_000))
}
