// Package document is what a table holds: JSON objects, kept in one encoding each.
//
// The encoding is core deterministic CBOR (RFC 8949 §4.2.1) of less than CBOR: an
// object with text keys, lists, text, true, false, null, and numbers that float64
// holds. So a document has one hash, and what a program writes as JSON comes back as
// the same values. It is not pure/codec, which has no floats, and decodes into Go
// types: a Doc stays the bytes that it came as, checked once, and is read where it is asked.
//
// Values have an order, and those that are no lists and no objects have keys of bytes
// with that order, of which the keys of indexes are made.
//
// It does not know what fields mean, nor what an index is (pure/query). The bytes are
// in docs/SPEC.md §14.
package document

import (
	"fmt"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
)

// Limits.
const (
	// SizeMax is how many bytes a document has at most, as CBOR.
	SizeMax = 1 << 20
	// TextSizeMax is how many bytes of JSON are read: escapes and spaces make it longer than CBOR.
	TextSizeMax = 8 * SizeMax
	// NestingMax is how many lists and objects may stand one in the other, the document itself the first.
	NestingMax = 32
	// IntegerMax is the largest magnitude of a number that is kept as an integer, 2⁵³: up to there float64 has them all.
	IntegerMax = 1 << 53
)

// Doc is a document. Those that are equal are ==. The zero Doc is none, and has no fields.
type Doc struct {
	cbor string
}

// Path leads to a field: the names of objects' fields, the outermost first. It does not lead into lists.
type Path []string

// FromCBOR checks that data is the one encoding of a document; the Doc holds a copy.
// Errors: core.ErrTooLarge beyond SizeMax, else core.ErrInvalid.
func FromCBOR(data []byte) (Doc, error) {
	if len(data) > SizeMax {
		return Doc{}, tooLarge(len(data))
	}
	s := string(data)
	if err := check(s); err != nil {
		return Doc{}, err
	}
	return Doc{s}, nil
}

// Bytes returns the document's encoding, a copy.
func (d Doc) Bytes() []byte { return []byte(d.cbor) }

// Size is the length of the document's encoding in bytes, 0 for the zero Doc.
func (d Doc) Size() int { return len(d.cbor) }

// Value returns the whole document as an object.
func (d Doc) Value() Value {
	if d.cbor == "" {
		return Value{}
	}
	return Value{kind: Object, raw: d.cbor}
}

// Field returns the value that a path leads to, and whether there is one. The empty path leads to the document.
func (d Doc) Field(path Path) (Value, bool) {
	v := d.Value()
	for _, name := range path {
		var ok bool
		if v, ok = v.field(name); !ok {
			return Value{}, false
		}
	}
	return v, v.kind != None
}

// CheckName tells whether a text can be a document's own key: 1 to NameMax bytes of UTF-8. Else it is core.ErrInvalid.
func CheckName(key string) error {
	if key == "" || len(key) > NameMax || !utf8.ValidString(key) {
		return fmt.Errorf("%w: a document's key is text of 1 to %d bytes", core.ErrInvalid, NameMax)
	}
	return nil
}

func tooLarge(size int) error {
	return fmt.Errorf("%w: a document of %d bytes, at most %d (1 MiB)", core.ErrTooLarge, size, SizeMax)
}
