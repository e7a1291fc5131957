package table

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/query"
	"github.com/grange-grid/grange/pure/tree"
)

// asked is what a query sees of an operation's document, or of a row.
func (o *Op) asked() query.Row {
	return query.Row{Key: string(o.Key), Author: o.Author, Time: feed.Millis(o.Clock), Doc: o.Doc}
}

// Asked is what a query sees of a row.
func (r *Row) Asked() query.Row {
	q := r.Newest().asked()
	q.Doc = r.Doc
	return q
}

// Operation makes an operation on a key of what was logged. Errors: ErrVoid.
func (d *Definition) Operation(l feed.Logged) (Op, error) {
	w, err := ParseWrite(l.Kind, l.Payload)
	if err != nil {
		return Op{}, err
	}
	o := Op{l, w}
	if w.Kind != feed.Put {
		return o, nil
	}
	if len(w.Seen) > 0 && len(d.Folds) == 0 {
		return Op{}, void("a put that has seen others, where that means nothing")
	}
	row := o.asked()
	for _, x := range d.indexes {
		if _, err := x.Keys(row); err != nil {
			return Op{}, void("%v", err)
		}
	}
	return o, nil
}

// claimSize is what a unique index's key has between its values and the row's key.
const claimSize = 8

// Entries returns the records that a row has in one of the table's indexes, rising. ops are all operations on its key, of
// which a unique index needs to know.
func (d *Definition) Entries(index int, r *Row, ops []Op) []tree.Record {
	x := d.indexes[index]
	keys, _ := x.Keys(r.Asked()) // a row of several sources may have too many, and then has none
	out := make([]tree.Record, len(keys))
	for i, key := range keys {
		if x.Unique {
			values := key[:len(key)-len(r.Key)]
			claimed := binary.BigEndian.AppendUint64(bytes.Clone(values), claim(x, values, r, ops))
			key = append(claimed, r.Key...)
		}
		out[i] = tree.Record{Key: key, Value: r.Origin[:]}
	}
	return out
}

// claim is since when a row has values in a unique index: since its author first put them there, and nobody has deleted them since.
func claim(x query.Index, values []byte, r *Row, ops []Op) uint64 {
	author, out := r.Newest().Author, r.Newest().Clock
	var deleted *Op
	for i := range ops {
		if o := &ops[i]; o.Write.Kind == feed.Delete && (deleted == nil || o.newer(deleted)) {
			deleted = o
		}
	}
	for i := range ops {
		o := &ops[i]
		if o.Author != author || o.Write.Kind != feed.Put || o.Clock >= out || deleted != nil && !o.newer(deleted) {
			continue
		}
		keys, _ := x.Keys(o.asked())
		if slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k[:len(k)-len(o.Key)], values) }) {
			out = o.Clock
		}
	}
	return out
}

// unclaimed returns the key of an entry as it is in an index that is not unique, and the row's own key.
func unclaimed(x query.Index, entry []byte) (key, rowKey []byte, err error) {
	if !x.Unique {
		_, rowKey, err = x.Split(entry)
		return entry, rowKey, err
	}
	if _, rowKey, err = x.Split(entry); err != nil {
		return nil, nil, err
	}
	values := entry[:len(entry)-len(rowKey)]
	if len(rowKey) <= claimSize {
		return nil, nil, invalid("an entry of %s without a claim", x)
	}
	rowKey = rowKey[claimSize:]
	return append(bytes.Clone(values), rowKey...), rowKey, nil
}
