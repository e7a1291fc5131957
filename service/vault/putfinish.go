package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// ErrIncomplete says that no version was made, because too few pieces found a holder, or
// no partner could be told of it.
var ErrIncomplete = errors.New("not all of it could be placed")

// Incomplete is the error of a put that could not place enough to be read back, or could
// tell no partner of the version.
type Incomplete struct {
	// Seq is the number that the version would have had.
	Seq uint64
	// Placed of Bytes are stored at the least, and found again by the next put.
	Placed, Bytes int64
	// Refused says why partners took less than they were asked to.
	Refused map[core.DID]error
}

func (e *Incomplete) Error() string {
	return fmt.Sprintf("%v: %d of %d bytes are stored", ErrIncomplete, e.Placed, e.Bytes)
}

// Is makes it an ErrIncomplete and a core.ErrPartly.
func (e *Incomplete) Is(target error) bool {
	return target == ErrIncomplete || target == core.ErrPartly
}

// Unwrap returns what the partners said.
func (e *Incomplete) Unwrap() []error { return slices.Collect(maps.Values(e.Refused)) }

// incomplete is the error of a put of about size bytes that lost a segment.
func (p *put) incomplete(size int64) *Incomplete {
	_, placed := p.progress.totals()
	size = max(size, placed)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, j := range p.inFlight {
		if !j.page {
			placed -= int64(j.ref.Size)
		}
	}
	return &Incomplete{Seq: p.v.expectedSeq(), Placed: max(0, placed), Bytes: size, Refused: p.placing.Refusals()}
}

// finish makes a version of what the pipe has stored: missing spare is made up
// for where it can be, the version is written down, and the head goes to the partners.
func (p *put) finish(ctx context.Context, name string, single bool, tree page.Tree, skipSame bool) (*Put, error) {
	v := p.v
	out := &Put{Problems: p.problems, Refused: map[core.DID]error{}, Same: p.same}
	if p.lost > 0 {
		return nil, p.incomplete(0)
	}
	if single && p.files == 0 {
		if len(p.problems) > 0 {
			return nil, fmt.Errorf("%q: %w", p.problems[0].Path, p.problems[0].Err)
		}
		return nil, fmt.Errorf("there is no file: %w", core.ErrInvalid)
	}
	p.progress.stage("checking")
	f := v.newFilling(p.progress)
	if err := f.all(ctx, p.segs); err != nil {
		return nil, err
	}
	maps.Copy(out.Refused, p.placing.Refusals())
	maps.Copy(out.Refused, f.out.Refused)
	if out.Worth = f.worth; !out.Worth.Readable { // leases have ended since they were looked up
		return nil, &Incomplete{Seq: v.expectedSeq(), Bytes: int64(p.bytes), Refused: out.Refused}
	}
	out.Placed, out.Wanted = out.Worth.Pieces, out.Worth.Wanted
	if err := v.carriedOff(name, p.segs); err != nil {
		return nil, err
	}
	if skipSame {
		same, found, err := v.sameAs(name, tree)
		if err != nil {
			return nil, err
		}
		if found {
			out.Version, out.Unchanged = same, true
			return p.announce(ctx, out)
		}
	}
	seq, seqChange, err := v.nextSeq()
	if err != nil {
		return nil, err
	}
	out.Version = manifest.Version{
		V: codec.Version, Name: name, Agent: v.c.Household.Agent(), Seq: seq,
		Files: p.files, Bytes: p.bytes, Stored: p.stored + f.stored, Single: single,
		Tree: tree, Segments: p.treeSegs.sorted(),
	}
	if out.Version.Time, err = v.timeOf(out.Version); err != nil {
		return nil, err
	}
	if err := v.record(out.Version, p.segs, seqChange); err != nil {
		return nil, err
	}
	return p.announce(ctx, out)
}

// sameAs returns the newest version of a name, or ours, if it has that very tree.
func (v *Vault) sameAs(name string, tree page.Tree) (manifest.Version, bool, error) {
	versions, err := v.Versions(name)
	if err != nil || len(versions) == 0 {
		return manifest.Version{}, false, err
	}
	us := v.c.Household.Agent()
	ours := slices.IndexFunc(versions, func(version manifest.Version) bool { return version.Agent == us })
	for _, i := range []int{0, max(0, ours)} {
		if t := versions[i].Tree; t.Level == tree.Level && t.Count == tree.Count && bytes.Equal(t.Root, tree.Root) {
			return versions[i], true, nil
		}
	}
	return manifest.Version{}, false, nil
}

// announce tells the partners of a version.
func (p *put) announce(ctx context.Context, out *Put) (*Put, error) {
	v := p.v
	p.progress.stage("telling partners")
	told, err := v.tell(ctx, out)
	if err != nil && !told && !out.Unchanged && ctx.Err() == nil {
		return nil, errors.Join(err, v.withdraw(out.Version))
	}
	if err != nil {
		return out, err
	}
	if out.Placed < out.Wanted || len(out.Problems) > 0 {
		return out, core.ErrPartly
	}
	return out, nil
}

// timeOf returns the time of a new version: now, but never such that an older one of
// the name would be taken for the newest, because a clock was wrong; also not one that was removed, and is brought back.
func (v *Vault) timeOf(version manifest.Version) (int64, error) {
	version.Time = v.c.Clock.Now().Unix()
	others, err := v.recorded(version.Name)
	if err != nil {
		return 0, err
	}
	if len(others) > 0 && newerFirst(others[0], version) < 0 {
		return others[0].Time + 1, nil
	}
	return version.Time, nil
}

// record writes a version down, with what it consists of.
func (v *Vault) record(version manifest.Version, uses segmentSet, more ...core.Change) error {
	value, err := version.Marshal()
	if err != nil {
		return fmt.Errorf("write version: %w", err)
	}
	changes := append(more,
		core.Change{Key: stateKey(version.Key()), Value: value},
		core.Change{Key: usesKey(version.Key()), Value: encodeUses(version.Tree, uses)})
	if err := v.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("record version: %w", err)
	}
	return nil
}

// errUntold says that a holder of pieces was not among those that could be told.
var errUntold = errors.New("it could not be told of the newest head")

// withdraw strikes out a version of which nobody was told: without a partner that knows
// of it, it would die with this machine. The next put of the same bytes makes it again.
func (v *Vault) withdraw(version manifest.Version) error {
	if err := v.c.Books.Apply(core.Change{Key: stateKey(version.Key())}, core.Change{Key: usesKey(version.Key())}); err != nil {
		return fmt.Errorf("strike out version: %w", err)
	}
	return nil
}

// tell brings the new head to the partners. It must reach every household that
// holds a piece of the version, or a recovery through that one would miss it. Told says
// that it has reached anybody.
func (v *Vault) tell(ctx context.Context, out *Put) (told bool, err error) {
	done, failed, err := v.c.Household.SaveHead(ctx)
	if err != nil {
		err = fmt.Errorf("save the head: %w", err)
		if len(done) > 0 || ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", core.ErrPartly, err)
		}
		return len(done) > 0, err
	}
	if len(done) == 0 {
		return false, &Incomplete{Seq: out.Version.Seq, Placed: int64(out.Version.Bytes), Bytes: int64(out.Version.Bytes), Refused: failed}
	}
	var late []error
	for _, grid := range slices.SortedFunc(maps.Keys(out.Worth.Held), core.DID.Compare) {
		if slices.Contains(done, grid) {
			continue
		}
		why := failed[grid]
		if why == nil {
			why = errUntold
		}
		out.Refused[grid] = why
		late = append(late, fmt.Errorf("%s: %w", grid, why))
	}
	if len(late) > 0 {
		return true, fmt.Errorf("the newest head is not at every holder: %w: %w", core.ErrPartly, errors.Join(late...))
	}
	return true, nil
}
