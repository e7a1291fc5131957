package table

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/table"
)

// Exported says what was written to an export.
type Exported struct {
	End table.ExportEnd
	// Operations are those of so many Feeds; Bytes is the size of all.
	Operations uint64
	Feeds      int
	Bytes      int64
}

// Export writes all that a table is: the operations that stand, these proofs of forks, and what all of them make, attested by this machine
// and others. Errors: core.ErrNotExist; core.ErrStale where an author is found to have forked while it writes.
func (t *Tables) Export(ctx context.Context, id core.DID, forks [][]byte, w io.Writer) (out Exported, err error) {
	r, err := t.replica(id)
	if err != nil {
		return out, err
	}
	var ends []End
	for whole := false; !whole; {
		if err := r.settle(ctx); err != nil {
			return out, err
		}
		if out.End, ends, whole, err = r.export(ctx); err != nil {
			return out, err
		}
	}
	x, err := table.NewExporter(w)
	if err != nil {
		return out, err
	}
	if err := (&exporting{r: r, x: x, size: batchRoom}).write(ctx, ends, forks); err != nil {
		return out, err
	}
	content, err := out.End.Marshal()
	if err != nil {
		return out, err
	}
	for _, e := range ends {
		out.Operations += e.Seq
	}
	err = x.Part(table.PartEnd, content)
	out.Feeds, out.Bytes = len(ends), x.Size
	return out, err
}

// export returns what a table is as it was written down last, and whose operations make it up to which, authors rising. It is not whole where
// a definition has come that is not in force yet.
func (r *replica) export(ctx context.Context) (end table.ExportEnd, feeds []End, whole bool, err error) {
	v, err := r.open(ctx)
	if err != nil {
		return end, nil, false, err
	}
	defer func() { err = errors.Join(err, v.closer()) }()
	end.Checkpoint = v.check
	for record, err := range v.view(feedsAt).Ascend(nil, nil) {
		if err != nil {
			return end, nil, false, err
		}
		seq, _, _, err := table.ParseFeedValue(record.Value)
		if err != nil {
			return end, nil, false, err
		}
		e := End{core.DID(record.Key), seq}
		whole = whole || e == End{r.id, v.seq}
		feeds = append(feeds, e)
	}
	end.Attestations, err = r.attestations(v.state)
	return end, feeds, whole, err
}

// batchRoom is what a batch has before its first run, at most.
const batchRoom = 64

// exporting makes batches of feeds, each as large as can be.
type exporting struct {
	r    *replica
	x    *table.Exporter
	runs [][]feed.Logged
	size int
}

// write writes the definitions first, without which nobody knows what counts, and then the others' feeds, without what is proven not to count.
func (b *exporting) write(ctx context.Context, ends []End, forks [][]byte) error {
	for _, own := range []bool{true, false} {
		for _, e := range ends {
			if (e.Author == b.r.id) != own {
				continue
			}
			if err := b.feed(ctx, e); err != nil {
				return err
			}
		}
		if err := b.flush(); err != nil || !own {
			return err
		}
		for _, f := range forks {
			if err := b.x.Part(table.PartFork, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// feed adds an author's operations up to where they stand.
func (b *exporting) feed(ctx context.Context, e End) error {
	next := uint64(1)
	for l, err := range b.r.t.c.Feeds.From(b.r.id, e.Author, 1) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		anew := next == 1
		if b.size+feed.RunSizeMax+l.Size() > feed.BatchSizeMax {
			if err := b.flush(); err != nil {
				return err
			}
			anew = true
		}
		if anew {
			b.runs = append(b.runs, nil)
			b.size += feed.RunSizeMax
		}
		run := &b.runs[len(b.runs)-1]
		*run = append(*run, l)
		b.size += l.Size()
		if next++; l.Seq == e.Seq {
			return nil
		}
	}
	return fmt.Errorf("operation %d of %s: %w", next, e.Author.Short(), core.ErrStale)
}

func (b *exporting) flush() error {
	if len(b.runs) == 0 {
		return nil
	}
	out := feed.AppendBatch(make([]byte, 0, b.size), b.r.id)
	for _, run := range b.runs {
		out = feed.AppendRun(out, run)
	}
	b.runs, b.size = nil, batchRoom
	return b.x.Part(table.PartBatch, out)
}

// Heard takes in the attestations that came with a table. Errors: table.ErrForged, table.ErrOtherTable.
func (t *Tables) Heard(id core.DID, end table.ExportEnd) error {
	r, err := t.replica(id)
	if err != nil {
		return err
	}
	return r.hear(testimony{Attestations: end.Attestations})
}
