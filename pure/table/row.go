package table

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
	"github.com/grange-grid/grange/pure/feed"
)

// SourcesMax is how many operations a row is made of at most.
const SourcesMax = 256

// Op is an operation on a key, that stands and is neither void nor erased.
type Op struct {
	feed.Logged
	Write
}

// newer tells whether an operation is newer than another.
func (o *Op) newer(p *Op) bool { return Newer(o.Clock, o.ID, p.Clock, p.ID) }

// Newer tells whether an operation of one clock and id is newer than that of another.
func Newer(clock uint64, id core.Score, clock2 uint64, id2 core.Score) bool {
	if clock != clock2 {
		return clock > clock2
	}
	return bytes.Compare(id[:], id2[:]) > 0
}

// Row is what a table has under a key.
type Row struct {
	Key []byte
	Doc document.Doc
	// Sources are the operations that it is made of, the newest first.
	Sources []Op
	Origin  core.Score
}

// Newest is the operation that says what the row is.
func (r *Row) Newest() *Op { return &r.Sources[0] }

// Sources picks from all operations on a key those that its row is made of, the newest first; none where there is no
// row, and then the newest is returned if it is a delete.
func (d *Definition) Sources(ops []Op) (sources []Op, deleted *Op) {
	if len(ops) == 0 {
		return nil, nil
	}
	all := slices.Clone(ops)
	slices.SortFunc(all, func(a, b Op) int {
		if a.newer(&b) {
			return -1
		}
		return 1
	})
	if all[0].Write.Kind == feed.Delete {
		return nil, &all[0]
	}
	if len(d.Folds) == 0 {
		return all[:1], nil
	}
	seen := map[core.DID]bool{}
	for _, o := range all {
		if o.Write.Kind == feed.Delete {
			break // what is older is deleted
		}
		if !seen[o.Author] && len(sources) < SourcesMax {
			sources = append(sources, o)
		}
		seen[o.Author] = true
	}
	return sources, nil
}

// NewRow makes a row of its sources. Errors: ErrRow where they cannot be those of one.
func (d *Definition) NewRow(sources []Op) (Row, error) {
	if err := d.checkSources(sources); err != nil {
		return Row{}, err
	}
	r := Row{Key: sources[0].Key, Doc: sources[0].Doc, Sources: sources, Origin: originOf(sources)}
	for _, field := range d.foldedFields() {
		r.Doc = r.fold(field, d.Folds[field])
	}
	return r, nil
}

func (d *Definition) foldedFields() []string {
	out := make([]string, 0, len(d.Folds))
	for field := range d.Folds {
		out = append(out, field)
	}
	slices.Sort(out)
	return out
}

func (d *Definition) checkSources(sources []Op) error {
	most := SourcesMax
	if len(d.Folds) == 0 {
		most = 1
	}
	if len(sources) == 0 || len(sources) > most {
		return wrongRow("%d operations make no row of this table", len(sources))
	}
	seen := map[core.DID]bool{}
	for i := range sources {
		switch o := &sources[i]; {
		case o.Write.Kind != feed.Put:
			return wrongRow("operation %d of a row is no put", i)
		case !bytes.Equal(o.Key, sources[0].Key):
			return wrongRow("operation %d of a row is on another key", i)
		case seen[o.Author]:
			return wrongRow("operation %d of a row is by the author of another", i)
		case i > 0 && !sources[i-1].newer(o):
			return wrongRow("operation %d of a row is newer than the one before", i)
		default:
			seen[o.Author] = true
		}
	}
	return nil
}

// originOf is the id of the only source, else the score of all ids.
func originOf(sources []Op) core.Score {
	if len(sources) == 1 {
		return sources[0].ID
	}
	var ids []byte
	for i := range sources {
		ids = append(ids, sources[i].ID[:]...)
	}
	return core.ScoreOf(ids)
}

// fold returns the row's document with the value of one field that is made of all sources'.
func (r *Row) fold(field string, fold Fold) document.Doc {
	switch fold {
	case Set:
		return r.Doc.With(field, r.set(field))
	case Counter:
		return r.Doc.With(field, r.sum(field))
	default:
		return r.Doc.With(field, r.alternatives(field))
	}
}

func (r *Row) set(field string) document.Value {
	var values []document.Value
	for i := range r.Sources {
		values = append(values, elements(r.Sources[i].Doc, field)...)
	}
	if len(values) == 0 {
		return document.Value{}
	}
	return document.ListValue(distinct(values))
}

