package grange_test

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

func TestSimEnd(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo", "dan")
		anna, bo := homes[0], homes[1]
		docs := randomTree(1, 300_000)
		anna.put("docs", docs)
		if anna.pact(bo).Has == 0 {
			t.Fatal("bo has nothing")
		}
		p, err := bo.End(t.Context(), "anna")
		if err != nil || p.Ends.IsZero() || p.Ending {
			t.Fatalf("bo ends it: %+v, %v", p, err)
		}
		if at := anna.pact(bo).Ends; !at.Equal(p.Ends) {
			t.Errorf("anna hears that it ends %v, bo says %v", at, p.Ends)
		}

		// Her pieces go elsewhere, and new ones go there at once.
		w.later(2 * time.Hour)
		if has := anna.pact(bo).Has; has != 0 {
			t.Errorf("bo has %d bytes still", has)
		}
		if got := anna.worth("docs"); got.Survives != 1 || got.Households != 2 || got.Pieces != got.Wanted {
			t.Errorf("without bo: %+v", got)
		}
		more := randomTree(2, 100_000)
		anna.put("more", more)
		if has := anna.pact(bo).Has; has != 0 {
			t.Errorf("bo was given %d bytes", has)
		}
		bo.stop()
		anna.mustHave("docs", docs)
		anna.mustHave("more", more)

		for what, do := range map[string]func() error{
			"amended":         func() error { _, err := anna.Amend(t.Context(), "bo", grange.Amendment{Give: "1B"}); return err },
			"agreed, unasked": func() error { _, err := anna.Agree(t.Context(), "cleo"); return err },
			"with nobody":     func() error { _, err := anna.End(t.Context(), "zoe"); return err },
		} {
			want := fs.ErrNotExist
			if what == "amended" {
				want = grange.ErrRefused
			}
			if err := do(); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
	})
}

// While there is nobody else, what the one who leaves has stays where it is.
func TestSimTheOnlyPartnerEnds(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo")
		anna, bo := homes[0], homes[1]
		docs := randomTree(1, 50_000)
		anna.put("docs", docs)
		bo.stop()
		p, err := anna.End(t.Context(), "bo")
		if !errors.Is(err, grange.ErrUnreachable) || !p.Ending || !p.Ends.IsZero() {
			t.Fatalf("while bo is away: %+v, %v", p, err)
		}
		w.later(26 * time.Hour) // no day of the notice goes by meanwhile
		bo.open()
		bo.run()
		w.later(time.Hour)
		left := time.Until(anna.pact(bo).Ends)
		if left < 29*24*time.Hour || left > 30*24*time.Hour || !anna.pact(bo).Ends.Equal(bo.pact(anna).Ends) {
			t.Errorf("bo has heard of it, and %v are left", left)
		}
		if anna.pact(bo).Has == 0 {
			t.Error("what bo had was given up")
		}
		anna.mustHave("docs", docs)
		cleo := w.found("cleo")
		cleo.run()
		w.befriend(anna, cleo)
		w.later(2 * time.Hour)
		bo.stop()
		anna.mustHave("docs", docs)
	})
}

// A pact for a time is like any other until it runs out; then pieces go elsewhere. When it is put off it is like any other again.
func TestSimAPactForATime(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo")
		anna, bo := homes[0], homes[1]
		dan := w.found("dan")
		dan.run()
		w.befriendOn(anna, dan, grange.Terms{Give: 1e9, Want: 1e9, Days: 1})
		docs := randomTree(1, 300_000)
		anna.put("docs", docs)
		if p := anna.pact(dan); p.Has == 0 || p.Leaving || p.Ends.IsZero() || bo.pact(anna).Leaving {
			t.Fatalf("at first: %+v", p)
		}
		w.later(17 * time.Hour)
		if p := anna.pact(dan); p.Has == 0 || p.Leaving {
			t.Errorf("before it runs out: %+v", p)
		}
		w.later(3 * time.Hour)
		if p := anna.pact(dan); p.Has != 0 || !p.Leaving || !dan.pact(anna).Leaving {
			t.Errorf("when it runs out: %+v", p)
		}
		if got := anna.worth("docs"); got.Survives != 1 || got.Households != 2 || got.Pieces != got.Wanted {
			t.Errorf("without dan: %+v", got)
		}
		p, err := anna.Amend(t.Context(), "dan", grange.Amendment{Days: 365})
		must(t, err)
		if _, err = dan.Agree(t.Context(), "anna"); err != nil || p.Mine == nil {
			t.Fatalf("put off: %+v, %v", p, err)
		}
		w.later(time.Hour)
		if p := anna.pact(dan); p.Leaving || p.Mine != nil {
			t.Errorf("put off: %+v", p)
		}
		anna.put("more", randomTree(2, 100_000))
		if p := anna.pact(dan); p.Has == 0 {
			t.Errorf("nothing new goes to dan: %+v", p)
		}
		anna.mustHave("docs", docs)
	})
}
