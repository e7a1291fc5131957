package grange_test

import (
	"testing"
	"time"

	"github.com/grange-grid/grange"
)

// worth is what one name is worth, by the dates of the promises.
func (m *machine) worth(name string) grange.Worth {
	m.w.t.Helper()
	s, err := m.Status(m.w.t.Context(), name)
	if err != nil || len(s.Versions) != 1 {
		m.w.t.Fatalf("%d versions: %v", len(s.Versions), err)
	}
	return s.Versions[0].Worth
}

func TestPiecesGoToWhoJoins(t *testing.T) {
	bubble(t, func(w *world) {
		homes := w.households("anna", "bo")
		anna := homes[0]
		docs := randomTree(1, 300_000)
		anna.put("docs", docs)
		if got := anna.worth("docs"); got.Survives != 0 || got.Households != 1 {
			t.Fatalf("with one friend: %+v", got)
		}
		for _, name := range []string{"cleo", "dan"} {
			m := w.found(name)
			m.run()
			w.befriend(anna, m)
			homes = append(homes, m)
		}
		w.later(time.Hour)
		if got := anna.worth("docs"); got.Survives != 1 || got.Households != 3 || got.Pieces != got.Wanted {
			t.Errorf("an hour after two more joined: %+v", got)
		}
		for _, m := range homes[1:] {
			w.balanced(anna, m)
			m.stop()
			anna.mustHave("docs", docs)
			m.open()
			m.run()
		}
	})
}

func TestSimWhoIsAwayForDays(t *testing.T) {
	days(t)
	bubble(t, func(w *world) {
		homes := w.households("anna", "bo", "cleo", "dan", "eve")
		anna, dan := homes[0], homes[3]
		docs := randomTree(1, 300_000)
		anna.put("docs", docs)
		dan.stop()
		w.later(71 * time.Hour)
		if had := anna.pact(dan).Has; had == 0 {
			t.Error("after 71 hours dan has nothing any more")
		}
		anna.restart() // which does not begin the count anew
		w.later(8 * time.Hour)
		if has := anna.pact(dan).Has; has != 0 {
			t.Errorf("after 79 hours dan has %d bytes still", has)
		}
		if got := anna.worth("docs"); got.Survives != 1 || got.Households != 3 || got.Pieces != got.Wanted {
			t.Errorf("without dan: %+v", got)
		}
		for _, i := range []int{1, 2, 4} {
			w.balanced(anna, homes[i])
			homes[i].stop()
			anna.mustHave("docs", docs)
			homes[i].open()
			homes[i].run()
		}
	})
}
