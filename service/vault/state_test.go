package vault

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
)

// promise is what a put that ended well has promised.
type promise struct {
	version manifest.Version
	tree    tree
}

// world is a household and its partners, to which things happen.
type world struct {
	f        *fixture
	tree     tree
	next     int // of the next household
	seed     uint64
	promises []promise
	buried   []promise // of what is removed
}

// current returns a promised version as it is now: it may have been rewritten.
func (w *world) current(t *rapid.T, p promise) manifest.Version {
	version, err := w.f.v.Find("docs", p.version.Seq)
	if err != nil {
		t.Fatalf("version %d: %v", p.version.Seq, err)
	}
	return version
}

// bury moves promises of versions from one list to another.
func bury(versions []manifest.Version, from, to *[]promise) {
	*from = slices.DeleteFunc(*from, func(p promise) bool {
		if !slices.ContainsFunc(versions, func(version manifest.Version) bool { return version.Seq == p.version.Seq }) {
			return false
		}
		*to = append(*to, p)
		return true
	})
}

func (w *world) remove(t *rapid.T) {
	seq := uint64(rapid.IntRange(0, 9).Draw(t, "version"))
	gone, err := w.f.v.Remove(t.Context(), "docs", seq)
	if err != nil && !errors.Is(err, core.ErrNotExist) && !errors.Is(err, core.ErrPartly) {
		t.Fatalf("remove: %v", err)
	}
	bury(gone, &w.promises, &w.buried)
}

func (w *world) undo(t *rapid.T) {
	out, err := w.f.v.Undo(t.Context(), "docs")
	if out == nil {
		if !errors.Is(err, core.ErrNotExist) {
			t.Fatalf("undo: %v", err)
		}
		return
	}
	bury(out.Versions, &w.buried, &w.promises)
}

func (w *world) improve(t *rapid.T) {
	standing := w.f.here()
	for grid, s := range standing {
		if s.Away > 0 && rapid.Bool().Draw(t, "long") {
			standing[grid] = Standing{Away: ReplaceAfter}
		} else if rapid.IntRange(0, 5).Draw(t, "leaving") == 0 {
			standing[grid] = Standing{Leaving: true}
		}
	}
	budget := rapid.SampledFrom([]int64{0, 10 << 20, plenty}).Draw(t, "budget")
	out, err := w.f.v.Improve(t.Context(), ImproveOptions{Budget: budget, Partners: standing})
	if err != nil && !errors.Is(err, core.ErrPartly) || out != nil && out.Bytes > budget {
		t.Fatalf("improve: %+v, %v", out, err)
	}
}

func (w *world) households(t *rapid.T) core.DID {
	all := w.f.m.grids()
	return all[rapid.IntRange(0, len(all)-1).Draw(t, "household")]
}

// edit changes the tree a little, so that the next put finds some of it.
func (w *world) edit(t *rapid.T) {
	w.seed++
	name := fmt.Sprintf("d/%d", rapid.IntRange(0, 5).Draw(t, "file"))
	switch rapid.IntRange(0, 3).Draw(t, "edit") {
	case 0:
		delete(w.tree, name)
	case 1:
		w.tree[name] = noise(w.seed, rapid.IntRange(0, 2000).Draw(t, "size"))
	case 2:
		w.tree[name] = noise(w.seed, rapid.IntRange(1<<20, 3<<20).Draw(t, "size"))
	case 3:
		if old := w.tree[name]; len(old) > 0 {
			b := bytes.Clone(old)
			b[len(b)/2] ^= 1
			w.tree[name] = b
		}
	}
	w.tree["d/"] = nil
}

func (w *world) put(t *rapid.T) {
	spread := rapid.SampledFrom([]erasure.Shape{{}, {}, {K: 2, M: 1}, {K: 1}, {K: 10}, {K: 3, M: 5}}).Draw(t, "spread")
	out, err := w.f.v.Put(t.Context(), "docs", w.tree, PutOptions{Spread: spread})
	switch {
	case out == nil:
		if err == nil {
			t.Fatal("a put without outcome or error")
		}
		return
	case err != nil && !errors.Is(err, core.ErrPartly):
		t.Fatalf("put: %v", err)
	case !out.Worth.Readable:
		t.Fatalf("a version that cannot be read: %+v", out.Worth)
	case (out.Placed < out.Wanted) && err == nil:
		t.Fatalf("%d of %d pieces, and all is well", out.Placed, out.Wanted)
	}
	size, files := 0, 0
	for name, b := range w.tree {
		if name != "d/" {
			size, files = size+len(b), files+1
		}
	}
	if int(out.Version.Bytes) != size || int(out.Version.Files) != files || out.Same < 0 || out.Same > int64(size) {
		t.Fatalf("%d files of %d bytes, %d the same; want %d of %d", out.Version.Files, out.Version.Bytes, out.Same, files, size)
	}
	if err == nil {
		w.promises = append(w.promises, promise{version: out.Version, tree: maps.Clone(w.tree)})
	}
}

// damage does something to one household that no promise covers: what lies there is
// counted as broken where it leaves a version with too little.
func (w *world) damage(t *rapid.T) {
	w.f.m.mu.Lock()
	defer w.f.m.mu.Unlock()
	h := w.f.m.homes[w.households(t)]
	rot := rapid.Bool().Draw(t, "rot")
	r := rand.New(rand.NewPCG(w.seed, 1))
	for piece, data := range h.pieces {
		if r.IntN(4) > 0 {
			continue
		}
		if rot {
			h.pieces[piece] = append(bytes.Clone(data[:len(data)-1]), data[len(data)-1]^1)
		} else {
			delete(h.pieces, piece)
		}
	}
}

