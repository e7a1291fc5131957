package tree

import (
	"bytes"
	"fmt"
	"sort"

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
	// Nodes are those that are new.
	Nodes []Placed
}

// Apply makes edits, whose keys rise, in a map whose nodes src has. It changes nothing itself. Errors: core.ErrInvalid, those of src.
func Apply(src Source, m Map, edits []Edit) (Result, error) {
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
	for l := 0; len(level) > 0; l++ {
		if l > LevelMax {
			return Result{}, fmt.Errorf("a map that needs more than %d levels: %w", LevelMax, core.ErrInvalid)
		}
		w := &writer{src: src, m: m, level: l, edits: level}
		if err := w.write(); err != nil {
			return Result{}, err
		}
		level = w.emit(&out)
	}
	return out, shrink(src, &out)
}

// shrink makes the root the lowest node below which there is everything.
func shrink(src Source, out *Result) error {
	fresh := map[core.Score]*Node{}
	for _, p := range out.Nodes {
		fresh[p.Ref.Hash] = p.Node
	}
	for out.Map.Root.Level > 0 {
		root := fresh[out.Map.Root.Hash]
		if root == nil || root.Len() > 1 { // only one that is new can have lost entries
			return nil
		}
		e := root.entries[0]
		out.Changes = append(out.Changes, Change{Level: root.Level, Entry: Entry{Key: e.Key}, Gone: true})
		out.Map.Root = Ref{Level: root.Level - 1, Hash: e.Hash, Count: e.Count, Lo: e.Key}
		if below, err := src.Node(out.Map.Root); fresh[e.Hash] == nil && err != nil {
			return err
		} else if fresh[e.Hash] == nil {
			fresh[e.Hash] = below
		}
	}
	return nil
}

// edit is a change of one level that is asked for.
type edit struct {
	Entry
	gone bool
}

// writer makes the edits of one level.
type writer struct {
	src   Source
	m     Map // as it was
	level int
	edits []edit
	runs  []*run // by keys; they do not overlap
}

// run is a part of a level that is made anew, from one node's beginning to another's, neither of which moves.
type run struct {
	lo, hi []byte   // hi is nil at the end
	old    []Placed // the nodes that were there
	// least is the least priority of those keys that come or go, if any does: so far must the run go to both sides
	// that what begins and what follows it has a lower one.
	least priority
	moves bool

	changes []edit // those that change something
	entries []Entry
	sums    []sum
	shorter bool
	nodes   []Placed
}

// write finds the runs and cuts them.
func (w *writer) write() error {
	for next := 0; next < len(w.edits); {
		r, err := w.begin(w.edits[next].Key)
		if err != nil {
			return err
		}
		w.runs = append(w.runs, r)
		if err := w.grow(r); err != nil {
			return err
		}
		next = w.editsTo(r)
	}
	for {
		r, err := w.undercut()
		if err != nil || r == nil {
			return err
		}
		if err := w.grow(r); err != nil {
			return err
		}
	}
}

// begin makes a run of the node to which a key belongs.
func (w *writer) begin(key []byte) (*run, error) {
	if w.level > w.m.Root.Level { // there was none
		return &run{lo: []byte{}}, nil
	}
	at, _, err := w.nodeAt(key)
	if err != nil {
		return nil, err
	}
	return &run{lo: at.Ref.Lo, hi: at.Ref.Hi, old: []Placed{at}}, nil
}

// nodeAt returns the old node to which a key belongs, and a cursor that leads to it; nil for the root.
func (w *writer) nodeAt(key []byte) (Placed, *cursor, error) {
	if w.level == w.m.Root.Level {
		ref := w.m.Root
		ref.Lo, ref.Hi = []byte{}, nil
		n, err := w.src.Node(ref)
		return Placed{ref, n}, nil, err
	}
	c, err := newCursor(w.src, w.m, w.level+1)
	if err == nil {
		err = c.seek(key)
	}
	if err != nil {
		return Placed{}, nil, err
	}
	at, err := w.nodeBelow(c)
	return at, c, err
}

