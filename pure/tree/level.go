package tree

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
)

// writer makes the edits of one level.
type writer struct {
	src   Source
	m     Map // as it was
	each  Each
	level int
	edits []edit
	runs  []*run  // by keys; they do not overlap
	way   *cursor // to where the writer was last, one level up
	near  *Node   // the node of this level that the writer below was at last
	items []item  // of the run that is in hand
}

// above is the writer of the next level, which begins where this one was last.
func (w *writer) above() *writer {
	out := &writer{src: w.src, m: w.m, each: w.each, level: w.level + 1, items: w.items}
	if c := w.way; c != nil {
		out.near = c.here().node
		if len(c.path) > 1 {
			out.way = &cursor{c.src, c.level + 1, c.path[:len(c.path)-1]}
		}
	}
	return out
}

// write finds the runs and cuts them.
func (w *writer) write() error {
	if err := w.find(); err != nil {
		return err
	}
	if err := w.each(len(w.runs), func(i int) error { return w.replace(w.runs[i]) }); err != nil {
		return err
	}
	for i := 0; i < len(w.runs); i++ {
		r := w.runs[i]
		if r.nodes != nil {
			continue
		}
		if err := w.grow(r); err != nil {
			return err
		}
		i = w.runAt(r.lo)
	}
	for grew := true; grew; {
		grew = false
		for i := 0; i < len(w.runs); i++ {
			r := w.runs[i]
			under, err := w.undercut(r)
			if err != nil {
				return err
			}
			if !under {
				continue
			}
			if err := w.grow(r); err != nil {
				return err
			}
			grew, i = true, w.runAt(r.lo)
		}
	}
	return nil
}

// find makes a run of each node to which there are edits.
func (w *writer) find() error {
	if w.level > w.m.Root.Level { // there was none
		w.runs = []*run{{lo: []byte{}}}
		return nil
	}
	for next := 0; next < len(w.edits); {
		ref, err := w.refAt(w.edits[next].Key)
		if err != nil {
			return err
		}
		r := &run{lo: ref.Lo, hi: ref.Hi, old: []Placed{{Ref: ref}}}
		w.runs = append(w.runs, r)
		from := next
		for next++; next < len(w.edits) && (ref.Hi == nil || bytes.Compare(w.edits[next].Key, ref.Hi) < 0); {
			next++
		}
		r.edits = w.edits[from:next]
	}
	return nil
}

// refAt names the old node to which a key belongs.
func (w *writer) refAt(key []byte) (Ref, error) {
	if w.level == w.m.Root.Level {
		ref := w.m.Root
		ref.Lo, ref.Hi = []byte{}, nil
		return ref, nil
	}
	if w.way == nil {
		var err error
		if w.way, err = newCursor(w.src, w.m, w.level+1); err != nil {
			return Ref{}, err
		}
	}
	if err := w.way.lead(key); err != nil {
		w.way = nil
		return Ref{}, err
	}
	return w.way.below()
}

// nodeAt returns the old node to which a key belongs.
func (w *writer) nodeAt(key []byte) (Placed, error) {
	ref, err := w.refAt(key)
	if err != nil {
		return Placed{}, err
	}
	return w.load(ref)
}

func (w *writer) load(ref Ref) (Placed, error) {
	if w.near != nil && w.near.hash == ref.Hash {
		return Placed{ref, w.near}, nil
	}
	n, err := w.src.Node(ref)
	if err == nil && n.partial {
		err = fmt.Errorf("edit of a part of a node: %w", ErrNotProven)
	}
	return Placed{ref, n}, err
}

// nodeBefore returns the old node before the one that begins with key, which is no anchor.
func (w *writer) nodeBefore(key []byte) (Placed, error) {
	if _, err := w.refAt(key); err != nil {
		return Placed{}, err
	}
	if _, err := w.way.prev(); err != nil {
		return Placed{}, err
	}
	ref, err := w.way.below()
	if err != nil {
		return Placed{}, err
	}
	return w.load(ref)
}

// editsBefore is how many edits have a key below one.
func (w *writer) editsBefore(key []byte) int {
	return sort.Search(len(w.edits), func(i int) bool { return bytes.Compare(w.edits[i].Key, key) >= 0 })
}

// editsTo is how many edits there are up to the end of a run.
func (w *writer) editsTo(r *run) int {
	if r.hi == nil {
		return len(w.edits)
	}
	return w.editsBefore(r.hi)
}

func (w *writer) priority(key []byte) priority { return w.m.priorityOf(w.level, key) }

// runAt is the index of the last run that does not begin above key; -1 if there is none.
func (w *writer) runAt(key []byte) int {
	return sort.Search(len(w.runs), func(i int) bool { return bytes.Compare(w.runs[i].lo, key) > 0 }) - 1
}