// really returns what a version is worth by the bytes that are there, however the
// books have it.
func (w *world) really(t *rapid.T, p promise) Worth {
	uses, err := w.f.v.usesOf(w.f.t.Context(), w.current(t, p))
	if err != nil {
		return Worth{Worth: worthless}
	}
	sum := newWorth()
	for id := range uses {
		s, err := w.f.v.segment(id[:])
		if err != nil {
			sum.addUnknown()
			continue
		}
		held, err := w.f.v.heldOf(s, func(h core.Holding) bool {
			home := w.f.m.homes[h.Grid]
			return home == nil || core.ScoreOf(home.pieces[h.Score]) != h.Score
		})
		if err != nil {
			w.f.t.Fatal(err)
		}
		sum.add(s, held, held)
	}
	return sum
}

// restorable checks that what was promised comes back with as many households away
// as the version survives.
func (w *world) restorable(t *rapid.T) {
	for _, p := range w.promises {
		worth := w.really(t, p)
		if !worth.Readable {
			continue // by damage: no put promises against that
		}
		grids := w.f.m.grids()
		away := rapid.Permutation(grids).Draw(t, "away")[:min(worth.Survives, len(grids))]
		before := map[core.DID]bool{}
		for _, grid := range grids {
			before[grid] = w.f.m.homes[grid].away
			w.f.m.homes[grid].away = false
		}
		for _, grid := range away {
			w.f.m.homes[grid].away = true
		}
		w.f.open()
		s := &shelf{got: tree{}}
		_, err := w.f.v.Restore(t.Context(), w.current(t, p), RestoreOptions{}, func(bool, core.Score) (Sink, error) { return s, nil })
		if err != nil {
			t.Fatalf("version %d is worth %+v, and with %d away: %v", p.version.Seq, worth.Worth, len(away), err)
		}
		if diff := diffTrees(p.tree, s.got); diff != "" {
			t.Fatalf("version %d: %s", p.version.Seq, diff)
		}
		for grid, was := range before {
			w.f.m.homes[grid].away = was
		}
	}
}

// TestWhatIsPromisedComesBack lets partners come, go, refuse, rot and lose things
// between puts and mendings. Whatever a put has acknowledged can be restored while no more
// households are away than it survives; and nothing but damage takes that away.
func TestWhatIsPromisedComesBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMarket(rapid.IntRange(1, 4).Draw(rt, "households"))
		w := &world{f: &fixture{t: t, m: m, home: &ourHome{m: m, secret: [32]byte{1}}, books: sim.NewBooks(), clock: sim.NewClock(1)}, tree: tree{}, next: 10}
		w.f.open()
		damaged := false
		rt.Repeat(map[string]func(*rapid.T){
			"edit and put": func(t *rapid.T) { w.edit(t); w.put(t) },
			"put again":    func(t *rapid.T) { w.put(t) },
			"restart":      func(*rapid.T) { w.f.open() },
			"check": func(t *rapid.T) {
				mend := rapid.Bool().Draw(t, "mend")
				now := mend && rapid.Bool().Draw(t, "now")
				checked, err := w.f.v.Check(t.Context(), CheckOptions{Mend: mend, Now: now})
				if err != nil {
					t.Fatalf("check: %v", err)
				}
				if mend && checked.Mended.whole() && checked.Away == 0 && checked.Segments > 0 && !checked.Worth.Readable {
					t.Fatalf("all is mended, and it is worth %+v", checked.Worth)
				}
			},
			"away or back": func(t *rapid.T) { h := m.homes[w.households(t)]; h.away = !h.away },
			"joins": func(*rapid.T) {
				if len(m.homes) < 6 {
					m.homes[did(w.next)] = &fakeHome{pieces: map[core.Score][]byte{}, room: -1}
					w.next++
				}
			},
			"refuses or not": func(t *rapid.T) {
				m.homes[w.households(t)].room = rapid.SampledFrom([]int64{-1, 0, 3 << 20}).Draw(t, "room")
			},
			"dies soon": func(t *rapid.T) { m.homes[w.households(t)].dieAt = rapid.IntRange(1, 30).Draw(t, "pieces") },
			"remove":    w.remove,
			"undo":      w.undo,
			"improve":   w.improve,
			"days":      func(t *rapid.T) { w.f.days(rapid.IntRange(1, 20).Draw(t, "days")) },
			"reclaim":   func(*rapid.T) { m.reclaim() },
			"collect":   func(t *rapid.T) { _, _ = w.f.v.Collect(t.Context()) }, // it may not be sure, or nobody hears of it
			"compact":   func(t *rapid.T) { _, _ = w.f.v.Compact(t.Context(), plenty, nil) },
			"damage":    func(t *rapid.T) { w.seed++; damaged = true; w.damage(t) },
			"": func(t *rapid.T) {
				for _, p := range w.promises {
					if worth := w.really(t, p); !worth.Readable && !damaged {
						t.Fatalf("version %d cannot be read, and nobody lost anything", p.version.Seq)
					}
				}
				w.restorable(t)
			},
		})
	})
}
