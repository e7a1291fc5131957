package vault

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
)

// Undone is what was brought back.
type Undone struct {
	Versions []manifest.Version
	// Lost are versions of which too much is not kept any more, or cannot be reached now; they
	// stay removed.
	Lost []LostVersion
}

// LostVersion is a version that could not be brought back.
type LostVersion struct {
	manifest.Version
	Err error
}

// Undo brings back what the newest removal of a name that is not undone removed: one act of a person, or if there
// is none, of a rule. A version comes back if all of it can be had; what cannot is in Lost,
// and may be tried again. Errors: core.ErrNotExist if nothing was removed, core.ErrPartly.
func (v *Vault) Undo(ctx context.Context, name string) (*Undone, error) {
	if err := manifest.CheckName(name); err != nil {
		return nil, err
	}
	unlock, err := take(ctx, v.collecting)
	if err != nil {
		return nil, err
	}
	defer unlock()
	graves, err := v.graves(name)
	if err != nil {
		return nil, err
	}
	last := lastRemoval(graves)
	if len(last) == 0 {
		return nil, fmt.Errorf("nothing of %q was removed: %w", name, core.ErrNotExist)
	}
	out := &Undone{}
	revived := segmentSet{}
	for _, g := range last {
		version, err := v.buried(g)
		if err != nil {
			return nil, err
		}
		uses, err := v.bringBack(ctx, version)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			out.Lost = append(out.Lost, LostVersion{version, err})
			continue
		}
		maps.Copy(revived, uses)
		out.Versions = append(out.Versions, version)
	}
	if len(out.Versions) > 0 {
		if err := v.unearth(name, out.Versions, revived); err != nil {
			return nil, err
		}
		v.index(ctx, out.Versions)
		err = v.publish(ctx)
	}
	if len(out.Lost) > 0 && err == nil {
		err = fmt.Errorf("%d versions of %q cannot be brought back: %w: %w", len(out.Lost), name, core.ErrPartly, out.Lost[0].Err)
	}
	return out, err
}

// index makes known again which chunks versions that were brought back consist of, so that
// they are not stored anew. Without it they are; so it may fail.
func (v *Vault) index(ctx context.Context, versions []manifest.Version) {
	for _, version := range versions {
		ref, err := manifest.ParseRef(version.Tree.Root)
		if err == nil {
			var known bool
			if _, known, err = v.knownChunk(ref.Plain); err == nil && !known { // its root was dropped, and so the rest
				_, err = v.takeOver(ctx, version)
			}
		}
		if err != nil {
			v.c.Log.Warn("what was brought back is not known to puts", "name", version.Name, "version", version.Seq, "err", err)
		}
	}
}

// LastRemoved returns the name of which Undo would undo the newest removal of all names.
// Errors: core.ErrNotExist if nothing was removed.
func (v *Vault) LastRemoved() (string, error) {
	graves, err := v.graves("")
	if err != nil {
		return "", err
	}
	last := lastRemoval(graves)
	if len(last) == 0 {
		return "", fmt.Errorf("nothing was removed: %w", core.ErrNotExist)
	}
	name, _, _, err := manifest.ParseVersionKey(last[0].version)
	return name, err
}

// lastRemoval returns the tombstones of the newest removal that is not undone.
func lastRemoval(graves []grave) []grave {
	for _, thinned := range []bool{false, true} {
		var last []grave
		for _, g := range graves {
			switch {
			case g.Undone || g.Thinned != thinned:
				continue
			case len(last) > 0 && last[0].Time > g.Time:
				continue
			case len(last) > 0 && last[0].Time < g.Time:
				last = last[:0]
			}
			last = append(last, g)
		}
		if len(last) > 0 {
			return last
		}
	}
	return nil
}

// buried returns the version under a tombstone; one without a record has no tree.
func (v *Vault) buried(g grave) (manifest.Version, error) {
	name, agent, seq, err := manifest.ParseVersionKey(g.version)
	if err != nil {
		return manifest.Version{}, err
	}
	none := manifest.Version{Name: name, Agent: agent, Seq: seq}
	raw, err := v.c.Books.Get(stateKey(g.version))
	if errors.Is(err, core.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("read version %d of %q: %w", seq, name, err)
	}
	version, err := manifest.DecodeVersion(raw)
	if err != nil || !bytes.Equal(version.Key(), g.version) {
		return none, nil
	}
	return version, nil
}

// bringBack takes back whatever of a version was given up, and returns the segments that it
// consists of if all of them can be read.
func (v *Vault) bringBack(ctx context.Context, version manifest.Version) (segmentSet, error) {
	if version.V == 0 {
		return nil, fmt.Errorf("its record is not kept any more: %w", core.ErrNotExist)
	}
	tree := segmentSet{}
	for _, id := range version.Segments {
		tree.add(id)
	}
	if err := v.revive(ctx, tree); err != nil { // else the manifest may not be readable
		return nil, err
	}
	uses, err := v.usesOf(ctx, version)
	if err != nil {
		return nil, err
	}
	return uses, v.revive(ctx, uses)
}

// unearth undoes the removal of versions, whose segments were taken back, in one change.
func (v *Vault) unearth(name string, versions []manifest.Version, revived segmentSet) error {
	v.removing.Lock()
	defer v.removing.Unlock()
	graves, err := v.graves(name)
	if err != nil {
		return err
	}
	changes, err := entomb(versions, manifest.Tombstone{V: codec.Version, Time: v.graveTime(graves), Undone: true})
	if err != nil {
		return err
	}
	for id := range revived {
		changes = append(changes, core.Change{Key: goneKey(id[:])})
	}
	if err := v.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("undo a removal: %w", err)
	}
	return nil
}

// revive takes back what was given up of segments. Errors: that of one which cannot be read.
func (v *Vault) revive(ctx context.Context, ids segmentSet) error {
	for batch := range slices.Chunk(ids.sorted(), collectBatch) {
		if _, err := v.reviveBatch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// reviveBatch takes back what was given up of a few segments, and returns those that can be read; the
// error is of one that cannot.
func (v *Vault) reviveBatch(ctx context.Context, ids [][]byte) (back [][]byte, err error) {
	var given []core.Score
	for _, id := range ids {
		gone, err := v.given(id)
		if err != nil {
			return nil, err
		}
		size, err := v.heldBytes(segmentID(id))
		if err != nil {
			return nil, err
		}
		if s, err := v.segment(id); err == nil && (gone || size == 0) {
			given = append(given, scores(s)...)
		}
	}
	var missing []core.Score
	var unasked error
	if len(given) > 0 {
		missing, unasked = v.c.Barter.Renew(ctx, given)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	for _, id := range ids {
		size, bad := v.heldBytes(segmentID(id))
		if bad != nil {
			return nil, bad
		}
		if size > 0 {
			back = append(back, id)
		} else if err == nil {
			err = fmt.Errorf("segment %x: too few of its pieces are kept (%d of %d asked for are gone): %w",
				id, len(missing), len(given), cmp.Or(unasked, core.ErrNotExist))
		}
	}
	return back, err
}
