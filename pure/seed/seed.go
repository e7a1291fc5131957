// Package seed has the files by which a first put goes to a partner on a disk that a
// person carries: a header that the owner's machine signs, and then pieces, each framed so that
// it stands for itself.
//
// A file is read like anything that a stranger hands over. Of each piece its score is checked; behind
// a rotten place the next piece is looked for by its marker, so that a bad sector costs what
// lies on it and no more. Whether the signer speaks for the household that it names, and whether there
// is room, is asked elsewhere.
//
// The format is that of docs/SPEC.md §10; golden vectors are in docs/vectors/seed.json.
package seed

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/pact"
)

const (
	// HeaderSizeMax is the most bytes of a header's body.
	HeaderSizeMax = 1 << 10
	// RecordSize is the bytes that stand before those of each piece.
	RecordSize = checkAt + checkSize
	// FileSize is where a writer begins the next file, in bytes: disks that people carry often
	// have no room in one file for 4 GiB.
	FileSize = 1 << 30

	magic     = "grange seed 1\n\x00\x00"
	marker    = "\x89grs"
	sizeAt    = 4
	indexAt   = sizeAt + 4
	segmentAt = indexAt + 4
	scoreAt   = segmentAt + manifest.SegmentIDSize
	checkAt   = scoreAt + core.ScoreSize
	checkSize = 16

	checkContext = "grange v1 seed record"
)

// Header says whose pieces a file has, and for whom.
type Header struct {
	V uint `json:"v"`
	// Owner is the household whose pieces they are, Agent its machine, which signs.
	Owner core.DID `json:"owner"`
	Agent core.DID `json:"agent"`
	// Holder is the machine that is to keep them.
	Holder core.DID `json:"holder"`
	// Time is when the file was begun, in seconds since 1970.
	Time int64 `json:"time"`
}

// Sign signs a header with its agent's key. V is set. Errors: core.ErrInvalid.
func Sign(k identity.Key, h Header) (identity.Signed, error) {
	h.V = codec.Version
	if err := h.check(k.DID()); err != nil {
		return identity.Signed{}, fmt.Errorf("sign seed: %w", err)
	}
	return identity.Sign(k, identity.KindSeed, h)
}

// Open verifies a header. Errors: core.ErrCorrupt for the signature, core.ErrInvalid,
// core.ErrTooLarge, core.ErrVersion.
func Open(s identity.Signed) (Header, error) {
	h, err := identity.Open[Header](s, identity.KindSeed, HeaderSizeMax)
	if err == nil {
		err = h.check(s.By)
	}
	if err != nil {
		return Header{}, fmt.Errorf("seed: %w", err)
	}
	return h, nil
}

func (h Header) check(by core.DID) error {
	switch {
	case h.Owner.IsZero() || h.Agent.IsZero() || h.Holder.IsZero():
		return fmt.Errorf("%w: owner, agent or holder is missing", core.ErrInvalid)
	case h.Agent == h.Holder:
		return fmt.Errorf("%w: agent and holder are one", core.ErrInvalid)
	case h.Agent != by:
		return fmt.Errorf("%w: of %s, but signed by %s", core.ErrInvalid, h.Agent, by)
	case h.Time < 1 || h.Time > pact.TimeMax:
		return fmt.Errorf("%w: time %d", core.ErrInvalid, h.Time)
	}
	return nil
}

// Record is one piece of a file.
type Record struct {
	Score core.Score
	// Segment and Index say which piece of which segment it is.
	Segment [manifest.SegmentIDSize]byte
	Index   uint32
	// Size is in bytes, 1 to erasure.PieceSizeMax.
	Size uint32
}

// AppendHeader appends to dst what a file begins with.
func AppendHeader(dst []byte, s identity.Signed) ([]byte, error) {
	raw, err := s.Marshal()
	if err != nil {
		return dst, fmt.Errorf("write seed: %w", err)
	}
	dst = append(dst, magic...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(raw)))
	return append(dst, raw...), nil
}

// AppendRecord appends to dst what stands before the bytes of a piece.
func AppendRecord(dst []byte, r Record) []byte {
	from := len(dst)
	dst = append(dst, marker...)
	dst = binary.BigEndian.AppendUint32(dst, r.Size)
	dst = binary.BigEndian.AppendUint32(dst, r.Index)
	dst = append(dst, r.Segment[:]...)
	dst = append(dst, r.Score[:]...)
	check := checkOf(dst[from:])
	return append(dst, check[:]...)
}

func checkOf(record []byte) [checkSize]byte {
	key := core.DeriveKey(checkContext, record)
	return [checkSize]byte(key[:checkSize])
}

// parseRecord reads RecordSize bytes; false if they are no record.
func parseRecord(b []byte) (Record, bool) {
	if string(b[:sizeAt]) != marker {
		return Record{}, false
	}
	if check := checkOf(b[:checkAt]); !bytes.Equal(check[:], b[checkAt:RecordSize]) {
		return Record{}, false
	}
	r := Record{
		Score: core.Score(b[scoreAt:checkAt]), Segment: [manifest.SegmentIDSize]byte(b[segmentAt:scoreAt]),
		Index: binary.BigEndian.Uint32(b[indexAt:segmentAt]), Size: binary.BigEndian.Uint32(b[sizeAt:indexAt]),
	}
	return r, r.Size > 0 && r.Size <= erasure.PieceSizeMax && r.Index < erasure.DataMax+erasure.ParityMax
}
