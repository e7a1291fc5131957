package table

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/grange-grid/grange/pure/document"
	"github.com/grange-grid/grange/pure/tree"
)

const (
	// entriesMax is how many entries one operation's document may have in an index.
	entriesMax = 256
	// rowEntriesMax is how many a row has that is made of many.
	rowEntriesMax = 1 << 16
)

// values are the composed keys that a document has in an index, rising, at most so many and one more.
func (x Index) values(doc document.Doc, most int) [][]byte {
	keys := [][]byte{nil}
	for _, f := range x.Fields {
		parts := fieldKeys(doc, f)
		var next [][]byte
		for _, key := range keys {
			for _, part := range parts {
				if len(next) > most {
					break
				}
				next = append(next, append(bytes.Clone(key), part...))
			}
		}
		keys = next
	}
	return keys
}

// fieldKeys are the keys of a field's values, rising.
func fieldKeys(doc document.Doc, field string) [][]byte {
	var out [][]byte
	for v := range doc.Each(field) {
		if key, ok := document.AppendKey(nil, v); ok {
			out = append(out, key)
		}
	}
	slices.SortFunc(out, bytes.Compare)
	return slices.CompactFunc(out, bytes.Equal)
}

// void tells whether a document has more entries in an index than one may.
func (d *Definition) void(doc document.Doc) bool {
	for _, x := range d.Indexes {
		if len(x.values(doc, entriesMax)) > entriesMax {
			return true
		}
	}
	return false
}

// Entries returns the records that a row has in an index, rising. ops are all operations on its key, of which a unique index needs to know.
func (d *Definition) Entries(x Index, r *Row, ops []Op) []tree.Record {
	most := entriesMax
	if len(r.Sources) > 1 {
		most = rowEntriesMax
	}
	keys := x.values(r.Doc, most-1)
	out := make([]tree.Record, 0, len(keys))
	for _, key := range keys {
		if x.Unique {
			key = binary.BigEndian.AppendUint64(key, x.claim(key, r, ops))
		}
		out = append(out, tree.Record{Key: append(key, r.Key...), Value: r.Origin[:]})
	}
	return out
}

// claim is since when a row has a value in a unique index: since its author first put it there, and nobody has deleted it since.
func (x Index) claim(value []byte, r *Row, ops []Op) uint64 {
	author, out := r.Newest().Author, r.Newest().Clock
	var deleted *Op
	for i := range ops {
		if o := &ops[i]; o.Doc.IsZero() && (deleted == nil || o.newer(deleted)) {
			deleted = o
		}
	}
	for i := range ops {
		o := &ops[i]
		if o.Author != author || o.Doc.IsZero() || o.Clock >= out || deleted != nil && !o.newer(deleted) {
			continue
		}
		if slices.ContainsFunc(x.values(o.Doc, entriesMax), func(v []byte) bool { return bytes.Equal(v, value) }) {
			out = o.Clock
		}
	}
	return out
}

// claimSize is what a unique index's key has between its value and the row's key.
const claimSize = 8
