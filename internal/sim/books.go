package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"sync/atomic"

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

// Get returns a copy of the value; see core.Records.
func (b *Books) Get(key []byte) ([]byte, error) {
	if err := b.fuse.burnt(); err != nil {
		return nil, fmt.Errorf("get record %q: %w", key, err)
	}
	return get(b.state(), key)
}

func get(root *record, key []byte) ([]byte, error) {
	for r := root; r != nil; {
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

// Scan yields the records in key order; see core.Records.
func (b *Books) Scan(prefix, from []byte) iter.Seq2[core.Change, error] {
	return scan(prefix, from, b.Visit)
}

func scan(prefix, from []byte, visit func(prefix, from []byte, see func(key, value []byte) bool) error) iter.Seq2[core.Change, error] {
	return func(yield func(core.Change, error) bool) {
		if err := visit(prefix, from, func(key, value []byte) bool {
			return yield(core.Change{Key: append([]byte{}, key...), Value: append([]byte{}, value...)}, nil)
		}); err != nil {
			yield(core.Change{}, err)
		}
	}
}

// Visit hands over the records in key order; see core.Records.
func (b *Books) Visit(prefix, from []byte, see func(key, value []byte) bool) error {
	if err := b.fuse.burnt(); err != nil {
		return fmt.Errorf("scan records: %w", err)
	}
	visit(b.state(), prefix, from, see)
	return nil
}

func visit(root *record, prefix, from []byte, see func(key, value []byte) bool) {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	walk(root, from, func(r *record) bool { return bytes.HasPrefix(r.key, prefix) && see(r.key, r.value) })
}

// Snapshot returns the records as they stand now; see core.Books.
func (b *Books) Snapshot() (core.Snapshot, error) {
	if err := b.fuse.burnt(); err != nil {
		return nil, fmt.Errorf("snapshot of the records: %w", err)
	}
	return &snapshot{fuse: b.fuse, root: b.state()}, nil
}

// snapshot is a state that books had.
type snapshot struct {
	fuse   *fuse
	root   *record
	closed atomic.Bool
}

var _ core.Snapshot = (*snapshot)(nil)

func (s *snapshot) check() error {
	if s.closed.Load() {
		return fs.ErrClosed
	}
	return s.fuse.burnt()
}

// Get returns a copy of the value; see core.Records.
func (s *snapshot) Get(key []byte) ([]byte, error) {
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("get record %q: %w", key, err)
	}
	return get(s.root, key)
}

// Scan yields the records in key order; see core.Records.
func (s *snapshot) Scan(prefix, from []byte) iter.Seq2[core.Change, error] {
	return scan(prefix, from, s.Visit)
}

// Visit hands over the records in key order; see core.Records.
func (s *snapshot) Visit(prefix, from []byte, see func(key, value []byte) bool) error {
	if err := s.check(); err != nil {
		return fmt.Errorf("scan records: %w", err)
	}
	visit(s.root, prefix, from, see)
	return nil
}

// Close lets go of the records; see core.Snapshot.
func (s *snapshot) Close() error {
	s.closed.Store(true)
	return nil
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
