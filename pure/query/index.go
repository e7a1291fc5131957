package query

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
)

// EntriesMax is how many entries a document has in one index at most.
const EntriesMax = 1024

// Index says which tree there is besides that of the documents. Its keys are those of the
// fields' values (document.AppendKey), one after the other, and the document's own key. A document with a list has
// an entry for each of the elements, and with several lists for each choice of theirs. One
// without a value for the first field has none; where another field has none, its place in the key says so.
// Lists in lists, and objects, are no values.
type Index struct {
	// Fields are one to document.FieldsMax, of which none is twice, and none @key.
	Fields []Field
	// Unique says that two documents with the same values are not meant to be.
	Unique bool
	// Flat says that no document has more than one entry. It is no part of what an index
	// is, but what is known of it: then a range's entries can be counted instead of its documents.
	Flat bool
}

// ParseIndex reads the fields of an index, with commas between: "author,time".
func ParseIndex(text string) (Index, error) {
	p := newParser(text)
	var x Index
	for {
		at := p.tok.at
		f := p.field()
		switch {
		case f.text == KeyField:
			p.fail(at, "each index ends with the document's key anyway")
		case slices.ContainsFunc(x.Fields, func(g Field) bool { return g.text == f.text }):
			p.fail(at, f.text+" is in the index already")
		case len(x.Fields) == document.FieldsMax:
			p.fail(at, fmt.Sprintf("an index has at most %d fields", document.FieldsMax))
		}
		x.Fields = append(x.Fields, f)
		if !p.take(",") {
			break
		}
	}
	p.end("a comma or the end")
	if err := p.result(); err != nil {
		return Index{}, err
	}
	return x, nil
}

// String returns the fields as ParseIndex reads them.
func (x Index) String() string {
	texts := make([]string, len(x.Fields))
	for i, f := range x.Fields {
		texts[i] = f.text
	}
	return strings.Join(texts, ",")
}

// Keys returns the keys of a row's entries in an index, rising. More than EntriesMax are core.ErrTooLarge.
func (x Index) Keys(row Row) ([][]byte, error) {
	keys := [][]byte{nil}
	for i, f := range x.Fields {
		var values [][]byte
		for v := range f.scalars(&row) {
			values = append(values, document.AppendKey(nil, v))
			if len(values) > 2*EntriesMax { // a long list may still have few values
				if values = distinct(values); len(values) > EntriesMax {
					return nil, x.tooMany()
				}
			}
		}
		if len(values) == 0 {
			if i == 0 {
				return nil, nil
			}
			values = [][]byte{{document.TagNone}}
		}
		values = distinct(values)
		if len(keys)*len(values) > EntriesMax {
			return nil, x.tooMany()
		}
		keys = product(keys, values)
	}
	for i := range keys {
		keys[i] = append(keys[i], row.Key...)
	}
	return keys, nil
}

func (x Index) tooMany() error {
	return fmt.Errorf("%w: more than %d entries in the index %s", core.ErrTooLarge, EntriesMax, x)
}

// Split returns the values in the key of an entry, and the document's key. Errors: core.ErrInvalid.
func (x Index) Split(entry []byte) (values []document.Value, key []byte, err error) {
	values, key, err = document.ParseKey(entry, len(x.Fields))
	if err == nil && values[0].Kind() == document.None {
		return nil, nil, fmt.Errorf("%w key: nothing in the first field", core.ErrInvalid)
	}
	return values, key, err
}

// distinct sorts keys and drops those that are there already.
func distinct(keys [][]byte) [][]byte {
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal)
}

// product appends each of ends to each of keys. It rises if both do, as no key begins with another.
func product(keys, ends [][]byte) [][]byte {
	all := make([][]byte, 0, len(keys)*len(ends))
	for _, k := range keys {
		for _, e := range ends {
			all = append(all, slices.Concat(k, e))
		}
	}
	return all
}
