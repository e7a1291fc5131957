package grange_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/core"
)

// versions are those of a name, as machine names and numbers, the newest first.
func (m *machine) versions(name string) []grange.Version {
	m.w.t.Helper()
	var out []grange.Version
	for v, err := range m.Versions(m.w.t.Context(), name) {
		if err != nil {
			m.w.t.Fatal(err)
		}
		out = append(out, v)
	}
	return out
}

// Two machines that put one name make two versions; both see both, and get takes the newest.
func TestSimMachines(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo")
		anna, bo := homes[0], homes[1]
		first, second, third := randomTree(1, 20_000), randomTree(2, 20_000), randomTree(3, 20_000)
		anna.put("tree", first)
		laptop, out := w.add(anna, bo, "laptop")
		if out.Household != "anna" || len(out.Removed) > 0 || len(out.Failed) > 0 || len(out.Versions) != 1 {
			t.Errorf("added: %+v", out)
		}
		laptop.mustHave("tree", first)
		laptop.run()
		w.later(10 * time.Second)
		anna.hasMachines(2, 0)
		laptop.hasMachines(2, 0)

		w.later(time.Minute)
		laptop.put("tree", second)
		w.later(time.Minute)
		for _, m := range []*machine{anna, laptop} {
			if v := m.versions("tree"); len(v) != 2 || v[0].Machine != laptop.did || v[1].Machine != anna.did {
				t.Fatalf("%s has the versions %+v", m.name, v)
			}
			m.mustHave("tree", second)
		}
		// A third of it lies at anna's; any one household may vanish, theirs too.
		for _, m := range []*machine{anna, laptop} {
			status, err := m.Status(t.Context(), "tree")
			if err != nil || status.Versions[0].Worth.Survives != 1 || status.Versions[0].Worth.Pieces != status.Versions[0].Worth.Wanted {
				t.Errorf("what the laptop has stored, as %s sees it: %+v, %v", m.name, status.Versions, err)
			}
		}
		if check, err := anna.Check(t.Context(), "", nil); err != nil || check.Unheld != 0 {
			t.Errorf("anna checks what the laptop has stored: %+v, %v", check, err)
		}

		// The first one goes on while the laptop is off; the laptop hears of it by partners.
		laptop.stop()
		anna.put("tree", third)
		w.later(time.Minute)
		anna.stop()
		laptop.open()
		laptop.run()
		w.later(time.Minute)
		if v := laptop.versions("tree"); len(v) != 3 || v[0].Machine != anna.did {
			t.Fatalf("the laptop has the versions %+v", v)
		}
		laptop.mustHave("tree", third)
	})
}

// hasMachines checks how many machines the household has.
func (m *machine) hasMachines(listed, removed int) {
	m.w.t.Helper()
	list, gone, err := m.Machines(m.w.t.Context())
	if err != nil || len(list) != listed || len(gone) != removed || !list[0].Self || list[0].ID != m.did || list[0].Name != m.name {
		m.w.t.Errorf("%s lists %+v, %d removed, %v", m.name, list, len(gone), err)
	}
}

func TestSimRemoveMachine(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo")
		anna, bo := homes[0], homes[1]
		laptop := w.laptop(anna)
		tree := randomTree(1, 20_000)
		laptop.put("tree", tree)
		w.later(time.Minute)

		for _, c := range []struct {
			what, phrase, which string
			kind                error
		}{
			{"no phrase", "abandon", "laptop", grange.ErrInvalid},
			{"another's phrase", bo.phrase, "laptop", core.ErrForbidden},
			{"no such machine", anna.phrase, "desktop", fs.ErrNotExist},
			{"a partner's machine", anna.phrase, bo.did.String(), fs.ErrNotExist},
			{"itself", anna.phrase, "anna", grange.ErrInvalid},
		} {
			if _, err := anna.RemoveMachine(t.Context(), c.phrase, c.which); !errors.Is(err, c.kind) {
				t.Errorf("%s: %v, want %v", c.what, err, c.kind)
			}
		}
		out, err := anna.RemoveMachine(t.Context(), anna.phrase, "laptop")
		if err != nil || out.Machine != laptop.did || out.Already || !slices.Equal(out.Told, []string{"bo", "cleo"}) || len(out.Failed) > 0 {
			t.Errorf("removed: %+v, %v", out, err)
		}
		w.later(10 * time.Minute)
		status, err := laptop.Status(t.Context(), "")
		if err != nil || !strings.Contains(status.Revoked, "removed from household anna") {
			t.Errorf("the laptop says %+v, %v", status, err)
		}
		if _, err := laptop.Put(t.Context(), "more", tree.fs(), nil); !errors.Is(err, grange.ErrRevoked) {
			t.Errorf("the laptop puts: %v", err)
		}
		laptop.stop()
		anna.hasMachines(1, 1)
		anna.mustHave("tree", tree)                                         // what it has stored stays
		same, err := anna.RemoveMachine(t.Context(), anna.phrase, "laptop") // by its name, still
		if err != nil || same.Machine != laptop.did || !same.Already {
			t.Errorf("removed again: %+v, %v", same, err)
		}
		anna.put("more", randomTree(2, 20_000))

		// A recovery has all of it too, and the machine stays out.
		anna.stop()
		again, rec := w.recover(anna, bo, "again")
		if len(rec.Versions) != 2 || len(rec.Failed) > 0 {
			t.Errorf("recovered %+v", rec)
		}
		again.mustHave("tree", tree)
	})
}

