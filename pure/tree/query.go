package tree

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/grange-grid/grange/core"
)

// View answers questions about a map from the nodes of a Source, be they all of them or those that a proof brings.
type View struct {
	Map Map
	Src Source
}

// Get returns the value of a key. Errors: core.ErrNotExist, ErrNotProven.
func (v View) Get(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, fmt.Errorf("empty key: %w", core.ErrNotExist)
	}
	c, err := v.at(key)
	if err != nil {
		return nil, err
	}
	e, err := c.entry()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(e.Key, key) {
		return nil, fmt.Errorf("key %.40q: %w", key, core.ErrNotExist)
	}
	return e.Value, nil
}

// at returns a cursor at the last entry of level 0 that is not above key.
func (v View) at(key []byte) (*cursor, error) {
	c, err := newCursor(v.Src, v.Map, 0)
	if err != nil {
		return nil, err
	}
	return c, c.seek(key)
}

// Ascend yields the records from lo on and before hi, nil being the end, in the order of their keys. It ends with an error.
func (v View) Ascend(lo, hi []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c, err := v.at(lo)
		for ok := true; err == nil && ok; ok, err = c.next() {
			var e Entry
			if e, err = c.entry(); err != nil {
				break
			}
			if hi != nil && bytes.Compare(e.Key, hi) >= 0 {
				return
			}
			if len(e.Key) > 0 && bytes.Compare(e.Key, lo) >= 0 && !yield(Record{e.Key, e.Value}, nil) {
				return
			}
			if done, failed := c.endsBefore(hi); done && failed == nil {
				return
			} else if failed != nil {
				err = failed
				break
			}
		}
		if err != nil {
			yield(Record{}, err)
		}
	}
}

// endsBefore tells whether the next entry is not below hi, without going into its node.
func (c *cursor) endsBefore(hi []byte) (bool, error) {
	next, ok, err := c.peek()
	if err != nil || !ok {
		return !ok, err
	}
	return hi != nil && bytes.Compare(next, hi) >= 0, nil
}

// Descend yields the records before hi, nil being the end, down to lo, the last first. It ends with an error.
func (v View) Descend(lo, hi []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c, err := v.last(hi)
		for ok := true; err == nil && ok; ok, err = c.prev() {
			var e Entry
			if e, err = c.entry(); err != nil {
				break
			}
			if len(e.Key) == 0 || bytes.Compare(e.Key, lo) < 0 {
				return
			}
			if hi != nil && bytes.Compare(e.Key, hi) >= 0 {
				continue
			}
			if !yield(Record{e.Key, e.Value}, nil) || bytes.Equal(e.Key, lo) {
				return
			}
		}
		if err != nil {
			yield(Record{}, err)
		}
	}
}

// last returns a cursor at the last entry that is not above hi, or the last of all.
func (v View) last(hi []byte) (*cursor, error) {
	if hi != nil {
		return v.at(hi)
	}
	c, err := newCursor(v.Src, v.Map, 0)
	if err != nil {
		return nil, err
	}
	return c, c.down(func(n *Node) int { return n.Len() - 1 })
}

// Rank returns how many records there are whose key is below key; nil is the end.
func (v View) Rank(key []byte) (uint64, error) {
	if key == nil {
		return v.count()
	}
	if len(key) == 0 {
		return 0, nil
	}
	c, err := v.at(key)
	if err != nil {
		return 0, err
	}
	e, err := c.entry()
	if err != nil {
		return 0, err
	}
	if bytes.Equal(e.Key, key) {
		return c.index() - 1, nil // the anchor is none
	}
	return c.index(), nil
}

// count returns how many records there are: what the root says.
func (v View) count() (uint64, error) {
	n, err := v.Src.Node(v.Map.Root)
	if err != nil {
		return 0, err
	}
	return n.Count() - 1, nil
}

// Count returns how many records there are from lo on and before hi, nil being the end.
func (v View) Count(lo, hi []byte) (uint64, error) {
	from, err := v.Rank(lo)
	if err != nil {
		return 0, err
	}
	if lo == nil {
		from = 0
	}
	to, err := v.Rank(hi)
	if err != nil {
		return 0, err
	}
	return to - min(from, to), nil
}

// Nth returns the record before which there are n. Errors: core.ErrNotExist, ErrNotProven.
func (v View) Nth(n uint64) (Record, error) {
	all, err := v.count()
	if err != nil {
		return Record{}, err
	}
	if n >= all {
		return Record{}, fmt.Errorf("record %d of %d: %w", n, all, core.ErrNotExist)
	}
	c, err := newCursor(v.Src, v.Map, 0)
	if err != nil {
		return Record{}, err
	}
	index := n + 1 // the anchor is the first entry
	if err := c.down(func(n *Node) int {
		i, before := n.nth(index)
		index -= before
		return i
	}); err != nil {
		return Record{}, err
	}
	e, err := c.entry()
	return Record{e.Key, e.Value}, err
}
