package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
)

// small spreads make many segments of little data.
var small = PutOptions{Spread: erasure.Shape{K: 1, M: 1}}

func (f *fixture) putSmall(src Source) *Put {
	f.t.Helper()
	out, err := f.v.Put(f.t.Context(), "docs", src, small)
	if err != nil {
		f.t.Fatalf("put: %v", err)
	}
	return out
}

// segments counts the segments of the state, and those that are written down as given up.
func (f *fixture) segments() (all, gone int) {
	for range f.books.Scan(stateKey([]byte(manifest.SegmentPrefix)), nil) {
		all++
	}
	for range f.books.Scan(gonePrefix, nil) {
		gone++
	}
	return all, gone
}

func TestCollectGivesUpWhatNothingUses(t *testing.T) {
	f := newFixture(t, 2)
	shared := noise(1, 3<<20)
	f.putSmall(tree{"shared": shared, "old": noise(2, 3<<20)})
	want := tree{"shared": shared, "new": noise(3, 3<<20)}
	f.putSmall(want)
	if out := f.collect(); out.Released != 0 || out.Live < 9 || len(f.m.aside) > 0 {
		t.Errorf("all is used: %+v", out)
	}
	f.remove(1)
	out := f.collect()
	if all, gone := f.segments(); out.Released < 2 || out.Released > 5 || out.Released != gone || out.Live != all-gone || out.Bytes == 0 {
		t.Errorf("%+v, %d of %d segments are given up", out, gone, all)
	}
	f.sameTree(want)
	f.wantIndexed(t)
	if again := f.collect(); again.Released != 0 || again.Live != out.Live {
		t.Errorf("again: %+v", again)
	}
	sent := f.m.sent
	f.putSmall(tree{"shared": shared, "old": noise(2, 3<<20)}) // what was given up is stored anew
	if more := f.m.sent - sent; more < 1<<20 || more > 14<<20 {
		t.Errorf("%d bytes were sent", more)
	}
	f.sameTree(tree{"shared": shared, "old": noise(2, 3<<20)})

	f.remove(0)
	f.collect()
	if leased := f.m.held(); leased != 0 {
		t.Errorf("%d pieces are leased still", leased)
	}
	f.days(91)
	for range 2 { // versions, then what they used
		f.collect()
	}
	f.days(91)
	f.collect()
	if all, gone := f.segments(); all != 0 || gone != 0 {
		t.Errorf("%d segments are remembered, %d as given up", all, gone)
	}
	for c := range f.books.Scan(nil, nil) {
		if key := string(c.Key); !bytes.HasPrefix(c.Key, stateKey([]byte(manifest.TombstonePrefix))) && key != string(seqKey) {
			t.Errorf("%q is left", key)
		}
	}
	if f.put(tree{}).Version.Seq != 4 {
		t.Error("numbers are used twice")
	}
}

// held counts the pieces that somebody promises to keep.
func (m *market) held() int {
	n := 0
	for _, grids := range m.leased {
		n += len(grids)
	}
	return n
}

func TestCollectLeavesABrokenPutToTheNext(t *testing.T) {
	f := newFixture(t, 2)
	tr := tree{}
	for i := range 12 {
		tr[fmt.Sprintf("%02d", i)] = noise(uint64(i), 1<<20)
	}
	s := newStamped(tr, 5)
	broken := func() {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if _, err := f.v.Put(ctx, "docs", &stopping{s, 10, cancel}, small); err == nil {
			t.Fatal("it was not broken off")
		}
	}
	broken()
	before := f.m.held()
	out := f.collect()
	if out.Waiting < 3 || out.Released != 0 || f.m.held() != before {
		t.Errorf("%+v", out)
	}
	f.days(13)
	broken() // a put that goes on each fortnight is not robbed of what it has
	f.days(13)
	f.collect()
	if f.m.held() < before {
		t.Errorf("%d pieces, and there were %d", f.m.held(), before)
	}
	f.days(15)
	if out := f.collect(); out.Waiting != 0 || out.Released < 3 || f.m.held() != 0 {
		t.Errorf("nobody has gone on: %+v, %d pieces", out, f.m.held())
	}
	f.putSmall(s)
	f.collect()
	f.sameTree(tr)
}

