package tree

import (
	"bytes"
	"slices"
	"sort"
)

// run is a part of a level that is made anew, from one node's beginning to another's, neither of which moves.
type run struct {
	lo, hi []byte   // hi is nil at the end
	old    []Placed // the nodes that were there
	edits  []edit   // of the first of these
	// moves tells that keys come or go; first and last are the outermost, least is the least priority. So far must the run go to
	// both sides that its end has a lower one, or is farther away than matters: twice FanMax entries, for a key whose
	// neighbours FanMax away are the same begins a node or not as before.
	moves       bool
	first, last []byte
	least       priority

	changes []edit // those that change something
	shorter bool
	nodes   []Placed
}

// moved notes a key that comes or goes.
func (r *run) moved(p priority) {
	if !r.moves || p.less(r.least) {
		r.least = p
	}
	if !r.moves || bytes.Compare(p.key, r.first) < 0 {
		r.first = p.key
	}
	if !r.moves || bytes.Compare(p.key, r.last) > 0 {
		r.last = p.key
	}
	r.moves = true
}

// node returns the one that has a key as its one end, which rises from node to node.
func (r *run) node(key []byte, end func(Placed) []byte) (Placed, bool) {
	i := sort.Search(len(r.nodes), func(i int) bool {
		at := end(r.nodes[i])
		return at == nil || bytes.Compare(at, key) >= 0 // the end of all is above all
	})
	if i == len(r.nodes) || !bytes.Equal(end(r.nodes[i]), key) || end(r.nodes[i]) == nil {
		return Placed{}, false
	}
	return r.nodes[i], true
}

// replace makes the edits of a run of one node, if no key comes or goes: then no end can move. It may be called for several runs at once.
func (w *writer) replace(r *run) error {
	if len(r.old) == 0 {
		return nil
	}
	var err error
	if r.old[0], err = w.load(r.old[0].Ref); err != nil {
		return err
	}
	var items []item
	var changes []edit
	n, changed := r.old[0].Node, uint64(0)
	for _, e := range r.edits {
		i := n.find(e.Key)
		there := i >= 0 && bytes.Equal(n.key(i), e.Key)
		if !there && e.gone {
			continue
		}
		if !there || e.gone {
			return nil
		}
		if it := e.item(w.level); it.sum != n.sums[i] {
			items, changes, changed = append(items, it), append(changes, e), changed|1<<i
		}
	}
	r.nodes, r.changes = r.old, changes
	if changed != 0 {
		n = n.replaced(changed, items)
		ref := r.old[0].Ref
		ref.Hash, ref.Count = n.hash, n.Count()
		r.nodes = []Placed{{ref, n}}
	}
	return nil
}

// merge makes a run's items of the entries that were there and the edits.
func (w *writer) merge(r *run) {
	edits := w.edits[w.editsBefore(r.lo):w.editsTo(r)]
	w.items, r.changes = w.items[:0], nil
	had := 0
	add := func(e edit) {
		if e.gone {
			return
		}
		r.moved(w.priority(e.Key))
		r.changes, w.items = append(r.changes, e), append(w.items, e.item(w.level))
	}
	for _, p := range r.old {
		n := p.Node.Bare()
		had += n.size
		for i := range n.size {
			it := item{n.key(i), n.rest(i), n.sums[i]}
			for len(edits) > 0 && bytes.Compare(edits[0].Key, it.key) < 0 {
				add(edits[0])
				edits = edits[1:]
			}
			if len(edits) > 0 && bytes.Equal(edits[0].Key, it.key) {
				e := edits[0]
				edits = edits[1:]
				if e.gone {
					r.moved(w.priority(it.key))
					r.changes = append(r.changes, e)
					continue
				}
				if other := e.item(w.level); other.sum != it.sum {
					it = other
					r.changes = append(r.changes, e)
				}
			}
			w.items = append(w.items, it)
		}
	}
	for _, e := range edits {
		add(e)
	}
	r.shorter = len(w.items) < had
}

// place is where a key is among the items of the run in hand, or would be.
func (w *writer) place(key []byte) int {
	return sort.Search(len(w.items), func(i int) bool { return bytes.Compare(w.items[i].key, key) >= 0 })
}

// openEnds tells which ends of a run are not below all that comes or goes, and whether these are too near to what does.
func (w *writer) openEnds(r *run) (left, right, nearLeft, nearRight bool) {
	if !r.moves {
		return false, false, false, false
	}
	left = len(r.lo) > 0 && !w.priority(r.lo).less(r.least)
	right = r.hi != nil && !w.priority(r.hi).less(r.least)
	return left, right, left && r.beforeFirst() < 2*FanMax, right && r.fromLast() <= 2*FanMax+1 // the last may go
}

// beforeFirst is how many entries there are before the first that comes or goes, of twice FanMax or more no more than that.
func (r *run) beforeFirst() (count int) {
	for i, p := range r.old {
		if count >= 2*FanMax || i > 0 && bytes.Compare(p.Ref.Lo, r.first) >= 0 {
			break
		}
		count += p.Node.find(r.first) + 1
		if n := p.Node; count > 0 && bytes.Equal(n.key(n.find(r.first)), r.first) {
			count--
		}
	}
	return count
}

// fromLast is how many entries there are from the last that comes or goes on, itself among them; of some more than twice FanMax no more than that.
func (r *run) fromLast() (count int) {
	count = 1
	for _, p := range slices.Backward(r.old) {
		if count > 2*FanMax+1 {
			break
		}
		count += p.Node.Len() - p.Node.find(r.last) - 1
		if bytes.Compare(p.Ref.Lo, r.last) <= 0 {
			break
		}
	}
	return count
}

// cut makes a run's nodes of its items.
func (w *writer) cut(r *run) {
	if len(r.changes) == 0 && len(r.old) == 1 {
		r.nodes = r.old
		return
	}
	begins := []int{0}
	if len(w.items) > FanMax {
		begins = w.begins(r)
	}
	r.nodes = slices.Grow([]Placed(nil), len(begins))
	for i, from := range begins {
		to := len(w.items)
		if i+1 < len(begins) {
			to = begins[i+1]
		}
		n := newNode(w.level, w.items[from:to])
		r.nodes = append(r.nodes, Placed{n.ref(r.hi), n})
		if i > 0 {
			r.nodes[i-1].Ref.Hi = n.key(0)
		}
	}
}

// begins returns where a run's nodes begin. Near an end that is not below all it is as it was.
func (w *writer) begins(r *run) (out []int) {
	all := make([]priority, len(w.items))
	for i := range w.items {
		all[i] = w.priority(w.items[i].key)
	}
	left, right, _, _ := w.openEnds(r)
	from, to := 0, len(all)
	if left {
		from = FanMax
	}
	if right {
		to -= FanMax
	}
	var before, after []int
	for _, p := range r.old {
		switch i := w.place(p.Ref.Lo); {
		case i < from:
			before = append(before, i)
		case i >= to && i < len(all):
			after = append(after, i)
		}
	}
	for _, i := range cut(all) {
		if i >= from && i < to {
			out = append(out, i)
		}
	}
	return slices.Concat(before, out, after)
}
