package page

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// Store keeps one page and returns the reference by which Load finds it: 1 to
// RefSizeMax bytes. The page, of at most SizeMax bytes, is the callee's to keep.
// Equal pages should get equal references, else equal lists have different roots.
type Store = func(page []byte) (ref []byte, err error)

// Builder makes the pages of a list out of its records, in order. It holds one
// open page a level, of at most FillMax bytes, however long the list is.
type Builder struct {
	store   Store
	levels  [LevelMax + 1]level
	count   uint64
	scratch []byte
	err     error // the first one; what comes after it changes nothing
}

// level is the open page of one level. It is closed when an item comes that
// belongs behind it, so that a closed page is never the only one of its level.
type level struct {
	items  []item
	arena  []byte // what the items point into; its capacity is never outgrown
	fill   int
	ended  bool   // the last item's hash says that the page ends
	whole  []byte // the reference, where the page is one that was stored before; items has its first key only
	closed bool   // there are pages before this one
}

var errFinished = errors.New("build pages: already finished")

// NewBuilder returns a Builder of an empty list. store is called from Add and Finish, children before parents.
func NewBuilder(store Store) *Builder { return &Builder{store: store} }

// Add appends a record; its key must be above the one before. key and value stay
// the caller's. Errors: core.ErrInvalid where the key does not rise, core.ErrTooLarge,
// and what store returned. After an error the builder is of no more use.
func (b *Builder) Add(key, value []byte) error {
	if b.err != nil {
		return b.err
	}
	it := item{Key: key, Value: value}
	if err := it.check(0); err != nil {
		return b.fail(fmt.Errorf("build pages: %w", err))
	}
	if last, ok := b.last(); ok && bytes.Compare(last, key) >= 0 {
		return b.fail(fmt.Errorf("build pages: %w: keys that do not rise", core.ErrInvalid))
	}
	b.count++
	return b.push(0, it)
}

// Finish stores the pages that are still open and returns the tree.
func (b *Builder) Finish() (Tree, error) {
	if b.err != nil {
		return Tree{}, b.err
	}
	t := Tree{V: codec.Version, Count: b.count, Root: []byte{}}
	if len(b.levels[0].items) == 0 {
		b.err = errFinished
		return t, nil
	}
	for n := range uint(LevelMax + 1) {
		if !b.levels[n].closed {
			ref, err := b.write(n)
			if err != nil {
				return Tree{}, err
			}
			t.Level, t.Root = n, ref
			b.err = errFinished
			return t, nil
		}
		if err := b.close(n); err != nil {
			return Tree{}, err
		}
	}
	return Tree{}, b.tooHigh()
}

// last returns the key that was added last.
func (b *Builder) last() ([]byte, bool) {
	l := &b.levels[0]
	if len(l.items) == 0 {
		return nil, false
	}
	return l.items[len(l.items)-1].Key, true
}

// push appends an item to the open page of a level.
func (b *Builder) push(n uint, it item) error {
	l := &b.levels[n]
	if len(l.items) > 0 && (l.ended || l.whole != nil || l.fill+it.weight() > FillMax) {
		if err := b.close(n); err != nil {
			return err
		}
	}
	l.keep(it)
	l.ended = b.ends(n, it.Key)
	return nil
}

// keep copies an item into the open page, where it must have room.
func (l *level) keep(it item) {
	if l.arena == nil {
		l.arena = make([]byte, 0, FillMax)
	}
	start := len(l.arena)
	l.arena = append(append(l.arena, it.Key...), it.Value...)
	kept := l.arena[start:]
	l.items = append(l.items, item{Key: kept[:len(it.Key):len(it.Key)], Value: kept[len(it.Key):]})
	l.fill += it.weight()
}

func (b *Builder) ends(n uint, key []byte) bool {
	if b.scratch == nil {
		b.scratch = make([]byte, 0, 1+KeySizeMax)
	}
	return ends(n, key, b.scratch)
}

// close stores the open page of a level, which has at least one item, and tells the level above.
func (b *Builder) close(n uint) error {
	if n == LevelMax {
		return b.tooHigh()
	}
	ref, err := b.write(n)
	if err != nil {
		return err
	}
	l := &b.levels[n]
	if err := b.push(n+1, item{Key: l.items[0].Key, Value: ref}); err != nil {
		return err
	}
	l.items, l.arena = l.items[:0], l.arena[:0]
	l.fill, l.ended, l.whole, l.closed = 0, false, nil, true
	return nil
}

// write stores the open page of a level, unless it is stored already.
func (b *Builder) write(n uint) ([]byte, error) {
	l := &b.levels[n]
	if l.whole != nil {
		return l.whole, nil
	}
	data, err := codec.Marshal(body{V: codec.Version, Level: n, Items: l.items})
	if err != nil {
		return nil, b.fail(fmt.Errorf("build pages: %w", err))
	}
	ref, err := b.store(data)
	if err != nil {
		return nil, b.fail(fmt.Errorf("store page: %w", err))
	}
	if len(ref) == 0 || len(ref) > RefSizeMax {
		return nil, b.fail(fmt.Errorf("store page: %w: a reference of %d bytes, want 1 to %d", core.ErrInvalid, len(ref), RefSizeMax))
	}
	return bytes.Clone(ref), nil
}

func (b *Builder) tooHigh() error {
	return b.fail(fmt.Errorf("build pages: %w: more than %d levels", core.ErrTooLarge, LevelMax+1))
}

func (b *Builder) fail(err error) error {
	b.err = err
	return err
}
