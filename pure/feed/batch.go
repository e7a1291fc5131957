package feed

import (
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/grange-grid/grange/core"
)

// BatchSizeMax is the limit of a batch, in bytes.
const BatchSizeMax = 4 << 20

// Sizes of what a batch is made of, in bytes.
const (
	batchHead = 1 + 32
	// RunSizeMax is what a run takes at most, besides its operations.
	RunSizeMax = 32 + 2*binary.MaxVarintLen64 + 32
	// opSizeMin is an operation of an empty payload.
	opSizeMin = 1 + 1 + 1 + SaltSize + SigSize
	// opOverhead is what an operation takes at most, besides its payload.
	opOverhead = binary.MaxVarintLen64 + 1 + binary.MaxVarintLen32 + core.ScoreSize + SigSize
)

// Logged is an operation as it lies in a log: with its payload, unless that is gone.
type Logged struct {
	Operation
	// ID is the header's.
	ID core.Score
	// Gone says that the payload is not here; then Sealed is zero.
	Gone bool
	Sealed
}

// Size returns what l takes in a batch at most, in bytes.
func (l *Logged) Size() int { return opOverhead + len(l.Payload) }

// Run is operations of one author that follow on each other. Their payloads are slices of the batch.
type Run struct {
	Ops []Logged
}

// Author returns who wrote them.
func (r Run) Author() core.DID { return r.Ops[0].Author }

// First returns the seq of the first.
func (r Run) First() uint64 { return r.Ops[0].Seq }

// Last returns the last, whose signature is to vouch for all.
func (r Run) Last() *Logged { return &r.Ops[len(r.Ops)-1] }

// AppendBatch appends the head of a batch to b; runs follow.
func AppendBatch(b []byte, topic core.DID) []byte {
	return append(append(b, version), topic[:]...)
}

// AppendRun appends a run to a batch. The operations must follow on each other; authors rise from run to run.
func AppendRun(b []byte, ops []Logged) []byte {
	first := &ops[0]
	b = append(b, first.Author[:]...)
	b = binary.AppendUvarint(b, first.Seq)
	if first.Seq > 1 {
		b = append(b, first.Prev[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(ops)))
	clock := uint64(0)
	for i := range ops {
		b = appendOp(b, &ops[i], clock)
		clock = ops[i].Clock
	}
	return b
}

func appendOp(b []byte, l *Logged, before uint64) []byte {
	b = binary.AppendUvarint(b, l.Clock-before)
	b = append(b, byte(l.Kind))
	if l.Gone {
		b = binary.AppendUvarint(b, uint64(l.Header.Size)<<1|1)
		b = append(b, l.Commitment[:]...)
	} else {
		b = binary.AppendUvarint(b, uint64(l.Header.Size)<<1)
		b = append(append(b, l.Salt[:]...), l.Payload...)
	}
	return append(b, l.Sig[:]...)
}

// BatchOf returns the topic of a batch and the author of its first run, unverified. Errors: core.ErrInvalid, core.ErrVersion.
func BatchOf(b []byte) (topic, first core.DID, err error) {
	switch {
	case len(b) < batchHead+len(first):
		return topic, first, fmt.Errorf("batch: %w: %d bytes", core.ErrInvalid, len(b))
	case b[0] != version:
		return topic, first, fmt.Errorf("batch: %w: %d", core.ErrVersion, b[0])
	}
	copy(topic[:], b[1:])
	copy(first[:], b[batchHead:])
	return topic, first, nil
}

// ReadBatch yields the runs of a batch, without having verified signatures: Verify does. It ends with the first
// error: core.ErrInvalid, core.ErrVersion, core.ErrTooLarge, ErrClock.
func ReadBatch(b []byte, topic core.DID) iter.Seq2[Run, error] {
	return func(yield func(Run, error) bool) {
		r := reader{b: b}
		if err := r.head(topic); err != nil {
			yield(Run{}, err)
			return
		}
		var before core.DID
		for len(r.b) > 0 {
			run, err := r.run(topic, before)
			if err != nil {
				yield(Run{}, fmt.Errorf("batch, %d bytes before its end: %w", len(r.b), err))
				return
			}
			before = run.Author()
			if !yield(run, nil) {
				return
			}
		}
	}
}

// Verify checks the signature that vouches for the first n operations: that of the nth.
// Errors: ErrForged.
func (r Run) Verify(n int) error { return r.Ops[n-1].Verify() }

type reader struct{ b []byte }

func (r *reader) head(topic core.DID) error {
	switch {
	case len(r.b) > BatchSizeMax:
		return fmt.Errorf("batch: %w: %d bytes, at most %d", core.ErrTooLarge, len(r.b), BatchSizeMax)
	case len(r.b) < batchHead:
		return fmt.Errorf("batch: %w: %d bytes", core.ErrInvalid, len(r.b))
	case r.b[0] != version:
		return fmt.Errorf("batch: %w: %d", core.ErrVersion, r.b[0])
	case core.DID(r.b[1:batchHead]) != topic:
		return fmt.Errorf("batch: %w: of another topic", core.ErrInvalid)
	}
	r.b = r.b[batchHead:]
	return nil
}

// take returns the next n bytes, nil if there are not as many.
func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

var errNumber = fmt.Errorf("%w: a number", core.ErrInvalid)

// number reads one that is written as short as can be.
func (r *reader) number() (uint64, error) {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		return 0, errNumber
	}
	r.b = r.b[n:]
	return v, nil
}

