package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/manifest"
)

// maybeCheckpoint makes what has been placed count, now and then, so that a put
// that is broken off for good has not been for nothing.
func (p *put) maybeCheckpoint() error {
	p.mu.Lock()
	due := len(p.ready) >= checkSegs || p.chunks >= checkChunks || p.v.c.Clock.Now().Sub(p.lastSave) >= checkEvery
	p.mu.Unlock()
	if !due {
		return nil
	}
	return p.checkpoint(p.ctx, false)
}

// checkpoint has everything that is placed leased, and writes down each segment
// that can be read from its leases, with the chunks in it. What is leased too little
// waits for the next one, because a holder may be back by then; after the last it is lost.
func (p *put) checkpoint(ctx context.Context, last bool) error {
	p.checkpointing.Lock()
	defer p.checkpointing.Unlock()
	p.mu.Lock()
	ready, touched := p.ready, p.touched
	p.ready, p.touched, p.chunks, p.lastSave = nil, nil, 0, p.v.c.Clock.Now()
	p.mu.Unlock()
	if len(touched) > 0 {
		if err := p.v.c.Books.Apply(touched...); err != nil {
			p.keep(ready)
			return fmt.Errorf("note what is used still: %w", err)
		}
	}

	failed := p.placing.Commit(ctx, last)
	if err := ownFault(failed); err != nil {
		p.keep(ready)
		return err
	}
	if p.seeding != nil && len(failed) > 0 && !last {
		p.keep(ready)
		return errors.Join(slices.Collect(maps.Values(failed))...)
	}
	for grid, err := range failed {
		p.v.c.Log.Warn("pieces without a lease", "holder", grid, "err", err)
	}
	for i, s := range ready {
		saved, err := p.saveSegment(s)
		if err != nil {
			p.keep(ready[i:])
			return err
		}
		if saved {
			continue
		}
		if !last {
			p.keep(ready[i : i+1])
			continue
		}
		p.mu.Lock()
		p.lost++
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !last && len(p.ready) >= checkSegs { // they wait for holders that do not come back, and memory is bounded
		return errDoomed
	}
	return nil
}

// ownFault returns why leases could not be written down here, whoever gave them: our own
// disk is full. What a partner says of its disk came over the wire.
func ownFault(failed map[core.DID]error) error {
	for _, err := range failed {
		if _, theirs := errors.AsType[*wire.Error](err); errors.Is(err, core.ErrFull) && !theirs {
			return fmt.Errorf("write down what was placed: %w", err)
		}
	}
	return nil
}

// begin notes that a segment is being placed: between its lease and its record a machine can stop,
// and somebody must know then what to give up.
func (p *put) begin(s manifest.Segment) error {
	value, err := s.Marshal()
	if err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	if err := p.v.c.Books.Apply(core.Change{Key: openKey(s.ID), Value: value}); err != nil {
		return fmt.Errorf("note a segment: %w", err)
	}
	return nil
}

// keep leaves segments to the next checkpoint.
func (p *put) keep(segments []*placedSegment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ready = append(p.ready, segments...)
	for _, s := range segments {
		p.chunks += len(s.jobs)
	}
}

// saveSegment writes down a segment and its chunks in one change of the books, if
// enough pieces of it are leased.
func (p *put) saveSegment(s *placedSegment) (saved bool, err error) {
	leased, err := p.v.heldOf(s.segment, nil)
	if err != nil {
		return false, err
	}
	var carried []core.Change
	if p.seeding != nil {
		if carried, err = p.carry(s.segment, leased); err != nil {
			return false, err
		}
	}
	if leased.distinct() < int(s.segment.K) {
		return false, nil
	}
	value, err := s.segment.Marshal()
	if err != nil {
		return false, fmt.Errorf("write segment: %w", err)
	}
	mine, err := p.v.nowAt(mineKey(s.segment.ID))
	if err != nil {
		return false, err
	}
	changes := append(make([]core.Change, 0, 4+len(s.jobs)), carried...)
	changes = append(changes, core.Change{Key: stateKey(s.segment.Key()), Value: value}, mine, core.Change{Key: openKey(s.segment.ID)})
	for _, j := range s.jobs {
		raw, err := j.ref.Marshal()
		if err != nil {
			return false, fmt.Errorf("write chunk: %w", err)
		}
		changes = append(changes, core.Change{Key: chunkKey(j.ref.Plain), Value: raw})
	}
	if err := p.v.c.Books.Apply(changes...); err != nil {
		return false, fmt.Errorf("record segment: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stored += uint64(leased.distinct()) * s.segment.Size
	p.usable[segmentID(s.segment.ID)] = s.segment.K * s.segment.Size
	for _, j := range s.jobs {
		if p.inFlight[j.ref.Plain] == j {
			delete(p.inFlight, j.ref.Plain)
		}
	}
	return true, nil
}

const lastWordsWait = 10 * time.Second

// lastWords returns a context in which to make count what was placed, when the one
// that it was placed in has ended.
func (v *Vault) lastWords(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	timer := v.c.Clock.AfterFunc(lastWordsWait, cancel)
	return ctx, func() { timer.Stop(); cancel() }
}
