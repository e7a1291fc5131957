package vault

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// CheckOptions say what is checked, and what is done about it.
type CheckOptions struct {
	// Name restricts the check to one name's versions; "" is everything.
	Name string
	// Mend makes missing pieces again and places them.
	Mend bool
	// Now counts pieces of holders that are away as lost.
	Now bool
	// Progress is called now and then.
	Progress func(Progress)
}

// Checked is the outcome of a check.
type Checked struct {
	// Holders has what was found, by household.
	Holders map[core.DID]*HolderReport
	// Segments and Pieces are how many were looked at; Unheld pieces nobody has promised to keep.
	Segments, Pieces, Unheld int
	// Away pieces are at holders who cannot be asked, and do not count as lost.
	Away int
	// Worth is what all that was checked is worth by what was proven just now, or
	// after the mending.
	Worth Worth
	// Mended is set when mending was asked for.
	Mended *Mended
	// Failed says what could not be checked: versions whose manifest cannot be read, segments
	// without a record. At most failedMax of them.
	Failed []error
}

// HolderReport counts what was found at one household.
type HolderReport struct {
	OK, Missing, Corrupt, Away, Gone int
	// Bytes is what the proven pieces come to.
	Bytes int64
	// Err is one of the reasons why something was not proven.
	Err error
}

const (
	checkBatch = fillBatch // segments audited in one go: 640 pieces
	failedMax  = 32
)

// Check has every holder prove each piece that it should have, and with Mend makes
// again what is missing, a batch of segments at a time. What cannot be checked does not keep it from the rest.
func (v *Vault) Check(ctx context.Context, o CheckOptions) (*Checked, error) {
	if o.Mend {
		unlock, err := v.lock(ctx)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	m := newMeter("asking for proof", o.Progress)
	c := &checking{v: v, o: o, meter: m, found: &findings{now: o.Now}, out: Checked{Holders: map[core.DID]*HolderReport{}, Worth: newWorth()}}
	uses, err := c.uses(ctx)
	if err != nil {
		return nil, err
	}
	f := v.newFilling(m)
	f.found = c.found
	for ids := uses.sorted(); len(ids) > 0; {
		n := min(len(ids), checkBatch)
		if err := c.audit(ctx, ids[:n]); err != nil {
			return nil, err
		}
		if o.Mend {
			if err := f.batch(ctx, ids[:n], n == len(ids)); err != nil {
				return nil, err
			}
		}
		ids = ids[n:]
	}
	if o.Mend {
		c.out.Mended, c.out.Worth = &f.out, f.worth
	}
	if c.unread {
		c.out.Worth.Worth = worthless
	}
	if !o.Mend {
		return &c.out, nil
	}
	if _, failed, err := v.c.Household.SaveHead(ctx); err != nil {
		return &c.out, fmt.Errorf("save the head: %w", err)
	} else if len(failed) > 0 {
		v.c.Log.Info("partners without the newest head", "partners", len(failed))
	}
	return &c.out, nil
}

// checking is one check under way.
type checking struct {
	v      *Vault
	o      CheckOptions
	meter  *meter
	found  *findings // of the batch at hand
	unread bool      // a version's manifest cannot be read
	out    Checked
}

// uses returns the segments of a name's versions and their tickets, or of all. Of a version whose manifest cannot be read those
// are known that hold the manifest.
func (c *checking) uses(ctx context.Context) (segmentSet, error) {
	versions, err := c.v.Versions(c.o.Name)
	if err != nil {
		return nil, err
	}
	if c.o.Name != "" && len(versions) == 0 {
		return nil, fmt.Errorf("%q: %w", c.o.Name, core.ErrNotExist)
	}
	all := segmentSet{}
	for _, version := range versions {
		uses, err := c.v.usesOf(ctx, version)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			c.unread = true
			c.fail(fmt.Errorf("%q, version %d: %w", version.Name, version.Seq, err))
			uses = segmentSet{}
			for _, id := range version.Segments {
				uses.add(id)
			}
		}
		maps.Copy(all, uses)
	}
	ticketed, err := c.v.ticketedBy(ctx, c.o.Name, func(err error) {
		c.unread = true
		c.fail(err)
	})
	if err != nil {
		return nil, err
	}
	maps.Copy(all, ticketed)
	return all, nil
}

func (c *checking) fail(err error) {
	if len(c.out.Failed) < failedMax {
		c.out.Failed = append(c.out.Failed, err)
	}
}

// audit asks for proof of all pieces of a few segments.
func (c *checking) audit(ctx context.Context, ids [][]byte) error {
	c.found.begin()
	segments := make([]manifest.Segment, 0, len(ids))
	var pieces []core.Piece
	sizes := map[core.Score]int64{}
	for _, id := range ids {
		s, err := c.v.segment(id)
		if errors.Is(err, errNoSegment) {
			c.fail(err)
			c.out.Segments++
			c.out.Worth.addUnknown()
			continue
		}
		if err != nil {
			return err
		}
		segments = append(segments, s)
		for i := range s.Total() {
			pieces = append(pieces, core.Piece{Score: s.Piece(i), Size: int64(s.Size)})
			sizes[s.Piece(i)] = int64(s.Size)
		}
	}
	err := c.v.c.Barter.Audit(ctx, pieces, func(f core.Finding) {
		c.count(f, sizes[f.Score])
		c.meter.bytes(sizes[f.Score])
	})
	if err != nil {
		return err
	}
	for _, s := range segments {
		promised, err := c.v.heldOf(s, nil)
		if err != nil {
			return err
		}
		lasting, proven, err := c.v.lasting(s, c.found.unproven)
		if err != nil {
			return err
		}
		c.out.Segments++
		c.out.Pieces += s.Total()
		c.out.Unheld += len(promised.lacking(s, len(promised)))
		c.out.Worth.add(s, lasting, proven)
	}
	return nil
}

func (c *checking) count(f core.Finding, size int64) {
	r := c.out.Holders[f.Grid]
	if r == nil {
		r = &HolderReport{}
		c.out.Holders[f.Grid] = r
	}
	switch f.State {
	case core.PieceOK:
		r.OK++
		r.Bytes += size
		return
	case core.PieceMissing:
		r.Missing++
	case core.PieceCorrupt:
		r.Corrupt++
	case core.PieceGone:
		r.Gone++
	default:
		r.Away++
		if !c.o.Now {
			c.out.Away++
		}
	}
	c.found.note(f)
	if f.Err != nil {
		r.Err = f.Err
	}
}

// Bad tells whether anything was not as it should be.
func (c *Checked) Bad() error {
	if len(c.Failed) > 0 {
		return fmt.Errorf("not all of it could be checked: %w: %w", core.ErrPartly, errors.Join(c.Failed...))
	}
	if c.Mended != nil && !c.Mended.whole() {
		return core.ErrPartly
	}
	bad := c.Away
	if c.Mended == nil {
		bad += c.Unheld
		for _, r := range c.Holders {
			bad += r.Missing + r.Corrupt + r.Gone
		}
	}
	if bad > 0 {
		return core.ErrPartly
	}
	return nil
}
