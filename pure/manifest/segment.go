package manifest

import (
	"bytes"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/erasure"
)

// SegmentIDSize is the length of a segment's id in bytes. It is random.
const SegmentIDSize = 16

// Segment says how one segment is coded, and the score of each of its pieces. It
// holds no key: it can be handed to a mender who may not read.
type Segment struct {
	V  uint   `json:"v"`
	ID []byte `json:"id"`
	// K and M are how many data and parity pieces there are.
	K uint64 `json:"k"`
	M uint64 `json:"m"`
	// Size is that of each piece in bytes.
	Size uint64 `json:"size"`
	// Pieces are the scores of all K+M pieces joined, data first, also of such as are not placed.
	Pieces []byte `json:"pieces"`
}

// Check bounds everything in s. Errors: core.ErrVersion, core.ErrInvalid.
func (s Segment) Check() error {
	if err := checkVersion("segment", s.V); err != nil {
		return err
	}
	switch {
	case len(s.ID) != SegmentIDSize:
		return invalid("segment", "an id of %d bytes, want %d", len(s.ID), SegmentIDSize)
	case s.K < 1 || s.K > erasure.DataMax || s.M > erasure.ParityMax:
		return invalid("segment", "%d+%d pieces, want 1 to %d and 0 to %d", s.K, s.M, erasure.DataMax, erasure.ParityMax)
	case s.Size < 1 || s.Size > erasure.PieceSizeMax:
		return invalid("segment", "pieces of %d bytes, want 1 to %d", s.Size, erasure.PieceSizeMax)
	case len(s.Pieces) != s.Total()*core.ScoreSize:
		return invalid("segment", "scores of %d bytes, want %d for %d pieces", len(s.Pieces), s.Total()*core.ScoreSize, s.Total())
	}
	for i := range s.Total() {
		if s.Piece(i).IsZero() {
			return invalid("segment", "piece %d has no score", i)
		}
	}
	return nil
}

// Total is the number of all pieces, data and parity.
func (s Segment) Total() int { return int(s.K + s.M) }

// Shape is how s is coded.
func (s Segment) Shape() erasure.Shape { return erasure.Shape{K: int(s.K), M: int(s.M)} }

// Piece returns the score of piece i, from 0, below Total, of a segment that was checked.
func (s Segment) Piece(i int) core.Score {
	return core.Score(s.Pieces[i*core.ScoreSize : (i+1)*core.ScoreSize])
}

// Index returns which piece has that score, -1 if none has.
func (s Segment) Index(piece core.Score) int {
	for i := range s.Total() {
		if s.Piece(i) == piece {
			return i
		}
	}
	return -1
}

// Key returns the key of s in the state.
func (s Segment) Key() []byte { return SegmentKey(s.ID) }

// Marshal returns the strict CBOR of s. Errors: those of Check.
func (s Segment) Marshal() ([]byte, error) { return marshal(s) }

// DecodeSegment reads what Marshal returns. Errors: core.ErrVersion, core.ErrInvalid, core.ErrTooLarge.
func DecodeSegment(b []byte) (Segment, error) { return decode[Segment]("segment", b, recordSizeMax) }

// SegmentKey returns the key in the state of the segment with that id.
func SegmentKey(id []byte) []byte { return append([]byte(SegmentPrefix), id...) }

// ParseSegmentKey returns the id in what SegmentKey returned. Errors: core.ErrInvalid.
func ParseSegmentKey(key []byte) ([]byte, error) {
	id, ok := bytes.CutPrefix(key, []byte(SegmentPrefix))
	if !ok || len(id) != SegmentIDSize {
		return nil, invalid("segment key", "%d bytes", len(key))
	}
	return bytes.Clone(id), nil
}
