package vault

import (
	"errors"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/chunk"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/seal"
)

// job is one chunk on its way. Until sealed is closed its sealer owns it, until
// placed is closed the filler; then it does not change.
type job struct {
	plain  []byte // a buffer of put.plains, until it is sealed
	ref    manifest.Ref
	bytes  []byte // sealed; a buffer of put.seals, until it lies in a segment
	page   bool   // of the manifest, not of a file
	apart  bool   // to lie among pages only
	sealed chan struct{}
	placed chan struct{} // nil for a chunk that was placed long ago
}

// chunk sends plain down the pipe, unless the same bytes are placed or on their
// way: then known is true.
func (p *put) chunk(plain []byte, isPage bool) (j *job, known bool, err error) {
	score := core.ScoreOf(plain)
	if j, err := p.jobOf(score, isPage); err != nil || j != nil {
		return j, true, err
	}
	j = &job{
		ref:  manifest.Ref{Plain: score, Size: uint64(len(plain))},
		page: isPage, apart: isPage && len(p.treeSegs) >= p.apartFrom,
		sealed: make(chan struct{}), placed: make(chan struct{}),
	}
	j.plain = append(spare(p.plains), plain...)
	p.mu.Lock()
	p.inFlight[score] = j
	p.mu.Unlock()
	for _, to := range []chan *job{p.order, p.jobs} {
		if err := send(p.ctx, to, j); err != nil {
			return nil, false, err
		}
	}
	return j, false, nil
}

// jobOf returns the job of a chunk that is placed or on its way, nil of another.
func (p *put) jobOf(plain core.Score, isPage bool) (*job, error) {
	p.mu.Lock()
	j := p.inFlight[plain]
	p.mu.Unlock()
	if j != nil {
		return j, nil
	}
	ref, known, err := p.known(plain, isPage)
	if err != nil || !known {
		return nil, err
	}
	return &job{ref: ref}, nil
}

// known returns where a chunk lies, if it can be read from there by what the
// leases say: the index alone may be of a segment whose holders are gone.
func (p *put) known(plain core.Score, isPage bool) (manifest.Ref, bool, error) {
	ref, known, err := p.v.knownChunk(plain)
	if err != nil || !known || len(ref.Segment) != manifest.SegmentIDSize {
		return ref, false, err
	}
	// Only collect stores pages, and treeSegs is its own.
	if isPage && len(p.treeSegs) >= p.oldUpTo && !p.treeSegs.has(ref.Segment) {
		return ref, false, nil
	}
	known, err = p.usableRef(ref)
	return ref, known, err
}

// usableRef tells whether a put may build on a chunk.
func (p *put) usableRef(ref manifest.Ref) (bool, error) {
	id := segmentID(ref.Segment)
	if p.avoid.has(ref.Segment) {
		return false, nil
	}
	p.mu.Lock()
	size64, seen := p.usable[id]
	p.mu.Unlock()
	if !seen {
		var err error
		if size64, err = p.usableBytes(id); err != nil {
			return false, err
		}
		p.mu.Lock()
		p.usable[id] = size64
		p.mu.Unlock()
	}
	return ref.Offset+ref.Sealed <= size64, nil
}

// usableBytes returns how long the string of a segment is that a put may build on; 0 for any other.
func (p *put) usableBytes(id segmentID) (uint64, error) {
	if gone, err := p.v.given(id[:]); gone || err != nil {
		return 0, err
	}
	size, err := p.v.heldBytes(id)
	if err == nil && size == 0 && p.seeding != nil {
		size, err = p.v.seededBytes(id)
	}
	if err != nil || size == 0 {
		return 0, err
	}
	used, ours, err := p.v.timeOfKey(mineKey(id[:]))
	if err != nil || !ours || p.v.c.Clock.Now().Unix()-used < daySeconds {
		return size, err
	}
	change, err := p.v.nowAt(mineKey(id[:])) // or what a put has left is given up before it is done
	p.mu.Lock()
	p.touched = append(p.touched, change)
	p.mu.Unlock()
	return size, err
}

// heldBytes returns how long the string of a segment is that enough leases are
// held on to read it without this machine; 0 for any other.
func (v *Vault) heldBytes(id segmentID) (uint64, error) {
	s, err := v.segment(id[:])
	if errors.Is(err, errNoSegment) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	held, _, err := v.lasting(s, nil)
	if err != nil || held.distinct() < int(s.K) {
		return 0, err
	}
	return s.K * s.Size, nil
}

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
		j, more, err := receive(p.ctx, p.jobs)
		if err != nil || !more {
			return err
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
	if j.placed == nil {
		return nil
	}
	_, _, err := receive(p.ctx, j.placed)
	return err
}
