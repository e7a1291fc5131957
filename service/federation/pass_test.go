package federation_test

import (
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/roll"
	"github.com/grange-grid/grange/pure/voucher"
	"github.com/grange-grid/grange/service/federation"
)

// pass makes a pass at one machine for another.
func (m *machine) pass(grid core.DID, to *machine, amount int64) voucher.Pass {
	m.w.t.Helper()
	p, err := m.f.MakePass(m.w.t.Context(), grid, to.did(), amount, m.w.clock.Now().Unix()+week)
	if err != nil {
		m.w.t.Fatal(err)
	}
	return p
}

// takes uses a pass.
func (m *machine) takes(p voucher.Pass) {
	m.w.t.Helper()
	if err := m.f.TakePass(m.w.t.Context(), p); err != nil {
		m.w.t.Fatal(err)
	}
	m.f.UseVouchers(m.w.t.Context())
}

func (m *machine) isAdmitted(club *machine, share uint) {
	m.w.t.Helper()
	p := roll.Member{DID: m.did(), Kind: roll.KindPerson, Name: m.name, May: []string{roll.MayStore}, Share: share}
	if err := club.f.Admit(m.w.t.Context(), p); err != nil {
		m.w.t.Fatal(err)
	}
}

// A person's machine, whose household has no pact with anybody, has what the club gives it, and newer vouchers, until it is expelled.
func TestAPersonOfAClub(t *testing.T) {
	w := newWorld(t)
	club, anna, bo, dan := w.clubOf("club"), w.household("anna"), w.household("bo"), w.household("dan")
	for _, m := range []*machine{anna, bo} {
		m.joins(club, 1000)
	}
	_, err := club.f.MakePass(t.Context(), club.grid(), dan.did(), 0, 0)
	wantError(t, "a pass for who is no person", err, core.ErrNotExist)
	code, _ := dan.call(club, "GET", "/club", nil)
	want(t, "a stranger", code, wire.CodeUnknown)
	_, err = anna.f.MakePass(t.Context(), anna.grid(), dan.did(), 0, 0)
	wantError(t, "at a grid that is no club", err, core.ErrNotExist)

	dan.isAdmitted(club, 10)
	dan.takes(club.pass(club.grid(), dan, 0))
	wantMap(t, "dan's", dan.errands(), map[string]int64{"anna": 100, "bo": 100})
	if e, _ := dan.f.Errand(bo.grid()); e.Subject != club.grid() || e.SubjectName != "club" {
		t.Errorf("%+v", e)
	}
	if g, ok := bo.f.Guest(dan.grid()); !ok || g.Share != 100 || g.Via.Name != "club" {
		t.Errorf("%+v, %v", g, ok)
	}
	dan.restart()
	wantMap(t, "after a restart", dan.errands(), map[string]int64{"anna": 100, "bo": 100})

	dan.isAdmitted(club, 30)
	w.clock.Advance(5 * 24 * time.Hour)
	want(t, "to be asked", len(dan.f.DuePasses()), 1)
	if err := dan.f.VisitPass(t.Context(), club.grid()); err != nil {
		t.Fatal(err)
	}
	want(t, "to be asked again", len(dan.f.DuePasses()), 0)
	dan.f.UseVouchers(t.Context())
	wantMap(t, "with a greater share", dan.errands(), map[string]int64{"anna": 300, "bo": 300})
	if e, _ := dan.f.Errand(bo.grid()); e.Until != w.clock.Now().Unix()+week {
		t.Errorf("%+v", e)
	}

	if err := club.f.Expel(t.Context(), dan.did()); err != nil {
		t.Fatal(err)
	}
	wantError(t, "expelled", dan.f.VisitPass(t.Context(), club.grid()), core.ErrForbidden)
	w.asks(club, bo)
	if g, _ := bo.f.Guest(dan.grid()); g.Share != 0 || g.Until != 0 {
		t.Errorf("expelled, at bo's: %+v", g)
	}
}

// A member gives on what it has, or less; an old line does not take the place of a newer one.
func TestAMemberGivesOn(t *testing.T) {
	w := newWorld(t)
	club, anna, bo, dan := w.clubOf("club"), w.household("anna"), w.household("bo"), w.household("dan")
	for _, m := range []*machine{anna, bo} {
		m.joins(club, 1000)
	}
	_, err := anna.f.MakePass(t.Context(), club.grid(), dan.did(), 0, 0)
	wantError(t, "before there is anything", err, core.ErrNotExist)
	w.asks(club, anna, bo)
	all := anna.pass(club.grid(), dan, 0)
	w.clock.Advance(time.Minute)
	some := anna.pass(club.grid(), dan, 70)
	dan.takes(all)
	wantMap(t, "all of it", dan.errands(), map[string]int64{"bo": 1000})
	dan.takes(some)
	wantMap(t, "some of it", dan.errands(), map[string]int64{"bo": 70})
	dan.takes(all)
	wantMap(t, "the old line again", dan.errands(), map[string]int64{"bo": 70})
	if g, _ := bo.f.Guest(dan.grid()); len(g.Chain) != 2 || g.Chain[0] != club.did() || g.Chain[1] != anna.did() {
		t.Errorf("%+v", g)
	}
	want(t, "nobody to ask", len(dan.f.DuePasses()), 0)
	if err := dan.f.VisitPass(t.Context(), club.grid()); err != nil {
		t.Error(err)
	}
}

func TestPassesThatAreOfNoUse(t *testing.T) {
	w := newWorld(t)
	club, bo, dan, eve := w.clubOf("club"), w.household("bo"), w.household("dan"), w.household("eve")
	bo.joins(club, 1000)
	dan.isAdmitted(club, 0)
	p := club.pass(club.grid(), dan, 0)
	wantError(t, "another machine's", eve.f.TakePass(t.Context(), p), core.ErrInvalid)
	wantError(t, "at home", club.f.TakePass(t.Context(), p), federation.ErrOwn)
	p.Homes[0].Chain[40] ^= 1
	if err := dan.f.TakePass(t.Context(), p); err == nil {
		t.Error("a broken one was taken")
	}
	// There are only so many, of which those that have ended make room.
	pass := func(i int) voucher.Pass {
		grid := identity.KeyOf([32]byte{1, byte(i + 1)})
		now := w.clock.Now().Unix()
		c, err := voucher.Issue(grid, grid.DID(), voucher.Terms{Audience: dan.did(), Resource: core.Storage, Amount: 10, From: now, Until: now + week})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := c.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return voucher.Pass{Grid: grid.DID(), Name: "other", Homes: []voucher.Home{{Grid: bo.grid(), Name: "bo", Agents: []voucher.Place{{DID: bo.did()}}, Chain: raw}}}
	}
	for i := range federation.PassesMax {
		if err := dan.f.TakePass(t.Context(), pass(i)); err != nil {
			t.Fatal(i, err)
		}
	}
	wantError(t, "one too many", dan.f.TakePass(t.Context(), pass(-1)), core.ErrRefused)
	if err := dan.f.TakePass(t.Context(), pass(3)); err != nil {
		t.Errorf("one that there was: %v", err)
	}
	w.clock.Advance(8 * 24 * time.Hour)
	if err := dan.f.TakePass(t.Context(), pass(-1)); err != nil {
		t.Errorf("when the others have ended: %v", err)
	}
}
