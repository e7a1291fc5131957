package page

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"github.com/grange-grid/grange/core"
)

// Load returns the page that a reference names, opened and checked against it as
// far as the reference can. It need not look into it. The bytes are not kept.
type Load = func(ref []byte) ([]byte, error)

// Walk yields the records whose key starts with prefix and is not below from (nil
// or empty: all), in order, loading only the pages that can hold such. The slices
// are the caller's to keep. The first error ends it: core.ErrCorrupt for a page
// that breaks the format, the order, or its place in the tree, and for a walk of
// the whole tree whose records are not as many as t says; core.ErrVersion;
// core.ErrInvalid for t itself; and what load returned.
func Walk(t Tree, load Load, prefix, from []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		low, high := prefix, after(prefix)
		if bytes.Compare(from, low) > 0 {
			low = from
		}
		w := walker{load: load, low: low, high: high, left: t.Count, yield: yield}
		if err := t.Check(); err != nil {
			yield(Record{}, err)
			return
		}
		if t.Count == 0 || (high != nil && bytes.Compare(low, high) >= 0) {
			return
		}
		if !w.page(t.Root, t.Level, bounds{root: true}) {
			return
		}
		if whole := len(prefix) == 0 && len(from) == 0; whole && w.left > 0 {
			yield(Record{}, corrupt(t.Level, "%d records fewer than the tree's count", w.left))
		}
	}
}

// after returns the least key above all that start with prefix, nil if there is none.
func after(prefix []byte) []byte {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] < 0xff {
			end := bytes.Clone(prefix[:n])
			end[n-1]++
			return end
		}
	}
	return nil
}

type walker struct {
	load      Load
	low, high []byte // the keys wanted: from low, below high (nil: to the end)
	left      uint64 // how many records there may still be
	yield     func(Record, error) bool
}

// page walks one page and those below it; false ends the walk.
func (w *walker) page(ref []byte, level uint, within bounds) bool {
	items, err := fetch(w.load, ref, level, within)
	if err != nil {
		w.yield(Record{}, err)
		return false
	}
	if level == 0 {
		return w.records(items)
	}
	for i, it := range items {
		below := within.of(items, i)
		if below.high != nil && bytes.Compare(below.high, w.low) <= 0 {
			continue
		}
		if w.high != nil && bytes.Compare(it.Key, w.high) >= 0 {
			return true
		}
		if !w.page(it.Value, level-1, below) {
			return false
		}
	}
	return true
}

func (w *walker) records(items []item) bool {
	// All of the leaf count, also those not wanted: else a part of a tree could hold more than the whole.
	if uint64(len(items)) > w.left {
		w.yield(Record{}, corrupt(0, "more records than the tree's count"))
		return false
	}
	w.left -= uint64(len(items))
	for _, it := range items {
		if bytes.Compare(it.Key, w.low) < 0 {
			continue
		}
		if w.high != nil && bytes.Compare(it.Key, w.high) >= 0 {
			return true
		}
		if !w.yield(Record{Key: it.Key, Value: it.Value}, nil) {
			return false
		}
	}
	return true
}

// of returns the bounds of the page that item i of a page with bounds b names.
func (b bounds) of(items []item, i int) bounds {
	below := bounds{low: items[i].Key, high: b.high}
	if i+1 < len(items) {
		below.high = items[i+1].Key
	}
	return below
}

func fetch(load Load, ref []byte, level uint, within bounds) ([]item, error) {
	data, err := load(ref)
	if err != nil {
		return nil, fmt.Errorf("load page of level %d: %w", level, err)
	}
	return decode(data, level, within)
}

// Get returns the value of a key, loading one page a level. Errors: core.ErrNotExist, and those of Walk.
func Get(t Tree, load Load, key []byte) ([]byte, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	if t.Count == 0 {
		return nil, fmt.Errorf("key %.80q: %w", key, core.ErrNotExist)
	}
	ref, within := t.Root, bounds{root: true}
	for level := t.Level; ; level-- {
		items, err := fetch(load, ref, level, within)
		if err != nil {
			return nil, err
		}
		i, found := find(items, key)
		if level == 0 && found {
			return items[i].Value, nil
		}
		if level == 0 || i < 0 {
			return nil, fmt.Errorf("key %.80q: %w", key, core.ErrNotExist)
		}
		ref, within = items[i].Value, within.of(items, i)
	}
}

// find returns the last item whose key is not above key, -1 if there is none.
func find(items []item, key []byte) (i int, found bool) {
	i, found = slices.BinarySearchFunc(items, key, func(it item, k []byte) int { return bytes.Compare(it.Key, k) })
	if !found {
		i--
	}
	return i, found
}

// Refs yields the reference of every page, the root first and each page before those below it.
// It loads the pages above the leaves, never a leaf. The first error, of the kinds of Walk, ends it.
func Refs(t Tree, load Load) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := t.Check(); err != nil {
			yield(nil, err)
			return
		}
		if t.Count == 0 || !yield(bytes.Clone(t.Root), nil) || t.Level == 0 {
			return
		}
		l := lister{load: load, left: t.Count, yield: yield}
		l.below(t.Root, t.Level, bounds{root: true})
	}
}

type lister struct {
	load  Load
	left  uint64 // how many leaves there may still be: each has a record at least
	yield func([]byte, error) bool
}

// below lists what stands below a page above the leaves; false ends the walk.
func (l *lister) below(ref []byte, level uint, within bounds) bool {
	items, err := fetch(l.load, ref, level, within)
	if err != nil {
		l.yield(nil, err)
		return false
	}
	for i, it := range items {
		if level == 1 {
			if l.left == 0 {
				l.yield(nil, corrupt(level, "more leaves than the tree has records"))
				return false
			}
			l.left--
		}
		if !l.yield(it.Value, nil) {
			return false
		}
		if level > 1 && !l.below(it.Value, level-1, within.of(items, i)) {
			return false
		}
	}
	return true
}
