package page

import (
	"bytes"
	"fmt"

	"github.com/grange-grid/grange/core"
)

// Edit makes the tree of t's list with changes made in it, the same that a Builder
// makes of the whole changed list. The keys of changes rise; a nil value deletes a
// record, and it is no error if there is none. Of the leaves it loads and
// stores only those near a change; those above, about one for each FanMean
// leaves, it loads and stores all, also such as have not changed.
// t was made by a Builder or by Edit. Errors: those of Builder and of Walk.
func Edit(t Tree, load Load, store Store, changes []core.Change) (Tree, error) {
	if err := t.Check(); err != nil {
		return Tree{}, err
	}
	for i := 1; i < len(changes); i++ {
		if bytes.Compare(changes[i-1].Key, changes[i].Key) >= 0 {
			return Tree{}, fmt.Errorf("edit pages: %w: changes that do not rise", core.ErrInvalid)
		}
	}
	e := editor{b: NewBuilder(store), load: load, changes: changes, count: t.Count, leaves: t.Count}
	if t.Count > 0 {
		if err := e.page(t.Root, t.Level, bounds{root: true}); err != nil {
			return Tree{}, err
		}
	}
	if err := e.rest(); err != nil {
		return Tree{}, err
	}
	if (e.count == 0) != (len(e.b.levels[0].items) == 0) {
		return Tree{}, corrupt(t.Level, "its records are not as many as the tree's count")
	}
	e.b.count = e.count
	return e.b.Finish()
}

type editor struct {
	b       *Builder
	load    Load
	changes []core.Change // those still to be made
	count   uint64        // of records, in the list as it is changed so far
	leaves  uint64        // how many more there may be: each has a record at least
}

// page edits what stands below one page.
func (e *editor) page(ref []byte, level uint, within bounds) error {
	if level == 0 {
		if e.leaves == 0 {
			return corrupt(0, "more leaves than the tree has records")
		}
		e.leaves--
	}
	if level == 0 && !within.root && e.untouched(within.high) {
		return e.b.reuse(within.low, ref)
	}
	items, err := fetch(e.load, ref, level, within)
	if err != nil {
		return err
	}
	for i, it := range items {
		if level > 0 {
			err = e.page(it.Value, level-1, within.of(items, i))
		} else {
			err = e.record(it)
		}
		if err != nil {
			return err
		}
	}
	if level == 0 && within.high != nil {
		return e.before(within.high)
	}
	return nil
}

// untouched tells whether the leaf that comes next is one of the changed list too:
// a page begins with it, and neither a record of it changes nor the one behind it,
// whose size can be why the leaf ends.
func (e *editor) untouched(high []byte) bool {
	if !e.b.betweenLeaves() {
		return false
	}
	return len(e.changes) == 0 || (high != nil && bytes.Compare(e.changes[0].Key, high) > 0)
}

// record makes the changes up to a record's key, and adds the record unless one replaced it.
func (e *editor) record(it item) error {
	if err := e.before(it.Key); err != nil {
		return err
	}
	if len(e.changes) == 0 || !bytes.Equal(e.changes[0].Key, it.Key) {
		return e.b.Add(it.Key, it.Value)
	}
	if e.count == 0 {
		return corrupt(0, "more records than the tree's count")
	}
	e.count--
	return e.change()
}

// before makes the changes below key.
func (e *editor) before(key []byte) error {
	for len(e.changes) > 0 && bytes.Compare(e.changes[0].Key, key) < 0 {
		if err := e.change(); err != nil {
			return err
		}
	}
	return nil
}

// rest makes the changes that are left.
func (e *editor) rest() error {
	for len(e.changes) > 0 {
		if err := e.change(); err != nil {
			return err
		}
	}
	return nil
}

// change makes the next change, where no record of its key is counted any more.
func (e *editor) change() error {
	c := e.changes[0]
	e.changes = e.changes[1:]
	if c.Value == nil {
		return nil
	}
	e.count++
	return e.b.Add(c.Key, c.Value)
}

// betweenLeaves tells whether the next record begins a leaf, whatever it is.
func (b *Builder) betweenLeaves() bool {
	l := &b.levels[0]
	return len(l.items) == 0 || l.ended || l.whole != nil
}

// reuse appends a leaf that is stored already, between leaves.
func (b *Builder) reuse(first, ref []byte) error {
	if len(b.levels[0].items) > 0 {
		if err := b.close(0); err != nil {
			return err
		}
	}
	l := &b.levels[0]
	l.keep(item{Key: first})
	l.whole = ref
	return nil
}