var errShort = fmt.Errorf("%w: it stops in the middle", core.ErrInvalid)

func (r *reader) run(topic, before core.DID) (Run, error) {
	h := Header{Topic: topic}
	if author := r.take(32); author != nil {
		h.Author = core.DID(author)
	}
	if h.Author.Compare(before) <= 0 {
		return Run{}, fmt.Errorf("%w: authors do not rise", core.ErrInvalid)
	}
	var err error
	if h.Seq, err = r.number(); err != nil {
		return Run{}, err
	}
	if h.Seq != 1 {
		prev := r.take(core.ScoreSize)
		if prev == nil {
			return Run{}, errShort
		}
		h.Prev = core.Score(prev)
	}
	n, err := r.number()
	if err != nil {
		return Run{}, err
	}
	if n == 0 || n > uint64(len(r.b)/opSizeMin) || h.Seq+n < n {
		return Run{}, fmt.Errorf("%w: a run of %d operations", core.ErrInvalid, n)
	}
	ops := make([]Logged, n)
	for i := range ops {
		if err := r.op(&ops[i], &h, i == 0); err != nil {
			return Run{}, fmt.Errorf("operation %d of %s: %w", h.Seq, h.Author.Short(), err)
		}
		h.Seq, h.Prev = h.Seq+1, ops[i].ID
	}
	return Run{ops}, nil
}

// op reads an operation; h has what is known of its header, and the clock of the one before.
func (r *reader) op(l *Logged, h *Header, first bool) error {
	step, err := r.number()
	if err != nil {
		return err
	}
	if !first && (step == 0 || h.Clock+step < step) {
		return ErrClock
	}
	h.Clock += step
	kind := r.take(1)
	if kind == nil {
		return errShort
	}
	h.Kind = Kind(kind[0])
	size, err := r.number()
	if err != nil {
		return err
	}
	if size>>1 > PayloadSizeMax {
		return fmt.Errorf("%w: payload of %d bytes, at most %d", core.ErrTooLarge, size>>1, PayloadSizeMax)
	}
	h.Size, l.Gone = uint32(size>>1), size&1 == 1
	var body []byte
	if l.Gone {
		body = r.take(core.ScoreSize)
	} else {
		body = r.take(SaltSize + int(h.Size))
	}
	sig := r.take(SigSize)
	if body == nil || sig == nil {
		return errShort
	}
	if l.Gone {
		h.Commitment = core.Score(body)
	} else {
		h.Commitment = core.ScoreOf(body)
		l.Salt, l.Payload = [SaltSize]byte(body), body[SaltSize:]
	}
	if first { // what comes after differs in nothing that is checked but kind and size
		err = h.check()
	} else if h.Kind == 0 {
		err = fmt.Errorf("%w: kind 0", core.ErrInvalid)
	}
	l.Header, l.Sig = *h, [SigSize]byte(sig)
	l.ID = h.ID()
	return err
}
