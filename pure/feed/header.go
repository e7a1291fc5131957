package feed

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// What can be wrong with an operation, by name.
var (
	// ErrForged says that no signature of the author is over what was sent.
	ErrForged = fmt.Errorf("forged: %w", core.ErrCorrupt)
	// ErrBroken says that an operation does not follow on the one before.
	ErrBroken = fmt.Errorf("broken chain: %w", core.ErrInvalid)
	// ErrClock says that a clock does not rise.
	ErrClock = fmt.Errorf("clock goes back: %w", core.ErrInvalid)
	// ErrPayload says that a payload is not what the operation commits to.
	ErrPayload = fmt.Errorf("payload is not the operation's: %w", core.ErrCorrupt)
	// ErrAhead says that a clock is too far ahead to be taken yet.
	ErrAhead = errors.New("clock is ahead of the time")
	// ErrForked says that the author has signed two operations with one seq.
	ErrForked = errors.New("author has forked")
)

// Limits and sizes, in bytes.
const (
	HeaderSize     = 150
	SigSize        = 64
	SaltSize       = 16
	PayloadSizeMax = 1 << 20
)

// version is the first byte of headers, forks and batches.
const version = 1

// Kind says what an operation does. The room gives it no meaning.
type Kind uint8

// The kinds of operations.
const (
	Put    Kind = 1
	Delete Kind = 2
	Erase  Kind = 3
	Define Kind = 4
)

// Header is what is signed of an operation.
type Header struct {
	// Topic is the table, Author who wrote.
	Topic, Author core.DID
	// Seq counts from 1.
	Seq uint64
	// Prev is the id of the operation before; zero for the first.
	Prev core.Score
	// Clock is a hybrid clock; see Next.
	Clock uint64
	Kind  Kind
	// Size is the payload's, in bytes.
	Size uint32
	// Commitment is to salt and payload; see Commit.
	Commitment core.Score
}

// Bytes returns the encoding.
func (h Header) Bytes() [HeaderSize]byte {
	var b [HeaderSize]byte
	h.put(&b)
	return b
}

func (h *Header) put(b *[HeaderSize]byte) {
	b[0] = version
	copy(b[1:33], h.Topic[:])
	copy(b[33:65], h.Author[:])
	binary.BigEndian.PutUint64(b[65:], h.Seq)
	h.rest(b[73:HeaderSize])
}

// restSize is the length of what two operations with one seq may differ in.
const restSize = 77

func (h *Header) rest(b []byte) {
	copy(b[:32], h.Prev[:])
	binary.BigEndian.PutUint64(b[32:], h.Clock)
	b[40] = byte(h.Kind)
	binary.BigEndian.PutUint32(b[41:], h.Size)
	copy(b[45:restSize], h.Commitment[:])
}

func (h *Header) setRest(b []byte) {
	copy(h.Prev[:], b)
	h.Clock = binary.BigEndian.Uint64(b[32:])
	h.Kind = Kind(b[40])
	h.Size = binary.BigEndian.Uint32(b[41:])
	copy(h.Commitment[:], b[45:])
}

// ID returns the operation's id.
func (h Header) ID() core.Score {
	var b [HeaderSize]byte
	h.put(&b)
	return core.ScoreOf(b[:])
}

// ParseHeader reads what Bytes returns. Errors: core.ErrInvalid, core.ErrVersion, core.ErrTooLarge.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	if len(b) != HeaderSize {
		return h, fmt.Errorf("operation: %w: header of %d bytes, want %d", core.ErrInvalid, len(b), HeaderSize)
	}
	if b[0] != version {
		return h, fmt.Errorf("operation: %w: %d", core.ErrVersion, b[0])
	}
	copy(h.Topic[:], b[1:])
	copy(h.Author[:], b[33:])
	h.Seq = binary.BigEndian.Uint64(b[65:])
	h.setRest(b[73:])
	if err := h.check(); err != nil {
		return Header{}, err
	}
	return h, nil
}

// check refuses what no author writes.
func (h *Header) check() error {
	switch {
	case h.Seq == 0, h.Kind == 0:
		return fmt.Errorf("operation: %w: seq %d, kind %d: 0 is none", core.ErrInvalid, h.Seq, h.Kind)
	case (h.Seq == 1) != h.Prev.IsZero():
		return fmt.Errorf("operation %d: %w: the first alone has none before it", h.Seq, ErrBroken)
	case h.Size > PayloadSizeMax:
		return fmt.Errorf("operation %d: %w: payload of %d bytes, at most %d", h.Seq, core.ErrTooLarge, h.Size, PayloadSizeMax)
	}
	for _, d := range [2]core.DID{h.Topic, h.Author} {
		if err := identity.CheckDID(d); err != nil {
			return fmt.Errorf("operation %d: %w", h.Seq, err)
		}
	}
	return nil
}

// Sealed is a payload with its salt.
type Sealed struct {
	Salt    [SaltSize]byte
	Payload []byte
}

// Commit returns the commitment to salt and payload.
func Commit(salt [SaltSize]byte, payload []byte) core.Score {
	var small [512]byte
	return core.ScoreOf(append(append(small[:0], salt[:]...), payload...))
}

// Check tells whether a payload is that of an operation. Errors: ErrPayload.
func Check(h Header, s Sealed) error {
	if uint64(len(s.Payload)) != uint64(h.Size) || Commit(s.Salt, s.Payload) != h.Commitment {
		return fmt.Errorf("operation %d of %s: %w", h.Seq, h.Author.Short(), ErrPayload)
	}
	return nil
}
