package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/ticket"
)

// timeRecord says when something was last so, in seconds since 1970.
type timeRecord struct {
	V    uint  `json:"v"`
	Time int64 `json:"time"`
}

// timeOfKey returns the time in a record; false if there is none. A broken one counts as of now,
// because what it is about is given up, or forgotten, for its age.
func (v *Vault) timeOfKey(key []byte) (int64, bool, error) {
	raw, err := v.c.Books.Get(key)
	if errors.Is(err, core.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read record %q: %w", key, err)
	}
	var r timeRecord
	now := v.c.Clock.Now().Unix()
	if err := codec.Unmarshal(raw, &r, recordSizeMax); err != nil || r.V != codec.Version {
		v.c.Log.Warn("a record is broken", "key", fmt.Sprintf("%q", key), "err", err)
		return now, true, nil
	}
	return min(r.Time, now), true, nil
}

// nowAt returns the change that notes the time under a key.
func (v *Vault) nowAt(key []byte) (core.Change, error) {
	value, err := codec.Marshal(timeRecord{V: codec.Version, Time: v.c.Clock.Now().Unix()})
	return core.Change{Key: key, Value: value}, err
}

// given tells whether a segment was given up.
func (v *Vault) given(id []byte) (bool, error) {
	_, gone, err := v.timeOfKey(goneKey(id))
	return gone, err
}

// scores returns the scores of all pieces of a segment.
func scores(s manifest.Segment) []core.Score {
	out := make([]core.Score, s.Total())
	for i := range out {
		out[i] = s.Piece(i)
	}
	return out
}

// marks is what the state's versions and tickets use.
type marks struct {
	known segmentSet // all segments that have records
	live  segmentSet // used by a version that is not removed, whoever made it, or by a ticket
	dead  segmentSet // used by one that is, and by none of the former
	// worn are live, and used by a removed version as well: some of their bytes may be dead.
	worn segmentSet
	// others are used by versions of other machines.
	others segmentSet
	// ticketed are used by a ticket: they stay as they are.
	ticketed segmentSet
	// stale are the keys of the versions that were removed, and tickets that have lapsed, so long ago that they are
	// forgotten.
	stale [][]byte
}

// mark reads what every version and ticket uses. It fails rather than to leave anything out: what it does
// not find live is given up.
func (v *Vault) mark(ctx context.Context) (*marks, error) {
	m := &marks{known: segmentSet{}, live: segmentSet{}, dead: segmentSet{}, worn: segmentSet{}, others: segmentSet{}, ticketed: segmentSet{}}
	for c, err := range v.c.Books.Scan(stateKey([]byte(manifest.SegmentPrefix)), nil) {
		if err != nil {
			return nil, fmt.Errorf("read segment tables: %w", err)
		}
		m.known.add(c.Key[len(statePrefix)+len(manifest.SegmentPrefix):])
	}
	for c, err := range v.c.Books.Scan(stateKey([]byte(manifest.VersionPrefix)), nil) {
		if err != nil {
			return nil, fmt.Errorf("read versions: %w", err)
		}
		if err := m.version(ctx, v, c); err != nil {
			return nil, err
		}
	}
	for c, err := range v.c.Books.Scan(stateKey([]byte(ticket.RecordPrefix)), nil) {
		if err != nil {
			return nil, fmt.Errorf("read tickets: %w", err)
		}
		if err := m.ticket(ctx, v, c); err != nil {
			return nil, err
		}
	}
	for id := range m.dead {
		if m.live.has(id[:]) {
			m.worn[id] = struct{}{}
			delete(m.dead, id)
		}
	}
	return m, nil
}

func (m *marks) version(ctx context.Context, v *Vault, c core.Change) error {
	version, err := manifest.DecodeVersion(c.Value)
	if err == nil && !bytes.Equal(stateKey(version.Key()), c.Key) {
		err = fmt.Errorf("it is another's: %w", core.ErrCorrupt)
	}
	if err != nil {
		return fmt.Errorf("the record %q of a version: %w", c.Key, err)
	}
	since, removed, err := v.removedAt(version)
	if err != nil {
		return err
	}
	if removed {
		return m.buried(v, version, since)
	}
	uses, err := v.usesFor(ctx, version, m.known)
	if err != nil {
		return fmt.Errorf("%q, version %d: %w", version.Name, version.Seq, err)
	}
	maps.Copy(m.live, uses)
	if version.Agent != v.c.Household.Agent() {
		maps.Copy(m.others, uses)
	}
	return nil
}

// buried notes what a removed version used, as far as it is known without asking anybody.
func (m *marks) buried(v *Vault, version manifest.Version, since int64) error {
	for _, id := range version.Segments {
		m.dead.add(id)
	}
	uses, err := v.knownUses(version)
	if err != nil && !errors.Is(err, core.ErrNotExist) && !errors.Is(err, core.ErrCorrupt) {
		return err
	}
	maps.Copy(m.dead, uses)
	if v.c.Clock.Now().Unix()-since > forgetAfter {
		m.stale = append(m.stale, version.Key())
	}
	return nil
}

// usesFor returns the segments of a version, of which those with records are known. A list in
// the books that cannot be right is made again from the manifest.
func (v *Vault) usesFor(ctx context.Context, version manifest.Version, known segmentSet) (segmentSet, error) {
	uses, err := v.usesOf(ctx, version)
	if err != nil && !errors.Is(err, core.ErrCorrupt) {
		return nil, err
	}
	right := err == nil
	for id := range uses {
		right = right && known.has(id[:])
	}
	for _, id := range version.Segments {
		right = right && uses.has(id)
	}
	if right {
		return uses, nil
	}
	return v.takeOver(ctx, version)
}
