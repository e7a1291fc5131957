package table

import (
	"bytes"
	"slices"

	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/pure/tree"
)

// standing is what a table has, or is to have, on one key.
type standing struct {
	row     *table.Row
	deleted *table.Op
	// ops are all operations on the key, where its definition makes that matter.
	ops []table.Op
}

// row makes the edits that come of what is new on a key.
func (b *batch) row(key []byte, t *touched) error {
	if b.old.def.Plain() && !t.again {
		return b.plainRow(key, t)
	}
	before, err := b.r.writes(b.old, key)
	if err != nil {
		return err
	}
	left := slices.DeleteFunc(slices.Clone(before), func(o table.Op) bool {
		_, erased := b.erased[table.Target{Author: o.Author, Seq: o.Seq}]
		return erased
	})
	was, err := b.stand(before)
	if err != nil {
		return err
	}
	is, err := b.stand(append(left, t.fresh...))
	if err != nil {
		return err
	}
	b.replace(key, was, is)
	return nil
}

// stand makes of all operations on a key what comes of them.
func (b *batch) stand(ops []table.Op) (s standing, err error) {
	s.ops = ops
	sources, deleted := b.old.def.Sources(ops)
	if s.deleted = deleted; len(sources) == 0 {
		return s, nil
	}
	row, err := b.old.def.NewRow(sources)
	s.row = &row
	return s, err
}

// plainRow does the same where the newest operation alone is what a key has.
func (b *batch) plainRow(key []byte, t *touched) error {
	newest := &t.fresh[0]
	for i := range t.fresh {
		if o := &t.fresh[i]; table.Newer(o.Clock, o.ID, newest.Clock, newest.ID) {
			newest = o
		}
	}
	was, place, err := b.place(key)
	if err != nil || place != nil && !table.Newer(newest.Clock, newest.ID, place.Clock, place.ID) {
		return err
	}
	is := standing{}
	if newest.Write.Kind == feed.Delete {
		is.deleted = newest
	} else {
		row, err := b.old.def.NewRow([]table.Op{*newest})
		if err != nil {
			return err
		}
		is.row = &row
	}
	b.replace(key, was, is)
	return nil
}

// place returns what there is under a key; nil if nothing.
func (b *batch) place(key []byte) (was standing, place *table.Place, err error) {
	value, err := b.old.get(rowsAt, key)
	if err != nil {
		return was, nil, err
	}
	if value == nil {
		if value, err = b.old.get(goneAt, table.DeletedKey(key)); value == nil || err != nil {
			return was, nil, err
		}
		p, err := table.ParsePlace(value)
		was.deleted = &table.Op{}
		return was, &p, err
	}
	p, err := table.ParseRowValue(value)
	if err != nil {
		return was, nil, err
	}
	row, err := b.r.row(b.old, key, p)
	was.row = &row
	return was, &p, err
}

// replace makes the edits that put one in the place of another.
func (b *batch) replace(key []byte, was, is standing) {
	switch {
	case is.row != nil:
		b.edit(rowsAt, key, table.RowValue(is.row))
	case was.row != nil:
		b.edit(rowsAt, key, nil)
	}
	switch {
	case is.deleted != nil:
		b.edit(goneAt, table.DeletedKey(key), table.DeletedValue(is.deleted))
	case was.deleted != nil:
		b.edit(goneAt, table.DeletedKey(key), nil)
	}
	for i := range b.old.def.Indexes {
		old, next := b.entries(i, was), b.entries(i, is)
		rows := &b.next.Indexes[i].Rows
		*rows += uint64(min(1, len(next)))
		*rows -= uint64(min(1, len(old)))
		for _, r := range old {
			if !slices.ContainsFunc(next, func(n tree.Record) bool { return bytes.Equal(n.Key, r.Key) }) {
				b.edit(indexesAt+i, r.Key, nil)
			}
		}
		for _, r := range next {
			b.edit(indexesAt+i, r.Key, r.Value)
		}
	}
}

func (b *batch) entries(x int, s standing) []tree.Record {
	if s.row == nil {
		return nil
	}
	return b.old.def.Entries(x, s.row, s.ops)
}

// writes returns all operations on a key that were taken and are neither void nor erased.
func (r *replica) writes(f *forest, key []byte) (out []table.Op, err error) {
	prefix := writesOf(f.check.Table, f.generation, key)
	var all []table.Target
	err = f.records.Visit(prefix, nil, func(k, _ []byte) bool {
		if len(k) == len(prefix)+40 { // else a longer key's
			at, _ := parseTarget(k[len(prefix):])
			all = append(all, at)
		}
		return true
	})
	for _, at := range all {
		l, failed := r.t.c.Feeds.Get(f.check.Table, at.Author, at.Seq)
		if failed != nil {
			return nil, failed
		}
		op, ok, failed := r.read(&l, f.def, f.def.LeaveOf(at.Author))
		if failed != nil {
			return nil, failed
		}
		if ok {
			out = append(out, op)
		}
	}
	return out, err
}

// row returns a row that a state has.
func (r *replica) row(f *forest, key []byte, p table.Place) (table.Row, error) {
	if p.Many {
		ops, err := r.writes(f, key)
		if err != nil {
			return table.Row{}, err
		}
		sources, _ := f.def.Sources(ops)
		return f.def.NewRow(sources)
	}
	l, err := r.t.c.Feeds.Get(f.check.Table, p.Author, p.Seq)
	if err != nil {
		return table.Row{}, err
	}
	op, err := f.def.Operation(l)
	if err != nil {
		return table.Row{}, err
	}
	return f.def.NewRow([]table.Op{op})
}
