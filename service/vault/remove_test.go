package vault

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/retain"
)

// numbers returns which versions of docs there are, the newest first.
func (f *fixture) numbers() []uint64 {
	f.t.Helper()
	versions, err := f.v.Versions("docs")
	if err != nil {
		f.t.Fatal(err)
	}
	return numbersOf(versions)
}

func numbersOf(versions []manifest.Version) []uint64 {
	out := []uint64{}
	for _, version := range versions {
		out = append(out, version.Seq)
	}
	slices.Sort(out)
	slices.Reverse(out)
	return out
}

func (f *fixture) wantNumbers(want ...uint64) {
	f.t.Helper()
	if got := f.numbers(); !slices.Equal(got, want) {
		f.t.Errorf("versions %d, want %d", got, want)
	}
}

func (f *fixture) remove(seq uint64) {
	f.t.Helper()
	if _, err := f.v.Remove(f.t.Context(), "docs", seq); err != nil {
		f.t.Fatalf("remove %d: %v", seq, err)
	}
}

func (f *fixture) undo(want ...uint64) {
	f.t.Helper()
	out, err := f.v.Undo(f.t.Context(), "docs")
	if err != nil || !slices.Equal(numbersOf(out.Versions), want) {
		f.t.Fatalf("undo: %+v, %v; want %d", out, err, want)
	}
}

func (f *fixture) collect() *Collected {
	f.t.Helper()
	out, err := f.v.Collect(f.t.Context())
	if err != nil {
		f.t.Fatalf("collect: %v", err)
	}
	return out
}

func (f *fixture) days(n int) { f.clock.Advance(time.Duration(n) * 24 * time.Hour) }

// versions puts n trees that share nothing.
func (f *fixture) versions(n int) {
	for i := range n {
		f.put(tree{"n": noise(uint64(i), 10_000)})
	}
}

func TestRemoveAndUndo(t *testing.T) {
	f := newFixture(t, 2)
	f.versions(4)
	if _, err := f.v.Put(t.Context(), "docs2", tree{"other": []byte("o")}, PutOptions{}); err != nil {
		t.Fatal(err)
	}
	saves := f.home.saves
	f.remove(2)
	if f.home.saves != saves+1 {
		t.Error("the partners were not told")
	}
	f.wantNumbers(4, 3, 1)
	f.remove(4)
	f.wantNumbers(3, 1)
	for _, seq := range []uint64{2, 4, 9} {
		if _, err := f.v.Remove(t.Context(), "docs", seq); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("remove %d again: %v", seq, err)
		}
	}
	f.remove(0)
	f.wantNumbers()
	if _, err := f.v.Remove(t.Context(), "docs", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("remove all again: %v", err)
	}
	f.open()
	f.undo(3, 1) // in the second in which three removals were made
	f.undo(4)
	f.remove(1)
	f.undo(1)
	f.undo(2)
	f.wantNumbers(4, 3, 2, 1)
	for _, name := range []string{"docs", "docs2", "doc"} {
		if _, err := f.v.Undo(t.Context(), name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("nothing of %s was removed: %v", name, err)
		}
	}
	for _, name := range []string{"", "a/b", "."} {
		_, removed := f.v.Remove(t.Context(), name, 0)
		_, undone := f.v.Undo(t.Context(), name)
		_, thinned := f.v.Thin(t.Context(), name, retain.Default)
		for _, err := range []error{removed, undone, thinned} {
			if !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
		}
	}
	if versions, err := f.v.Versions("docs2"); err != nil || len(versions) != 1 {
		t.Errorf("another name: %v, %v", versions, err)
	}
	f.sameTree(tree{"n": noise(3, 10_000)})
	f.put(tree{})
	f.wantNumbers(6, 4, 3, 2, 1) // 5 is of docs2
}

func TestRemovalThatNobodyHearsOf(t *testing.T) {
	f := newFixture(t, 2)
	f.versions(1)
	f.home.deaf = true
	gone, err := f.v.Remove(t.Context(), "docs", 0)
	if !errors.Is(err, core.ErrPartly) || !errors.Is(err, core.ErrUnreachable) || len(gone) != 1 {
		t.Errorf("%v, %v", gone, err)
	}
	f.wantNumbers()
	if out, err := f.v.Collect(t.Context()); err == nil || len(f.m.aside) > 0 {
		t.Errorf("given up before anybody knows that it was removed: %+v, %v", out, err)
	}
	f.home.deaf = false
	if out := f.collect(); out.Released == 0 {
		t.Errorf("%+v", out)
	}
}

func TestThin(t *testing.T) {
	f := newFixture(t, 2)
	for i := range 6 {
		f.put(tree{"n": noise(uint64(i), 10)})
		f.days(1)
	}
	f.home.machine, f.home.others = 1, []core.DID{did(99)}
	f.open()
	f.put(tree{"n": noise(8, 10)}) // 7, by another machine, which counts on
	f.home.machine, f.home.others = 0, []core.DID{did(100)}
	f.open()
	thin := func(rule retain.Rule, want ...uint64) {
		t.Helper()
		gone, err := f.v.Thin(t.Context(), "docs", rule)
		if err != nil || !slices.Equal(numbersOf(gone), want) {
			t.Errorf("%+v: %d, %v; want %d", rule, numbersOf(gone), err, want)
		}
	}
	thin(retain.Rule{Last: 1, Daily: 3}, 3, 2, 1) // 6 is the newest of ours
	f.wantNumbers(7, 6, 5, 4)
	saves := f.home.saves
	thin(retain.Rule{Daily: 3})
	thin(retain.Rule{})
	if _, err := f.v.Thin(t.Context(), "docs", retain.Rule{Last: -1}); !errors.Is(err, core.ErrInvalid) || f.home.saves != saves {
		t.Errorf("a rule that is none: %v", err)
	}
	// What a person removed comes back before what a rule did.
	f.remove(4)
	thin(retain.Rule{Last: 1}, 5)
	f.wantNumbers(7, 6)
	f.undo(4)
	f.undo(5)
	f.undo(3, 2, 1)
}

