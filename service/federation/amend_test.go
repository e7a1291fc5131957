package federation_test

import (
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/service/federation"
)

const gb = 1_000_000_000

// pair is two partners: anna, who gives 10 GB and invited, and bo, who gives 9 GB.
func pair(t *testing.T) (w *world, anna, bo *machine) {
	w = newWorld(t)
	anna, bo = w.household("anna"), w.household("bo")
	w.befriend(anna, bo)
	return w, anna, bo
}

// with is what m has with another.
func (m *machine) with(other *machine) federation.Partner {
	m.w.t.Helper()
	p, ok := m.f.Partner(other.grid())
	if !ok {
		m.w.t.Fatalf("%s and %s are no partners", m.name, other.name)
	}
	return p
}

// agreed checks that both sides have the same terms, also after a restart of each.
func agreed(t *testing.T, what string, a, b *machine, n uint64, aGives, bGives int64) {
	t.Helper()
	for range 2 {
		for _, c := range []struct {
			m, other    *machine
			given, gets int64
		}{{a, b, aGives, bGives}, {b, a, bGives, aGives}} {
			p := c.m.with(c.other)
			want(t, what+": "+c.m.name+": amendments", p.Amended, n)
			want(t, what+": "+c.m.name+" gives", p.Given[core.Storage], c.given)
			want(t, what+": "+c.m.name+" gets", p.Gives[core.Storage], c.gets)
			if p.Mine != nil || p.Theirs != nil {
				t.Fatalf("%s: %s waits still: %+v", what, c.m.name, p)
			}
			c.m.restart()
			c.m.known.Learn(c.other.did(), c.other.peers.Addrs())
		}
	}
}

func (m *machine) amends(other *machine, give, ask int64) federation.Partner {
	m.w.t.Helper()
	p, err := m.f.Amend(m.w.t.Context(), other.grid(), federation.Changes{Give: storage(give), Want: storage(ask)})
	if err != nil {
		m.w.t.Fatalf("%s amends: %v", m.name, err)
	}
	return p
}

func (m *machine) visits(other *machine) {
	m.w.t.Helper()
	if err := m.f.Visit(m.w.t.Context(), other.grid()); err != nil {
		m.w.t.Fatalf("%s visits %s: %v", m.name, other.name, err)
	}
}

func TestAmend(t *testing.T) {
	_, anna, bo := pair(t)
	id := anna.with(bo).Pact
	anna.amends(bo, 12*gb, 9*gb)
	agreed(t, "she gives more", anna, bo, 1, 12*gb, 9*gb)
	bo.amends(anna, 9*gb, 11*gb)
	agreed(t, "he asks for less", anna, bo, 2, 11*gb, 9*gb)
	want(t, "the pact's id", anna.with(bo).Pact, id)

	p := anna.amends(bo, 11*gb, 20*gb)
	if p.Mine == nil || p.Mine.Gives[core.Storage] != 20*gb || p.Gives[core.Storage] != 9*gb {
		t.Fatalf("it waits: %+v", p)
	}
	bo.restart()
	anna.restart()
	anna.known.Learn(bo.did(), bo.peers.Addrs())
	if p := bo.with(anna); p.Theirs == nil || p.Theirs.Given[core.Storage] != 20*gb || p.Given[core.Storage] != 9*gb {
		t.Fatalf("he is asked: %+v", p)
	}
	anna.visits(bo) // again changes nothing
	want(t, "amendments meanwhile", bo.with(anna).Amended, 2)
	bo.known.Learn(anna.did(), anna.peers.Addrs())
	if _, err := bo.f.Agree(t.Context(), anna.grid()); err != nil {
		t.Fatal(err)
	}
	agreed(t, "he agrees", anna, bo, 3, 11*gb, 20*gb)

	_, err := bo.f.Agree(t.Context(), anna.grid())
	wantError(t, "again", err, core.ErrNotExist)
	more := storage(20 * gb)
	_, err = anna.f.Amend(t.Context(), bo.grid(), federation.Changes{Give: storage(11 * gb), Want: more})
	wantError(t, "what there is", err, core.ErrInvalid)
	_, err = anna.f.Amend(t.Context(), bo.grid(), federation.Changes{Give: storage(-1)})
	wantError(t, "below zero", err, core.ErrInvalid)
	_, err = anna.f.Amend(t.Context(), core.DID{1}, federation.Changes{Give: more})
	wantError(t, "with nobody", err, core.ErrNotExist)
}

