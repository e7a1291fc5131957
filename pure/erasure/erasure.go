// Package erasure makes parity pieces of data pieces and rebuilds missing
// pieces: Reed–Solomon over GF(2⁸), so that any k of k+m pieces give all of
// them. It is the sole importer of klauspost/reedsolomon, whose default matrix
// (Vandermonde, made systematic) is part of the stored format: the vectors in
// docs/vectors/erasure.json pin it.
//
// It never tells whether a piece is right: a piece with one flipped bit rebuilds
// to wrong pieces without an error. Callers check each piece against its score
// before and after. It does not cut or join bytes, place pieces, or start
// goroutines; a caller who wants more than one core codes several segments.
package erasure

import (
	"fmt"

	"github.com/klauspost/reedsolomon"

	"github.com/grange-grid/grange/core"
)

// The limits of a Shape, and of the bytes in one piece. Beyond ten outputs the
// library's fast paths end, and coding is several times slower.
const (
	DataMax      = 10
	ParityMax    = 10
	PieceSizeMax = 1 << 20
)

// Shape is how many data and parity pieces a segment has.
type Shape struct {
	K int // data pieces, 1 to DataMax
	M int // parity pieces, 0 to ParityMax
}

// Valid returns core.ErrInvalid, wrapped, for a shape outside the limits.
func (s Shape) Valid() error {
	if s.K < 1 || s.K > DataMax || s.M < 0 || s.M > ParityMax {
		return fmt.Errorf("shape %d+%d: want 1 to %d data and 0 to %d parity pieces: %w", s.K, s.M, DataMax, ParityMax, core.ErrInvalid)
	}
	return nil
}

// Total is the number of all pieces.
func (s Shape) Total() int { return s.K + s.M }

// Coder codes segments of one shape. Its methods may be called at once.
type Coder struct {
	shape   Shape
	encoder reedsolomon.Encoder
}

// New returns a coder. Errors: core.ErrInvalid, as Shape.Valid.
func New(s Shape) (*Coder, error) {
	if err := s.Valid(); err != nil {
		return nil, err
	}
	encoder, err := reedsolomon.New(s.K, s.M,
		reedsolomon.WithMaxGoroutines(1),
		// The cache grows with every set of missing pieces ever seen, 184,756 of
		// them for 10+10, and inverting a 10×10 matrix costs microseconds.
		reedsolomon.WithInversionCache(false))
	if err != nil {
		return nil, fmt.Errorf("make coder %d+%d: %w", s.K, s.M, err)
	}
	return &Coder{shape: s, encoder: encoder}, nil
}

// Parity fills the last m of k+m pieces from the first k. All have one length,
// 1 to PieceSizeMax bytes; the parity pieces' old bytes do not matter.
// Errors: core.ErrInvalid, before anything is written.
func (c *Coder) Parity(pieces [][]byte) error {
	size, _, err := c.check(pieces)
	if err != nil {
		return fmt.Errorf("make parity: %w", err)
	}
	for i, p := range pieces {
		if len(p) != size {
			return fmt.Errorf("make parity: piece %d of %d bytes, others of %d: %w", i, len(p), size, core.ErrInvalid)
		}
	}
	if c.shape.M == 0 {
		return nil
	}
	if err := c.encoder.Encode(pieces); err != nil {
		return fmt.Errorf("make parity: %w", err)
	}
	return nil
}

// Rebuild makes the missing ones (nil or empty) among k+m pieces: those that
// want marks, or all where want is nil. Those that are there have one length,
// 1 to PieceSizeMax bytes, and are left as they are. A missing piece is written
// into the slice's capacity where that suffices, else into new memory; missing
// pieces that are not wanted stay as they are. Fewer than k pieces are an error
// where any is wanted. Errors: core.ErrInvalid for lists or lengths that do not fit.
func (c *Coder) Rebuild(pieces [][]byte, want []bool) error {
	_, there, err := c.check(pieces)
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	if want != nil && len(want) != len(pieces) {
		return fmt.Errorf("rebuild: %d wishes for %d pieces: %w", len(want), len(pieces), core.ErrInvalid)
	}
	missing := false
	for i, p := range pieces {
		missing = missing || len(p) == 0 && (want == nil || want[i])
	}
	if !missing {
		return nil
	}
	if there < c.shape.K {
		return fmt.Errorf("rebuild: %d pieces of %d are there, want %d", there, c.shape.Total(), c.shape.K)
	}
	if want == nil {
		err = c.encoder.Reconstruct(pieces)
	} else {
		err = c.encoder.ReconstructSome(pieces, want)
	}
	if err != nil {
		return fmt.Errorf("rebuild: %w", err)
	}
	return nil
}

// check returns the length of the pieces that are there, and how many are.
func (c *Coder) check(pieces [][]byte) (size, there int, err error) {
	if len(pieces) != c.shape.Total() {
		return 0, 0, fmt.Errorf("%d pieces, want %d: %w", len(pieces), c.shape.Total(), core.ErrInvalid)
	}
	for i, p := range pieces {
		if len(p) == 0 {
			continue
		}
		there++
		if size == 0 {
			size = len(p)
		}
		if len(p) != size {
			return 0, 0, fmt.Errorf("piece %d of %d bytes, others of %d: %w", i, len(p), size, core.ErrInvalid)
		}
	}
	if there == 0 {
		return 0, 0, fmt.Errorf("no piece has bytes: %w", core.ErrInvalid)
	}
	if size > PieceSizeMax {
		return 0, 0, fmt.Errorf("pieces of %d bytes, at most %d: %w", size, PieceSizeMax, core.ErrInvalid)
	}
	return size, there, nil
}
