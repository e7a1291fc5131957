package federation_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/service/federation"
)

// add makes m, which is off, one more machine of its household, and puts it on.
func (m *machine) add(from *machine) federation.Report {
	m.w.t.Helper()
	report, err := m.tryAdd(m.w.t.Context(), from)
	if err != nil {
		m.w.t.Fatalf("add %s: %v", m.name, err)
	}
	m.on()
	return report
}

func (m *machine) tryAdd(ctx context.Context, from *machine) (federation.Report, error) {
	m.connect()
	return federation.AddMachine(ctx, m.config(), m.entropy, federation.From{Agent: from.did(), Addrs: from.peers.Addrs()}, nil)
}

// segment writes a segment's record, which n tells from others.
func (m *machine) segment(n, size int) (key, value string) {
	m.w.t.Helper()
	id := core.ScoreOf([]byte(fmt.Sprint("segment ", n)))
	s := manifest.Segment{V: 1, ID: id[:manifest.SegmentIDSize], K: 1, Size: uint64(size), Pieces: id[:]}
	b, err := s.Marshal()
	if err != nil {
		m.w.t.Fatal(err)
	}
	key, value = string(s.Key()), string(b)
	m.write(key, value)
	return key, value
}

// tombstone writes that a version of another machine was removed, or that this was undone.
func (m *machine) tombstone(of *machine, at int64, undone bool) (key, value string) {
	m.w.t.Helper()
	b, err := manifest.Tombstone{V: 1, Time: at, Undone: undone}.Marshal()
	if err != nil {
		m.w.t.Fatal(err)
	}
	key, value = string(manifest.TombstoneKey("name", of.did(), 1)), string(b)
	m.write(key, value)
	return key, value
}

// meet has a machine greet another of its household, as Run does.
func (m *machine) meet(other *machine) {
	m.w.t.Helper()
	m.known.Learn(other.did(), other.peers.Addrs())
	if err := m.f.VisitOwn(m.w.t.Context(), other.did()); err != nil {
		m.w.t.Fatalf("%s visits %s: %v", m.name, other.name, err)
	}
}

func (m *machine) has(what string, state map[string]string) {
	m.w.t.Helper()
	if got := m.state(); !maps.Equal(got, state) {
		m.w.t.Fatalf("%s: %s has %d records, want %d: %q, want %q", what, m.name, len(got), len(state),
			slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(state)))
	}
}

// two has anna's household on two machines, with bo and cleo for partners.
type two struct {
	*world
	anna, second, bo, cleo *machine
	state                  map[string]string
}

func newTwo(t *testing.T) two {
	w := newWorld(t)
	x := two{world: w, anna: w.household("anna"), bo: w.household("bo"), cleo: w.household("cleo")}
	w.befriend(x.bo, x.anna)
	w.befriend(x.anna, x.cleo)
	for i := range 300 {
		x.anna.segment(i, 1000)
	}
	x.anna.save()
	x.state = x.anna.state()
	x.second = w.machine("second", "anna")
	return x
}

func TestAddMachine(t *testing.T) {
	for _, from := range []string{"bo", "anna"} {
		t.Run("from "+from, func(t *testing.T) {
			x := newTwo(t)
			before := x.anna.f.Secrets()
			by := map[string]*machine{"bo": x.bo, "anna": x.anna}[from]
			report := x.second.add(by)
			want(t, "adopted", report.Adopted, false)
			want(t, "partners asked", len(report.Partners), 2)
			want(t, "partners that agree", report.Agree, 2)
			self := x.second.f.Self()
			want(t, "epoch", self.Epoch, 2)
			want(t, "recoveries", self.Recoveries, 0)
			want(t, "name", self.Name, "anna")
			want(t, "the secret", x.second.f.Secrets().Newest(), before.Newest())
			x.second.has("at first", x.state)
			wantList(t, "partners", x.second.partners(), "bo", "cleo")

			x.second.meet(x.anna)
			want(t, "the first one's epoch", x.anna.f.Self().Epoch, 2)
			want(t, "the first one is still of it", x.anna.f.Revoked(), nil)
			for _, p := range []*machine{x.bo, x.cleo} {
				if !p.f.ListsAgent(x.anna.grid(), x.second.did()) {
					t.Errorf("%s does not know the new machine", p.name)
				}
			}
			list, removed, err := x.anna.f.Machines()
			if err != nil || len(removed) != 0 || len(list) != 2 {
				t.Fatalf("machines %+v, %v removed, %v", list, removed, err)
			}
			want(t, "this one is first", list[0].Self, true)
			want(t, "its name", list[0].Name, "anna")
			want(t, "the other's name", list[1].Name, "second")
			want(t, "the other was seen", list[1].Seen.IsZero(), false)
		})
	}
}

