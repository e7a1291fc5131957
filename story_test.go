package grange_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/grange-grid/grange"
)

// TestLoseAMachine is what grange is for: a household loses its machine and half
// of its partners, and gets everything back.
func TestLoseAMachine(t *testing.T) {
	w := newWorld(t)
	homes := w.households("anna", "bo", "cleo", "dan", "eve")
	anna := homes[0]
	dir := smallTree(t)
	put, err := anna.PutPath(t.Context(), "tree", dir, nil)
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	if put.Worth.Survives != 2 || put.Worth.Households != 4 {
		t.Errorf("worth %+v", put.Worth)
	}
	anna.stop()
	if err := os.RemoveAll(anna.dir); err != nil {
		t.Fatal(err)
	}
	w.net.Down(homes[2].did)
	w.net.Down(homes[3].did)

	bo := homes[1]
	inv, err := bo.Invite(t.Context(), grange.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	again := &machine{w: w, name: "anna again", dir: filepath.Join(t.TempDir(), "again")}
	rec, err := grange.Recover(t.Context(), w.config(again.dir), anna.phrase, grange.RecoverOptions{From: inv.Code})
	if err != nil {
		t.Fatalf("recover: %v", err)
	}
	if rec.Agree != 2 || rec.Asked != 4 || len(rec.Versions) != 1 || rec.Unknown != 0 || rec.Household != "anna" {
		t.Errorf("recovered %+v", rec)
	}
	again.open()
	back := filepath.Join(t.TempDir(), "back")
	if _, err := again.Restore(t.Context(), grange.Ref{Name: "tree"}, back, nil); err != nil {
		t.Fatalf("restore: %v", err)
	}
	sameTrees(t, dir, back)

	check, err := again.Check(t.Context(), "", &grange.CheckOptions{Mend: true, Now: true})
	if err != nil || check.Worth.Survives != 1 || check.Worth.Households != 2 {
		t.Fatalf("mend: %+v, %v", check, err)
	}
	before := again.placed(t)
	if _, err := again.PutPath(t.Context(), "tree", dir, nil); err != nil {
		t.Fatalf("put again: %v", err)
	}
	if after := again.placed(t); (after-before)*100 > before {
		t.Errorf("the same tree again took %d bytes more than %d", after-before, before)
	}
}

// TestStatusCountsWithoutThoseAway is what status says of a version while partners
// are out of reach.
func TestStatusCountsWithoutThoseAway(t *testing.T) {
	w := newWorld(t)
	homes := w.households("anna", "bo", "cleo", "dan")
	anna := homes[0]
	if _, err := anna.PutPath(t.Context(), "tree", smallTree(t), nil); err != nil {
		t.Fatal(err)
	}
	status := func() (grange.Worth, []string) {
		t.Helper()
		s, err := anna.Status(t.Context(), "tree")
		if err != nil {
			t.Fatal(err)
		}
		var away []string
		for _, p := range s.Pacts {
			if p.Away {
				away = append(away, p.Name)
			}
			if p.Here == p.Away {
				t.Errorf("%s is here: %t, away: %t", p.Name, p.Here, p.Away)
			}
		}
		return s.Versions[0].Worth, away
	}
	if worth, away := status(); worth.Survives != 1 || len(worth.Vital) != 0 || len(away) != 0 {
		t.Errorf("all are here: %+v, away %v", worth, away)
	}
	w.net.Down(homes[3].did)
	if _, err := anna.Check(t.Context(), "", nil); !errors.Is(err, grange.ErrPartly) {
		t.Errorf("check: %v", err)
	}
	if worth, away := status(); worth.Survives != 0 || !slices.Equal(worth.Vital, []string{"bo", "cleo"}) || !slices.Equal(away, []string{"dan"}) {
		t.Errorf("one is away: %+v, away %v", worth, away)
	}
}

// placed returns what the machine's pieces come to at all partners.
func (m *machine) placed(t tester) int64 {
	t.Helper()
	var sum int64
	for p, err := range m.Pacts(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		sum += p.Has
	}
	return sum
}

func TestPutFSAndReadBack(t *testing.T) {
	w := newWorld(t)
	anna := w.households("anna", "bo")[0]
	dir := smallTree(t)
	if _, err := anna.Put(t.Context(), "tree", os.DirFS(dir), nil); err != nil {
		t.Fatal(err)
	}
	fsys, err := anna.FS(t.Context(), grange.Ref{Name: "tree", Path: "notes"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(fsys, "todo.txt")
	if err != nil || string(text) != "a private note\n" {
		t.Errorf("read %q, %v", text, err)
	}
}

func TestNoPartner(t *testing.T) {
	anna := newWorld(t).found("anna")
	if _, err := anna.PutPath(t.Context(), "", smallTree(t), nil); !errors.Is(err, grange.ErrNoPartner) {
		t.Errorf("put without a partner: %v", err)
	}
	if _, err := anna.Invite(t.Context(), grange.Terms{}); !errors.Is(err, grange.ErrNotHere) {
		t.Errorf("invite without listening: %v", err)
	}
	if _, err := grange.Open(t.Context(), newWorld(t).config(anna.dir)); !errors.Is(err, grange.ErrLocked) {
		t.Errorf("a second agent on one directory: %v", err)
	}
	if _, err := grange.Open(t.Context(), newWorld(t).config(t.TempDir())); !errors.Is(err, grange.ErrNoHousehold) {
		t.Errorf("an empty directory: %v", err)
	}
}
