// Package manifest says what a version of somebody's files consists of: the
// records of its tree, the references to its chunks, the segments that those lie
// in, and the version and tombstone records that a household's state has of it.
// Formats are those of docs/SPEC.md §4 and §5.
//
// A manifest may come from a partner, a ticket or a broken disk, and what it says
// goes to a filesystem and to an allocator. So whatever is decoded here has been
// checked: paths stay below their root, sizes are such as there can be, modes
// cannot hand out rights, and records that follow one another fit (Rows).
//
// The room makes and checks records. How they become pages is pure/page, how bytes
// are packed and sealed pure/chunk and pure/seal; what restores them is elsewhere,
// and trusts no path only because it was checked here.
package manifest

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/seal"
)

// RefSizeMax bounds an encoded Ref in bytes.
const RefSizeMax = 256

// SealedSizeMax is the longest a sealed chunk or page can be, in bytes.
const SealedSizeMax = chunk.PackedSizeMax + sealOverhead

// sealOverhead is the tag of AES-256-GCM.
const sealOverhead = 16

// segmentSizeMax is the most data bytes that a segment holds.
const segmentSizeMax = erasure.DataMax * erasure.PieceSizeMax

// Ref is all that is needed to find and open one sealed chunk or page: it is a
// secret. It travels as an array of eight elements.
type Ref struct {
	_ struct{} `cbor:",toarray"`
	// Plain and Packed are the scores of the bytes, and of them as they are packed.
	Plain, Packed core.Score
	Key           seal.Key
	// Size and Sealed are lengths in bytes: of the plain, and of the sealed bytes.
	Size, Sealed uint64
	// Segment is the id of the segment that has the bytes, and Offset where in it
	// they begin; both are empty where Page is not.
	Segment []byte
	Offset  uint64
	// Page is the score of the sealed bytes, for a page of the state, which a partner keeps by it.
	Page []byte
}

// Check bounds everything in r, which has a Segment or a Page. Errors: core.ErrInvalid.
func (r Ref) Check() error {
	packed := r.Sealed - sealOverhead // below the least size if it wraps: refused next
	switch {
	case r.Plain.IsZero() || r.Packed.IsZero():
		return invalid("reference", "a score is missing")
	case r.Size < 1 || r.Size > chunk.SizeMax:
		return invalid("reference", "a chunk of %d bytes, want 1 to %d", r.Size, chunk.SizeMax)
	case r.Sealed <= sealOverhead || r.Sealed > SealedSizeMax:
		return invalid("reference", "%d sealed bytes, want %d to %d", r.Sealed, sealOverhead+1, SealedSizeMax)
	case chunk.Padme(int(packed)) != int(packed):
		return invalid("reference", "%d sealed bytes, which is no padded length", r.Sealed)
	case len(r.Page) == core.ScoreSize && len(r.Segment) == 0 && r.Offset == 0:
		return nil
	case len(r.Segment) != SegmentIDSize || len(r.Page) != 0:
		return invalid("reference", "a segment of %d bytes and a page of %d, want %d and 0 or 0 and %d",
			len(r.Segment), len(r.Page), SegmentIDSize, core.ScoreSize)
	case r.Offset > segmentSizeMax-r.Sealed:
		return invalid("reference", "%d bytes at %d of a segment, which has %d at most", r.Sealed, r.Offset, segmentSizeMax)
	}
	return nil
}

// Within tells whether r's bytes can lie in s. Errors: core.ErrInvalid.
func (r Ref) Within(s Segment) error {
	if string(r.Segment) != string(s.ID) {
		return invalid("reference", "it names segment %x, not %x", r.Segment, s.ID)
	}
	if data := s.K * s.Size; r.Sealed > data || r.Offset > data-r.Sealed {
		return invalid("reference", "%d bytes at %d of segment %x, which has %d", r.Sealed, r.Offset, s.ID, data)
	}
	return nil
}

// Marshal returns the strict CBOR of r. Errors: those of Check.
func (r Ref) Marshal() ([]byte, error) { return marshal(r) }

// ParseRef reads what Marshal returns. Errors: core.ErrInvalid, core.ErrTooLarge.
func ParseRef(b []byte) (Ref, error) { return decode[Ref]("reference", b, RefSizeMax) }

// checker is a record that knows what may stand in it.
type checker interface{ Check() error }

// marshal writes nothing that would not be read again.
func marshal(v checker) ([]byte, error) {
	if err := v.Check(); err != nil {
		return nil, err
	}
	return codec.Marshal(v)
}

func decode[T checker](what string, b []byte, sizeMax int) (T, error) {
	var v, none T
	if err := codec.Unmarshal(b, &v, sizeMax); err != nil {
		return none, fmt.Errorf("%s: %w", what, err)
	}
	if err := v.Check(); err != nil {
		return none, err
	}
	return v, nil
}

func invalid(what, format string, args ...any) error {
	return fmt.Errorf("%s: %w: %s", what, core.ErrInvalid, fmt.Sprintf(format, args...))
}

func checkVersion(what string, v uint) error {
	if v != codec.Version {
		return fmt.Errorf("%s: %w %d, want %d", what, core.ErrVersion, v, codec.Version)
	}
	return nil
}

// recordSizeMax bounds every record here: it must fit a page.
const recordSizeMax = page.RecordSizeMax