// What either writes the other has, whether they meet or only have a partner in common.
func TestMachinesShareTheirState(t *testing.T) {
	for _, way := range []string{"they meet", "by a partner"} {
		t.Run(way, func(t *testing.T) {
			x := newTwo(t)
			x.second.add(x.bo)
			exchange := func(from, to *machine) {
				t.Helper()
				saved, err := from.f.SaveHead(t.Context())
				if err != nil {
					t.Fatal(saved, err)
				}
				if way == "they meet" {
					to.meet(from)
				} else if err := to.f.Visit(t.Context(), x.bo.grid()); err != nil {
					t.Fatal(err)
				}
			}
			put := func(k, v string) { x.state[k] = v }
			exchange(x.anna, x.second)
			exchange(x.second, x.anna)
			put(x.anna.segment(1000, 1))
			put(x.anna.segment(5, 77)) // changed
			exchange(x.anna, x.second)
			x.second.has("what the first one wrote", x.state)
			want(t, "told", len(x.second.f.Merged()), 1)

			// What one forgets the other keeps, and it does not come back to the one.
			gone, _ := x.anna.segment(7, 1000)
			_ = x.anna.disk.Books().Apply(core.Change{Key: []byte("state/" + gone)})
			exchange(x.anna, x.second)
			x.second.has("what the first one forgot", x.state)
			put(x.second.segment(2000, 1))
			exchange(x.second, x.anna)
			mine := maps.Clone(x.state)
			delete(mine, gone)
			x.anna.has("and then", mine)

			// Both change one record: the same stands at both.
			put(x.anna.tombstone(x.bo, 200, false))
			x.second.tombstone(x.bo, 100, true)
			k, one := x.anna.segment(9, 1)
			_, other := x.second.segment(9, 2)
			put(k, max(one, other))
			_, _ = x.anna.f.SaveHead(t.Context())
			exchange(x.second, x.anna)
			exchange(x.anna, x.second)
			x.second.has("after both changed it", x.state)
			mine = maps.Clone(x.state)
			delete(mine, gone)
			x.anna.has("after both changed it", mine)

			// A restart asks for nothing again, and nothing moves any more.
			seq := x.second.save().Seq
			x.second.restart()
			x.second.has("after a restart", x.state)
			x.anna.save()
			exchange(x.anna, x.second)
			want(t, "the head", x.second.save().Seq, seq)
		})
	}
}

func TestMachinesShareTheirPartners(t *testing.T) {
	x := newTwo(t)
	x.second.add(x.anna)
	dan := x.household("dan")
	x.befriend(dan, x.second)
	if _, err := x.second.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.anna.meet(x.second)
	wantList(t, "partners", x.anna.partners(), "bo", "cleo", "dan")
	if err := x.anna.f.Visit(t.Context(), dan.grid()); err != nil {
		t.Errorf("the first machine greets the new partner: %v", err)
	}
	x.anna.restart()
	wantList(t, "partners after a restart", x.anna.partners(), "bo", "cleo", "dan")
	if p, _ := x.anna.f.Partner(dan.grid()); p.Pact != must(x.second.f.Partner(dan.grid())).Pact {
		t.Error("another pact")
	}
}

