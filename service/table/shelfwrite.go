package table

import (
	"fmt"
	"iter"
	"runtime"
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/tree"
)

const (
	// prefetchMax bounds how many leaves are fetched before the edits are made; each takes some 3 KB.
	prefetchMax = 8192
	// prefetchPart is how many of them one worker fetches at a time.
	prefetchPart = 16
	// buildBatch is how many changes are written at a time when a tree is built.
	buildBatch = 10_000
)

// apply makes edits, whose keys rise, and returns what is to be written for it, the root's record too, together with whatever else is
// to become true with it. Once it is written, done says so. Errors: core.ErrInvalid, core.ErrCorrupt.
func (s *shelf) apply(edits []tree.Edit) (tree.Result, []core.Change, error) {
	src := &writerSource{shelf: s}
	err := src.prefetch(edits)
	var out tree.Result
	if err == nil {
		out, err = tree.Apply(src, s.m, edits)
	}
	if err != nil {
		return tree.Result{}, nil, fmt.Errorf("%d edits of tree %q: %w", len(edits), s.prefix, err)
	}
	return out, s.changes(out), nil
}

// done makes what apply has made the tree's state.
func (s *shelf) done(r tree.Result) {
	s.m = r.Map
	for _, p := range r.Nodes {
		s.of(p.Ref.Level, true).put(p.Node)
	}
}

// changes is what is to be written.
func (s *shelf) changes(r tree.Result) []core.Change {
	size := 0
	for _, c := range r.Changes {
		size += len(s.prefix) + 1 + len(c.Key)
		if c.Level > 0 {
			size += core.ScoreSize + 10
		}
	}
	slab := make([]byte, 0, size)
	out := make([]core.Change, 0, len(r.Changes)+1)
	for _, c := range r.Changes {
		var change core.Change
		change, slab = s.change(c, slab)
		out = append(out, change)
	}
	return append(out, s.root(r.Map))
}

// change is what is to be written for an entry; what it makes for it stands behind slab.
func (s *shelf) change(c tree.Change, slab []byte) (core.Change, []byte) {
	at := len(slab)
	slab = append(append(append(slab, s.prefix...), byte(c.Level)), c.Key...)
	out := core.Change{Key: slab[at:len(slab):len(slab)]}
	switch {
	case c.Gone:
	case c.Level > 0:
		at = len(slab)
		slab = appendChild(slab, c.Hash, c.Count)
		out.Value = slab[at:len(slab):len(slab)]
	case len(c.Value) == 0:
		out.Value = []byte{} // nil would remove it
	default:
		out.Value = c.Value
	}
	return out, slab
}

func (s *shelf) root(m tree.Map) core.Change {
	return core.Change{Key: s.key(rootKey, nil), Value: appendChild([]byte{byte(m.Root.Level)}, m.Root.Hash, m.Root.Count)}
}

// build makes the tree of all of its records, which come by their keys, where nothing lies yet, in books that write changes. It
// is the tree's state when its root is written, which is last. Errors: core.ErrInvalid, those of records and write.
func (s *shelf) build(records iter.Seq2[tree.Record, error], write func(...core.Change) error) error {
	var batch []core.Change
	b := tree.NewBuilder(s.m.Salt, func(c tree.Change) error {
		change, _ := s.change(c, nil)
		if batch = append(batch, change); len(batch) < buildBatch {
			return nil
		}
		err := write(batch...)
		batch = batch[:0]
		return err
	})
	for r, err := range records {
		if err == nil {
			err = b.Add(r)
		}
		if err != nil {
			return fmt.Errorf("build tree %q: %w", s.prefix, err)
		}
	}
	m, err := b.Done()
	if err == nil {
		err = write(append(batch, s.root(m))...)
	}
	if err != nil {
		return fmt.Errorf("build tree %q: %w", s.prefix, err)
	}
	s.m = m
	return nil
}

// writerSource is a shelf for edits, which need no values.
type writerSource struct {
	*shelf
	fetched map[core.Score]*tree.Node
}

// Node returns a node; see tree.Source.
func (w *writerSource) Node(ref tree.Ref) (*tree.Node, error) {
	if n := w.fetched[ref.Hash]; n != nil {
		return n, nil
	}
	return w.node(ref, true)
}

// prefetch fetches the leaves that edits touch, by all processors: reading and hashing them is most of the work.
func (w *writerSource) prefetch(edits []tree.Edit) error {
	if len(edits) < 2 || w.m.Root.Level == 0 {
		return nil
	}
	leaves, err := tree.Leaves(w, w.m, edits)
	if err != nil {
		return err
	}
	leaves = leaves[:min(len(leaves), prefetchMax)]
	nodes := make([]*tree.Node, len(leaves))
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		next int
	)
	part := func() (from, to int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		from, to = next, min(next+prefetchPart, len(leaves))
		next = to
		return from, to, from < to && err == nil
	}
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for from, to, ok := part(); ok; from, to, ok = part() {
				for i := from; i < to; i++ {
					n, failed := w.node(leaves[i], true)
					if failed != nil {
						mu.Lock()
						err = failed
						mu.Unlock()
						return
					}
					nodes[i] = n
				}
			}
		})
	}
	wg.Wait()
	if err != nil {
		return err
	}
	w.fetched = make(map[core.Score]*tree.Node, len(nodes))
	for i, n := range nodes {
		w.fetched[leaves[i].Hash] = n
	}
	return nil
}
