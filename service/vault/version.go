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
// removed, by name, the newest (time, then agent, then number) first.
func (v *Vault) Versions(name string) ([]manifest.Version, error) {
	prefix := []byte("v/")
	if name != "" {
		if err := manifest.CheckName(name); err != nil {
			return nil, err
		}
		prefix = append(append(prefix, name...), 0)
	}
	var out []manifest.Version
	for c, err := range v.c.Books.Scan(stateKey(prefix), nil) {
		if err != nil {
			return nil, fmt.Errorf("read versions: %w", err)
		}
		removed, err := v.removed(c.Key[len(statePrefix):])
		if err != nil {
			return nil, err
		}
		if removed {
			continue
		}
		version, err := manifest.DecodeVersion(c.Value)
		if err != nil {
			return nil, fmt.Errorf("version %q: %w", c.Key, err)
		}
		out = append(out, version)
	}
	slices.SortStableFunc(out, func(a, b manifest.Version) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), -cmp.Compare(a.Time, b.Time), -a.Agent.Compare(b.Agent), -cmp.Compare(a.Seq, b.Seq))
	})
	return out, nil
}

func (v *Vault) removed(versionKey []byte) (bool, error) {
	raw, err := v.c.Books.Get(stateKey(append([]byte("x/"), versionKey[len("v/"):]...)))
	if errors.Is(err, core.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a tombstone: %w", err)
	}
	t, err := manifest.DecodeTombstone(raw)
	if err != nil {
		return false, fmt.Errorf("tombstone of %q: %w", versionKey, err)
	}
	return !t.Undone, nil
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

// Worth returns what a version is worth by what the books know of its pieces.
func (v *Vault) Worth(ctx context.Context, version manifest.Version) (Worth, error) {
	uses, err := v.usesOf(ctx, version)
	if err != nil {
		return Worth{}, err
	}
	return v.worthOf(uses)
}

// usesOf returns the segments that a version consists of: from our books, or
// else from its manifest, which needs partners.
func (v *Vault) usesOf(ctx context.Context, version manifest.Version) (segmentSet, error) {
	key := manifest.VersionKey(version.Name, version.Agent, version.Seq)
	raw, err := v.c.Books.Get(usesKey(key))
	if err == nil {
		return decodeUses(raw)
	}
	if !errors.Is(err, core.ErrNotExist) {
		return nil, fmt.Errorf("segments of version %d: %w", version.Seq, err)
	}
	return v.takeOver(ctx, version)
}

// TakeOver reads the manifests of versions that this machine did not put, after
// a recovery, so that their chunks are known and need not be sent again.
func (v *Vault) TakeOver(ctx context.Context, progress func(Progress)) error {
	versions, err := v.Versions("")
	if err != nil {
		return err
	}
	m := newMeter("reading manifests", progress)
	var failures []error
	for _, version := range versions {
		key := manifest.VersionKey(version.Name, version.Agent, version.Seq)
		if _, err := v.c.Books.Get(usesKey(key)); err == nil {
			continue
		}
		if _, err := v.takeOver(ctx, version); err != nil {
			failures = append(failures, fmt.Errorf("%s, version %d: %w", version.Name, version.Seq, err))
		}
		m.file()
	}
	return errors.Join(failures...)
}

const takeBatch = 1 << 10 // records of chunks in one change of the books

// takeOver walks one manifest and writes down its chunks, its pages and the
// segments it uses.
func (v *Vault) takeOver(ctx context.Context, version manifest.Version) (segmentSet, error) {
	r := v.newReader()
	uses := segmentSet{}
	var changes []core.Change
	note := func(ref manifest.Ref) error {
		uses.add(ref.Segment)
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
	for raw, err := range page.Refs(version.Tree, r.load(ctx)) {
		if err != nil {
			return nil, fmt.Errorf("read the manifest: %w", err)
		}
		ref, err := manifest.ParseRef(raw)
		if err != nil {
			return nil, err
		}
		if err := note(ref); err != nil {
			return nil, err
		}
	}
	for row, err := range manifest.Rows(page.Walk(version.Tree, r.load(ctx), nil, nil)) {
		if err != nil {
			return nil, fmt.Errorf("read the manifest: %w", err)
		}
		for _, ref := range row.Chunks {
			if err := note(ref); err != nil {
				return nil, err
			}
		}
	}
	key := manifest.VersionKey(version.Name, version.Agent, version.Seq)
	changes = append(changes, core.Change{Key: usesKey(key), Value: encodeUses(uses)})
	if err := v.c.Books.Apply(changes...); err != nil {
		return nil, fmt.Errorf("record what version %d consists of: %w", version.Seq, err)
	}
	return uses, nil
}

// PieceSizes returns the size of every piece that the segment tables name: what
// a recovered machine checks holders' lists against.
func (v *Vault) PieceSizes() (map[core.Score]int64, error) {
	sizes := map[core.Score]int64{}
	for c, err := range v.c.Books.Scan(stateKey([]byte("s/")), nil) {
		if err != nil {
			return nil, fmt.Errorf("read segment tables: %w", err)
		}
		s, err := manifest.DecodeSegment(c.Value)
		if err != nil {
			return nil, fmt.Errorf("segment %q: %w", bytes.TrimPrefix(c.Key, statePrefix), err)
		}
		for i := range int(s.K + s.M) {
			sizes[s.Piece(i)] = int64(s.Size)
		}
	}
	return sizes, nil
}
