// Package page keeps a sorted list of records as pages: leaves, the list of
// leaves likewise cut, and so on up to one root. It is how a household's state
// and the manifests of its versions are stored.
//
// Where a page ends is said by the keys, not by how the list came about: equal
// lists make equal pages, and an edit rewrites the page that it falls in, now and
// then a neighbour, and the pages above. Pages are Merkle search trees of the kind
// that Noms and Dolt call prolly trees. The format is docs/SPEC.md §4.
//
// The room knows neither how a page is sealed nor where it lies: a caller stores
// and loads the pages, and names each by a reference of its own, which is opaque here.
// What is loaded is taken for hostile: levels fall, keys rise and stay within
// what the page above says, counts are kept to, so that a walk ends and yields
// a sorted list whatever it is fed. That a tree is cut where the rule says is not
// checked: one that is cut elsewhere holds the same records.
package page

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// Limits, in bytes where they are sizes.
const (
	// LevelMax is the highest level; leaves are level 0.
	LevelMax = 8
	// FanMean is how many items a page has in the mean, where their size allows.
	FanMean = 128
	// FillMax bounds what the items of a page weigh together: key, value and itemWeight each.
	FillMax = 48 << 10
	// RecordSizeMax bounds a record's key and value together.
	RecordSizeMax = 44 << 10
	// KeySizeMax bounds a key. Five such with their references fit a page, so
	// that each level has far fewer pages than the one below.
	KeySizeMax = 8 << 10
	// RefSizeMax bounds an encoded reference.
	RefSizeMax = 1 << 10
	// SizeMax bounds an encoded page: its items, and the map around them.
	SizeMax = FillMax + 64
	// TreeSizeMax bounds an encoded Tree.
	TreeSizeMax = RefSizeMax + 64
)

// itemWeight is no less than what the encoding adds to a key and a value: without
// it a page of very short records would be more than twice its fill.
const itemWeight = 8

// boundary is what a key's hash must be below to end a page.
const boundary = 1 << 32 / FanMean

// Record is one entry of the list.
type Record struct {
	Key, Value []byte
}

// Tree names a list that was stored: its root page, and how many records there are.
type Tree struct {
	V uint `json:"v"`
	// Level is the root page's; leaves are level 0.
	Level uint `json:"level"`
	// Count is the number of records.
	Count uint64 `json:"count"`
	// Root is the encoded reference to the root page, empty when Count is 0.
	Root []byte `json:"root"`
}

// Check tells whether t can name a list. Errors: core.ErrVersion, core.ErrInvalid.
func (t Tree) Check() error {
	switch {
	case t.V != codec.Version:
		return fmt.Errorf("tree: %w %d, want %d", core.ErrVersion, t.V, codec.Version)
	case t.Level > LevelMax:
		return fmt.Errorf("tree: %w: level %d, at most %d", core.ErrInvalid, t.Level, LevelMax)
	case len(t.Root) > RefSizeMax:
		return fmt.Errorf("tree: %w: a reference of %d bytes, at most %d", core.ErrInvalid, len(t.Root), RefSizeMax)
	case (t.Count == 0) != (len(t.Root) == 0), t.Count == 0 && t.Level != 0:
		return fmt.Errorf("tree: %w: %d records, level %d, and a root of %d bytes", core.ErrInvalid, t.Count, t.Level, len(t.Root))
	}
	return nil
}

// DecodeTree reads the strict CBOR of a Tree. Errors: core.ErrVersion, core.ErrInvalid, core.ErrTooLarge.
func DecodeTree(b []byte) (Tree, error) {
	var t Tree
	if err := codec.Unmarshal(b, &t, TreeSizeMax); err != nil {
		return Tree{}, fmt.Errorf("tree: %w", err)
	}
	if err := t.Check(); err != nil {
		return Tree{}, err
	}
	return t, nil
}

// item is a record, or above the leaves the first key of a page below and the reference to it.
type item struct {
	_          struct{} `cbor:",toarray"`
	Key, Value []byte
}

func (i item) weight() int { return len(i.Key) + len(i.Value) + itemWeight }

type body struct {
	V     uint   `json:"v"`
	Level uint   `json:"level"`
	Items []item `json:"items"`
}

// ends tells whether a page of that level ends after key by the rule of hashes.
func ends(level uint, key []byte, scratch []byte) bool {
	scratch = append(append(scratch[:0], byte(level)), key...)
	score := core.ScoreOf(scratch)
	return binary.BigEndian.Uint32(score[:4]) < boundary
}

// bounds are what the page above says of a page: its first key, and a key that all
// of its keys are below. A nil high means that nothing bounds it.
type bounds struct {
	low, high []byte
	root      bool // nothing above says what the first key is
}

// decode reads a page that somebody stored. Errors: core.ErrVersion, core.ErrCorrupt.
func decode(data []byte, level uint, within bounds) ([]item, error) {
	var p body
	if err := codec.Unmarshal(data, &p, SizeMax); errors.Is(err, core.ErrVersion) {
		return nil, fmt.Errorf("page of level %d: %w", level, err)
	} else if err != nil {
		return nil, fmt.Errorf("page of level %d: %w: %w", level, core.ErrCorrupt, err)
	}
	if p.Level != level {
		return nil, corrupt(level, "it says level %d", p.Level)
	}
	if len(p.Items) == 0 {
		return nil, corrupt(level, "no items")
	}
	if !within.root && !bytes.Equal(p.Items[0].Key, within.low) {
		return nil, corrupt(level, "its first key is not the one that the page above has")
	}
	fill := 0
	for i, it := range p.Items {
		if err := it.check(level); err != nil {
			return nil, fmt.Errorf("page of level %d: %w: %w", level, core.ErrCorrupt, err)
		}
		if i > 0 && bytes.Compare(p.Items[i-1].Key, it.Key) >= 0 {
			return nil, corrupt(level, "keys that do not rise")
		}
		fill += it.weight()
	}
	if fill > FillMax {
		return nil, corrupt(level, "items of %d bytes, at most %d", fill, FillMax)
	}
	if last := p.Items[len(p.Items)-1].Key; within.high != nil && bytes.Compare(last, within.high) >= 0 {
		return nil, corrupt(level, "a key that belongs to a later page")
	}
	return p.Items, nil
}

// check tells whether an item may stand in a page. Errors: core.ErrTooLarge, core.ErrInvalid.
func (i item) check(level uint) error {
	switch {
	case len(i.Key) > KeySizeMax:
		return fmt.Errorf("%w: a key of %d bytes, at most %d", core.ErrTooLarge, len(i.Key), KeySizeMax)
	case level == 0 && len(i.Key)+len(i.Value) > RecordSizeMax:
		return fmt.Errorf("%w: a record of %d bytes, at most %d", core.ErrTooLarge, len(i.Key)+len(i.Value), RecordSizeMax)
	case level > 0 && len(i.Value) > RefSizeMax:
		return fmt.Errorf("%w: a reference of %d bytes, at most %d", core.ErrTooLarge, len(i.Value), RefSizeMax)
	case level > 0 && len(i.Value) == 0:
		return fmt.Errorf("%w: an empty reference", core.ErrInvalid)
	}
	return nil
}

func corrupt(level uint, format string, args ...any) error {
	return fmt.Errorf("page of level %d: %w: %s", level, core.ErrCorrupt, fmt.Sprintf(format, args...))
}
