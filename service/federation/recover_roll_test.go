package federation_test

import (
	"testing"

	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/roll"
	"github.com/grange-grid/grange/service/federation"
)

// A club that is recovered goes on from the newest roll that a member shows: not from an older one, nor from a stranger's.
func TestARecoveredClubHasItsShares(t *testing.T) {
	w := newWorld(t)
	club, anna, bo, cleo := w.clubOf("club"), w.household("anna"), w.household("bo"), w.household("cleo")
	for _, m := range []*machine{anna, bo, cleo} {
		m.joins(club, 1000)
	}
	w.asks(club, anna, bo, cleo)
	old := anna.heldRoll(club)
	person := w.household("dan")
	for _, m := range []roll.Member{
		{DID: anna.grid(), Kind: roll.KindGrid, May: []string{roll.MayStore}, Share: 50},
		{DID: bo.grid(), Kind: roll.KindGrid},
		{DID: person.did(), Kind: roll.KindPerson, Name: "dan", May: []string{roll.MayStore}, Share: 10},
	} {
		if err := club.f.Admit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	last, _ := club.f.Roll()
	w.asks(club, anna, bo, cleo)
	club.save()
	club.off()

	forged, err := roll.Sign(w.household("eve").key, roll.Roll{Grid: club.grid(), N: last.N + 1})
	if err != nil {
		t.Fatal(err)
	}
	anna.lie(edited(t, func(a *headsAnswer) { a.Roll = &old }))
	cleo.lie(edited(t, func(a *headsAnswer) { a.Roll = &forged }))
	again := w.machine("again", "club")
	if _, err := again.recover(anna, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	again.on()
	if err := again.f.BeginRoll(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, _ := again.f.Roll()
	want(t, "members", len(r.Members), 4)
	for _, m := range last.Members {
		if is, _ := r.Member(m.DID); !is.Equal(m) {
			t.Errorf("%+v, was %+v", is, m)
		}
	}
	want(t, "a greater number", r.N > last.N, true)
	w.asks(again, bo)
	if is := bo.heldRoll(again); is.By != again.did() {
		t.Errorf("signed by %s", is.By)
	}
	before := r.N
	if err := again.f.BeginRoll(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, _ = again.f.Roll()
	want(t, "the number when begun again", r.N, before)
}

// heldRoll returns what m shows of a club's roll.
func (m *machine) heldRoll(club *machine) identity.Signed {
	m.w.t.Helper()
	out := club.heads(m)
	if out.Roll == nil {
		m.w.t.Fatalf("%s shows no roll", m.name)
	}
	return *out.Roll
}
