package table

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/query"
	"github.com/grange-grid/grange/pure/table"
)

const (
	// partRowsMax is how many rows are kept of a table of which a part is: all are in memory while it is asked.
	partRowsMax = 100_000
	// partTries is how often a part is begun again that changes while it is fetched.
	partTries = 5
)

// Where the records of parts lie: what is kept, and its pages, which are answers that anybody can check.
const (
	partList = "q/"
	partPage = "r/"
)

// ErrOutside says that a query is for more than the part of a table that is kept.
var ErrOutside = errors.New("outside of the part that is kept here")

// Part is what is kept of a table by somebody who does not keep it whole.
type Part struct {
	V     uint     `json:"v"`
	Table core.DID `json:"table"`
	Name  string   `json:"name"`
	// Only is the query whose rows are kept.
	Only string `json:"only"`
	// From is who is asked for it.
	From       core.DID   `json:"from"`
	Checkpoint core.Score `json:"checkpoint"`
	Rows       uint64     `json:"rows"`
	Pages      uint64     `json:"pages"`
}

const partSizeMax = 8 << 10

func pageAt(id core.DID, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(partPage), id[:]...), n)
}

// JoinPart keeps the rows of a query, as another machine answers it, and checked. It takes the place of what was kept of that table before, as it is
// then: with one checkpoint, or not at all. Errors: core.ErrInvalid, core.ErrTooLarge, core.ErrBusy where it changes too fast; those of Ask.
func (t *Tables) JoinPart(ctx context.Context, id, from core.DID, name, only string) (Part, error) {
	q, err := query.Parse(only)
	if err == nil && (q.Limit != 0 || q.Count || len(q.Order) > 0) {
		err = fmt.Errorf("a part is of conditions alone: %w", core.ErrInvalid)
	}
	if err != nil {
		return Part{}, err
	}
	p := Part{V: codec.Version, Table: id, Name: name, Only: q.String(), From: from}
	for range partTries {
		pages, whole, err := t.fetchPart(ctx, &p)
		if err != nil {
			return p, err
		}
		if whole {
			return p, t.keepPart(p, pages)
		}
	}
	return p, fmt.Errorf("table %s changes while it is read: %w", id.Short(), core.ErrBusy)
}

// fetchPart asks for all pages; whole tells that they are of one checkpoint.
func (t *Tables) fetchPart(ctx context.Context, p *Part) (pages [][]byte, whole bool, err error) {
	p.Rows, p.Checkpoint = 0, core.Score{}
	q := table.Question{Text: p.Only, Any: true}
	for {
		got, err := t.Ask(ctx, p.Table, p.From, q, nil)
		if err != nil {
			return nil, false, err
		}
		score := got.Checkpoint.Score()
		if len(pages) > 0 && score != p.Checkpoint {
			return nil, false, nil
		}
		page, err := got.Answer.Marshal()
		if err != nil {
			return nil, false, err
		}
		pages, p.Checkpoint, p.Rows = append(pages, page), score, p.Rows+uint64(len(got.Rows))
		p.Pages = uint64(len(pages))
		if p.Rows > partRowsMax {
			return nil, false, fmt.Errorf("the part has over %d rows: keep less of it, or all: %w", partRowsMax, core.ErrTooLarge)
		}
		if got.After == nil {
			return pages, true, nil
		}
		q.After = got.After
	}
}

// keepPart writes a part down.
func (t *Tables) keepPart(p Part, pages [][]byte) error {
	old, err := t.PartOf(p.Table)
	if err != nil && !errors.Is(err, core.ErrNotExist) {
		return err
	}

	record, err := codec.Marshal(p)
	if err != nil {
		return err
	}
	changes := []core.Change{{Key: append([]byte(partList), p.Table[:]...), Value: record}}
	for i, page := range pages {
		changes = append(changes, core.Change{Key: pageAt(p.Table, uint64(i)), Value: page})
	}
	for i := p.Pages; i < old.Pages; i++ {
		changes = append(changes, core.Change{Key: pageAt(p.Table, i)})
	}
	t.parts.forget(p.Table)
	return t.c.Books.Apply(changes...)
}

