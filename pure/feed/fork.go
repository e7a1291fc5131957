package feed

import (
	"bytes"
	"fmt"

	"github.com/grange-grid/grange/core"
)

// ForkSize is the length of a Fork's encoding.
const ForkSize = 73 + 2*(restSize+SigSize)

// Fork proves that an author has signed two operations with one seq.
type Fork struct {
	// Ops are the two, the one with the lower id first.
	Ops [2]Operation
}

// NewFork makes a proof of two operations, in either order, and verifies it. Errors are those of Verify.
func NewFork(a, b Operation) (Fork, error) {
	x, y := a.ID(), b.ID()
	if bytes.Compare(x[:], y[:]) > 0 {
		a, b = b, a
	}
	f := Fork{[2]Operation{a, b}}
	return f, f.Verify()
}

// Topic returns the topic.
func (f Fork) Topic() core.DID { return f.Ops[0].Topic }

// Author returns who has forked.
func (f Fork) Author() core.DID { return f.Ops[0].Author }

// Seq returns where: operations from it on do not count.
func (f Fork) Seq() uint64 { return f.Ops[0].Seq }

// Bytes returns the encoding.
func (f Fork) Bytes() []byte {
	var b [HeaderSize]byte
	f.Ops[0].put(&b)
	out := append(make([]byte, 0, ForkSize), b[:HeaderSize-restSize]...)
	for _, o := range f.Ops {
		o.rest(b[:restSize])
		out = append(append(out, b[:restSize]...), o.Sig[:]...)
	}
	return out
}

// ParseFork reads what Bytes returns, and verifies it. Errors: core.ErrInvalid, core.ErrVersion, core.ErrTooLarge, ErrForged.
func ParseFork(b []byte) (Fork, error) {
	if len(b) != ForkSize {
		return Fork{}, fmt.Errorf("fork: %w: %d bytes, want %d", core.ErrInvalid, len(b), ForkSize)
	}
	const common = HeaderSize - restSize
	var f Fork
	for i := range f.Ops {
		at := common + i*(restSize+SigSize)
		o, err := ParseOperation(append(bytes.Clone(b[:common]), b[at:at+restSize+SigSize]...))
		if err != nil {
			return Fork{}, fmt.Errorf("fork: %w", err)
		}
		f.Ops[i] = o
	}
	if err := f.Verify(); err != nil {
		return Fork{}, err
	}
	return f, nil
}

// Verify checks that f proves what it says. Errors: core.ErrInvalid, ErrForged.
func (f Fork) Verify() error {
	a, b := f.Ops[0], f.Ops[1]
	x, y := a.ID(), b.ID()
	if a.Topic != b.Topic || a.Author != b.Author || a.Seq != b.Seq || bytes.Compare(x[:], y[:]) >= 0 {
		return fmt.Errorf("fork: %w: not two operations with one seq, the lower id first", core.ErrInvalid)
	}
	for _, o := range f.Ops {
		if err := o.Verify(); err != nil {
			return fmt.Errorf("fork: %w", err)
		}
	}
	return nil
}
