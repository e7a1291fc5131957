package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/tree"
)

// shelf is a tree that lies in books, or in a snapshot of them, in the order of its keys: under its prefix, a byte for the
// level, and the key stand the value, or above level 0 the hash of the node below and its count; under rootKey the root. A node is
// made where it is asked for, and hashed: what has rotted is never taken for what was written.
//
// A shelf on a snapshot may be read by many at once. One on books is for the one who writes: others would see half of what is new.
type shelf struct {
	*shelves
	from   core.Records
	prefix []byte
	m      tree.Map
}

// rootKey stands where the level stands in the keys of entries.
const rootKey = 0xff

// open opens the tree that lies under a prefix; one that was never written is empty. Errors: core.ErrCorrupt.
func (s *shelves) open(from core.Records, prefix []byte, salt [tree.SaltSize]byte) (*shelf, error) {
	out := &shelf{s, from, bytes.Clone(prefix), tree.Empty(salt)}
	raw, err := from.Get(out.key(rootKey, nil))
	if errors.Is(err, core.ErrNotExist) {
		return out, nil
	}
	if err == nil && (len(raw) == 0 || raw[0] > tree.LevelMax) {
		err = fmt.Errorf("root record of %d bytes: %w", len(raw), core.ErrCorrupt)
	}
	if err == nil {
		out.m.Root = tree.Ref{Level: int(raw[0]), Lo: []byte{}}
		out.m.Root.Hash, out.m.Root.Count, err = parseChild(raw[1:])
	}
	if err != nil {
		return nil, fmt.Errorf("open tree %q: %w", prefix, err)
	}
	return out, nil
}

// view answers questions about the tree.
func (s *shelf) view() tree.View { return tree.View{Map: s.m, Src: s} }

func (s *shelf) key(level byte, key []byte) []byte {
	out := make([]byte, 0, len(s.prefix)+1+len(key))
	return append(append(append(out, s.prefix...), level), key...)
}

// get returns the value of a key, as it lies there: one look. Errors: core.ErrNotExist.
func (s *shelf) get(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, fmt.Errorf("empty key: %w", core.ErrNotExist)
	}
	return s.from.Get(s.key(0, key))
}

// Node returns a node; see tree.Source. Errors: core.ErrCorrupt where there is another in its place.
func (s *shelf) Node(ref tree.Ref) (*tree.Node, error) { return s.node(ref, false) }

// node returns a node from the cache, or else from the books; a leaf, if bare, without its values.
func (s *shelf) node(ref tree.Ref, bare bool) (*tree.Node, error) {
	cache := s.of(ref.Level, bare)
	if n := cache.get(ref.Hash); n != nil && n.Level == ref.Level {
		return n, nil
	}
	n, err := s.load(ref, bare)
	if err != nil {
		return nil, fmt.Errorf("node of level %d at %.40q of tree %q: %w", ref.Level, ref.Lo, s.prefix, err)
	}
	cache.put(n)
	return n, nil
}

// load makes a node of what lies from its first key on.
func (s *shelf) load(ref tree.Ref, bare bool) (*tree.Node, error) {
	m := tree.Maker{Bare: bare}
	var count, entries uint64
	if ref.Level == 0 && len(ref.Lo) == 0 { // the anchor of level 0 is nowhere written
		m.Add(0, tree.Entry{Key: []byte{}})
		count, entries = 1, 1
	}
	var bad, err error
	level := s.key(byte(ref.Level), nil)
	if ref.Hi != nil || count < ref.Count || ref.Count == 0 {
		err = s.from.Visit(level, s.key(byte(ref.Level), ref.Lo), func(key, value []byte) bool {
			e := tree.Entry{Key: key[len(level):], Value: value, Count: 1}
			if ref.Hi != nil && bytes.Compare(e.Key, ref.Hi) >= 0 {
				return false
			}
			if ref.Level > 0 {
				e.Value = nil
				if e.Hash, e.Count, bad = parseChild(value); bad != nil {
					return false
				}
			}
			m.Add(ref.Level, e)
			count, entries = count+e.Count, entries+1
			return entries <= tree.FanMax && (ref.Hi != nil || ref.Count == 0 || count < ref.Count)
		})
	}
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	n, err := m.Node(ref.Level)
	if err != nil || n.Hash() != ref.Hash || ref.Count != 0 && n.Count() != ref.Count {
		return nil, fmt.Errorf("%d entries there are not the node %v: %w", entries, ref.Hash, core.ErrCorrupt)
	}
	return n, nil
}

// parseChild reads what stands beside the key of an entry above level 0. Errors: core.ErrCorrupt.
func parseChild(raw []byte) (hash core.Score, count uint64, err error) {
	size := 0
	if len(raw) > core.ScoreSize {
		count, size = binary.Uvarint(raw[copy(hash[:], raw):])
	}
	if size <= 0 || core.ScoreSize+size != len(raw) || count == 0 {
		return hash, 0, fmt.Errorf("entry of %d bytes: %w", len(raw), core.ErrCorrupt)
	}
	return hash, count, nil
}

func appendChild(out []byte, hash core.Score, count uint64) []byte {
	return binary.AppendUvarint(append(out, hash[:]...), count)
}
