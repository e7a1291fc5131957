package vault

import (
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/seal"
)

// openSegment is a segment that is being filled.
type openSegment struct {
	id    segmentID
	bytes []byte // as far as filled; its capacity is a whole segment
	jobs  []*job
}

// tailMin is the least length of a segment's string; SPEC.md §5.
const tailMin = 4096

// segChunks is how many chunks a segment holds at most: they are written down in one
// change of the books.
const segChunks = 1 << 12

// pagesApart is the place among the open segments of the one that has pages only.
const pagesApart = 2

// fill lays sealed chunks into one of two open segments, by a coin, so that a
// holder cannot tell where chunks begin or which follow each other.
func (p *put) fill() error {
	var open [3]*openSegment
	for {
		j, more, err := receive(p.ctx, p.order)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if _, _, err := receive(p.ctx, j.sealed); err != nil {
			return err
		}
		at := pagesApart
		if !j.apart {
			var coin [1]byte
			seal.Random(coin[:])
			at = int(coin[0] & 1)
		}
		if s := open[at]; s != nil && (len(s.bytes)+len(j.bytes) > p.segSize || len(s.jobs) == segChunks) {
			if err := send(p.ctx, p.full, s); err != nil {
				return err
			}
			open[at] = nil
		}
		if open[at] == nil {
			open[at] = p.openSegment()
		}
		open[at].add(j)
		giveBack(p.seals, j.bytes)
		j.bytes = nil
		close(j.placed)
	}
	for _, s := range open {
		if s == nil {
			continue
		}
		if err := send(p.ctx, p.full, s); err != nil {
			return err
		}
	}
	return nil
}

func (p *put) openSegment() *openSegment {
	s := &openSegment{bytes: p.spareSegment()}
	seal.Random(s.id[:])
	return s
}

func (p *put) spareSegment() []byte {
	select {
	case b := <-p.spareSegments:
		return b[:0]
	default:
		return make([]byte, 0, p.segSize)
	}
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
}

// errDoomed ends a put that has lost too much to go on reading.
var errDoomed = errors.New("too many segments found too few holders")

// place codes segments and brings their pieces to holders.
func (p *put) place(coder *erasure.Coder) error {
	parity := make([]byte, p.shape.M*erasure.PieceSizeMax)
	for {
		s, more, err := receive(p.ctx, p.full)
		if err != nil || !more {
			return err
		}
		if err := p.placeOne(coder, s, parity); err != nil {
			return fmt.Errorf("place segment: %w", err)
		}
		giveBack(p.spareSegments, s.bytes)
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
	if err := p.begin(segment); err != nil {
		return err
	}
	want := holders{}.lacking(segment, p.v.seats(nil, p.placing.Households()))
	unplaced, err := p.placing.Segment(p.ctx, segment, pieces, want, nil)
	if err != nil {
		p.placing.Drop(segment.ID)
		return err
	}
	stored := len(want) - len(unplaced)
	if stored < p.shape.K {
		p.placing.Drop(segment.ID)
		return p.lose()
	}
	p.progress.placed(int64(stored) * int64(segment.Size))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, &placedSegment{segment, s.jobs})
	p.chunks += len(s.jobs)
	return nil
}

// lose notes that a segment found too few holders: there will be no version. The put goes
// on for a while, because what it stores now the next one finds again.
func (p *put) lose() error {
	nobody := len(p.placing.Households()) == 0
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost++
	if nobody || p.lost >= lostMax {
		return errDoomed
	}
	return nil
}
