package vault

import (
	"errors"
	"io"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/seal"
)

// errChanged says that a file changed each time that it was read.
var errChanged = errors.New("it changed while it was read")

// job is one chunk on its way. Until sealed is closed its sealer owns it, until
// placed is closed the filler; then it does not change.
type job struct {
	plain  []byte // a buffer of put.plains, until it is sealed
	ref    manifest.Ref
	bytes  []byte // sealed; a buffer of put.seals, until it lies in a segment
	sealed chan struct{}
	placed chan struct{}
}

// event is what the reader tells the collector, in the order of the tree.
type event struct {
	kind  eventKind
	path  []byte
	entry manifest.Entry
	jobs  []*job
}

type eventKind int

const (
	eventEntry  eventKind = iota // a directory, a symlink, or the end of a file
	eventChunks                  // up to groupChunks chunks of the file at hand
	eventForget                  // what was said of the file at hand does not hold
)

func (p *put) emit(e event) error {
	select {
	case p.events <- e:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}

// read walks the source and cuts its files.
func (p *put) read(src Source) error {
	for item, err := range src.Items(p.ctx) {
		if err != nil {
			return err
		}
		if item.Open == nil {
			if err := p.emit(event{kind: eventEntry, path: item.Path, entry: item.Entry}); err != nil {
				return err
			}
			continue
		}
		if err := p.readFile(item); err != nil {
			return err
		}
	}
	return nil
}

// readFile reads a file until it holds still, three times at most. A file that
// cannot be read is a problem, not an error.
func (p *put) readFile(item Item) error {
	for try := 1; ; try++ {
		entry, changed, err := p.readOnce(item)
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		if err == nil && (!changed || try == readTries) {
			if changed {
				p.problem(item.Path, errChanged)
			}
			p.progress.file()
			return p.emit(event{kind: eventEntry, path: item.Path, entry: entry})
		}
		if err := p.emit(event{kind: eventForget}); err != nil {
			return err
		}
		p.progress.bytes(-int64(entry.Size))
		if fault := (*pipeError)(nil); errors.As(err, &fault) {
			return fault.err
		}
		if err != nil {
			p.problem(item.Path, err)
			return nil
		}
	}
}

// pipeError is a failure of the pipe itself, not of the file that is read.
type pipeError struct{ err error }

func (e *pipeError) Error() string { return e.err.Error() }

// readOnce cuts one file and emits its chunks. The entry's size is what was read.
func (p *put) readOnce(item Item) (entry manifest.Entry, changed bool, err error) {
	f, err := item.Open()
	if err != nil {
		return entry, false, err
	}
	defer f.Close()
	entry = f.Entry()
	declared := entry.Size
	entry.Size = 0
	p.cutter.Reset(io.LimitReader(f, int64(declared)+1)) // one byte more shows that it grew
	var group []*job
	for {
		plain, err := p.cutter.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return entry, false, err
		}
		entry.Size += uint64(len(plain))
		j, err := p.chunk(plain)
		if err != nil {
			return entry, false, &pipeError{err}
		}
		p.progress.bytes(int64(len(plain)))
		if group = append(group, j); len(group) == groupChunks {
			if err := p.emit(event{kind: eventChunks, jobs: group}); err != nil {
				return entry, false, err
			}
			group = nil
		}
	}
	if len(group) > 0 {
		if err := p.emit(event{kind: eventChunks, jobs: group}); err != nil {
			return entry, false, err
		}
	}
	changed, err = f.Changed()
	return entry, changed || entry.Size != declared, err
}

// chunk sends plain down the pipe, unless the same bytes are placed or on their way.
func (p *put) chunk(plain []byte) (*job, error) {
	score := core.ScoreOf(plain)
	p.mu.Lock()
	j := p.inFlight[score]
	p.mu.Unlock()
	if j != nil {
		p.sameBytes.Add(int64(len(plain)))
		return j, nil
	}
	ref, known, err := p.v.knownChunk(score)
	if err != nil {
		return nil, err
	}
	if known && ref.Size == uint64(len(plain)) {
		if known, err = p.readable(ref.Segment); err != nil {
			return nil, err
		}
	}
	if known && ref.Size == uint64(len(plain)) {
		p.sameBytes.Add(int64(len(plain)))
		return &job{ref: ref, placed: closed}, nil
	}
	j = &job{ref: manifest.Ref{Plain: score, Size: uint64(len(plain))}, sealed: make(chan struct{}), placed: make(chan struct{})}
	j.plain = append(spare(p.plains), plain...)
	p.newBytes.Add(int64(len(plain)))
	p.mu.Lock()
	p.inFlight[score] = j
	p.mu.Unlock()
	for _, to := range []chan *job{p.order, p.jobs} {
		select {
		case to <- j:
		case <-p.ctx.Done():
			return nil, p.ctx.Err()
		}
	}
	return j, nil
}

// readable tells whether enough pieces of a segment are held for its chunks to be
// had. What was lost is stored anew: here its bytes are at hand.
func (p *put) readable(id []byte) (bool, error) {
	key := [manifest.SegmentIDSize]byte(id) // a Ref's is that long
	p.mu.Lock()
	readable, known := p.had[key]
	p.mu.Unlock()
	if known {
		return readable, nil
	}
	s, err := p.v.segment(id)
	if errors.Is(err, core.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	held, err := p.v.heldOf(s, nil)
	if err != nil {
		return false, err
	}
	readable = held.distinct() >= int(s.K)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.had[key] = readable
	return readable, nil
}

// closed is the placed channel of chunks that were placed long ago.
var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// spare takes an empty buffer from a pool of them.
func spare(pool chan []byte) []byte {
	select {
	case b := <-pool:
		return b[:0]
	default:
		return make([]byte, 0, chunk.SizeMean*2)
	}
}

// giveBack returns a buffer to its pool.
func giveBack(pool chan []byte, b []byte) {
	select {
	case pool <- b:
	default:
	}
}

// seal packs and seals chunks.
func (p *put) seal() error {
	var packed []byte
	for {
		var j *job
		select {
		case next, more := <-p.jobs:
			if !more {
				return nil
			}
			j = next
		case <-p.ctx.Done():
			return p.ctx.Err()
		}
		packed = p.v.packer.Pack(packed[:0], j.plain)
		j.bytes, j.ref.Packed, j.ref.Key = seal.Chunk(&p.secret, packed, spare(p.seals))
		j.ref.Sealed = uint64(len(j.bytes))
		giveBack(p.plains, j.plain)
		j.plain = nil
		close(j.sealed)
	}
}

// wait blocks until a job lies in a segment.
func (p *put) wait(j *job) error {
	select {
	case <-j.placed:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}
