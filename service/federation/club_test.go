package federation_test

import (
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/roll"
	"github.com/grange-grid/grange/pure/voucher"
	"github.com/grange-grid/grange/service/federation"
)

// joins makes a household, or a club, a member of a club, on whose behalf it gives so much.
func (m *machine) joins(club *machine, gives int64) {
	m.w.t.Helper()
	t := pact.Terms{
		InviterGives:  map[core.Resource]int64{core.Storage: 0},
		AcceptorGives: map[core.Resource]int64{core.Storage: gives},
	}
	inv, err := club.f.Invite(m.w.t.Context(), t, time.Hour)
	if err != nil {
		m.w.t.Fatal(err)
	}
	code, err := inv.Code()
	if err == nil {
		_, err = m.f.Accept(m.w.t.Context(), code, yes)
	}
	if err == nil {
		err = club.f.TendRoll(m.w.t.Context())
	}
	if err != nil {
		m.w.t.Fatal(err)
	}
}

// clubOf makes a club, with its roll.
func (w *world) clubOf(name string) *machine {
	w.t.Helper()
	m := w.household(name)
	if err := m.f.BeginRoll(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return m
}

// asks has members ask clubs for what they have, and use it.
func (w *world) asks(club *machine, members ...*machine) {
	w.t.Helper()
	for _, m := range members {
		if err := m.f.VisitClub(w.t.Context(), club.grid()); err != nil {
			w.t.Fatalf("%s asks %s: %v", m.name, club.name, err)
		}
		m.f.UseVouchers(w.t.Context())
		if _, ok := m.f.Roll(); !ok {
			continue
		}
		if err := m.f.TendRoll(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	}
}

// errands returns what vouchers give, by the name of the home.
func (m *machine) errands() map[string]int64 {
	out := map[string]int64{}
	for _, e := range m.f.Errands() {
		if !e.Leaving {
			out[e.Name] = e.Amount
		}
	}
	return out
}

func wantMap(t *testing.T, what string, got, want map[string]int64) {
	t.Helper()
	same := len(got) == len(want)
	for name, n := range want {
		same = same && got[name] == n
	}
	if !same {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestAClubSharesWhatItsMembersGive(t *testing.T) {
	w := newWorld(t)
	club, anna, bo, cleo := w.clubOf("club"), w.household("anna"), w.household("bo"), w.household("cleo")
	for _, m := range []*machine{anna, bo, cleo} {
		m.joins(club, 1000)
	}
	r, ok := club.f.Roll()
	want(t, "a roll", ok, true)
	want(t, "members", len(r.Members), 3)
	if code, _ := anna.call(bo, "GET", "/club", nil); code == "" {
		t.Error("a household answers like a club to a stranger")
	}
	w.asks(club, anna, bo, cleo)
	wantMap(t, "anna's", anna.errands(), map[string]int64{"bo": 500, "cleo": 500})
	wantMap(t, "bo's", bo.errands(), map[string]int64{"anna": 500, "cleo": 500})
	g, ok := bo.f.Guest(anna.grid())
	if !ok || g.Share != 500 || g.Via.Name != "club" || g.Until != w.clock.Now().Unix()+week {
		t.Errorf("at bo's: %+v, %v", g, ok)
	}

	// Asked again, a club gives the same voucher until that has only some days left.
	before := anna.f.Vouchers(club.grid())[bo.grid()]
	w.clock.Advance(2 * 24 * time.Hour)
	w.asks(club, anna)
	if again := anna.f.Vouchers(club.grid())[bo.grid()]; again.ID() != before.ID() {
		t.Error("another voucher after two days")
	}
	w.clock.Advance(2 * 24 * time.Hour)
	w.asks(club, anna)
	if again := anna.f.Vouchers(club.grid())[bo.grid()]; again.ID() == before.ID() {
		t.Error("the same voucher after four days")
	}
	if e, _ := anna.f.Errand(bo.grid()); e.Until != w.clock.Now().Unix()+week {
		t.Errorf("it ends at %d", e.Until)
	}

	// A share of one's own narrows the others'.
	if err := club.f.Admit(t.Context(), roll.Member{DID: anna.grid(), Kind: roll.KindGrid, May: []string{roll.MayStore}, Share: 70}); err != nil {
		t.Fatal(err)
	}
	w.asks(club, anna, cleo)
	wantMap(t, "anna's", anna.errands(), map[string]int64{"bo": 700, "cleo": 700})
	wantMap(t, "cleo's", cleo.errands(), map[string]int64{"anna": 500, "bo": 300})
	err := club.f.Admit(t.Context(), roll.Member{DID: bo.grid(), Kind: roll.KindGrid, Share: 31})
	wantError(t, "shares of more than all", err, core.ErrInvalid)
	err = club.f.Admit(t.Context(), roll.Member{DID: w.household("dan").grid(), Kind: roll.KindGrid})
	wantError(t, "one without a pact", err, core.ErrNotExist)
	err = bo.f.Admit(t.Context(), roll.Member{DID: anna.grid(), Kind: roll.KindGrid})
	wantError(t, "at what is no club", err, core.ErrNotExist)

	// What a member was given stays good while the club is off, and after a restart of all.
	club.off()
	anna.restart()
	bo.restart()
	wantMap(t, "anna's", anna.errands(), map[string]int64{"bo": 700, "cleo": 700})
	want(t, "anna at bo's", bo.classOf(anna), "guest true")
	club.on()
	if again, ok := club.f.Roll(); !ok || len(again.Members) != 3 {
		t.Errorf("after a restart: %+v, %v", again, ok)
	}
}

func TestOneWhoIsExpelledGoesOn(t *testing.T) {
	w := newWorld(t)
	club, anna, bo := w.clubOf("club"), w.household("anna"), w.household("bo")
	anna.joins(club, 1000)
	bo.joins(club, 1000)
	w.asks(club, anna, bo)
	old := anna.f.Vouchers(club.grid())[bo.grid()]
	if err := club.f.Expel(t.Context(), anna.grid()); err != nil {
		t.Fatal(err)
	}
	r, _ := club.f.Roll()
	if _, there := r.Member(anna.grid()); there || len(r.Revoked) != 1 || r.Revoked[0].ID != old.IDs()[0] {
		t.Errorf("the roll %+v", r)
	}
	wantMap(t, "bo's, before he hears", bo.errands(), map[string]int64{"anna": 1000})
	w.asks(club, bo)
	g, _ := bo.f.Guest(anna.grid())
	want(t, "anna's share at bo's", g.Share, 0)
	wantMap(t, "bo's", bo.errands(), nil)
	w.clock.Advance(time.Minute)
	_, err := anna.uses(bo, old)
	wantError(t, "the old voucher", err, core.ErrRefused)
	// She can ask, and gets the roll alone.
	if err := anna.f.VisitClub(t.Context(), club.grid()); err != nil {
		t.Fatal(err)
	}
	want(t, "vouchers after that", len(anna.f.Vouchers(club.grid())), 0)
	err = club.f.Expel(t.Context(), anna.grid())
	wantError(t, "again", err, core.ErrNotExist)
	// What is revoked is named until it would have ended.
	w.clock.Advance(8 * 24 * time.Hour)
	if err := club.f.TendRoll(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, _ = club.f.Roll()
	want(t, "revoked a week later", len(r.Revoked), 0)
}

func TestOneWhoMayKeepNothing(t *testing.T) {
	w := newWorld(t)
	club, anna, bo := w.clubOf("club"), w.household("anna"), w.household("bo")
	anna.joins(club, 1000)
	bo.joins(club, 1000)
	w.asks(club, anna, bo)
	old := anna.f.Vouchers(club.grid())[bo.grid()]
	member := roll.Member{DID: anna.grid(), Kind: roll.KindGrid}
	if err := club.f.Admit(t.Context(), member); err != nil {
		t.Fatal(err)
	}
	w.asks(club, bo, anna)
	g, _ := bo.f.Guest(anna.grid())
	want(t, "anna's share at bo's", g.Share, 0)
	wantMap(t, "anna's", anna.errands(), nil)
	wantMap(t, "bo's", bo.errands(), map[string]int64{"anna": 1000})
	w.clock.Advance(time.Minute)
	_, err := anna.uses(bo, old)
	wantError(t, "the old voucher", err, core.ErrRefused)

	member.May = []string{roll.MayStore}
	if err := club.f.Admit(t.Context(), member); err != nil {
		t.Fatal(err)
	}
	w.asks(club, bo, anna)
	wantMap(t, "anna's, when she may again", anna.errands(), map[string]int64{"bo": 1000})
}

// A is in B, B in A, and both are in C; so are homes. Nobody's own comes back to it, and everything ends.
func TestClubsInEachOther(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.clubOf("a-club"), w.clubOf("b-club"), w.clubOf("c-club")
	anna, bo, cleo := w.household("anna"), w.household("bo"), w.household("cleo")
	anna.joins(a, 800)
	bo.joins(b, 800)
	cleo.joins(c, 800)
	b.joins(a, 400)
	a.joins(c, 400)
	b.joins(c, 400)
	for range 6 { // as often as a link can be added, and once more
		w.asks(a, b, c, anna)
		w.asks(b, a, c, bo)
		w.asks(c, a, b, cleo)
		w.clock.Advance(2 * time.Minute) // homes take in so many vouchers a minute
	}
	for _, m := range []*machine{anna, bo, cleo} {
		if got := m.errands(); len(got) != 2 || got[m.name] != 0 {
			t.Errorf("%s keeps at %v", m.name, got)
		}
	}
	for _, m := range []struct{ club, of *machine }{{a, b}, {b, a}, {c, a}, {a, c}, {b, c}, {c, b}, {a, anna}, {b, bo}, {c, cleo}} {
		for home, chain := range m.of.f.Vouchers(m.club.grid()) {
			r, err := voucher.Open(chain)
			if err != nil || home == m.of.grid() || len(chain.Links) > 3 {
				t.Errorf("%s gives %s a chain of %d links for %s: %v", m.club.name, m.of.name, len(chain.Links), home.Short(), err)
			}
			for _, via := range r.Via {
				if via == m.of.did() {
					t.Errorf("%s gives %s what came from it", m.club.name, m.of.name)
				}
			}
		}
	}
	// Nothing new is signed once all have heard of all.
	before := anna.f.Vouchers(a.grid())
	w.asks(a, anna)
	for home, chain := range anna.f.Vouchers(a.grid()) {
		if before[home].ID() != chain.ID() {
			t.Error("another voucher, and nothing has changed")
		}
	}
	// Either leaves at once.
	if _, err := b.f.End(t.Context(), a.grid()); err != nil {
		t.Fatal(err)
	}
	if err := a.f.TendRoll(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, _ := a.f.Roll()
	if _, there := r.Member(b.grid()); there {
		t.Error("b is a member of a after it left")
	}
	w.asks(c, a)
	w.asks(a, anna)
	if got := anna.errands(); got["bo"] == 0 || got["cleo"] == 0 {
		t.Errorf("through c anna keeps at %v", got)
	}
}

func TestRollsThatAClubTakesBack(t *testing.T) {
	w := newWorld(t)
	club, anna, eve := w.clubOf("club"), w.household("anna"), w.household("eve")
	anna.joins(club, 1000)
	sign := func(k identity.Key, r roll.Roll) identity.Signed {
		s, err := roll.Sign(k, r)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	take := func(s identity.Signed) error { return anna.f.TakeRoll(t.Context(), club.grid(), s) }
	n := roll.Least(1, w.clock.Now().Unix()) + 100
	one, two := sign(club.key, roll.Roll{Grid: club.grid(), N: n}), sign(club.key, roll.Roll{Grid: club.grid(), N: n, Time: 1})
	if lower := one.Score(); two.Score().String() < lower.String() {
		one, two = two, one
	}
	wantError(t, "another's", take(sign(eve.key, roll.Roll{Grid: club.grid(), N: n})), core.ErrForbidden)
	wantError(t, "of another club", take(sign(club.key, roll.Roll{Grid: eve.grid(), N: n})), core.ErrInvalid)
	broken := one
	broken.Body = append([]byte{}, one.Body...)
	broken.Body[3] ^= 1
	wantError(t, "broken", take(broken), core.ErrCorrupt)
	if err := take(one); err != nil {
		t.Fatal(err)
	}
	wantError(t, "a lower number", take(sign(club.key, roll.Roll{Grid: club.grid(), N: n - 1})), core.ErrInvalid)
	want(t, "honest so far", anna.f.Clubs()[0].Twofaced, false)
	if err := take(two); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		clubs := anna.f.Clubs()
		if len(clubs) != 1 || !clubs[0].Twofaced || clubs[0].Roll.N != n {
			t.Fatalf("%+v", clubs)
		}
		anna.restart()
	}
	err := anna.f.VisitClub(t.Context(), club.grid()) // whose own roll is older than those
	wantError(t, "the club's own", err, core.ErrInvalid)
	err = anna.f.VisitClub(t.Context(), eve.grid())
	wantError(t, "no partner", err, core.ErrNotExist)
	w.befriend(anna, eve)
	if code := codeOf(anna.f.VisitClub(t.Context(), eve.grid())); code != wire.CodeNotFound {
		t.Errorf("one that is no club: %s", code)
	}
}

// What a club says of homes is believed as far as it verifies: a bad voucher is passed over, and never shown.
func TestVouchersThatAreNone(t *testing.T) {
	w := newWorld(t)
	club, anna, bo, eve := w.clubOf("club"), w.household("anna"), w.household("bo"), w.household("eve")
	anna.joins(club, 1000)
	bo.joins(club, 1000)
	signed, err := roll.Sign(club.key, roll.Roll{Grid: club.grid(), N: uint64(w.clock.Now().Unix()) + 1})
	if err != nil {
		t.Fatal(err)
	}
	chain := func(c voucher.Chain) []byte {
		raw, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	good := chain(voucherOf(club, anna, 1<<40)) // far more than the pact gives, which the holder bounds
	broken := append([]byte{}, good...)
	broken[len(broken)/2] ^= 1
	at := federation.AgentAddrs{DID: bo.did(), Addrs: bo.peers.Addrs()}
	for _, c := range []struct {
		what  string
		home  core.DID
		name  string
		chain []byte
		kept  int
	}{
		{"no chain", bo.grid(), "bo", []byte("none"), 0},
		{"a broken one", bo.grid(), "bo", broken, 0},
		{"another's", bo.grid(), "bo", chain(voucherOf(club, eve, 5)), 0},
		{"a name that clears the screen", bo.grid(), "bo\x1b[2J", good, 0},
		{"no home", core.DID{}, "bo", good, 0},
		{"our own home", anna.grid(), "anna", good, 1},
		{"a good one", bo.grid(), "bo", good, 1},
	} {
		if err := anna.f.TakeHome(t.Context(), club.grid(), signed, c.home, c.name, at, c.chain); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		want(t, c.what+": vouchers", len(anna.f.Vouchers(club.grid())), c.kept)
		if c.what == "a good one" {
			break
		}
		anna.f.UseVouchers(t.Context())
		want(t, c.what+": errands", len(anna.f.Errands()), 0)
	}
	anna.f.UseVouchers(t.Context())
	g, ok := bo.f.Guest(anna.grid())
	if !ok || g.Share != 1<<40 || g.Via.Given[core.Storage] != 1000 {
		t.Errorf("at bo's: %+v, %v", g, ok)
	}
}

// Two clubs of one name are told apart by who looks at them, and a club that is called like a friend is not the friend.
func TestAClubNamedLikeAnother(t *testing.T) {
	w := newWorld(t)
	first, anna := w.clubOf("club"), w.household("anna")
	other := w.machine("another machine", "another club")
	other.connect()
	if err := federation.Found(other.config(), other.entropy, "club"); err != nil {
		t.Fatal(err)
	}
	other.on()
	if err := other.f.BeginRoll(t.Context()); err != nil {
		t.Fatal(err)
	}
	anna.joins(first, 1000)
	anna.joins(other, 1000)
	wantList(t, "anna's partners", anna.partners(), "club", "club-2")
	w.asks(first, anna)
	w.asks(other, anna)
	want(t, "clubs", len(anna.f.Clubs()), 2)
}