func (w *writer) nodeBelow(c *cursor) (Placed, error) {
	ref, err := c.below()
	if err != nil {
		return Placed{}, err
	}
	n, err := w.src.Node(ref)
	return Placed{ref, n}, err
}

// nodeBefore returns the old node before the one that begins with key, which is no anchor.
func (w *writer) nodeBefore(key []byte) (Placed, error) {
	_, c, err := w.nodeAt(key)
	if err != nil {
		return Placed{}, err
	}
	if _, err := c.prev(); err != nil {
		return Placed{}, err
	}
	return w.nodeBelow(c)
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

// moved notes the priority of a key that comes or goes.
func (r *run) moved(p priority) {
	if !r.moves || p.less(r.least) {
		r.least, r.moves = p, true
	}
}

// grow takes in what stands beside a run until its ends are lower than all that comes or goes, and cuts it.
func (w *writer) grow(r *run) error {
	for {
		if err := w.merge(r); err != nil {
			return err
		}
		var err error
		switch {
		case r.moves && len(r.lo) > 0 && !w.priority(r.lo).less(r.least):
			err = w.growLeft(r)
		case r.moves && r.hi != nil && !w.priority(r.hi).less(r.least):
			err = w.growRight(r)
		default:
			w.cut(r)
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// absorb takes in another run, which is next to r or among what it has taken.
func (w *writer) absorb(r, other *run) {
	if other.moves {
		r.moved(other.least)
	}
	kept := w.runs[:0]
	for _, o := range w.runs {
		if o != other {
			kept = append(kept, o)
		}
	}
	w.runs = kept
}

func (w *writer) growLeft(r *run) error {
	for _, o := range w.runs {
		if o.hi != nil && bytes.Equal(o.hi, r.lo) {
			r.lo, r.old = o.lo, append(o.old[:len(o.old):len(o.old)], r.old...)
			w.absorb(r, o)
			return nil
		}
	}
	before, err := w.nodeBefore(r.lo)
	if err != nil {
		return err
	}
	r.lo, r.old = before.Ref.Lo, append([]Placed{before}, r.old...)
	return nil
}

func (w *writer) growRight(r *run) error {
	for _, o := range w.runs {
		if bytes.Equal(o.lo, r.hi) {
			r.hi, r.old = o.hi, append(r.old, o.old...)
			w.absorb(r, o)
			return nil
		}
	}
	after, _, err := w.nodeAt(r.hi)
	if err != nil {
		return err
	}
	r.hi, r.old = after.Ref.Hi, append(r.old, after)
	return nil
}

// merge makes a run's entries of those that were there and the edits.
func (w *writer) merge(r *run) error {
	edits := w.edits[w.editsBefore(r.lo):w.editsTo(r)]
	r.entries, r.sums, r.changes = nil, nil, nil
	had := 0
	put := func(e Entry, s sum) { r.entries, r.sums = append(r.entries, e), append(r.sums, s) }
	add := func(e edit) {
		r.moved(w.priority(e.Key))
		r.changes = append(r.changes, e)
		put(e.Entry, sum{})
	}
	for _, p := range r.old {
		p.Node.compute()
		had += p.Node.Len()
		for i, e := range p.Node.entries {
			for len(edits) > 0 && bytes.Compare(edits[0].Key, e.Key) < 0 {
				if !edits[0].gone {
					add(edits[0])
				}
				edits = edits[1:]
			}
			if len(edits) == 0 || !bytes.Equal(edits[0].Key, e.Key) {
				put(e, p.Node.leaf[i])
				continue
			}
			switch edit := edits[0]; {
			case edit.gone:
				r.moved(w.priority(e.Key))
				r.changes = append(r.changes, edit)
			case edit.same(w.level, e):
				put(e, p.Node.leaf[i])
			default:
				r.changes = append(r.changes, edit)
				put(edit.Entry, sum{})
			}
			edits = edits[1:]
		}
	}
	for _, e := range edits {
		if !e.gone {
			add(e)
		}
	}
	r.shorter = len(r.entries) < had
	return nil
}

// cut makes a run's nodes.
func (w *writer) cut(r *run) {
	r.nodes = nil
	if len(r.changes) == 0 && len(r.old) == 1 {
		r.nodes = r.old
		return
	}
	begins := []int{0}
	switch {
	case len(r.entries) > FanMax:
		all := make([]priority, len(r.entries))
		for i, e := range r.entries {
			all[i] = w.priority(e.Key)
		}
		begins = cut(all)
	}
	for i, from := range begins {
		to, hi := len(r.entries), r.hi
		if i+1 < len(begins) {
			to = begins[i+1]
			hi = r.entries[to].Key
		}
		n := newNode(w.level, r.entries[from:to:to], r.sums[from:to:to])
		ref := n.ref(hi)
		r.nodes = append(r.nodes, Placed{ref, n})
	}
}

// undercut looks for a run that has lost so much that one of its ends begins no node any more. It is told to go on beyond it.
func (w *writer) undercut() (*run, error) {
	for _, r := range w.runs {
		if !r.shorter {
			continue
		}
		for _, end := range [][]byte{r.lo, r.hi} {
			if len(end) == 0 {
				continue
			}
			stands, err := w.begins(end)
			if err != nil {
				return nil, err
			}
			if !stands {
				r.moved(w.priority(end))
				return r, nil
			}
		}
	}
	return nil, nil
}

// begins tells whether a key that began a node still does.
func (w *writer) begins(key []byte) (bool, error) {
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
	for _, r := range w.runs {
		for _, p := range r.nodes {
			if bytes.Equal(p.Ref.Hi, key) && p.Ref.Hi != nil {
				return p, nil
			}
		}
	}
	return w.nodeBefore(key)
}

// from returns the node that begins with a key, as it is now.
func (w *writer) from(key []byte) (Placed, error) {
	for _, r := range w.runs {
		for _, p := range r.nodes {
			if bytes.Equal(p.Ref.Lo, key) {
				return p, nil
			}
		}
	}
	at, _, err := w.nodeAt(key)
	return at, err
}

// emit adds what the level comes to, and returns the edits of the next; none at the root.
func (w *writer) emit(out *Result) []edit {
	var up []edit
	for _, r := range w.runs {
		if len(r.changes) == 0 && len(r.old) > 0 && len(r.nodes) == len(r.old) {
			continue
		}
		for _, e := range r.changes {
			out.Changes = append(out.Changes, Change{w.level, e.Entry, e.gone})
		}
		was := map[string]core.Score{}
		for _, p := range r.old {
			was[string(p.Ref.Lo)] = p.Ref.Hash
		}
		for _, p := range r.nodes {
			if hash, ok := was[string(p.Ref.Lo)]; !ok || hash != p.Ref.Hash || w.level >= w.m.Root.Level {
				out.Nodes = append(out.Nodes, p)
				up = append(up, edit{Entry: Entry{Key: p.Ref.Lo, Hash: p.Ref.Hash, Count: p.Ref.Count}})
			}
			delete(was, string(p.Ref.Lo))
		}
		for lo := range was {
			up = append(up, edit{Entry: Entry{Key: []byte(lo)}, gone: true})
		}
	}
	sort.Slice(up, func(i, j int) bool { return bytes.Compare(up[i].Key, up[j].Key) < 0 })
	if w.level < w.m.Root.Level || len(w.runs) == 0 {
		return up
	}
	if nodes := w.runs[0].nodes; len(nodes) == 1 { // of the root's level, or above, there is but one run
		out.Map.Root = nodes[0].Ref
		return nil
	}
	return up
}
