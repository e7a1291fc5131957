package grange

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/grange-grid/grange/pure/feed"
	ptable "github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/service/gossip"
	"github.com/grange-grid/grange/service/table"
)

// TableExport says what was written to a file by ExportTable.
type TableExport struct {
	Table DID `json:"table"`
	// Operations are those of so many Writers, the table's key among them; Forks are proofs. Bytes is the file's size.
	Operations uint64 `json:"operations"`
	Writers    int    `json:"writers"`
	Forks      int    `json:"forks"`
	Bytes      int64  `json:"bytes"`
	// Checkpoint is the score of what they make, attested by this machine, and others that came to the same.
	Checkpoint string             `json:"checkpoint"`
	Attested   []TableAttestation `json:"attested"`
}

// ExportTable writes all that a table is: the signed operations that count, and proofs against those who have forked. Whoever reads
// it (LoadTable, or another program by docs/SPEC.md, section 15) verifies it and has the same table; the table's key is not in it, so that
// the definition stays as it is. Errors: fs.ErrNotExist; an error where a writer is found to have forked meanwhile; another attempt goes well.
func (a *Agent) ExportTable(ctx context.Context, name string, w io.Writer) (TableExport, error) {
	tables, info, err := a.table(name)
	if err != nil {
		return TableExport{}, err
	}
	_, feeds, err := a.openTables(false)
	if err != nil {
		return TableExport{}, err
	}
	var forks [][]byte // before the checkpoint is made, which then knows them
	for f, err := range feeds.Forks(info.ID) {
		if err != nil {
			return TableExport{}, err
		}
		forks = append(forks, f.Bytes())
	}
	x, err := tables.Export(ctx, info.ID, forks, w)
	if err != nil {
		return TableExport{}, fmt.Errorf("export table %s: %w", info.ID.Short(), err)
	}
	out := TableExport{
		Table: info.ID, Operations: x.Operations, Writers: x.Feeds, Forks: len(forks), Bytes: x.Bytes,
		Checkpoint: x.End.Checkpoint.Score().String(), Attested: []TableAttestation{},
	}
	for _, s := range x.End.Attestations {
		at, err := ptable.OpenAttestation(s)
		if err != nil {
			return out, err
		}
		out.Attested = append(out.Attested, TableAttestation{s.By, a.machineName(s.By), time.Unix(at.Time, 0).UTC(), slices.Contains(info.Definition.Attest, s.By)})
	}
	return out, nil
}

// LoadTable begins to keep a table out of what ExportTable has written, under a name ("" is its owner's), with nobody online; what is
// in the file is verified as if a stranger had sent it. Of a table that is kept here already it adds what is new. Errors: fs.ErrExist where another
// table is called so; ErrInvalid, ErrForged; ErrRoot where the operations do not make what the file says: then it is not kept.
func (a *Agent) LoadTable(ctx context.Context, r io.Reader, name string) (Table, error) {
	l := loading{a: a, name: name}
	err := l.load(ctx, r)
	if err != nil && l.fresh {
		err = errors.Join(err, l.feeds.Leave(l.id), l.tables.Forget(l.id))
	}
	if errors.Is(err, feed.ErrForged) {
		err = fmt.Errorf("%w: %w", ErrForged, err)
	}
	if err != nil {
		return Table{}, fmt.Errorf("load a table: %w", err)
	}
	return a.Table(ctx, l.id.String())
}

// loading is one that comes out of a file.
type loading struct {
	a      *Agent
	name   string
	tables *table.Tables
	feeds  *gossip.Service
	id     DID
	// fresh says that it was not kept here before, defined that its definition is in force.
	fresh, defined bool
	notes          []error
}

func (l *loading) load(ctx context.Context, r io.Reader) error {
	in, err := ptable.NewImporter(r)
	if err != nil {
		return err
	}
	for {
		part, content, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && l.id.IsZero() {
			err = l.begin(part, content)
		}
		if err == nil {
			err = l.part(ctx, part, content)
		}
		if err != nil {
			return err
		}
	}
}

// begin keeps the table of the first batch from now on.
func (l *loading) begin(part ptable.Part, content []byte) error {
	id, first, err := feed.BatchOf(content)
	if part != ptable.PartBatch || err != nil || first != id {
		return errors.Join(fmt.Errorf("a file that does not begin with the table's definitions: %w", ErrInvalid), err)
	}
	if l.tables, l.feeds, err = l.a.openTables(true); err != nil {
		return err
	}
	if _, err := l.tables.Info(id); errors.Is(err, fs.ErrNotExist) {
		l.fresh = true
		if _, err := findTable(l.tables, l.name); l.name != "" && !errors.Is(err, fs.ErrNotExist) {
			l.fresh = false
			return cmp.Or(err, fmt.Errorf("a table is called %q here: %w", l.name, fs.ErrExist))
		}
	} else if err != nil {
		return err
	}
	l.id = id
	return errors.Join(l.feeds.Join(id), l.tables.Add(id, cmp.Or(l.name, id.Short())))
}

func (l *loading) part(ctx context.Context, part ptable.Part, content []byte) error {
	var stats gossip.Stats
	var err error
	switch part {
	case ptable.PartBatch:
		_, first, failed := feed.BatchOf(content)
		if err = failed; err == nil && first != l.id && !l.defined {
			// Whether others may write is known from the definition on.
			l.defined = true
			err = l.tables.Settle(ctx, l.id)
		}
		if err == nil {
			stats, err = l.feeds.Take(ctx, l.id, content)
		}
	case ptable.PartFork:
		stats, err = l.feeds.Take(ctx, l.id, nil, content)
	default:
		return l.end(ctx, content)
	}
	if len(l.notes) == 0 {
		l.notes = stats.Notes
	}
	return err
}

// end compares what came of it with what the file says.
func (l *loading) end(ctx context.Context, content []byte) error {
	end, err := ptable.ParseExportEnd(content)
	if err == nil && end.Checkpoint.Table != l.id {
		err = fmt.Errorf("an export with the checkpoint of another table: %w", ErrInvalid)
	}
	if err == nil {
		err = l.tables.Settle(ctx, l.id)
	}
	if err != nil {
		return err
	}
	info, err := l.tables.Info(l.id)
	if err != nil {
		return err
	}
	if l.fresh && info.Checkpoint.Score() != end.Checkpoint.Score() {
		err := fmt.Errorf("the operations in the file do not make the checkpoint that it says: %w", ErrRoot)
		return errors.Join(append([]error{err}, l.notes...)...)
	}
	if err := l.tables.Heard(l.id, end); err != nil {
		return err
	}
	if (l.fresh || info.Joining) && info.Definition != nil {
		return l.tables.Rename(l.id, freeName(l.tables, l.id, cmp.Or(l.name, info.Definition.Name)))
	}
	return nil
}
