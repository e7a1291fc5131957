package federation_test

import (
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/service/federation"
)

func TestRecoverKeepsMachines(t *testing.T) {
	l := loseAnna(t)
	l.anna.on() // it was not lost
	m := l.fresh("second")
	if _, err := m.recover(l.bo, federation.RecoverOptions{KeepMachines: true}); err != nil {
		t.Fatal(err)
	}
	m.on()
	l.isAnna(m, 1, 2)
	if !m.f.ListsAgent(m.grid(), l.anna.did()) || !m.f.ListsAgent(m.grid(), m.did()) {
		t.Fatal("the charter does not list both")
	}
	want(t, "alone", [2]bool{m.f.Alone(), l.bo.f.Alone()}, [2]bool{false, true})
	if err := l.anna.f.Visit(t.Context(), l.bo.grid()); err != nil { // hears of its household's new charter
		t.Fatal(err)
	}
	want(t, "epoch", l.anna.f.Self().Epoch, 2)
	want(t, "the secret", l.anna.f.Secrets().Newest().Key, m.f.Secrets().Newest().Key)

	// Both write; whoever recovers next has both.
	tombstone := func(at int64, undone bool) string {
		b, err := manifest.Tombstone{V: 1, Time: at, Undone: undone}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	l.anna.write("s/of-the-first", "1")
	l.anna.write("x/removed", tombstone(200, false)) // later than the other's, in the earlier head
	l.anna.write("s/of-both", "first")
	l.anna.save()
	l.clock.Advance(time.Minute)
	m.write("s/of-the-second", "2")
	m.write("x/removed", tombstone(100, true))
	m.write("s/of-both", "second")
	m.save()
	l.anna.off()
	m.off()
	third := l.fresh("third")
	r, err := third.recover(l.cleo, federation.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, "heads", len(r.Heads), 2)
	third.on()
	l.state["s/of-the-first"], l.state["s/of-the-second"] = "1", "2"
	l.state["x/removed"] = tombstone(200, false)
	l.state["s/of-both"] = "second"
	l.isAnna(third, 2, 3)

	// And a fourth, after the third, though the third never wrote anything new.
	third.off()
	fourth := l.fresh("fourth")
	if _, err := fourth.recover(l.dan, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	fourth.on()
	l.isAnna(fourth, 3, 4)
	newest, _ := charter.Open(fourth.f.Charters()[len(fourth.f.Charters())-1])
	want(t, "removed machines", len(newest.Removed), 3)
}

// What a thief saves at a partner that has not heard of the removal counts for nothing.
func TestAThiefsLaterHeadIsNotMerged(t *testing.T) {
	l := loseAnna(t)
	l.dan.off()
	m := l.fresh("new")
	if _, err := m.recover(l.bo, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	m.off()
	for _, p := range []*machine{l.bo, l.cleo} {
		p.off() // else they tell the thief's machine, which then stops
	}
	l.dan.on()
	l.anna.on()
	l.anna.write("s/thief", "x")
	if saved, err := l.anna.f.SaveHead(t.Context()); err != nil || len(saved.Done) != 1 {
		t.Fatalf("%v, %v", saved, err)
	}
	l.anna.off()
	l.bo.on()
	l.cleo.on()
	third := l.fresh("third")
	r, err := third.recover(l.dan, federation.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	third.on()
	l.isAnna(third, 2, 3)
	want(t, "heads", len(r.Heads), 2) // of the new machine, and of the lost one the last that counts
}

// A machine that was removed cannot come back under its key.
func TestRecoverOnARemovedMachine(t *testing.T) {
	l := loseAnna(t)
	m := l.fresh("new")
	if _, err := m.recover(l.bo, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	l.anna.disk = sim.NewDisk(0)
	_, err := l.anna.recover(l.bo, federation.RecoverOptions{})
	wantError(t, "its own key", err, core.ErrRevoked)
}

// The first partner has replaced its machine since anna's last head.
func TestRecoverFromAPartnersNewMachine(t *testing.T) {
	l := loseAnna(t)
	l.bo.off()
	bo := l.machine("bo's new", "bo")
	bo.connect()
	// bo has one partner, anna, who is away: so it is from its own books that it knows her.
	bo.disk = l.bo.disk
	next := charterFor(t, l.bo, bo)
	if err := l.bo.disk.Books().Apply(
		core.Change{Key: append(append([]byte("f/charter/"), scoreKey(l.bo.grid())...), scoreKey(next.Score())...), Value: record(t, map[string]any{"v": 1, "signed": next})},
		core.Change{Key: []byte("f/self"), Value: record(t, map[string]any{"v": 1, "grid": l.bo.grid(), "agent": bo.did(), "name": "bo", "time": 1})},
	); err != nil {
		t.Fatal(err)
	}
	bo.on()
	m := l.fresh("new")
	r, err := m.recover(bo, federation.RecoverOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !m.handed(bo, l.anna.grid()) {
		t.Fatalf("bo's new machine has not heard of the charter: %s", answers(r))
	}
	m.on()
	l.isAnna(m, 1, 2)
	if p, ok := m.f.ByAgent(bo.did()); !ok || p.Name != "bo" {
		t.Fatal("bo's new machine is not known as bo's")
	}
}

func (m *machine) handed(to *machine, grid core.DID) bool { return to.f.ListsAgent(grid, m.did()) }

func scoreKey[T ~[32]byte](k T) []byte { return k[:] }

func record(t *testing.T, v any) []byte {
	t.Helper()
	b, err := codec.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// charterFor signs a charter that puts a new machine in an old one's place. The old one is off.
func charterFor(t *testing.T, old, fresh *machine) identity.Signed {
	t.Helper()
	old.on()
	defer old.off()
	return old.amend(func(c *charter.Charter) {
		if err := c.Remove(old.did(), 0, core.Score{}); err != nil {
			t.Fatal(err)
		}
		c.Agents = append(c.Agents, fresh.agent())
	})
}

// A recovery that begins with another machine of the household leaves that one in it, and no other.
func TestRecoverLeavesTheMachineItBeginsWith(t *testing.T) {
	w := newWorld(t)
	anna, second, third := w.household("anna"), w.machine("second", "anna"), w.machine("third", "anna")
	second.add(anna)
	third.add(anna)
	anna.meet(second)
	k, v := anna.segment(1, 1000)
	anna.save()
	anna.off()
	third.off()
	again := w.machine("again", "anna")
	if _, err := again.recover(second, federation.RecoverOptions{}); err != nil {
		t.Fatal(err)
	}
	again.on()
	again.has("all of it", map[string]string{k: v})
	for m, listed := range map[*machine]bool{anna: false, second: true, third: false, again: true} {
		want(t, m.name+" is of the household", again.f.ListsAgent(anna.grid(), m.did()), listed)
	}
	want(t, "the second knows", second.f.Self().Recoveries, 1)
	wantError(t, "the second is of it", second.f.Revoked(), nil)
}
