package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
)

// Seeding is a Placement onto a disk that a person carries to the holders.
type Seeding interface {
	Placement
	// Given returns what is safe on the disk of a segment, by household, once.
	Given(segment []byte) map[core.DID][]int
	// Holder is the machine of a household that gets its pieces.
	Holder(grid core.DID) core.DID
}

// Seeder begins a Seeding. waiting is what each household is still to be brought, in bytes.
type Seeder func(waiting map[core.DID]int64) (Seeding, error)

const (
	// seedAfter is how many seconds a segment that lies on a carried disk is kept in mind.
	seedAfter = 90 * daySeconds
	// carryTime is for how many seconds a put that waits for a carried disk does so.
	carryTime = 30 * daySeconds
	// claimBatch is how many segments are asked for in one go: 512 of two households make two
	// requests with 5,120 pieces each.
	claimBatch = 512
)

// seedRecord says of a segment which of its pieces are being carried to whom.
type seedRecord struct {
	V    uint   `json:"v"`
	Name string `json:"name"`
	// Time is when they were written onto a disk.
	Time int64 `json:"time"`
	// Size is that of each piece, in bytes.
	Size uint64     `json:"size"`
	To   []seedPart `json:"to"`
}

type seedPart struct {
	Grid  core.DID `json:"grid"`
	Agent core.DID `json:"agent"`
	// Pieces has bit i set for piece i.
	Pieces uint32 `json:"pieces"`
}

// pieces returns those that are on their way.
func (r seedRecord) pieces() (all pieceSet) {
	for _, part := range r.To {
		all |= pieceSet(part.Pieces)
	}
	return all
}

func seedKey(segment []byte) []byte { return append(bytes.Clone(seedPrefix), segment...) }

// seedOf returns what of a segment is being carried; the zero record if nothing is.
func (v *Vault) seedOf(id []byte) (seedRecord, error) {
	raw, err := v.c.Books.Get(seedKey(id))
	if errors.Is(err, core.ErrNotExist) {
		return seedRecord{}, nil
	}
	if err != nil {
		return seedRecord{}, fmt.Errorf("read what is carried: %w", err)
	}
	return v.parseSeed(id, raw), nil
}

// parseSeed reads a record. What a broken one says is sent as if it had never been written.
func (v *Vault) parseSeed(id, raw []byte) seedRecord {
	var r seedRecord
	if err := codec.Unmarshal(raw, &r, recordSizeMax); err != nil {
		v.c.Log.Warn("a record of what is carried is broken", "segment", fmt.Sprintf("%x", id), "err", err)
		return seedRecord{}
	}
	return r
}

// ErrCarried says that nothing was sent, because a person carries it on a disk.
var ErrCarried = errors.New("it is being carried to its holders on a disk")

// Awaited is the ErrCarried of a put, and a core.ErrPartly.
type Awaited struct {
	// Carried is what is still to be brought to each household, in bytes.
	Carried map[core.DID]int64
}

func (a *Awaited) Error() string { return ErrCarried.Error() }

// Is makes it an ErrCarried and a core.ErrPartly.
func (a *Awaited) Is(target error) bool { return target == ErrCarried || target == core.ErrPartly }

// beginSeed begins to write onto a disk.
func (p *put) beginSeed(begin Seeder) error {
	names, err := p.v.Carried()
	if err != nil {
		return err
	}
	waiting := map[core.DID]int64{}
	for _, to := range names {
		for grid, n := range to {
			waiting[grid] += n
		}
	}
	if p.seeding, err = begin(waiting); err != nil {
		return err
	}
	p.placing = p.seeding
	p.progress.stage("writing to the disk")
	return nil
}

// seeded is the outcome of a put onto a disk that has ended with err.
func (p *put) seeded(size int64, err error) (*Put, error) {
	out := &Put{Problems: p.problems, Same: p.same, Refused: p.placing.Refusals()}
	names, failed := p.v.Carried()
	if failed != nil {
		return nil, errors.Join(err, failed)
	}
	out.Carried = names[p.name]
	switch {
	case errors.Is(err, errDoomed), err == nil && p.lost > 0:
		return out, p.incomplete(size)
	case err != nil:
		return out, err
	case len(out.Carried) > 0:
		return out, &Awaited{out.Carried}
	case len(p.problems) > 0:
		return out, core.ErrPartly
	}
	return out, nil
}

