package disk

import (
	"bytes"
	"cmp"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// A record in a pack is
//
//	magic 4 ‖ version u8 ‖ 0 u8 ‖ header size u16 ‖ check 16 ‖ header ‖ data
//
// with a header in strict CBOR. The check is the first half of
// derive_key("grange v1 pack record", salt ‖ u64 offset ‖ the first 8 bytes ‖ header):
// under the pack's secret salt and the record's place, so that no owner can store bytes that
// would be taken for a record when a damaged pack is searched for them.
// The data is checked by the score.
const (
	recordVersion = 1
	recordContext = "grange v1 pack record"
	frameSize     = 24
	plainSize     = 8 // of the frame, before the check
	headerSizeMax = core.NoteSizeMax + 256
	headSizeMax   = frameSize + headerSizeMax
)

var recordMagic = []byte{0x89, 'g', 'r', 'b'}

const saltSize = 32

type salt [saltSize]byte

// header says what a record is: a blob, or that one was deleted.
type header struct {
	Score core.Score `json:"score"`
	Note  []byte     `json:"note,omitempty"`
	Size  uint64     `json:"size"`
	// Gone says that the blob is deleted: all its records up to and with that place.
	Gone *place `json:"gone,omitempty"`
}

// place is where a record begins. Later records have higher places; none is
// ever used again.
type place struct {
	Pack   uint32 `json:"pack"`
	Offset uint64 `json:"offset"`
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.Pack, q.Pack), cmp.Compare(p.Offset, q.Offset))
}

func (h header) check() error {
	switch {
	case h.Size > core.BlobSizeMax || len(h.Note) > core.NoteSizeMax:
		return fmt.Errorf("%w: blob of %d bytes with a note of %d", core.ErrTooLarge, h.Size, len(h.Note))
	case h.Gone != nil && (h.Size > 0 || len(h.Note) > 0 || h.Gone.Pack == 0 || h.Gone.Offset < packStart):
		return fmt.Errorf("%w: deletion of %+v with %d bytes", core.ErrInvalid, *h.Gone, h.Size)
	}
	return nil
}

// appendHead appends all of a record but its data.
func appendHead(dst []byte, s *salt, offset uint64, h header) ([]byte, error) {
	if err := h.check(); err != nil {
		return dst, err
	}
	body, err := codec.Marshal(h)
	if err != nil {
		return dst, err
	}
	start := len(dst)
	dst = append(dst, recordMagic...)
	dst = append(dst, recordVersion, 0)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(body)))
	check := recordCheck(s, offset, dst[start:], body)
	dst = append(dst, check[:]...)
	return append(dst, body...), nil
}

func recordCheck(s *salt, offset uint64, plain, body []byte) [frameSize - plainSize]byte {
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], offset)
	key := core.DeriveKey(recordContext, s[:], at[:], plain, body)
	return [frameSize - plainSize]byte(key[:])
}

// errShort says that a record goes on behind the bytes at hand.
var errShort = errors.New("cut short")

// parseHead reads the head of a record at the beginning of b and returns its length. Whatever b
// holds, the header it returns keeps its limits. Errors: errShort if b might be the
// beginning of one, core.ErrVersion, core.ErrCorrupt.
func parseHead(b []byte, s *salt, offset uint64) (header, int, error) {
	n := min(len(b), len(recordMagic))
	if !bytes.Equal(b[:n], recordMagic[:n]) {
		return header{}, 0, fmt.Errorf("record: %w: no record begins here", core.ErrCorrupt)
	}
	if len(b) < frameSize {
		return header{}, 0, errShort
	}
	size := int(binary.BigEndian.Uint16(b[6:]))
	if size > headerSizeMax || b[5] != 0 {
		return header{}, 0, fmt.Errorf("record: %w: header of %d bytes", core.ErrCorrupt, size)
	}
	end := frameSize + size
	if len(b) < end {
		return header{}, 0, errShort
	}
	check := recordCheck(s, offset, b[:plainSize], b[frameSize:end])
	if subtle.ConstantTimeCompare(check[:], b[plainSize:frameSize]) != 1 {
		return header{}, 0, fmt.Errorf("record: %w: checksum", core.ErrCorrupt)
	}
	if b[4] != recordVersion {
		return header{}, 0, fmt.Errorf("record: %w %d, want %d", core.ErrVersion, b[4], recordVersion)
	}
	var h header
	if err := codec.Unmarshal(b[frameSize:end], &h, headerSizeMax); err != nil {
		return header{}, 0, fmt.Errorf("record: %w: %w", core.ErrCorrupt, err)
	}
	if err := h.check(); err != nil {
		return header{}, 0, fmt.Errorf("record: %w: %w", core.ErrCorrupt, err)
	}
	return h, end, nil
}
