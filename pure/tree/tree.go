package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
)

// Limits, in bytes where they are sizes.
const (
	// FanMax is how many entries a node has at most; half of it is the mean.
	FanMax = 64
	// LevelMax is the highest level. Leaves are level 0; a map of a million records has a root of level 3.
	LevelMax = 12
	// KeySizeMax and ValueSizeMax bound a record.
	KeySizeMax   = 1 << 10
	ValueSizeMax = 1 << 10
	// SaltSize is the length of a salt.
	SaltSize = 16
)

// ErrNotProven says that an answer needs what its proof does not bring.
var ErrNotProven = errors.New("not proven")

// Record is one entry of the map. Its key is not empty.
type Record struct {
	Key, Value []byte
}

// Edit changes one record. A nil Value removes it, and is not the same as an empty one.
type Edit = Record

// Entry is what a node has: a record, or what leads to a node of the level below. The first entry of each
// level, its anchor, has the empty key; at level 0 it is no record, and has no value.
type Entry struct {
	Key []byte
	// Value is the record's, at level 0.
	Value []byte
	// Hash and Count are those of the node below, which begins with Key; the anchor counts like a record.
	Hash  core.Score
	Count uint64
}

// Ref names a node.
type Ref struct {
	Level int
	Hash  core.Score
	// Count is how many entries of level 0 there are below it, its own included; 0 in a Ref that was not led to by a node.
	Count uint64
	// Lo is its first key, Hi the first key of the next node of its level: nil where there is none, or none that is known.
	Lo, Hi []byte
}

// Source has the nodes of a map.
type Source interface {
	// Node returns the node that is named. Errors: ErrNotProven where it is not here.
	Node(Ref) (*Node, error)
}

// Map is a sorted map: its root, and the salt that says where its nodes begin.
type Map struct {
	Salt [SaltSize]byte
	Root Ref
}

// Empty is the map without records.
func Empty(salt [SaltSize]byte) Map {
	n := newNode(0, []item{{key: []byte{}, sum: entrySum(nil, nil)}})
	return Map{Salt: salt, Root: n.ref(nil)}
}

// Len is how many records there are.
func (m Map) Len() uint64 { return m.Root.Count - 1 }

// priority is what says where nodes begin: the least of the first bytes of a hash; of two that are equal the lower key is less.
type priority struct {
	hash uint64
	key  []byte
}

// priorityOf returns that of a key of a level. That of an anchor is below all others.
func (m Map) priorityOf(level int, key []byte) priority {
	if len(key) == 0 {
		return priority{}
	}
	var buf [SaltSize + 1 + 64]byte
	text := append(append(append(buf[:0], m.Salt[:]...), byte(level)), key...)
	sum := core.ScoreOf(text)
	return priority{binary.BigEndian.Uint64(sum[:]), key}
}

func (p priority) less(q priority) bool {
	switch {
	case len(p.key) == 0 || len(q.key) == 0:
		return len(p.key) == 0 && len(q.key) != 0
	case p.hash != q.hash:
		return p.hash < q.hash
	}
	return bytes.Compare(p.key, q.key) < 0
}

// checkRecord tells whether a record is within the limits.
func checkRecord(r Record) error {
	switch {
	case len(r.Key) == 0:
		return fmt.Errorf("record with an empty key: %w", core.ErrInvalid)
	case len(r.Key) > KeySizeMax:
		return fmt.Errorf("key %.40q has %d bytes, of %d at most: %w", r.Key, len(r.Key), KeySizeMax, core.ErrInvalid)
	case len(r.Value) > ValueSizeMax:
		return fmt.Errorf("value of %.40q has %d bytes, of %d at most: %w", r.Key, len(r.Value), ValueSizeMax, core.ErrInvalid)
	}
	return nil
}