// PartOf returns what is kept of a table. Errors: core.ErrNotExist.
func (t *Tables) PartOf(id core.DID) (p Part, err error) {
	b, err := t.c.Books.Get(append([]byte(partList), id[:]...))
	if err != nil {
		return p, err
	}
	if err := codec.Unmarshal(b, &p, partSizeMax); err != nil {
		return p, fmt.Errorf("%w: %w", core.ErrCorrupt, err)
	}
	return p, nil
}

// Parts returns what is kept of tables that are not kept whole.
func (t *Tables) Parts() (out []Part, err error) {
	for c, err := range t.c.Books.Scan([]byte(partList), nil) {
		if err != nil {
			return nil, err
		}
		p, err := t.PartOf(core.DID(c.Key[len(partList):]))
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// LeavePart drops what is kept of a table.
func (t *Tables) LeavePart(id core.DID) error {
	p, err := t.PartOf(id)
	if err != nil {
		return err
	}
	changes := []core.Change{{Key: append([]byte(partList), id[:]...)}}
	for i := range p.Pages {
		changes = append(changes, core.Change{Key: pageAt(id, i)})
	}
	t.parts.forget(id)
	return t.c.Books.Apply(changes...)
}

// RefreshPart asks again for what is kept of a table, if its checkpoint is another now.
func (t *Tables) RefreshPart(ctx context.Context, p Part) error {
	got, err := t.Ask(ctx, p.Table, p.From, table.Question{Text: "limit 1", Any: true}, nil)
	if err != nil || got.Checkpoint.Score() == p.Checkpoint {
		return err
	}
	_, err = t.JoinPart(ctx, p.Table, p.From, p.Name, p.Only)
	return err
}

// QueryPart answers a query that is inside of the part of a table that is kept here. Nothing of it can be saved as a proof: ask the other machine for
// that. Errors: ErrOutside, core.ErrNotExist, *query.Error.
func (t *Tables) QueryPart(id core.DID, asked table.Question, trust []core.DID) (Answered, error) {
	p, err := t.PartOf(id)
	if err != nil {
		return Answered{}, err
	}
	q, err := query.Parse(asked.Text)
	if err != nil {
		return Answered{}, err
	}
	only, err := query.Parse(p.Only)
	if err != nil {
		return Answered{}, err
	}
	if !q.Inside(only) {
		return Answered{}, fmt.Errorf("%w: only %s", ErrOutside, p.Only)
	}
	all, err := t.partRows(p)
	if err != nil {
		return Answered{}, err
	}
	out := Answered{Verified: table.Verified{Query: q, Checkpoint: all.Checkpoint, Definition: all.Definition, DefinitionID: all.DefinitionID}, From: p.From, Answer: all.Answer}
	type ranked struct {
		rank []byte
		row  table.Row
	}
	var rows []ranked
	for _, r := range all.Rows {
		if rank, ok := q.Rank(r.Asked()); ok {
			rows = append(rows, ranked{rank, r})
		}
	}
	out.Read, out.Count = len(all.Rows), uint64(len(rows))
	slices.SortFunc(rows, func(a, b ranked) int { return bytes.Compare(a.rank, b.rank) })
	limit := q.Limit
	if limit == 0 || limit > table.LimitMax {
		limit = table.LimitMax
	}
	if !q.Count {
		for _, r := range rows[:min(len(rows), limit)] {
			out.Rows, out.Losers = append(out.Rows, r.row), append(out.Losers, false)
		}
	}
	out.vouch(all.Answer.Attestations, trust, t.self())
	return out, nil
}

// partRows reads and checks the pages of a part; those of the last that was asked stay in memory.
func (t *Tables) partRows(p Part) (*Answered, error) {
	if a := t.parts.get(p); a != nil {
		return a, nil
	}
	var all *Answered
	for i := range p.Pages {
		b, err := t.c.Books.Get(pageAt(p.Table, i))
		if err != nil {
			return nil, err
		}
		page, err := VerifySaved(b, nil)
		if err != nil {
			return nil, fmt.Errorf("page %d of the part of table %s: %w: %w", i, p.Table.Short(), core.ErrCorrupt, err)
		}
		if all == nil {
			all = &page
			continue
		}
		all.Rows = append(all.Rows, page.Rows...)
	}
	if all == nil {
		return nil, fmt.Errorf("the part of table %s: %w", p.Table.Short(), core.ErrCorrupt)
	}
	t.parts.put(p, all)
	return all, nil
}