func TestRemovalsByClocksThatAreWrong(t *testing.T) {
	f := newFixture(t, 2)
	f.versions(2)
	f.days(3650)
	f.remove(1)
	f.clock.Jump(-3650 * 24 * time.Hour)
	f.undo(1) // stands over a removal that is ten years later
	f.remove(0)
	f.undo(2, 1)
	last := manifest.Tombstone{V: 1, Time: manifest.TombstoneTimeMax}
	value, err := last.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.books.Apply(core.Change{Key: stateKey(manifest.TombstoneKey("docs", did(5), 9)), Value: value}); err != nil {
		t.Fatal(err)
	}
	f.remove(1)
	f.wantNumbers(2)
	if _, err := f.v.Undo(t.Context(), "docs"); err == nil {
		t.Error("a removal of no version was undone")
	}
	f.wantNumbers(2, 1)
}

func TestTombstonesThatAreBroken(t *testing.T) {
	f := newFixture(t, 2)
	f.versions(2)
	f.remove(1)
	for _, bad := range []core.Change{
		{Key: stateKey(manifest.TombstoneKey("docs", did(99), 2)), Value: []byte("no tombstone")},
		{Key: stateKey([]byte("x/docs\x00short")), Value: []byte{1}},
	} {
		if err := f.books.Apply(bad); err != nil {
			t.Fatal(err)
		}
	}
	f.wantNumbers(2)
	f.collect()
	f.sameTree(tree{"n": noise(1, 10_000)})
	f.undo(1)
	f.wantNumbers(2, 1)
}

func TestWhatIsRemovedIsRememberedNoMore(t *testing.T) {
	f := newFixture(t, 2)
	s := newStamped(tree{"a": []byte("a"), "b": []byte("b")}, 5)
	f.put(s)
	f.put(s)
	f.remove(1)
	if f.files() != 2 {
		t.Errorf("%d files, want 2: the name is there still", f.files())
	}
	f.remove(0)
	if f.files() != 0 {
		t.Errorf("%d files, want none", f.files())
	}
}

func TestUndoOfWhatWasGivenUp(t *testing.T) {
	f := newFixture(t, 2)
	want := tree{"big": noise(7, 12<<20), "small": []byte("s")}
	f.put(want)
	f.put(tree{"other": noise(8, 1000)})
	f.remove(1)
	out := f.collect()
	if out.Released == 0 || out.Live == 0 || out.Waiting != 0 {
		t.Errorf("%+v", out)
	}
	f.wantIndexed(t)
	f.m.homes[did(0)].away, f.m.homes[did(1)].away = true, true
	if _, err := f.v.Undo(t.Context(), "docs"); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("nobody can be asked: %v", err)
	}
	f.wantNumbers(2)
	f.m.homes[did(0)].away = false
	f.undo(1) // from one of the two
	f.m.homes[did(1)].away = false
	if out := f.collect(); out.Released != 0 || out.Revived != 0 {
		t.Errorf("after the undoing: %+v", out)
	}
	f.remove(2)
	f.sameTree(want)
	sent := f.m.sent
	f.open()
	f.put(want) // but for what the other household has to hold again
	if more := f.m.sent - sent; more > 15<<20 {
		t.Errorf("what was brought back is stored anew: %d bytes", more)
	}
	f.remove(0)
	f.collect()
	f.m.reclaim()
	undone, err := f.v.Undo(t.Context(), "docs")
	if !errors.Is(err, fs.ErrNotExist) || len(undone.Versions) != 0 || len(undone.Lost) != 2 {
		t.Errorf("what nobody keeps any more: %+v, %v", undone, err)
	}
	f.wantNumbers()
	f.wantIndexed(t)
	f.put(want)
	f.sameTree(want)
}

// wantIndexed fails the test if a put could build on what is given up.
func (f *fixture) wantIndexed(t interface{ Errorf(string, ...any) }) {
	for c, err := range f.books.Scan(chunkPrefix, nil) {
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		ref, err := manifest.ParseRef(c.Value)
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		if gone, err := f.v.given(ref.Segment); gone || err != nil {
			t.Errorf("the index points into segment %x, which was given up (%v)", ref.Segment, err)
		}
		if _, err := f.v.segment(ref.Segment); err != nil {
			t.Errorf("the index points nowhere: %v", err)
		}
	}
}

func TestUndoKnowsWhatHappenedToEachVersion(t *testing.T) {
	f := newFixture(t, 2)
	f.versions(3)
	f.remove(0)
	f.collect()
	// One version's pieces are gone from everywhere.
	version, err := f.v.buried(grave{version: manifest.VersionKey("docs", did(99), 2)})
	if err != nil {
		t.Fatal(err)
	}
	uses, err := f.v.usesOf(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	for id := range uses {
		s, err := f.v.segment(id[:])
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range scores(s) {
			delete(f.m.aside, piece)
		}
	}
	out, err := f.v.Undo(t.Context(), "docs")
	if !errors.Is(err, core.ErrPartly) || fmt.Sprint(numbersOf(out.Versions)) != "[3 1]" || len(out.Lost) != 1 || out.Lost[0].Seq != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	f.wantNumbers(3, 1)
}