// A household without a partner can have two machines, and find a partner later.
func TestSimMachinesWithoutPartner(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		anna := w.households("anna")[0]
		laptop, out := w.add(anna, anna, "laptop")
		if out.Asked != 0 || len(out.Failed) > 0 {
			t.Errorf("added: %+v", out)
		}
		laptop.run()
		w.later(time.Minute)
		bo := w.found("bo")
		bo.run()
		w.befriend(laptop, bo)
		w.later(10 * time.Minute)
		anna.pact(bo)
		tree := randomTree(1, 20_000)
		anna.put("tree", tree)
		w.later(time.Minute)
		dest := filepath.Join(t.TempDir(), "back")
		if _, err := laptop.Restore(t.Context(), grange.Ref{Name: "tree"}, dest, nil); err != nil {
			t.Error(err)
		}
	})
}

// Two machines at home and no friend: either keeps what the other stores, and one copy is as good as one partner.
func TestSimMachinesKeepForEachOther(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		anna := w.households("anna")[0]
		laptop := w.laptop(anna)
		tree := randomTree(1, 20_000)
		put := anna.put("tree", tree)
		if put.Worth.Survives != 0 || !put.Worth.Readable || put.Worth.Households != 1 || put.Worth.At["your other machines"] != put.Worth.Bytes {
			t.Errorf("put: %+v", put)
		}
		w.later(time.Minute)
		if total, used := laptop.Offer(t.Context()); used < 20_000 || used > total {
			t.Errorf("the laptop gives %d, of which %d are used", total, used)
		}
		if check, err := anna.Check(t.Context(), "", nil); err != nil || check.Worth.Text != "survives your disk" {
			t.Errorf("check: %+v, %v", check, err)
		}
		anna.stop() // its disk dies
		laptop.mustHave("tree", tree)
		status, err := laptop.Status(t.Context(), "tree")
		if err != nil || status.Versions[0].Worth.Text != "not readable without your disk" {
			t.Errorf("on the laptop itself: %+v, %v", status.Versions, err)
		}
	})
}

// With friends the household is one more of those that hold pieces of what either of its machines stores.
func TestSimMachinesAndFriends(t *testing.T) {
	for _, c := range []struct {
		friends  []string
		survives int
	}{{[]string{"bo"}, 1}, {[]string{"bo", "cleo"}, 1}, {[]string{"bo", "cleo", "dan"}, 2}} {
		t.Run(strings.Join(c.friends, " and "), func(t *testing.T) {
			bubble(t, func(w *world) {
				t := w.t
				homes := w.households(append([]string{"anna"}, c.friends...)...)
				anna := homes[0]
				laptop := w.laptop(anna)
				tree := randomTree(1, 20_000)
				put := anna.put("tree", tree)
				if put.Worth.Survives != c.survives || put.Worth.Households != 1+len(c.friends) || put.Worth.Pieces != put.Worth.Wanted || put.Worth.At["your other machines"] == 0 {
					t.Errorf("put: %+v", put)
				}
				w.later(time.Minute)

				// The first machine dies, and a friend's with it.
				anna.stop()
				homes[1].stop()
				laptop.mustHave("tree", tree)
				homes[1].open()
				homes[1].run()

				// The house burns: both are gone.
				laptop.stop()
				again, rec := w.recover(anna, homes[1], "again")
				if len(rec.Versions) != 1 || !rec.Versions[0].Worth.Readable {
					t.Errorf("recovered %+v", rec)
				}
				again.mustHave("tree", tree)
			})
		})
	}
}

// What lay at a machine that is removed is made again elsewhere, and so is what it had stored on the disk of the one that stays.
func TestSimARemovedMachineIsEvacuated(t *testing.T) {
	bubble(t, func(w *world) {
		t := w.t
		homes := w.households("anna", "bo", "cleo")
		anna, bo, cleo := homes[0], homes[1], homes[2]
		laptop := w.laptop(anna)
		first, second := randomTree(1, 20_000), randomTree(2, 20_000)
		anna.put("first", first)
		laptop.put("second", second)
		w.later(time.Minute)
		if _, used := anna.Offer(t.Context()); used == 0 {
			t.Error("nothing of the laptop's lies at anna's")
		}
		if _, err := anna.RemoveMachine(t.Context(), anna.phrase, "laptop"); err != nil {
			t.Fatal(err)
		}
		w.later(2 * time.Hour)
		for _, name := range []string{"first", "second"} {
			status, err := anna.Status(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if v := status.Versions[0]; v.Worth.Survives != 1 || v.Worth.Households != 2 || v.Worth.Pieces != v.Worth.Wanted || v.Worth.At["your other machines"] != 0 {
				t.Errorf("%s: %+v", name, v.Worth)
			}
		}
		if check, err := anna.Check(t.Context(), "", nil); err != nil {
			t.Errorf("check: %+v, %v", check, err)
		}

		for _, m := range []*machine{bo, cleo} {
			m.stop()
			anna.mustHave("first", first)
			anna.mustHave("second", second)
			m.open()
			m.run()
			w.later(time.Minute)
		}
	})
}

// What is kept of each other waits three days for a machine that is off, and then goes to the others.
func TestSimAnOwnMachineIsAwayForDays(t *testing.T) {
	days(t)
	bubble(t, func(w *world) {
		t := w.t
		anna := w.households("anna")[0]
		laptop := w.laptop(anna)
		desk, _ := w.add(anna, anna, "desk")
		desk.run()
		w.later(10 * time.Minute)
		tree := randomTree(1, 20_000)
		put := anna.put("tree", tree)
		used := func(m *machine) int64 {
			_, used := m.Offer(t.Context())
			return used
		}
		if put.Worth.Survives != 0 || used(laptop) < put.Worth.Bytes/3 || used(desk) < put.Worth.Bytes/3 {
			t.Errorf("put: %+v, %d at the laptop, %d at the desk", put.Worth, used(laptop), used(desk))
		}
		laptop.stop()
		w.later(50 * time.Hour)
		status, err := anna.Status(t.Context(), "tree")
		if err != nil || !status.Versions[0].Worth.Readable { // half is enough
			t.Errorf("while the laptop is away: %+v, %v", status.Versions, err)
		}
		desk.mustHave("tree", tree)
		before := used(desk)
		w.later(30 * time.Hour)
		if now := used(desk); now < before*2-before/10 {
			t.Errorf("the desk has %d bytes, and had %d when the laptop was not given up", now, before)
		}
	})
}

// A file that is forgotten leaves the other machine's disk as it leaves a partner's.
func TestSimMachinesForget(t *testing.T) {
	days(t)
	bubble(t, func(w *world) {
		t := w.t
		anna := w.households("anna")[0]
		laptop := w.laptop(anna)
		tree := randomTree(1, 20_000)
		anna.put("tree", tree)
		if _, err := anna.Remove(t.Context(), grange.Ref{Name: "tree"}); err != nil {
			t.Fatal(err)
		}
		w.later(3 * time.Hour)
		if _, err := anna.Undo(t.Context(), "tree"); err != nil {
			t.Fatal(err)
		}
		w.later(time.Minute)
		laptop.mustHave("tree", tree)
		if _, err := anna.Remove(t.Context(), grange.Ref{Name: "tree"}); err != nil {
			t.Fatal(err)
		}
		w.later(17 * 24 * time.Hour)
		if _, used := laptop.Offer(t.Context()); used != 0 {
			t.Errorf("%d bytes are still kept", used)
		}
	})
}

// add makes one more machine of a household, starting with a machine of its own or of a
// partner's, and opens it.
func (w *world) add(to, from *machine, name string) (*machine, grange.RecoverResult) {
	w.t.Helper()
	m := w.machine(name)
	m.phrase = to.phrase
	out, err := m.add(from)
	if err != nil {
		w.t.Fatalf("add %s: %v", name, err)
	}
	m.open()
	return m, out
}

// laptop adds one to a machine's household and runs it.
func (w *world) laptop(of *machine) *machine {
	w.t.Helper()
	m, _ := w.add(of, of, "laptop")
	m.run()
	w.later(time.Minute)
	return m
}

func (m *machine) add(from *machine) (grange.RecoverResult, error) {
	m.w.t.Helper()
	inv, err := from.Invite(m.w.t.Context(), grange.Terms{})
	if err != nil {
		m.w.t.Fatal(err)
	}
	return grange.AddMachine(m.w.t.Context(), m.config(), m.phrase, grange.AddOptions{From: inv.Code})
}
