package vault

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/seal"
)

// openSegment is a segment that is being filled.
type openSegment struct {
	id    [manifest.SegmentIDSize]byte
	bytes []byte // as far as filled; its capacity is a whole segment
	jobs  []*job
}

// tailMin is the least length of a segment's string; SPEC.md §5.
const tailMin = 4096

// fill lays sealed chunks into one of two open segments, by a coin, so that a
// holder cannot tell where chunks begin or which follow each other.
func (p *put) fill() error {
	var open [2]*openSegment
	for {
		var j *job
		select {
		case next, more := <-p.order:
			if !more {
				for _, s := range open {
					if s != nil {
						if err := p.hand(s); err != nil {
							return err
						}
					}
				}
				return nil
			}
			j = next
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
		select {
		case <-j.sealed:
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
		var coin [1]byte
		seal.Random(coin[:])
		s := &open[coin[0]&1]
		if *s != nil && len((*s).bytes)+len(j.bytes) > p.segSize {
			if err := p.hand(*s); err != nil {
				return err
			}
			*s = nil
		}
		if *s == nil {
			*s = p.openSegment()
		}
		(*s).add(j)
		giveBack(p.seals, j.bytes)
		j.bytes = nil
		close(j.placed)
	}
}

// hand passes a segment on to be placed.
func (p *put) hand(s *openSegment) error {
	select {
	case p.full <- s:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

func (p *put) openSegment() *openSegment {
	s := &openSegment{}
	seal.Random(s.id[:])
	select {
	case s.bytes = <-p.spareSegments:
		s.bytes = s.bytes[:0]
	default:
		s.bytes = make([]byte, 0, p.segSize)
	}
	return s
}

// add lays one sealed chunk down and completes its Ref.
func (s *openSegment) add(j *job) {
	j.ref.Segment = s.id[:]
	j.ref.Offset = uint64(len(s.bytes))
	s.bytes = append(s.bytes, j.bytes...)
	s.jobs = append(s.jobs, j)
}

// pieces completes the string of a segment with random bytes and cuts it into
// its data pieces, with empty slices of parity behind them.
func (s *openSegment) pieces(shape erasure.Shape, parity []byte) [][]byte {
	size := erasure.PieceSizeMax
	if whole := shape.K * erasure.PieceSizeMax; len(s.bytes) < whole {
		padded := min(chunk.Padme(max(len(s.bytes), tailMin)), whole)
		size = (padded + shape.K - 1) / shape.K
	}
	used := len(s.bytes)
	s.bytes = s.bytes[:size*shape.K]
	seal.Random(s.bytes[used:])
	pieces := make([][]byte, 0, shape.Total())
	for i := range shape.K {
		pieces = append(pieces, s.bytes[i*size:(i+1)*size])
	}
	for i := range shape.M {
		pieces = append(pieces, parity[i*size:(i+1)*size])
	}
	return pieces
}

// record describes a segment whose pieces are complete.
func (s *openSegment) record(shape erasure.Shape, pieces [][]byte) manifest.Segment {
	r := manifest.Segment{V: 1, ID: s.id[:], K: uint64(shape.K), M: uint64(shape.M), Size: uint64(len(pieces[0]))}
	for _, piece := range pieces {
		score := core.ScoreOf(piece)
		r.Pieces = append(r.Pieces, score[:]...)
	}
	return r
}

// placedSegment is a segment whose pieces are stored, and not yet leased.
type placedSegment struct {
	segment manifest.Segment
	jobs    []*job
	stored  int // pieces that found a holder
}

// place codes segments and brings their pieces to holders.
func (p *put) place(coder *erasure.Coder) error {
	parity := make([]byte, p.shape.M*erasure.PieceSizeMax)
	for {
		var s *openSegment
		select {
		case next, more := <-p.full:
			if !more {
				return nil
			}
			s = next
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
		if err := p.placeOne(coder, s, parity); err != nil {
			return fmt.Errorf("place segment: %w", err)
		}
		select {
		case p.spareSegments <- s.bytes:
		default:
		}
		if err := p.maybeCheckpoint(); err != nil {
			return err
		}
	}
}

func (p *put) placeOne(coder *erasure.Coder, s *openSegment, parity []byte) error {
	pieces := s.pieces(p.shape, parity)
	if err := coder.Parity(pieces); err != nil {
		return err
	}
	segment := s.record(p.shape, pieces)
	want := wanted(segment, len(p.placing.Households()))
	unplaced, err := p.placing.Segment(p.ctx, segment, pieces, want, nil)
	if err != nil {
		return err
	}
	stored := len(want) - len(unplaced)
	p.progress.placed(int64(stored) * int64(segment.Size))
	p.mu.Lock()
	defer p.mu.Unlock()
	if stored < p.shape.K {
		p.lost = true
		p.placing.Drop(segment.ID)
		return nil
	}
	p.ready = append(p.ready, &placedSegment{segment, s.jobs, stored})
	return nil
}

// wanted returns the indexes of the pieces that should be placed when so many
// households take part: with one, parity would lie beside the data and be worth nothing.
func wanted(s manifest.Segment, households int) []int {
	n := int(s.K + s.M)
	if households <= 1 {
		n = int(s.K)
	}
	want := make([]int, n)
	for i := range want {
		want[i] = i
	}
	return want
}