func TestCollectIsSureOrDoesNothing(t *testing.T) {
	for name, spoil := range map[string]func(f *fixture){
		"a manifest that nobody can give": func(f *fixture) {
			f.forgetAllButState()
			f.m.homes[did(0)].away, f.m.homes[did(1)].away = true, true
		},
		"a version that cannot be read": func(f *fixture) {
			f.apply(core.Change{Key: stateKey(manifest.VersionKey("docs", did(5), 1)), Value: []byte("later make")})
		},
		"a version under another's key": func(f *fixture) {
			version, err := f.v.Find("docs", 0)
			if err != nil {
				f.t.Fatal(err)
			}
			value, err := version.Marshal()
			if err != nil {
				f.t.Fatal(err)
			}
			f.apply(core.Change{Key: stateKey(manifest.VersionKey("docs", did(5), 1)), Value: value})
		},
		"nobody who knows of the removal": func(f *fixture) { f.home.deaf = true },
		"no list, and no manifest": func(f *fixture) {
			version, _ := f.v.Find("docs", 0)
			f.apply(core.Change{Key: usesKey(version.Key()), Value: []byte("not sixteen bytes")})
			f.m.each(func(h *fakeHome, piece core.Score, _ []byte) { delete(h.pieces, piece) })
			f.open()
		},
	} {
		f := newFixture(t, 2)
		f.versions(2)
		f.remove(1)
		spoil(f)
		held := f.m.held()
		out, err := f.v.Collect(t.Context())
		if err == nil || f.m.held() != held || len(f.m.aside) > 0 {
			t.Errorf("%s: %+v, %v, %d of %d pieces are held", name, out, err, f.m.held(), held)
		}
		if _, gone := f.segments(); gone != 0 {
			t.Errorf("%s: %d segments are written down", name, gone)
		}
	}
}

func (f *fixture) apply(changes ...core.Change) {
	f.t.Helper()
	if err := f.books.Apply(changes...); err != nil {
		f.t.Fatal(err)
	}
}