// sum is nothing where there is no number.
func (r *Row) sum(field string) document.Value {
	sum, some := 0.0, false
	for _, o := range slices.Backward(r.Sources) {
		for _, v := range elements(o.Doc, field) {
			if v.Kind() == document.Number {
				sum, some = max(-math.MaxFloat64, min(math.MaxFloat64, sum+v.Number())), true
			}
		}
	}
	if !some {
		return document.Value{}
	}
	return document.NumberValue(sum)
}

// alternatives are the values that no other source's writer had seen.
func (r *Row) alternatives(field string) document.Value {
	seen := map[core.Score]bool{}
	for i := range r.Sources {
		for _, id := range r.Sources[i].Seen {
			seen[id] = true
		}
	}
	var values []document.Value
	for i := range r.Sources {
		if v, ok := r.Sources[i].Doc.Field(document.Path{field}); ok && !seen[r.Sources[i].ID] {
			values = append(values, v)
		}
	}
	if len(values) == 0 {
		return document.Value{}
	}
	return document.ListValue(distinct(values))
}

// elements are the values of a field: those of a list, or the single one.
func elements(d document.Doc, field string) []document.Value {
	v, ok := d.Field(document.Path{field})
	switch {
	case !ok:
		return nil
	case v.Kind() == document.List:
		return slices.Collect(v.Elements())
	}
	return []document.Value{v}
}

func distinct(values []document.Value) []document.Value {
	slices.SortFunc(values, document.Compare)
	return slices.CompactFunc(values, func(a, b document.Value) bool { return document.Compare(a, b) == 0 })
}

// What a record of the tree of rows begins with.
const (
	oneSource   = 1
	manySources = 2
)

// RowValue is the record of a row in the tree of rows.
func RowValue(r *Row) []byte {
	o := r.Newest()
	if len(r.Sources) > 1 {
		out := binary.BigEndian.AppendUint64([]byte{manySources}, o.Clock)
		return append(out, r.Origin[:]...)
	}
	return append([]byte{oneSource}, placeOf(o)...)
}

// placeOf is what a record says of one operation.
func placeOf(o *Op) []byte {
	out := binary.BigEndian.AppendUint64(make([]byte, 0, placeSize), o.Clock)
	out = append(append(out, o.ID[:]...), o.Author[:]...)
	return binary.BigEndian.AppendUint64(out, o.Seq)
}

const placeSize = 8 + 32 + 32 + 8

// Place is what a record of the trees of rows, or of what is gone, says of the operation.
type Place struct {
	Clock uint64
	// ID is the row's origin where there are Many sources; then the rest is not said.
	ID   core.Score
	Many bool
	Target
}

// ParseRowValue reads the record of a row. Errors: core.ErrInvalid.
func ParseRowValue(b []byte) (Place, error) {
	switch {
	case len(b) == 1+placeSize && b[0] == oneSource:
		return ParsePlace(b[1:])
	case len(b) == 1+8+core.ScoreSize && b[0] == manySources:
		p := Place{Clock: binary.BigEndian.Uint64(b[1:]), Many: true}
		copy(p.ID[:], b[9:])
		return p, nil
	}
	return Place{}, invalid("a record of %d bytes of a row", len(b))
}

// ParsePlace reads the record of a deleted row. Errors: core.ErrInvalid.
func ParsePlace(b []byte) (p Place, err error) {
	if len(b) != placeSize {
		return p, invalid("a record of %d bytes of an operation", len(b))
	}
	p.Clock, p.Seq = binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[placeSize-8:])
	copy(p.ID[:], b[8:])
	copy(p.Author[:], b[40:])
	return p, nil
}

// Keys and values of the tree of what is gone.

// DeletedKey is that of a deleted row.
func DeletedKey(key []byte) []byte { return append([]byte{0}, key...) }

// DeletedValue is the record of a deleted row.
func DeletedValue(by *Op) []byte { return placeOf(by) }

// ErasedKey is that of an erased operation.
func ErasedKey(t Target) []byte { return t.append([]byte{1}) }

// ErasedValue is the record of an erased operation, by the erase.
func ErasedValue(by Target) []byte { return by.append(nil) }

// FeedValue is the record of an author in the tree of feeds: its last operation that stands, and what its feed comes to.
func FeedValue(seq uint64, id core.Score, size uint64) []byte {
	out := binary.BigEndian.AppendUint64(make([]byte, 0, 48), seq)
	return binary.BigEndian.AppendUint64(append(out, id[:]...), size)
}

// ParseFeedValue reads the record of an author. Errors: core.ErrInvalid.
func ParseFeedValue(b []byte) (seq uint64, id core.Score, size uint64, err error) {
	if len(b) != 48 {
		return 0, id, 0, invalid("a record of %d bytes of a feed", len(b))
	}
	copy(id[:], b[8:])
	return binary.BigEndian.Uint64(b), id, binary.BigEndian.Uint64(b[40:]), nil
}