// A recovery has it, and so has another machine of the household.
func TestAmendmentsAndNoticesAreOfTheState(t *testing.T) {
	w, anna, bo := pair(t)
	second := w.machine("second", "anna")
	second.add(bo)
	anna.amends(bo, 12*gb, 9*gb)
	if _, err := anna.f.End(t.Context(), bo.grid()); err != nil {
		t.Fatal(err)
	}
	anna.save()
	second.meet(anna)
	ends := bo.with(anna).Ends
	want(t, "the second machine gives", second.with(bo).Given[core.Storage], 12*gb)
	want(t, "it ends there", second.with(bo).Ends, ends)
	second.restart()
	want(t, "after a restart", second.with(bo).Ends, ends)
	anna.off()
	second.off()
	third := w.machine("third", "anna")
	if _, err := third.recover(bo, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	third.on()
	want(t, "the third gives", third.with(bo).Given[core.Storage], 12*gb)
	want(t, "it ends there too", third.with(bo).Ends, ends)
}

// Whoever has lost an amendment, because its books are older, has it from the other.
func TestALostAmendmentComesBack(t *testing.T) {
	_, anna, bo := pair(t)
	old := map[string]string{}
	for c, err := range anna.disk.Books().Scan([]byte("state/p/"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		old[string(c.Key)] = string(c.Value)
	}
	anna.amends(bo, 12*gb, 9*gb)
	for k, v := range old {
		if err := anna.disk.Books().Apply(core.Change{Key: []byte(k), Value: []byte(v)}); err != nil {
			t.Fatal(err)
		}
	}
	anna.restart()
	anna.known.Learn(bo.did(), bo.peers.Addrs())
	want(t, "before", anna.with(bo).Amended, 0)
	anna.visits(bo)
	agreed(t, "after", anna, bo, 1, 12*gb, 9*gb)
}

// Both propose, and both agree to the other's before either hears of it.
func TestAmendmentsCross(t *testing.T) {
	for _, first := range []string{"anna", "bo"} {
		t.Run(first+" hears of it first", func(t *testing.T) {
			w, anna, bo := pair(t)
			anna.amends(bo, 10*gb, 15*gb)
			bo.amends(anna, 9*gb, 25*gb)
			w.net.Cut(anna.did(), bo.did())
			for _, by := range [][2]*machine{{anna, bo}, {bo, anna}} {
				if _, err := by[0].f.Agree(t.Context(), by[1].grid()); err != nil {
					t.Fatal(err)
				}
			}
			if anna.with(bo).Given[core.Storage] != 25*gb || bo.with(anna).Given[core.Storage] != 15*gb {
				t.Fatal("they have not agreed to each other's")
			}
			w.net.Heal(anna.did(), bo.did())
			if first == "anna" {
				bo.visits(anna)
				anna.visits(bo)
			} else {
				anna.visits(bo)
				bo.visits(anna)
			}
			p := anna.with(bo)
			agreed(t, "one of the two", anna, bo, 1, p.Given[core.Storage], p.Gives[core.Storage])
		})
	}
}

// An amendment, and a notice, are cut at every call; then the same again.
func TestAmendCutAnywhere(t *testing.T) {
	for cut := 1; ; cut++ {
		_, anna, bo := pair(t)
		anna.amends(bo, 10*gb, 15*gb)
		bo.off()
		ctx, count, stop := bo.cutAt(cut)
		bo.on()
		bo.known.Learn(anna.did(), anna.peers.Addrs())
		_, err := bo.f.Agree(ctx, anna.grid())
		if err == nil {
			_, err = bo.f.End(ctx, anna.grid())
		}
		stop()
		whole := *count < cut
		if whole && err != nil {
			t.Fatal(err)
		}
		anna.restart()
		bo.restart()
		anna.known.Learn(bo.did(), bo.peers.Addrs())
		bo.known.Learn(anna.did(), anna.peers.Addrs())
		if bo.with(anna).Amended == 0 {
			_, err = bo.f.Agree(t.Context(), anna.grid())
		}
		if err != nil {
			_, err = bo.f.End(t.Context(), anna.grid())
		}
		if err != nil {
			t.Fatalf("cut at %d, and again: %v", cut, err)
		}
		agreed(t, "after a cut", anna, bo, 1, 10*gb, 15*gb)
		if a, b := anna.with(bo), bo.with(anna); a.Ends == 0 || a.Ends != b.Ends || a.Ending || b.Ending {
			t.Fatalf("cut at %d: it ends %d and %d", cut, a.Ends, b.Ends)
		}
		if whole {
			return
		}
	}
}

func TestEnd(t *testing.T) {
	w, anna, bo := pair(t)
	anna.amends(bo, 10*gb, 15*gb)
	bo.off()
	p, err := anna.f.End(t.Context(), bo.grid())
	wantError(t, "he is away", err, core.ErrUnreachable)
	if p.Ends != 0 || !p.Ending || !p.Leaving() || p.Mine != nil {
		t.Fatalf("while he has not heard: %+v", p)
	}
	anna.restart()
	want(t, "after a restart", anna.with(bo).Ending, true)
	w.clock.Advance(100 * 24 * time.Hour)
	bo.on()
	anna.known.Learn(bo.did(), bo.peers.Addrs())
	anna.visits(bo)
	ends := w.clock.Now().Unix() + 30*24*60*60
	for _, c := range []struct{ m, other *machine }{{anna, bo}, {bo, anna}, {anna, bo}} {
		p := c.m.with(c.other)
		want(t, c.m.name+": it ends", p.Ends, ends)
		want(t, c.m.name+": leaving", p.Leaving(), true)
		c.m.restart()
	}

	// Nothing is amended any more, and he who gives notice too does not put it off.
	bo.known.Learn(anna.did(), anna.peers.Addrs())
	_, err = bo.f.Amend(t.Context(), anna.grid(), federation.Changes{Give: storage(20 * gb)})
	wantError(t, "amended after the notice", err, core.ErrRefused)
	w.clock.Advance(time.Hour)
	if p, err := bo.f.End(t.Context(), anna.grid()); err != nil || p.Ends != ends || p.Ending {
		t.Errorf("both end it: %+v, %v", p, err)
	}
	_, err = bo.f.End(t.Context(), core.DID{1})
	wantError(t, "with nobody", err, core.ErrNotExist)
}
