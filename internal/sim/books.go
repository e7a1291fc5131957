package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"sync"

	"github.com/grange-grid/grange/core"
)

// Books is a core.Books in memory. A scan reads the state that stood when it began,
// because no state ever changes: each Apply makes a new one that shares most of the old.
type Books struct {
	fuse *fuse

	mu   sync.Mutex
	root *record
	full bool // when left are written
	left int
}

var _ core.Books = (*Books)(nil)

// NewBooks returns books on a disk of their own; see NewDisk.
func NewBooks() *Books { return NewDisk(0).Books() }

// SetFull makes every Apply that writes a value answer core.ErrFull, or ends that.
func (b *Books) SetFull(full bool) { b.fill(full, 0) }

// FullAfter is SetFull(true) after that many more values.
func (b *Books) FullAfter(values int) { b.fill(true, values) }

func (b *Books) fill(full bool, left int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full, b.left = full, left
}

// Get returns a copy of the value; see core.Books.
func (b *Books) Get(key []byte) ([]byte, error) {
	if err := b.fuse.burnt(); err != nil {
		return nil, fmt.Errorf("get record %q: %w", key, err)
	}
	for r := b.state(); r != nil; {
		switch c := bytes.Compare(key, r.key); {
		case c < 0:
			r = r.left
		case c > 0:
			r = r.right
		default:
			return append([]byte{}, r.value...), nil
		}
	}
	return nil, fmt.Errorf("get record %q: %w", key, core.ErrNotExist)
}

// Apply makes all changes or none; see core.Books.
func (b *Books) Apply(changes ...core.Change) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	root := b.root
	for _, c := range changes {
		if b.full && c.Value != nil {
			if b.left == 0 {
				return fmt.Errorf("apply %d changes: %w", len(changes), core.ErrFull)
			}
			b.left--
		}
		below, above := split(root, c.Key)
		if c.Value != nil {
			below = join(below, newRecord(c.Key, c.Value))
		}
		root = join(below, above)
	}
	reached, err := b.fuse.write()
	if reached {
		b.root = root
	}
	return err
}

// Scan yields the records in key order; see core.Books.
func (b *Books) Scan(prefix, from []byte) iter.Seq2[core.Change, error] {
	return func(yield func(core.Change, error) bool) {
		if err := b.fuse.burnt(); err != nil {
			yield(core.Change{}, fmt.Errorf("scan records: %w", err))
			return
		}
		if bytes.Compare(from, prefix) < 0 {
			from = prefix
		}
		walk(b.state(), from, func(r *record) bool {
			return bytes.HasPrefix(r.key, prefix) &&
				yield(core.Change{Key: append([]byte{}, r.key...), Value: append([]byte{}, r.value...)}, nil)
		})
	}
}

func (b *Books) state() *record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.root
}

// record is a node of a treap that is never changed once it is made. Its rank is a
// hash of the key, so that a set of records has one shape.
type record struct {
	key, value  []byte
	rank        uint64
	left, right *record
}

func newRecord(key, value []byte) *record {
	s := core.ScoreOf(key)
	return &record{key: bytes.Clone(key), value: bytes.Clone(value), rank: binary.BigEndian.Uint64(s[:])}
}

func (r *record) with(left, right *record) *record {
	return &record{key: r.key, value: r.value, rank: r.rank, left: left, right: right}
}

// split returns what is below key and what is above it; a record of that very key
// is left out.
func split(r *record, key []byte) (below, above *record) {
	if r == nil {
		return nil, nil
	}
	switch c := bytes.Compare(r.key, key); {
	case c < 0:
		mid, above := split(r.right, key)
		return r.with(r.left, mid), above
	case c > 0:
		below, mid := split(r.left, key)
		return below, r.with(mid, r.right)
	}
	return r.left, r.right
}

// join puts two treaps together; every key of below is less than every key of above.
func join(below, above *record) *record {
	switch {
	case below == nil:
		return above
	case above == nil:
		return below
	case below.rank > above.rank:
		return below.with(below.left, join(below.right, above))
	}
	return above.with(join(below, above.left), above.right)
}

// walk visits the records that are not below from, in order, until visit says no.
func walk(r *record, from []byte, visit func(*record) bool) bool {
	if r == nil {
		return true
	}
	if bytes.Compare(r.key, from) < 0 {
		return walk(r.right, from, visit)
	}
	return walk(r.left, from, visit) && visit(r) && walk(r.right, from, visit)
}
