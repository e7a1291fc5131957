package vault

import (
	"context"
	"fmt"
	"slices"

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
	// Segments and Pieces are how many were looked at; Unheld pieces have no holder.
	Segments, Pieces, Unheld int
	// Worth is what all that was checked is worth by what was proven just now, or
	// after the mending.
	Worth Worth
	// Mended is set when mending was asked for.
	Mended *Mended
}

// HolderReport counts what was found at one household.
type HolderReport struct {
	OK, Missing, Corrupt, Away, Gone int
	// Bytes is what the proven pieces come to.
	Bytes int64
	// Err is one of the reasons why something was not proven.
	Err error
}

const checkBatch = 64 // segments audited in one go: 1,280 pieces

// Check has every holder prove each piece that it should have.
func (v *Vault) Check(ctx context.Context, o CheckOptions) (*Checked, error) {
	unlock, err := v.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	uses, err := v.usesOfAll(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	m := newMeter("asking for proof", o.Progress)
	c := &checking{v: v, o: o, bad: map[spot]core.Finding{}, out: Checked{
		Holders: map[core.DID]*HolderReport{}, Worth: Worth{Held: map[core.DID]int64{}},
	}}
	for batch := range slices.Chunk(uses.sorted(), checkBatch) {
		if err := c.audit(ctx, batch, m); err != nil {
			return nil, err
		}
	}
	if !o.Mend {
		return &c.out, nil
	}
	m.stage("mending")
	if err := c.strikeOut(); err != nil {
		return nil, err
	}
	mended, err := v.fill(ctx, uses, c.lost, m)
	if err != nil {
		return nil, err
	}
	c.out.Mended = mended
	if c.out.Worth, err = v.worthOf(uses); err != nil {
		return nil, err
	}
	if _, failed, err := v.c.Household.SaveHead(ctx); err != nil {
		return &c.out, fmt.Errorf("save the head: %w", err)
	} else if len(failed) > 0 {
		v.c.Log.Info("partners without the newest head", "partners", len(failed))
	}
	return &c.out, nil
}

// usesOfAll returns the segments of a name's versions, or of all.
func (v *Vault) usesOfAll(ctx context.Context, name string) (segmentSet, error) {
	versions, err := v.Versions(name)
	if err != nil {
		return nil, err
	}
	if name != "" && len(versions) == 0 {
		return nil, fmt.Errorf("%q: %w", name, core.ErrNotExist)
	}
	all := segmentSet{}
	for _, version := range versions {
		uses, err := v.usesOf(ctx, version)
		if err != nil {
			return nil, err
		}
		for id := range uses {
			all[id] = struct{}{}
		}
	}
	return all, nil
}

// spot is a piece at a machine.
type spot struct {
	piece core.Score
	agent core.DID
}

// checking is one check under way.
type checking struct {
	v   *Vault
	o   CheckOptions
	bad map[spot]core.Finding
	out Checked
}

func (c *checking) audit(ctx context.Context, ids [][]byte, m *meter) error {
	segments := make([]manifest.Segment, 0, len(ids))
	var pieces []core.Piece
	for _, id := range ids {
		s, err := c.v.segment(id)
		if err != nil {
			return err
		}
		segments = append(segments, s)
		for i := range int(s.K + s.M) {
			pieces = append(pieces, core.Piece{Score: s.Piece(i), Size: int64(s.Size)})
		}
	}
	sizes := make(map[core.Score]int64, len(pieces))
	for _, p := range pieces {
		sizes[p.Score] = p.Size
	}
	err := c.v.c.Barter.Audit(ctx, pieces, func(f core.Finding) {
		c.count(f, sizes[f.Score])
		m.bytes(sizes[f.Score])
	})
	if err != nil {
		return err
	}
	for _, s := range segments {
		held, err := c.v.heldOf(s, c.unproven)
		if err != nil {
			return err
		}
		c.out.Segments++
		c.out.Pieces += int(s.K + s.M)
		c.out.Unheld += max(0, len(wanted(s, len(held)))-held.distinct())
		c.out.Worth.add(s, held)
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
	}
	c.bad[spot{f.Score, f.Agent}] = f
	if f.Err != nil {
		r.Err = f.Err
	}
}

// unproven tells which holdings are not worth anything just now.
func (c *checking) unproven(h core.Holding) bool {
	_, bad := c.bad[spot{h.Score, h.Agent}]
	return bad
}

// lost tells which holdings a mending replaces and does not strike out before:
// those of a holder that is away, when the person says that it will not come back.
func (c *checking) lost(h core.Holding) bool {
	return c.o.Now && c.unproven(h)
}

// strikeOut forgets the holdings that are certainly no more, so that the same
// holder may be given the piece again.
func (c *checking) strikeOut() error {
	var gone []core.Holding
	for at, f := range c.bad {
		if f.State != core.PieceAway {
			gone = append(gone, f.Holding)
			delete(c.bad, at)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return c.v.c.Barter.Forget(gone...)
}

// Bad tells whether anything was not as it should be.
func (c *Checked) Bad() error {
	if c.Mended != nil {
		if c.Mended.Unreadable > 0 || c.Mended.Whole < c.Mended.Segments {
			return core.ErrPartly
		}
		return nil
	}
	for _, r := range c.Holders {
		if r.Missing+r.Corrupt+r.Gone+r.Away > 0 {
			return core.ErrPartly
		}
	}
	if c.Unheld > 0 {
		return core.ErrPartly
	}
	return nil
}
