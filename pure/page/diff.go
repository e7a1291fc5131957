package page

import (
	"bytes"
	"iter"
)

// Difference is a record that two trees do not have alike. A nil value says that the tree
// has no such key.
type Difference struct {
	Key      []byte
	Old, New []byte
}

// Diff yields in order by what records two trees differ. It loads the pages above the
// leaves of both, and of the leaves only those that not both have: what a small change
// costs does not depend on how large the trees are. That a tree has as many records as
// it says is not checked. The first error, of the kinds of Walk, ends it.
func Diff(before, after Tree, load Load) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		a, err := leaves(before, load)
		if err != nil {
			yield(Difference{}, err)
			return
		}
		b, err := leaves(after, load)
		if err != nil {
			yield(Difference{}, err)
			return
		}
		nextA, stopA := iter.Pull2(records(without(a, b), load))
		defer stopA()
		nextB, stopB := iter.Pull2(records(without(b, a), load))
		defer stopB()
		join(nextA, nextB, yield)
	}
}

// join walks two lists of records side by side.
func join(nextA, nextB func() (item, error, bool), yield func(Difference, error) bool) {
	x, errX, moreX := nextA()
	y, errY, moreY := nextB()
	for moreX || moreY {
		for _, err := range []error{errX, errY} {
			if err != nil {
				yield(Difference{}, err)
				return
			}
		}
		order := bytes.Compare(x.Key, y.Key)
		switch {
		case !moreX:
			order = 1
		case !moreY:
			order = -1
		}
		d := Difference{Key: y.Key}
		if order <= 0 {
			d.Key, d.Old = x.Key, x.Value
			x, errX, moreX = nextA()
		}
		if order >= 0 {
			d.New = y.Value
			y, errY, moreY = nextB()
		}
		if (order != 0 || !bytes.Equal(d.Old, d.New)) && !yield(d, nil) {
			return
		}
	}
}

// leaf is a reference to a page of level 0, and where its keys must lie.
type leaf struct {
	ref    []byte
	within bounds
}

// leaves lists the leaves of a tree in order.
func leaves(t Tree, load Load) ([]leaf, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	if t.Count == 0 {
		return nil, nil
	}
	level := []leaf{{ref: t.Root, within: bounds{root: true}}}
	for n := t.Level; n > 0; n-- {
		var below []leaf
		for _, p := range level {
			items, err := fetch(load, p.ref, n, p.within)
			if err != nil {
				return nil, err
			}
			if uint64(len(below)+len(items)) > t.Count {
				return nil, corrupt(n, "more pages than the tree has records")
			}
			for i, it := range items {
				below = append(below, leaf{ref: it.Value, within: p.within.of(items, i)})
			}
		}
		level = below
	}
	return level, nil
}

// without returns the leaves of a that b does not have.
func without(a, b []leaf) []leaf {
	has := make(map[string]bool, len(b))
	for _, l := range b {
		has[string(l.ref)] = true
	}
	var out []leaf
	for _, l := range a {
		if !has[string(l.ref)] {
			out = append(out, l)
		}
	}
	return out
}

// records yields what is in leaves.
func records(list []leaf, load Load) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		for _, l := range list {
			items, err := fetch(load, l.ref, 0, l.within)
			if err != nil {
				yield(item{}, err)
				return
			}
			for _, it := range items {
				if it.Value == nil {
					it.Value = []byte{} // nil is for none
				}
				if !yield(it, nil) {
					return
				}
			}
		}
	}
}
