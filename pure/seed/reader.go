package seed

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// Reader reads one file from its beginning.
type Reader struct {
	r      *bufio.Reader
	signed identity.Signed
	at     int64
	failed error
}

// Damage is a place of a file from which no piece can be had. It is a core.ErrCorrupt.
type Damage struct {
	// Offset and Length are in bytes. Damage that ends where the next begins may be one.
	Offset, Length int64
	// Why is a few words.
	Why string
}

func (d *Damage) Error() string { return fmt.Sprintf("at byte %d: %s", d.Offset, d.Why) }

// Is makes it a core.ErrCorrupt.
func (d *Damage) Is(target error) bool { return target == core.ErrCorrupt }

// NewReader reads what a file begins with. Errors: core.ErrInvalid of what is no such file,
// core.ErrTooLarge, r's own.
func NewReader(r io.Reader) (*Reader, error) {
	out := &Reader{r: bufio.NewReaderSize(r, bufferSize)}
	var begin [len(magic) + 4]byte
	if err := out.full(begin[:]); err != nil {
		return nil, notSeed(err)
	}
	if string(begin[:len(magic)]) != magic {
		return nil, fmt.Errorf("it does not begin as a file of pieces does: %w", core.ErrInvalid)
	}
	size := binary.BigEndian.Uint32(begin[len(magic):])
	if size > HeaderSizeMax+identity.SignedOverhead {
		return nil, fmt.Errorf("a header of %d bytes: %w", size, core.ErrTooLarge)
	}
	raw := make([]byte, size)
	if err := out.full(raw); err != nil {
		return nil, notSeed(err)
	}
	var err error
	out.signed, err = identity.ParseSigned(raw, HeaderSizeMax+identity.SignedOverhead)
	return out, err
}

func notSeed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it ends within its header: %w", core.ErrInvalid)
	}
	return err
}

// Signed is the header, not verified.
func (r *Reader) Signed() identity.Signed { return r.signed }

// At is how many bytes have been read.
func (r *Reader) At() int64 { return r.at }

const (
	bufferSize = 64 << 10
	// searchMax is how many bytes one Next looks through for a marker.
	searchMax = 1 << 20
)

// Next returns the next piece, in buf if that has room for it: its bytes are those of its score. After a
// *Damage it can be called again, until io.EOF. Any other error is of what is read from, and ends it.
func (r *Reader) Next(buf []byte) (Record, []byte, error) {
	if r.failed != nil {
		return Record{}, nil, r.failed
	}
	from := r.at
	head, err := r.r.Peek(RecordSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return Record{}, nil, r.fail(err)
	}
	if len(head) < RecordSize {
		if err := r.skip(len(head)); err != nil || len(head) == 0 {
			return Record{}, nil, r.fail(errors.Join(err, io.EOF))
		}
		return Record{}, nil, r.damage(from, "it ends within a piece")
	}
	record, ok := parseRecord(head)
	if !ok {
		return Record{}, nil, r.search(from)
	}
	if err := r.skip(RecordSize); err != nil {
		return Record{}, nil, r.fail(err)
	}
	if cap(buf) < int(record.Size) {
		buf = make([]byte, record.Size)
	}
	data := buf[:record.Size]
	if err := r.full(data); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Record{}, nil, r.damage(from, "it ends within a piece")
	} else if err != nil {
		return Record{}, nil, r.fail(err)
	}
	if core.ScoreOf(data) != record.Score {
		return Record{}, nil, r.damage(from, "the bytes of a piece are not what its score says")
	}
	return record, data, nil
}

// search passes over what is no record, up to the next that may be one.
func (r *Reader) search(from int64) error {
	if err := r.skip(1); err != nil {
		return r.fail(err)
	}
	for r.at-from < searchMax {
		seen, err := r.r.Peek(RecordSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return r.fail(err)
		}
		if len(seen) < RecordSize {
			if err := r.skip(len(seen)); err != nil {
				return r.fail(err)
			}
			break
		}
		if _, ok := parseRecord(seen); ok {
			break
		}
		next := bytes.IndexByte(seen[1:], marker[0]) + 1
		if next == 0 {
			next = len(seen)
		}
		if err := r.skip(next); err != nil {
			return r.fail(err)
		}
	}
	return r.damage(from, "what stands there is no piece")
}

func (r *Reader) damage(from int64, why string) *Damage {
	return &Damage{Offset: from, Length: r.at - from, Why: why}
}

func (r *Reader) fail(err error) error {
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	r.failed = err
	return err
}

func (r *Reader) skip(n int) error {
	done, err := r.r.Discard(n)
	r.at += int64(done)
	return err
}

func (r *Reader) full(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.at += int64(n)
	return err
}
