package tree

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
)

// Change is an entry of one level that is to be written, or removed where Gone.
type Change struct {
	Level int
	Entry
	Gone bool
}

// Placed is a node and its place.
type Placed struct {
	Ref  Ref
	Node *Node
}

// Result is what edits make of a map.
type Result struct {
	Map Map
	// Changes are what is to be written, by levels from 0, and in each by keys. Entries at level 0 are records; its anchor is nowhere written.
	Changes []Change
	// Nodes are those that are new; leaves are Bare.
	Nodes []Placed
	// Old are the leaves that are no longer in the map.
	Old []core.Score
}

// Apply makes edits, whose keys rise, in a map whose nodes src has; leaves may be Bare. It changes nothing itself. Errors: core.ErrInvalid, those of src.
func Apply(src Source, m Map, edits []Edit) (Result, error) {
	return ApplyEach(src, m, edits, func(n int, do func(int) error) error {
		for i := range n {
			if err := do(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// Each calls do with each number below n, many at once if it can, and returns an error of one of them when all are done.
type Each func(n int, do func(i int) error) error

// ApplyEach is Apply with most of its work done by each: then src is asked by many at once.
func ApplyEach(src Source, m Map, edits []Edit, each Each) (Result, error) {
	level := make([]edit, len(edits))
	for i, e := range edits {
		if err := checkRecord(e); err != nil {
			return Result{}, fmt.Errorf("edit %d: %w", i, err)
		}
		if i > 0 && bytes.Compare(edits[i-1].Key, e.Key) >= 0 {
			return Result{}, fmt.Errorf("edit %d: keys do not rise: %w", i, core.ErrInvalid)
		}
		level[i] = edit{Entry{Key: e.Key, Value: e.Value}, e.Value == nil}
	}
	out := Result{Map: m}
	w := &writer{src: src, m: m, each: each}
	for l := 0; len(level) > 0; l++ {
		if l > LevelMax {
			return Result{}, fmt.Errorf("a map that needs more than %d levels: %w", LevelMax, core.ErrInvalid)
		}
		if l > 0 {
			w = w.above()
		}
		w.edits = level
		if err := w.write(); err != nil {
			return Result{}, err
		}
		level = w.emit(&out)
	}
	return out, shrink(src, &out)
}

// shrink makes the root the lowest node below which there is everything.
func shrink(src Source, out *Result) error {
	if out.Map.Root.Level == 0 {
		return nil
	}
	fresh := func(hash core.Score) *Node {
		i := slices.IndexFunc(out.Nodes, func(p Placed) bool { return p.Ref.Hash == hash })
		if i < 0 {
			return nil
		}
		return out.Nodes[i].Node
	}
	n := fresh(out.Map.Root.Hash)
	for out.Map.Root.Level > 0 && n != nil && n.Len() == 1 { // only one that is new can have lost entries
		e := n.Entry(0)
		out.Changes = append(out.Changes, Change{Level: n.Level, Entry: Entry{Key: e.Key}, Gone: true})
		out.Map.Root = Ref{Level: n.Level - 1, Hash: e.Hash, Count: e.Count, Lo: e.Key}
		if n = fresh(e.Hash); n == nil {
			var err error
			if n, err = src.Node(out.Map.Root); err != nil {
				return err
			}
		}
	}
	return nil
}

// edit is a change of one level that is asked for.
type edit struct {
	Entry
	gone bool
}

// item is the entry of an edit that removes nothing.
func (e *edit) item(level int) item {
	if level == 0 {
		return item{key: e.Key, sum: entrySum(e.Key, e.Value)}
	}
	rest := appendChild(make([]byte, 0, childSize), e.Hash, e.Count)
	return item{key: e.Key, rest: rest, sum: entrySum(e.Key, rest)}
}

// emit adds what the level comes to, and returns the edits of the next; none at the root.
func (w *writer) emit(out *Result) []edit {
	up := make([]edit, 0, len(w.runs))
	out.Changes, out.Nodes = slices.Grow(out.Changes, len(w.edits)), slices.Grow(out.Nodes, len(w.runs))
	for _, r := range w.runs {
		if len(r.changes) == 0 && len(r.old) > 0 && len(r.nodes) == len(r.old) {
			continue
		}
		for _, e := range r.changes {
			out.Changes = append(out.Changes, Change{w.level, e.Entry, e.gone})
		}
		up = w.climb(r, up, out)
	}
	if w.level < w.m.Root.Level || len(w.runs) == 0 {
		return up
	}
	if nodes := w.runs[0].nodes; len(nodes) == 1 { // of the root's level, or above, there is but one run
		out.Map.Root = nodes[0].Ref
		return nil
	}
	return up
}

// climb adds the edits that a run makes one level up, by keys.
func (w *writer) climb(r *run, up []edit, out *Result) []edit {
	old := r.old
	gone := func(to []byte) {
		for len(old) > 0 && (to == nil || bytes.Compare(old[0].Ref.Lo, to) < 0) {
			up = append(up, edit{Entry: Entry{Key: old[0].Ref.Lo}, gone: true})
			old = old[1:]
		}
	}
	if w.level == 0 {
		for _, p := range r.old {
			out.Old = append(out.Old, p.Ref.Hash)
		}
	}
	for _, p := range r.nodes {
		gone(p.Ref.Lo)
		stands := len(old) > 0 && bytes.Equal(old[0].Ref.Lo, p.Ref.Lo)
		if !stands || old[0].Ref.Hash != p.Ref.Hash || w.level >= w.m.Root.Level {
			out.Nodes = append(out.Nodes, p)
			up = append(up, edit{Entry: Entry{Key: p.Ref.Lo, Hash: p.Ref.Hash, Count: p.Ref.Count}})
		}
		if stands {
			old = old[1:]
		}
	}
	gone(nil)
	return up
}