// grow takes in what stands beside a run until its ends are lower than all that comes or goes, or far from it, and cuts it.
func (w *writer) grow(r *run) error {
	w.survey(r, r.old, r.hi)
	for {
		var err error
		switch _, _, left, right := w.openEnds(r); {
		case left:
			err = w.growLeft(r)
		case right:
			err = w.growRight(r)
		default:
			w.merge(r)
			w.cut(r)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// survey notes which keys come or go in nodes that a run takes in, which end at hi.
func (w *writer) survey(r *run, nodes []Placed, hi []byte) {
	for i, p := range nodes {
		to := len(w.edits)
		if i+1 < len(nodes) {
			to = w.editsBefore(nodes[i+1].Ref.Lo)
		} else if hi != nil {
			to = w.editsBefore(hi)
		}
		for _, e := range w.edits[w.editsBefore(p.Ref.Lo):to] {
			at := p.Node.find(e.Key)
			if there := at >= 0 && bytes.Equal(p.Node.key(at), e.Key); there == e.gone {
				r.moved(w.priority(e.Key))
			}
		}
	}
}

func (w *writer) growLeft(r *run) error {
	if i := w.runAt(r.lo) - 1; i >= 0 && bytes.Equal(w.runs[i].hi, r.lo) {
		o := w.runs[i]
		w.absorb(r, i)
		r.lo, r.old = o.lo, append(slices.Clip(o.old), r.old...)
		return nil
	}
	before, err := w.nodeBefore(r.lo)
	if err != nil {
		return err
	}
	w.survey(r, []Placed{before}, r.lo)
	r.lo, r.old = before.Ref.Lo, append([]Placed{before}, r.old...)
	return nil
}

func (w *writer) growRight(r *run) error {
	if i := w.runAt(r.hi); i >= 0 && bytes.Equal(w.runs[i].lo, r.hi) {
		o := w.runs[i]
		w.absorb(r, i)
		r.hi, r.old = o.hi, append(r.old, o.old...)
		return nil
	}
	after, err := w.nodeAt(r.hi)
	if err != nil {
		return err
	}
	w.survey(r, []Placed{after}, after.Ref.Hi)
	r.hi, r.old = after.Ref.Hi, append(r.old, after)
	return nil
}

// absorb takes in a run that is next to r, but for its place and nodes.
func (w *writer) absorb(r *run, i int) {
	o := w.runs[i]
	if o.moves {
		r.moved(o.least)
		r.moved(w.priority(o.first))
		r.moved(w.priority(o.last))
	}
	w.survey(r, o.old, o.hi)
	w.runs = slices.Delete(w.runs, i, i+1)
}

// undercut tells whether a run has lost so much that one of its ends begins no node any more, and tells it to go on beyond that.
func (w *writer) undercut(r *run) (bool, error) {
	if !r.shorter {
		return false, nil
	}
	for _, end := range [][]byte{r.lo, r.hi} {
		if len(end) == 0 {
			continue
		}
		stands, err := w.stands(end)
		if err != nil {
			return false, err
		}
		if !stands {
			r.moved(w.priority(end))
			return true, nil
		}
	}
	return false, nil
}

// stands tells whether a key that began a node still does.
func (w *writer) stands(key []byte) (bool, error) {
	p, count := w.priority(key), 0
	for at := key; count <= FanMax; {
		before, err := w.before(at)
		if err != nil {
			return false, err
		}
		count += before.Node.Len()
		if at = before.Ref.Lo; w.priority(at).less(p) {
			break
		}
	}
	for at := key; count <= FanMax; {
		from, err := w.from(at)
		if err != nil {
			return false, err
		}
		count += from.Node.Len()
		if at = from.Ref.Hi; at == nil || w.priority(at).less(p) {
			break
		}
	}
	return count > FanMax, nil
}

// before returns the node that ends at a key, as it is now.
func (w *writer) before(key []byte) (Placed, error) {
	i := w.runAt(key)
	if i >= 0 && bytes.Equal(w.runs[i].lo, key) {
		i--
	}
	if i >= 0 {
		if p, ok := w.runs[i].node(key, func(p Placed) []byte { return p.Ref.Hi }); ok {
			return p, nil
		}
	}
	return w.nodeBefore(key)
}

// from returns the node that begins with a key, as it is now.
func (w *writer) from(key []byte) (Placed, error) {
	if i := w.runAt(key); i >= 0 {
		if p, ok := w.runs[i].node(key, func(p Placed) []byte { return p.Ref.Lo }); ok {
			return p, nil
		}
	}
	return w.nodeAt(key)
}
