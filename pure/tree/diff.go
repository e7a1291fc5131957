package tree

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/grange-grid/grange/core"
)

// Difference is a key whose values in two maps are not the same; nil is none.
type Difference struct {
	Key, A, B []byte
}

// Diff yields what is different in two maps with one salt, by keys. It goes only into nodes that are not in both. It ends with an
// error: core.ErrInvalid, those of the sources.
func Diff(a, b View) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		if a.Map.Salt != b.Map.Salt {
			yield(Difference{}, fmt.Errorf("maps with two salts: %w", core.ErrInvalid))
			return
		}
		if a.Map.Root.Hash == b.Map.Root.Hash {
			return
		}
		left, err := newFront(a)
		if err == nil {
			var right *front
			if right, err = newFront(b); err == nil {
				err = diff(left, right, yield)
			}
		}
		if err != nil {
			yield(Difference{}, err)
		}
	}
}

// front goes through a map by its keys, and stands at an entry of any level: all before it has been gone through.
type front struct {
	*cursor
	entry Entry
	level int
	done  bool
}

func newFront(v View) (*front, error) {
	c, err := newCursor(v.Src, v.Map, 0)
	if err != nil {
		return nil, err
	}
	f := &front{cursor: c}
	return f, f.look()
}

func (f *front) look() (err error) {
	f.level = f.here().node.Level
	f.entry, err = f.cursor.entry()
	return err
}

// into goes to the first entry of the node below.
func (f *front) into() error {
	ref, err := f.below()
	if err == nil {
		err = f.enter(ref)
	}
	if err == nil {
		err = f.look()
	}
	return err
}

// on goes past the entry and all that is below it, up where it can.
func (f *front) on() error {
	for len(f.path) > 0 {
		if s := f.here(); s.i+1 < s.node.Len() {
			s.i++
			return f.look()
		}
		f.path = f.path[:len(f.path)-1]
	}
	f.done = true
	return nil
}

// order is that of two fronts' keys; the end is above all.
func order(a, b *front) int {
	switch {
	case a.done && b.done:
		return 0
	case a.done:
		return 1
	case b.done:
		return -1
	}
	return bytes.Compare(a.entry.Key, b.entry.Key)
}

func diff(a, b *front, yield func(Difference, error) bool) error {
	for !a.done || !b.done {
		var err error
		switch c := order(a, b); {
		case c < 0 && a.level > 0, c == 0 && a.level > b.level:
			err = a.into()
		case c > 0 && b.level > 0, c == 0 && b.level > a.level:
			err = b.into()
		case c < 0:
			if !yield(Difference{Key: a.entry.Key, A: present(a.entry.Value)}, nil) {
				return nil
			}
			err = a.on()
		case c > 0:
			if !yield(Difference{Key: b.entry.Key, B: present(b.entry.Value)}, nil) {
				return nil
			}
			err = b.on()
		case a.level > 0 && a.entry.Hash != b.entry.Hash:
			if err = a.into(); err == nil {
				err = b.into()
			}
		default:
			if !bytes.Equal(a.entry.Value, b.entry.Value) && !yield(Difference{a.entry.Key, present(a.entry.Value), present(b.entry.Value)}, nil) {
				return nil
			}
			if err = a.on(); err == nil {
				err = b.on()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// present is a value that is there, which is not nil.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

// Resolve decides what a key's value is that both sides have changed, and not to the same; nil is none.
type Resolve func(key, base, ours, theirs []byte) ([]byte, error)

// Merge returns the edits that bring into ours what theirs has changed since base, by keys. Errors: core.ErrInvalid,
// those of the sources and of resolve.
func Merge(base, ours, theirs View, resolve Resolve) ([]Edit, error) {
	next, stop := iter.Pull2(Diff(base, ours))
	defer stop()
	mine, err, more := next()
	var out []Edit
	for their, failed := range Diff(base, theirs) {
		for failed == nil && err == nil && more && bytes.Compare(mine.Key, their.Key) < 0 {
			mine, err, more = next()
		}
		if failed != nil || err != nil {
			return nil, fmt.Errorf("merge: %w", firstError(failed, err))
		}
		value, have := their.B, their.A
		if more && bytes.Equal(mine.Key, their.Key) {
			if have = mine.B; !same(mine.B, their.B) {
				if value, err = resolve(their.Key, their.A, mine.B, their.B); err != nil {
					return nil, fmt.Errorf("merge %.40q: %w", their.Key, err)
				}
			}
		}
		if !same(value, have) {
			out = append(out, Edit{Key: their.Key, Value: value})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	return out, nil
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// same tells whether two values are, or both are none.
func same(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }
