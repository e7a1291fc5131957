package vault

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// Versions returns the versions of a name, or of all names for "", that are not
// removed, by name, the newest (time, then agent, then number) first. A record that
// cannot be read, as another machine of a later make may write them, is left out and logged.
func (v *Vault) Versions(name string) ([]manifest.Version, error) {
	all, err := v.recorded(name)
	if err != nil {
		return nil, err
	}
	out := all[:0]
	for _, version := range all {
		removed, err := v.removed(version)
		if err != nil {
			return nil, err
		}
		if !removed {
			out = append(out, version)
		}
	}
	return out, nil
}

// recorded is Versions with those that were removed, and could be brought back.
func (v *Vault) recorded(name string) ([]manifest.Version, error) {
	prefix := []byte(manifest.VersionPrefix)
	if name != "" {
		if err := manifest.CheckName(name); err != nil {
			return nil, err
		}
		prefix = manifest.NamePrefix(name)
	}
	var out []manifest.Version
	for c, err := range v.c.Books.Scan(stateKey(prefix), nil) {
		if err != nil {
			return nil, fmt.Errorf("read versions: %w", err)
		}
		version, err := manifest.DecodeVersion(c.Value)
		if err == nil && !bytes.Equal(stateKey(version.Key()), c.Key) {
			err = fmt.Errorf("it is another's: %w", core.ErrCorrupt)
		}
		if err != nil {
			v.c.Log.Warn("a version's record is broken", "key", fmt.Sprintf("%q", c.Key), "err", err)
			continue
		}
		out = append(out, version)
	}
	slices.SortStableFunc(out, newerFirst)
	return out, nil
}

// newerFirst orders versions by name, and those of one name from the newest.
func newerFirst(a, b manifest.Version) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), -cmp.Compare(a.Time, b.Time), -a.Agent.Compare(b.Agent), -cmp.Compare(a.Seq, b.Seq))
}

func (v *Vault) removed(version manifest.Version) (bool, error) {
	_, removed, err := v.removedAt(version)
	return removed, err
}

// removedAt tells whether a tombstone stands for a version, and since when. One that cannot be read does not
// count: rather too much is shown than too little.
func (v *Vault) removedAt(version manifest.Version) (since int64, removed bool, err error) {
	raw, err := v.c.Books.Get(stateKey(manifest.TombstoneKey(version.Name, version.Agent, version.Seq)))
	if errors.Is(err, core.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("look for a tombstone: %w", err)
	}
	t, err := manifest.DecodeTombstone(raw)
	if err != nil {
		v.c.Log.Warn("a tombstone is broken", "name", version.Name, "version", version.Seq, "err", err)
		return 0, false, nil
	}
	return t.Time, !t.Undone, nil
}

// Find returns the newest version of a name, or with seq the newest that has
// this number. Errors: core.ErrNotExist.
func (v *Vault) Find(name string, seq uint64) (manifest.Version, error) {
	versions, err := v.Versions(name)
	if err != nil {
		return manifest.Version{}, err
	}
	for _, version := range versions {
		if seq == 0 || version.Seq == seq {
			return version, nil
		}
	}
	if seq != 0 && len(versions) > 0 {
		return manifest.Version{}, fmt.Errorf("version %d of %q: %w", seq, name, core.ErrNotExist)
	}
	return manifest.Version{}, fmt.Errorf("%q: %w", name, core.ErrNotExist)
}

// Worth returns what a version is worth by what the books know of its pieces, while those households
// are away that away (nil: none) names. A version of another
// machine whose manifest cannot be read now is not readable, whatever its pages are worth.
func (v *Vault) Worth(ctx context.Context, version manifest.Version, away func(core.DID) bool) (Worth, error) {
	key, now, changes := string(version.Key()), v.c.Clock.Now(), v.c.Barter.Changes()
	if w, ok := v.worths.get(key, changes, now, away); ok {
		return w, nil
	}
	uses, err := v.usesOf(ctx, version)
	if ctx.Err() != nil {
		return Worth{}, ctx.Err()
	}
	if err == nil {
		w, asked, err := v.worthOf(uses, away)
		if err == nil {
			v.worths.set(key, knownWorth{worth: w, changes: changes, at: now, away: asked})
		}
		return w, err
	}
	v.c.Log.Warn("a manifest cannot be read", "name", version.Name, "version", version.Seq, "err", err)
	uses = segmentSet{}
	for _, id := range version.Segments {
		uses.add(id)
	}
	w, _, err := v.worthOf(uses, away)
	w.Worth = worthless
	return w, err
}

// usesOf returns the segments that a version consists of: from our books, or
// else from its manifest, which needs partners.
func (v *Vault) usesOf(ctx context.Context, version manifest.Version) (segmentSet, error) {
	uses, err := v.knownUses(version)
	if errors.Is(err, core.ErrNotExist) {
		return v.takeOver(ctx, version)
	}
	return uses, err
}

// knownUses returns the segments that a version consists of by our books. Errors: core.ErrNotExist, core.ErrCorrupt.
func (v *Vault) knownUses(version manifest.Version) (segmentSet, error) {
	raw, err := v.c.Books.Get(usesKey(version.Key()))
	if err != nil {
		return nil, fmt.Errorf("segments of version %d: %w", version.Seq, err)
	}
	return decodeUses(version.Tree, raw)
}

// TakeOver reads the manifests of versions that this machine did not put, after
// a recovery, so that their chunks are known and need not be sent again. It may be
// called again: what was read is not read twice.
func (v *Vault) TakeOver(ctx context.Context, progress func(Progress)) error {
	defer v.worths.forget()
	versions, err := v.Versions("")
	if err != nil {
		return err
	}
	m := newMeter("reading manifests", progress)
	var failures []error
	for _, version := range versions {
		if _, err := v.knownUses(version); err == nil {
			continue
		}
		_, err := v.takeOver(ctx, version)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s, version %d: %w", version.Name, version.Seq, err))
		}
		m.file()
	}
	return errors.Join(failures...)
}

const takeBatch = 1 << 10 // records of chunks in one change of the books

// takeOver walks one manifest and writes down the segments it uses. Where they are this machine's, or
// were a machine's that is none of ours any more, its chunks and pages are what puts build on from now on.
func (v *Vault) takeOver(ctx context.Context, version manifest.Version) (segmentSet, error) {
	r, done := v.reader()
	defer done()
	uses, given := segmentSet{}, segmentSet{}
	ours := version.Agent == v.c.Household.Agent() || !v.c.Household.Lists(version.Agent)
	var changes []core.Change
	note := func(ref manifest.Ref) error {
		if !uses.has(ref.Segment) {
			uses.add(ref.Segment)
			id := segmentID(ref.Segment)
			if gone, err := v.given(id[:]); err != nil {
				return err
			} else if gone {
				given.add(id[:])
			}
		}
		if !ours || given.has(ref.Segment) {
			return nil
		}
		raw, err := ref.Marshal()
		if err != nil {
			return err
		}
		changes = append(changes, core.Change{Key: chunkKey(ref.Plain), Value: raw})
		if len(changes) < takeBatch {
			return nil
		}
		err = v.c.Books.Apply(changes...)
		changes = changes[:0]
		return err
	}
	if err := v.refs(ctx, r, version.Tree, note); err != nil {
		return nil, err
	}
	if ours {
		adopted, err := v.adopt(uses)
		if err != nil {
			return nil, err
		}
		changes = append(changes, adopted...)
	}
	changes = append(changes, core.Change{Key: usesKey(version.Key()), Value: encodeUses(version.Tree, uses)})
	if err := v.c.Books.Apply(changes...); err != nil {
		return nil, fmt.Errorf("record what version %d consists of: %w", version.Seq, err)
	}
	return uses, nil
}

// refs calls f for every chunk that a tree consists of, its pages first.
func (v *Vault) refs(ctx context.Context, r *reader, t page.Tree, f func(manifest.Ref) error) error {
	for raw, err := range page.Refs(t, r.load(ctx)) {
		if err != nil {
			return fmt.Errorf("read the manifest: %w", err)
		}
		ref, err := manifest.ParseRef(raw)
		if err == nil {
			err = f(ref)
		}
		if err != nil {
			return err
		}
	}
	for row, err := range manifest.Rows(page.Walk(t, r.load(ctx), nil, nil)) {
		if err != nil {
			return fmt.Errorf("read the manifest: %w", err)
		}
		for _, ref := range row.Chunks {
			if err := f(ref); err != nil {
				return err
			}
		}
	}
	return nil
}

// adopt returns the changes by which segments are this machine's to give up.
func (v *Vault) adopt(uses segmentSet) ([]core.Change, error) {
	var changes []core.Change
	for id := range uses {
		_, known, err := v.timeOfKey(mineKey(id[:]))
		if err != nil {
			return nil, err
		}
		if known {
			continue
		}
		change, err := v.nowAt(mineKey(id[:]))
		if err != nil {
			return nil, err
		}
		changes = append(changes, change)
	}
	return changes, nil
}

// PieceSizes returns the size of every piece that the segment tables name: what
// a recovered machine checks holders' lists against.
func (v *Vault) PieceSizes() (map[core.Score]int64, error) {
	sizes := map[core.Score]int64{}
	for c, err := range v.c.Books.Scan(stateKey([]byte(manifest.SegmentPrefix)), nil) {
		if err != nil {
			return nil, fmt.Errorf("read segment tables: %w", err)
		}
		s, err := manifest.DecodeSegment(c.Value)
		if err != nil { // one broken record must not stop a recovery
			v.c.Log.Warn("a segment's record is broken", "key", fmt.Sprintf("%q", c.Key), "err", err)
			continue
		}
		for i := range s.Total() {
			sizes[s.Piece(i)] = int64(s.Size)
		}
	}
	return sizes, nil
}
