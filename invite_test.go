package grange_test

import (
	"errors"
	"testing"

	"github.com/grange-grid/grange"
)

func TestAnInvitationHasItsDays(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.found("anna"), w.found("bo")
	anna.run()
	inv, err := anna.Invite(t.Context(), grange.Terms{Give: 1e9, Want: 1e9, LeaseDays: 20, AsideDays: 3})
	must(t, err)
	var seen grange.Terms
	_, err = bo.Accept(t.Context(), inv.Code, func(terms grange.Terms) bool {
		seen = terms
		return true
	})
	must(t, err)
	if seen.LeaseDays != 20 || seen.AsideDays != 3 || seen.NoticeDays != 30 {
		t.Errorf("bo agreed to %+v", seen)
	}
	if _, err := anna.Invite(t.Context(), grange.Terms{LeaseDays: 1 << 20}); !errors.Is(err, grange.ErrInvalid) {
		t.Errorf("promises of thousands of years: %v", err)
	}
}