func must[T any](v T, ok bool) T {
	if !ok {
		panic("not there")
	}
	return v
}

func TestRunBringsMachinesTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTwo(t)
		x.second.add(x.anna)
		ctx, stop := cancelable(t)
		done := make(chan error, 2)
		for _, m := range []*machine{x.anna, x.second} {
			go func(f *federation.Federation) { done <- f.Run(ctx) }(m.f)
		}
		synctest.Wait()
		x.clock.Advance(8 * time.Second)
		synctest.Wait()
		k, v := x.anna.segment(1000, 1)
		x.state[k] = v
		if _, err := x.anna.f.SaveHead(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		x.second.has("at once", x.state)
		stop()
		<-done
		<-done
		for _, m := range []*machine{x.anna, x.second, x.bo, x.cleo} {
			m.off()
		}
	})
}

// Who gives up while it merges leaves that to the next.
func TestAMergeThatWasBrokenOffIsMadeUpFor(t *testing.T) {
	x := newTwo(t)
	x.second.add(x.anna)
	x.second.meet(x.anna)
	k, v := x.anna.segment(300, 1000)
	if _, err := x.anna.f.SaveHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		wantError(t, "broken off", x.second.f.MergeBrought(gone), context.Canceled)
	}
	x.second.has("nothing is merged", x.state)
	want(t, "the next", x.second.f.MergeBrought(t.Context()), nil)
	x.state[k] = v
	x.second.has("all is merged", x.state)
}

// A head is brought to the household's other machines as to a partner, and there may be no partner.
func TestSaveHeadBringsItToOurOtherMachines(t *testing.T) {
	w := newWorld(t)
	anna, second, third := w.household("anna"), w.machine("second", "anna"), w.machine("third", "anna")
	saved, err := anna.f.SaveHead(t.Context())
	if err != nil || len(saved.Done) > 0 || len(saved.Failed) > 0 {
		t.Fatalf("alone: %+v, %v", saved, err)
	}
	second.add(anna)
	third.add(anna)
	for _, m := range []*machine{second, third} {
		anna.meet(m)
	}
	k, v := anna.segment(1, 1000)
	saved, err = anna.f.SaveHead(t.Context())
	if err != nil || !slices.Equal(saved.Done, []core.DID{anna.grid()}) || len(saved.Failed) > 0 {
		t.Fatalf("to both: %+v, %v", saved, err)
	}
	for _, m := range []*machine{second, third} {
		m.meet(anna)
		m.has("what was brought", map[string]string{k: v})
	}

	// One of them is enough.
	second.off()
	k2, v2 := anna.segment(2, 1000)
	if saved, err = anna.f.SaveHead(t.Context()); err != nil || len(saved.Done) != 1 || len(saved.Failed) > 0 {
		t.Fatalf("to one: %+v, %v", saved, err)
	}
	third.off()
	third.on() // before it merged: it does so now
	third.meet(anna)
	third.has("what was brought before a restart", map[string]string{k: v, k2: v2})
	third.off()
	anna.segment(3, 1000)
	saved, err = anna.f.SaveHead(t.Context())
	if err != nil || len(saved.Done) > 0 {
		t.Fatalf("to nobody: %+v, %v", saved, err)
	}
	wantError(t, "all are off", saved.Failed[anna.grid()], core.ErrUnreachable)

	// A machine that was removed brings nothing.
	for _, m := range []*machine{second, third} {
		m.on()
		m.meet(anna)
	}
	if _, err := anna.f.RemoveMachine(t.Context(), anna.entropy, third.did()); err != nil {
		t.Fatal(err)
	}
	third.segment(4, 1000)
	_, err = third.f.SaveHead(t.Context())
	wantError(t, "removed", err, core.ErrRevoked)
}