func TestCollectDoesNotBelieveAListThatCannotBeRight(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"empty":   func([]byte) []byte { return []byte{} },
		"shorter": func(b []byte) []byte { return b[:len(b)-16] },
		"flipped": func(b []byte) []byte { b[37] ^= 1; return b },
		"torn":    func(b []byte) []byte { return b[:len(b)-3] },
	} {
		f := newFixture(t, 2)
		want := tree{"a": noise(1, 100)}
		f.put(want)
		f.put(tree{"b": noise(2, 100)})
		f.remove(2)
		version, _ := f.v.Find("docs", 0)
		raw, err := f.books.Get(usesKey(version.Key()))
		if err != nil {
			t.Fatal(err)
		}
		f.apply(core.Change{Key: usesKey(version.Key()), Value: spoil(raw)})
		f.collect()
		f.m.reclaim()
		if got, _, err := f.get(""); err != nil || diffTrees(want, got) != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCollectSparesOtherMachines(t *testing.T) {
	f := newFixture(t, 2)
	f.put(tree{"ours": noise(1, 1000)})
	f.home.machine, f.home.others = 1, []core.DID{did(99)}
	f.open()
	f.put(tree{"theirs": noise(2, 1000)})
	f.home.machine, f.home.others = 0, []core.DID{did(100)}
	// What was placed by the other machine, as this one has it: from its state.
	theirs := segmentSet{}
	versions, _ := f.v.Versions("docs")
	for _, version := range versions {
		if version.Agent == did(100) {
			uses, err := f.v.usesOf(t.Context(), version)
			if err != nil {
				t.Fatal(err)
			}
			theirs = uses
			f.apply(core.Change{Key: usesKey(version.Key())})
		}
	}
	for id := range theirs {
		f.apply(core.Change{Key: mineKey(id[:])})
	}
	if err := f.v.dropChunks(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	f.open()
	if err := f.v.TakeOver(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	sent := f.m.sent
	f.put(tree{"theirs": noise(2, 1000)})
	if f.m.sent == sent {
		t.Error("a put builds on what another machine may give up")
	}
	f.remove(0)
	held := f.m.held()
	f.collect()
	left := 0
	for id := range theirs {
		s, err := f.v.segment(id[:])
		if err != nil {
			t.Fatal(err)
		}
		for _, piece := range scores(s) {
			left += len(f.m.leased[piece])
		}
	}
	if left == 0 || f.m.held() != left || held <= left {
		t.Errorf("%d pieces of the other machine are held, %d of %d in all", left, f.m.held(), held)
	}
	// It is removed, and what it placed falls to us when it is taken over.
	f.undo(3, 2, 1)
	f.home.others = nil
	for _, version := range versions {
		f.apply(core.Change{Key: usesKey(version.Key())})
	}
	if err := f.v.TakeOver(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	f.remove(0)
	f.collect()
	if f.m.held() != 0 {
		t.Errorf("%d pieces are held", f.m.held())
	}
}

func TestCollectTakesBackWhatIsUsedAgain(t *testing.T) {
	f := newFixture(t, 2)
	want := tree{"a": noise(1, 1000)}
	f.put(want)
	f.remove(1)
	f.collect()
	// Another machine undoes the removal: the tombstone comes with its state.
	value, err := manifest.Tombstone{V: 1, Time: f.clock.Now().Unix() + 5, Undone: true}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	f.apply(core.Change{Key: stateKey(manifest.TombstoneKey("docs", did(99), 1)), Value: value})
	f.m.homes[did(0)].away, f.m.homes[did(1)].away = true, true
	if out := f.collect(); out.Revived != 0 || out.Live == 0 {
		t.Errorf("nobody can be asked: %+v", out)
	}
	f.m.homes[did(0)].away, f.m.homes[did(1)].away = false, false
	if out := f.collect(); out.Revived != out.Live {
		t.Errorf("%+v", out)
	}
	f.m.reclaim()
	f.sameTree(want)
}

func TestATableThatLiesCostsNoPiece(t *testing.T) {
	f := newFixture(t, 2)
	want := tree{"a": noise(1, 1000)}
	version := f.put(want).Version
	s, err := f.v.segment(version.Segments[0])
	if err != nil {
		t.Fatal(err)
	}
	s.ID = bytes.Repeat([]byte{9}, manifest.SegmentIDSize) // the pieces of a segment that is used, under another id
	value, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	f.apply(core.Change{Key: stateKey(s.Key()), Value: value})
	held := f.m.held()
	f.collect()
	f.days(15)
	if out := f.collect(); out.Released != 1 || f.m.held() != held {
		t.Errorf("%+v, %d of %d pieces are held", out, f.m.held(), held)
	}
	f.m.reclaim()
	f.sameTree(want)
}

func TestCollectWaitsForAPut(t *testing.T) {
	f := newFixture(t, 2)
	unlock, err := f.v.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := f.v.Collect(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	unlock()
	f.collect()
}

func TestForgottenVersionIsNotUndone(t *testing.T) {
	f := newFixture(t, 2)
	f.versions(2)
	f.remove(1)
	f.days(91)
	f.collect()
	out, err := f.v.Undo(t.Context(), "docs")
	if !errors.Is(err, fs.ErrNotExist) || !slices.Equal(numbersOf(out.Versions), []uint64{}) || len(out.Lost) != 1 || out.Lost[0].Seq != 1 {
		t.Errorf("%+v, %v", out, err)
	}
}
