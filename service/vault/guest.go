package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
	"github.com/grange-grid/grange/pure/ticket"
)

// Guest reads the version of a ticket. It has no books: what it has to know it finds in the table.
type Guest struct {
	t ticket.Ticket
	// table reads the table, data what that names.
	table, data *reader
	version     manifest.Version
}

// NewGuest reads the version's record out of a ticket's table. name is what a holder is called.
// Errors: *TooFew; core.ErrCorrupt, and others of its kind, if the table is none.
func NewGuest(ctx context.Context, p Pieces, name func(core.DID) string, log *slog.Logger, t ticket.Ticket) (*Guest, error) {
	o := newOpener(p, name, log)
	g := &Guest{t: t}
	g.table = o.newReader(cacheFS, g.ofTable)
	g.data = o.newReader(cachePieces, g.segment)
	for r, err := range page.Walk(t.Table, g.table.load(ctx), []byte(manifest.VersionPrefix), nil) {
		if err != nil {
			return nil, fmt.Errorf("read the ticket's table: %w", err)
		}
		if g.version.V != 0 {
			return nil, fmt.Errorf("the ticket's table has two versions: %w", core.ErrCorrupt)
		}
		g.version, err = manifest.DecodeVersion(r.Value)
		if err == nil && !bytes.Equal(g.version.Key(), r.Key) {
			err = fmt.Errorf("it stands under another's key: %w", core.ErrCorrupt)
		}
		if err != nil {
			return nil, fmt.Errorf("the version in the ticket's table: %w", err)
		}
	}
	if g.version.V == 0 {
		return nil, fmt.Errorf("the ticket's table has no version: %w", core.ErrCorrupt)
	}
	return g, nil
}

// Version returns the version that it reads.
func (g *Guest) Version() manifest.Version { return g.version }

// Restore is Vault.Restore.
func (g *Guest) Restore(ctx context.Context, o RestoreOptions, open func(single bool, id core.Score) (Sink, error)) (*Restored, error) {
	return g.data.restore(ctx, g.version, o, open)
}

// ofTable returns the record of a segment that holds the table: the ticket itself has it.
func (g *Guest) ofTable(_ context.Context, id []byte) (manifest.Segment, error) {
	for _, s := range g.t.Segments {
		if bytes.Equal(s.ID, id) {
			return s, nil
		}
	}
	return manifest.Segment{}, fmt.Errorf("segment %x: the ticket does not have it: %w: %w", id, errNoSegment, core.ErrCorrupt)
}

// segment returns the record of a segment that the version consists of.
func (g *Guest) segment(ctx context.Context, id []byte) (manifest.Segment, error) {
	raw, err := page.Get(g.t.Table, g.table.load(ctx), manifest.SegmentKey(id))
	if errors.Is(err, core.ErrNotExist) {
		return manifest.Segment{}, fmt.Errorf("segment %x: %w: %w", id, errNoSegment, core.ErrCorrupt)
	}
	if err != nil {
		return manifest.Segment{}, fmt.Errorf("segment %x: %w", id, err)
	}
	s, err := manifest.DecodeSegment(raw)
	if err == nil && !bytes.Equal(s.ID, id) {
		err = errors.New("it is another's")
	}
	if err != nil {
		return manifest.Segment{}, fmt.Errorf("segment %x: %w: %w: %w", id, errNoSegment, core.ErrCorrupt, err)
	}
	return s, nil
}
