package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/retain"
)

// Remove removes the version of a name that Find finds by a number, or for 0 all of the name, and
// returns them. Undo brings them back; what nothing else uses is given up by the next Collect. It is
// core.ErrPartly, with the versions, if no partner could be told: a recovery would bring them back.
// Errors: core.ErrNotExist.
func (v *Vault) Remove(ctx context.Context, name string, seq uint64) ([]manifest.Version, error) {
	gone, err := v.bury(name, false, func(versions []manifest.Version) ([]manifest.Version, error) {
		if seq == 0 {
			return versions, nil
		}
		found, err := v.Find(name, seq)
		return []manifest.Version{found}, err
	})
	if err != nil {
		return nil, err
	}
	if len(gone) == 0 {
		return nil, fmt.Errorf("%q: %w", name, core.ErrNotExist)
	}
	if seq == 0 {
		if err := v.forgetFiles(name); err != nil {
			return gone, err
		}
	}
	return gone, v.publish(ctx)
}

// Thin removes those versions of a name that this machine has made and that a rule does not keep, by
// the dates that they have here. Errors: core.ErrInvalid; core.ErrPartly as in Remove.
func (v *Vault) Thin(ctx context.Context, name string, rule retain.Rule) ([]manifest.Version, error) {
	if err := rule.Valid(); err != nil {
		return nil, err
	}
	gone, err := v.bury(name, true, func(versions []manifest.Version) ([]manifest.Version, error) {
		us := v.c.Household.Agent()
		ours := slices.DeleteFunc(versions, func(version manifest.Version) bool { return version.Agent != us })
		made := make([]retain.Made, len(ours))
		for i, version := range ours {
			year, month, day := time.Unix(version.Time, 0).Date()
			made[i] = retain.Made{Unix: version.Time, Year: year, Month: int(month), Day: day}
		}
		var out []manifest.Version
		for i, keep := range rule.Keep(made) {
			if !keep {
				out = append(out, ours[i])
			}
		}
		return out, nil
	})
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	return gone, v.publish(ctx)
}

// bury writes tombstones over those versions of a name that which chooses.
func (v *Vault) bury(name string, thinned bool, which func([]manifest.Version) ([]manifest.Version, error)) ([]manifest.Version, error) {
	if err := manifest.CheckName(name); err != nil { // "" is all names
		return nil, err
	}
	v.removing.Lock()
	defer v.removing.Unlock()
	versions, err := v.Versions(name)
	if err != nil {
		return nil, err
	}
	gone, err := which(versions)
	if err != nil || len(gone) == 0 {
		return nil, err
	}
	graves, err := v.graves(name)
	if err != nil {
		return nil, err
	}
	changes, err := entomb(gone, manifest.Tombstone{V: codec.Version, Time: v.graveTime(graves), Thinned: thinned})
	if err != nil {
		return nil, err
	}
	if err := v.c.Books.Apply(changes...); err != nil {
		return nil, fmt.Errorf("remove versions of %q: %w", name, err)
	}
	return gone, nil
}

func entomb(versions []manifest.Version, t manifest.Tombstone) ([]core.Change, error) {
	value, err := t.Marshal()
	if err != nil {
		return nil, fmt.Errorf("write tombstone: %w", err)
	}
	changes := make([]core.Change, 0, len(versions))
	for _, version := range versions {
		changes = append(changes, core.Change{Key: stateKey(manifest.TombstoneKey(version.Name, version.Agent, version.Seq)), Value: value})
	}
	return changes, nil
}

// grave is a tombstone, and where it stands.
type grave struct {
	manifest.Tombstone
	version []byte // the key of its version, in the state
}

// graves returns the tombstones of a name, also such as were undone; "" is all names. One that cannot be
// read is left out, as in removed.
func (v *Vault) graves(name string) ([]grave, error) {
	prefix := []byte(manifest.TombstonePrefix)
	if name != "" {
		prefix = manifest.TombstonesOf(name)
	}
	var out []grave
	for c, err := range v.c.Books.Scan(stateKey(prefix), nil) {
		if err != nil {
			return nil, fmt.Errorf("read tombstones: %w", err)
		}
		t, err := manifest.DecodeTombstone(c.Value)
		var of string
		var agent core.DID
		var seq uint64
		if err == nil {
			of, agent, seq, err = manifest.ParseVersionKey(c.Key[len(statePrefix):])
		}
		if err != nil {
			v.c.Log.Warn("a tombstone is broken", "key", fmt.Sprintf("%q", c.Key), "err", err)
			continue
		}
		out = append(out, grave{t, manifest.VersionKey(of, agent, seq)})
	}
	return out, nil
}

// graveTime returns the time of the next removal or undoing: now, but later than every other
// of the name, so that each act is told from the others, and stands over those before it.
func (v *Vault) graveTime(graves []grave) int64 {
	t := v.c.Clock.Now().Unix()
	for _, g := range graves {
		t = max(t, g.Time+1)
	}
	return min(t, manifest.TombstoneTimeMax)
}

// forgetFiles drops what the files of a name were when they were last read.
func (v *Vault) forgetFiles(name string) error {
	c := v.newFileCache(name)
	return c.end()
}

// publish makes what was removed, or brought back, known to the partners: to one at the least.
func (v *Vault) publish(ctx context.Context) error {
	done, failed, err := v.c.Household.SaveHead(ctx)
	if err != nil {
		return fmt.Errorf("save the head: %w: %w", core.ErrPartly, err)
	}
	if len(done) > 0 || len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("no partner could be told: %w: %w", core.ErrPartly, errors.Join(slices.Collect(maps.Values(failed))...))
}
