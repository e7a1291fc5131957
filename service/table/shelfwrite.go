package table

import (
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/tree"
)

const (
	// partMin is how many nodes are worth another worker.
	partMin = 8
	// buildBatch is how many changes are written at a time when a tree is built.
	buildBatch = 10_000
)

// apply makes edits, whose keys rise, and returns what is to be written for it, the root's record too, together with whatever else is
// to become true with it. Once it is written, done says so. Errors: core.ErrInvalid, core.ErrCorrupt.
func (s *shelf) apply(edits []tree.Edit) (tree.Result, []core.Change, error) {
	out, err := tree.ApplyEach(writerSource{s}, s.m, edits, byAll)
	if err != nil {
		return tree.Result{}, nil, fmt.Errorf("%d edits of tree %q: %w", len(edits), s.prefix, err)
	}
	return out, s.changes(out), nil
}

// done makes what apply has made the tree's state.
func (s *shelf) done(r tree.Result) {
	s.m = r.Map
	for _, hash := range r.Old {
		s.bare.forget(hash)
	}
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
type writerSource struct{ *shelf }

// Node returns a node; see tree.Source.
func (w writerSource) Node(ref tree.Ref) (*tree.Node, error) { return w.node(ref, true) }

// byAll is a tree.Each by all processors: reading and hashing nodes is most of the work.
func byAll(n int, do func(i int) error) error {
	workers := min(runtime.GOMAXPROCS(0), n/partMin)
	if workers < 2 {
		workers = 1
	}
	var (
		wg   sync.WaitGroup
		next atomic.Int64
		errs = make([]error, workers)
	)
	work := func(worker int) {
		for errs[worker] == nil {
			i := int(next.Add(1)) - 1
			if i >= n {
				return
			}
			errs[worker] = do(i)
		}
	}
	for worker := 1; worker < workers; worker++ {
		wg.Go(func() { work(worker) })
	}
	work(0)
	wg.Wait()
	return errors.Join(errs...)
}