// bring has those who were brought pieces of this put promise to keep them.
func (p *put) bring(ctx context.Context, wait bool) error {
	waiting, err := p.v.claim(ctx, p.name)
	if err == nil && wait && len(waiting) > 0 {
		return &Awaited{waiting}
	}
	return err
}

// carry adds to who holds a segment those to whom it is being carried, and returns the change that notes it.
func (p *put) carry(s manifest.Segment, held holders) ([]core.Change, error) {
	given := p.seeding.Given(s.ID)
	for grid, indexes := range given {
		for _, i := range indexes {
			held[grid] |= 1 << i
		}
	}
	if len(given) == 0 {
		return nil, nil
	}
	change, err := p.seedChange(s, given)
	return []core.Change{change}, err
}

// seededBytes is heldBytes of a segment that can be read when all of it has been brought.
func (v *Vault) seededBytes(id segmentID) (uint64, error) {
	r, err := v.seedOf(id[:])
	if err != nil || len(r.To) == 0 {
		return 0, err
	}
	s, err := v.segment(id[:])
	if errors.Is(err, errNoSegment) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	held, err := v.heldOf(s, nil)
	if err != nil || (held.pieces()|r.pieces()).len() < int(s.K) {
		return 0, err
	}
	return s.K * s.Size, nil
}

// carriedLately returns the segments of which pieces are being carried, and forgets those that were given
// to somebody to carry long ago.
func (v *Vault) carriedLately() (segmentSet, error) {
	out, now := segmentSet{}, v.c.Clock.Now().Unix()
	var late [][]byte
	err := v.carried("", func(batch []carrying) error {
		for _, c := range batch {
			if now-c.record.Time > seedAfter {
				late = append(late, c.id)
			} else {
				out.add(c.id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, v.erase(late, seedKey)
}

// seedChange is the change that notes what of a segment is being carried.
func (p *put) seedChange(s manifest.Segment, given map[core.DID][]int) (core.Change, error) {
	r := seedRecord{V: codec.Version, Name: p.name, Time: p.v.c.Clock.Now().Unix(), Size: s.Size}
	for grid, indexes := range given {
		part := seedPart{Grid: grid, Agent: p.seeding.Holder(grid)}
		for _, i := range indexes {
			part.Pieces |= 1 << i
		}
		r.To = append(r.To, part)
	}
	slices.SortFunc(r.To, func(x, y seedPart) int { return x.Grid.Compare(y.Grid) })
	return r.change(s.ID)
}

func (r seedRecord) change(id []byte) (core.Change, error) {
	if len(r.To) == 0 {
		return core.Change{Key: seedKey(id)}, nil
	}
	raw, err := codec.Marshal(r)
	if err != nil {
		return core.Change{}, fmt.Errorf("write what is carried: %w", err)
	}
	return core.Change{Key: seedKey(id), Value: raw}, nil
}

// carrying is a segment of which something is being carried.
type carrying struct {
	id      []byte
	record  seedRecord
	segment manifest.Segment // the zero one: it is not wanted any more
}

// carried calls each with batches of what is being carried for a name, or for all for "".
func (v *Vault) carried(name string, each func([]carrying) error) error {
	from := seedPrefix
	for from != nil {
		var batch []carrying
		next := from
		from = nil
		for c, err := range v.c.Books.Scan(seedPrefix, next) {
			if err != nil {
				return fmt.Errorf("read what is carried: %w", err)
			}
			if len(batch) == claimBatch {
				from = c.Key
				break
			}
			id := bytes.Clone(c.Key[len(seedPrefix):])
			r := v.parseSeed(id, c.Value)
			if name == "" || r.Name == name {
				batch = append(batch, carrying{id: id, record: r})
			}
		}
		if err := each(batch); err != nil {
			return err
		}
	}
	return nil
}

// Carried returns what is still to be brought to each household, in bytes, by name.
func (v *Vault) Carried() (map[string]map[core.DID]int64, error) {
	out := map[string]map[core.DID]int64{}
	return out, v.carried("", func(batch []carrying) error {
		for _, c := range batch {
			for _, part := range c.record.To {
				if out[c.record.Name] == nil {
					out[c.record.Name] = map[core.DID]int64{}
				}
				out[c.record.Name][part.Grid] += int64(pieceSet(part.Pieces).len()) * int64(c.record.Size)
			}
		}
		return nil
	})
}
