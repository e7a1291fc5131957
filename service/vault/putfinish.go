package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// maybeCheckpoint makes what has been placed count, now and then, so that a put
// that is broken off for good has not been for nothing.
func (p *put) maybeCheckpoint() error {
	p.mu.Lock()
	due := len(p.ready) >= checkSegs || p.v.c.Clock.Now().Sub(p.lastSave) >= checkEvery
	p.mu.Unlock()
	if !due {
		return nil
	}
	return p.checkpoint(p.ctx, false)
}

// checkpoint has everything that is placed leased, and writes down each segment
// that can be read from its leases, with the chunks in it.
func (p *put) checkpoint(ctx context.Context, done bool) error {
	if p.placing == nil {
		return nil
	}
	p.checkpointing.Lock()
	defer p.checkpointing.Unlock()
	p.mu.Lock()
	ready := p.ready
	p.ready, p.lastSave = nil, p.v.c.Clock.Now()
	p.mu.Unlock()

	for grid, err := range p.placing.Commit(ctx, done) {
		p.v.c.Log.Warn("pieces without a lease", "holder", grid, "err", err)
	}
	for _, s := range ready {
		if err := p.saveSegment(s); err != nil {
			return err
		}
	}
	return nil
}

// saveSegment writes down a segment and its chunks in one change of the books.
func (p *put) saveSegment(s *placedSegment) error {
	leased, err := p.v.heldOf(s.segment, nil)
	if err != nil {
		return err
	}
	if leased.distinct() < int(s.segment.K) {
		p.mu.Lock()
		p.lost = true
		p.mu.Unlock()
		return nil
	}
	value, err := codec.Marshal(s.segment)
	if err != nil {
		return fmt.Errorf("write segment: %w", err)
	}
	changes := make([]core.Change, 0, 1+len(s.jobs))
	changes = append(changes, core.Change{Key: stateKey(manifest.SegmentKey(s.segment.ID)), Value: value})
	for _, j := range s.jobs {
		raw, err := j.ref.Marshal()
		if err != nil {
			return fmt.Errorf("write chunk: %w", err)
		}
		changes = append(changes, core.Change{Key: chunkKey(j.ref.Plain), Value: raw})
	}
	if err := p.v.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("record segment: %w", err)
	}
	p.mu.Lock()
	for _, j := range s.jobs {
		delete(p.inFlight, j.ref.Plain)
	}
	p.mu.Unlock()
	return nil
}

// ErrIncomplete says that no version was made, because too few pieces found a holder.
var ErrIncomplete = errors.New("not all of it could be placed")

// Incomplete is the error of a put that could not place enough to be read back.
type Incomplete struct {
	// Placed of Bytes of what was read is stored, and found again by the next put.
	Placed, Bytes int64
	// Refused says why partners took less than they were asked to.
	Refused map[core.DID]error
}

func (e *Incomplete) Error() string {
	return fmt.Sprintf("%v: %d of %d bytes are stored", ErrIncomplete, e.Placed, e.Bytes)
}

// Is makes it an ErrIncomplete, a core.ErrPartly, and whatever the partners said.
func (e *Incomplete) Is(target error) bool {
	return target == ErrIncomplete || target == core.ErrPartly
}

// Unwrap returns what the partners said.
func (e *Incomplete) Unwrap() []error {
	return append([]error(nil), mapsValues(e.Refused)...)
}

func mapsValues(m map[core.DID]error) []error {
	var out []error
	for _, err := range m {
		out = append(out, err)
	}
	return out
}

// finish makes a version of what the pipe has stored: missing spare is made up
// for where it can be, the version is written down, and the head goes to the partners.
func (v *Vault) finish(ctx context.Context, name string, src Source, p *put, tree page.Tree) (*Put, error) {
	out := &Put{Problems: p.problems, Refused: p.placing.Refusals(), Same: p.sameBytes.Load()}
	if p.lost {
		return nil, &Incomplete{Placed: p.savedBytes(), Bytes: p.newBytes.Load() + p.sameBytes.Load(), Refused: out.Refused}
	}
	p.progress.stage("checking")
	mended, err := v.fill(ctx, p.segs, nil, p.progress)
	if err != nil {
		return nil, err
	}
	maps.Copy(out.Refused, mended.Refused)

	seq, seqChange, err := v.nextSeq()
	if err != nil {
		return nil, err
	}
	files, size := p.progress.totals()
	out.Version = manifest.Version{
		V: 1, Name: name, Agent: v.c.Household.Agent(), Seq: seq, Time: v.c.Clock.Now().Unix(),
		Files: uint64(files), Bytes: uint64(size), Stored: uint64(p.progress.placedTotal()), Single: src.Single(),
		Tree: tree, Segments: p.treeSegs.sorted(),
	}
	if err := v.record(out.Version, p.segs, seqChange); err != nil {
		return nil, err
	}
	if out.Worth, err = v.worthOf(p.segs); err != nil {
		return nil, err
	}
	out.Placed, out.Wanted = out.Worth.Pieces, out.Worth.Wanted
	p.progress.stage("telling partners")
	if err := v.tell(ctx, p.segs, out); err != nil {
		return out, err
	}
	if out.Placed < out.Wanted || len(out.Problems) > 0 {
		return out, core.ErrPartly
	}
	return out, nil
}

// savedBytes returns how much of what was read the next put need not send again.
func (p *put) savedBytes() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	saved := p.newBytes.Load() + p.sameBytes.Load()
	for _, j := range p.inFlight {
		saved -= int64(j.ref.Size)
	}
	return max(0, saved)
}

// record writes a version down, with what it consists of.
func (v *Vault) record(version manifest.Version, uses segmentSet, more ...core.Change) error {
	value, err := codec.Marshal(version)
	if err != nil {
		return fmt.Errorf("write version: %w", err)
	}
	key := manifest.VersionKey(version.Name, version.Agent, version.Seq)
	changes := append(more,
		core.Change{Key: stateKey(key), Value: value},
		core.Change{Key: usesKey(key), Value: encodeUses(uses)})
	if err := v.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("record version: %w", err)
	}
	return nil
}

// tell brings the new head to the partners. It must reach every household that
// holds a piece of the version, or a recovery through that one would miss it.
func (v *Vault) tell(ctx context.Context, uses segmentSet, out *Put) error {
	done, failed, err := v.c.Household.SaveHead(ctx)
	if err != nil {
		return fmt.Errorf("save the head: %w", err)
	}
	have := map[core.DID]bool{}
	for _, grid := range done {
		have[grid] = true
	}
	var late []error
	for grid := range out.Worth.Held {
		if !have[grid] {
			out.Refused[grid] = failed[grid]
			late = append(late, fmt.Errorf("%s: %w", grid, failed[grid]))
		}
	}
	if len(late) > 0 {
		return fmt.Errorf("the newest head is not at every holder: %w: %w", core.ErrPartly, errors.Join(late...))
	}
	return nil
}
