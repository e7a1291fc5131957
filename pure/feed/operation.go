package feed

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// AheadMax is how far a clock may be ahead of a reader's time, in milliseconds.
const AheadMax = 5 * 60 * 1000

// counterBits are the low bits of a clock, which count within a millisecond.
const counterBits = 16

// Next returns the clock of a new operation, of the time in Unix milliseconds and the clock of the feed's
// last operation, 0 if there is none. It rises even where the time goes back.
func Next(now int64, last uint64) uint64 {
	return max(uint64(max(now, 0))<<counterBits, last+1)
}

// Millis returns the Unix milliseconds of a clock.
func Millis(clock uint64) int64 { return int64(clock >> counterBits) }

// Ahead tells whether a clock is too far ahead of the time, in Unix milliseconds, to be taken.
func Ahead(clock uint64, now int64) bool { return Millis(clock) > now+AheadMax }

// Operation is a header with its author's signature.
type Operation struct {
	Header
	Sig [SigSize]byte
}

// OperationSize is the length of an operation's encoding: the header, and the signature behind it.
const OperationSize = HeaderSize + SigSize

// Sign signs a header as its author, which h.Author is set to.
func Sign(k identity.Key, h Header) (Operation, error) {
	h.Author = k.DID()
	if err := h.check(); err != nil {
		return Operation{}, err
	}
	op := Operation{Header: h}
	b := h.Bytes()
	copy(op.Sig[:], identity.SignBytes(k, identity.KindOp, b[:]))
	return op, nil
}

// Bytes returns the encoding.
func (o Operation) Bytes() []byte {
	b := o.Header.Bytes()
	return append(append(make([]byte, 0, OperationSize), b[:]...), o.Sig[:]...)
}

// ParseOperation reads what Bytes returns, without verifying it. Errors are those of ParseHeader.
func ParseOperation(b []byte) (Operation, error) {
	if len(b) != OperationSize {
		return Operation{}, fmt.Errorf("operation: %w: %d bytes, want %d", core.ErrInvalid, len(b), OperationSize)
	}
	h, err := ParseHeader(b[:HeaderSize])
	if err != nil {
		return Operation{}, err
	}
	return Operation{h, [SigSize]byte(b[HeaderSize:])}, nil
}

// Verify checks the signature. Errors: ErrForged, and those of ParseHeader.
func (o Operation) Verify() error {
	if err := o.check(); err != nil {
		return err
	}
	b := o.Header.Bytes()
	if identity.VerifyBytes(o.Author, identity.KindOp, b[:], o.Sig[:]) != nil {
		return fmt.Errorf("operation %d of %s: %w", o.Seq, o.Author.Short(), ErrForged)
	}
	return nil
}

// Tip is where a feed ends; the zero Tip is that of an empty one.
type Tip struct {
	Seq   uint64
	ID    core.Score
	Clock uint64
}

// TipOf returns the tip of a feed that ends with an operation.
func TipOf(h Header) Tip { return Tip{h.Seq, h.ID(), h.Clock} }

// Follow returns the tip after h. It does not look at signatures. Errors: ErrBroken, ErrClock.
func (t Tip) Follow(h Header) (Tip, error) {
	switch {
	case h.Seq != t.Seq+1:
		return t, fmt.Errorf("operation %d of %s after %d: %w", h.Seq, h.Author.Short(), t.Seq, ErrBroken)
	case h.Prev != t.ID:
		return t, fmt.Errorf("operation %d of %s: %w: it follows on another", h.Seq, h.Author.Short(), ErrBroken)
	case h.Clock <= t.Clock:
		return t, fmt.Errorf("operation %d of %s: %w", h.Seq, h.Author.Short(), ErrClock)
	}
	return TipOf(h), nil
}

// Chain verifies that operations of one author follow on a tip and on each other, and the signature of the
// last one, which vouches for the others. It returns the tip after them. Errors: ErrBroken, ErrClock, ErrForged,
// and those of ParseHeader.
func Chain(t Tip, ops []Operation) (Tip, error) {
	for i, o := range ops {
		if i > 0 && (o.Topic != ops[0].Topic || o.Author != ops[0].Author) {
			return t, fmt.Errorf("operation %d: %w: of another feed", o.Seq, ErrBroken)
		}
		if err := o.check(); err != nil {
			return t, err
		}
		next, err := t.Follow(o.Header)
		if err != nil {
			return t, err
		}
		t = next
	}
	if len(ops) == 0 {
		return t, nil
	}
	return t, ops[len(ops)-1].Verify()
}
