package table

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"github.com/grange-grid/grange/pure/query"
	"github.com/grange-grid/grange/pure/tree"
)

const (
	// LimitMax is how many rows come at most, and how many do where a query sets no limit.
	LimitMax = 1000
	// ReadMax is how many entries are read for one query.
	ReadMax = 10_000
)

// Result is what a query comes to.
type Result struct {
	// Rows are in the order asked for; none for a count.
	Rows []Row
	// Losers tells of each row whether an older claim has its value in the unique index that was read.
	Losers []bool
	Count  uint64
	// Read is how many entries were.
	Read int
	// After is the entry after which there may be more; nil where there is no more.
	After []byte
}

// Run is a query over one tree of a table: the rows, or an index.
type Run struct {
	Definition *Definition
	Query      query.Query
	Choice     query.Choice
	// After is an entry of the tree after which to begin, nil for the beginning.
	After []byte
	// Any asks for rows in whatever order they stand in the tree; then no more than ReadMax entries are read, and Result.After says where to go on.
	Any  bool
	View tree.View
	// Row returns the row of a key. What its record says is compared with it.
	Row func(key []byte) (Row, error)
}

// Plan returns the ways to answer a query from what a checkpoint is of, the best first.
func (d *Definition) Plan(q query.Query, c *Checkpoint) []query.Choice {
	indexes := slices.Clone(d.indexes)
	for i := range indexes {
		indexes[i].Flat = c.Indexes[i].Count == c.Indexes[i].Rows
	}
	return q.Plan(indexes)
}

// Suggest names an index that would serve a query better than those that there are.
func (d *Definition) Suggest(q query.Query) (string, bool) {
	x, better := q.Suggest(d.indexes)
	return x.String(), better
}

// index is the one of the run; nil is the tree of the rows.
func (r *Run) index() *query.Index {
	if r.Choice.Index == query.Primary {
		return nil
	}
	return &r.Definition.indexes[r.Choice.Index]
}

func (r *Run) limit() int {
	if r.Query.Limit == 0 {
		return LimitMax
	}
	return min(r.Query.Limit, LimitMax)
}

// Do runs it. Errors: tree.ErrNotProven where something is missing, ErrTooMany, ErrRow, those of Row.
func (r *Run) Do() (Result, error) {
	if r.Query.Count && r.Choice.Exact && r.Choice.Once {
		return r.count()
	}
	var out Result
	full := func() bool { return r.Any && out.Read == ReadMax || r.ordered() && len(out.Rows) == r.limit() }
	for record, err := range r.records() {
		if err != nil {
			return Result{}, err
		}
		if out.Read++; out.Read > ReadMax {
			return Result{}, fmt.Errorf("%w: over %d", ErrTooMany, ReadMax)
		}
		row, loser, err := r.row(record)
		if err != nil {
			return Result{}, err
		}
		if r.first(record, &row) && (r.Choice.Exact || r.Query.Match(row.Asked())) {
			if out.Count++; !r.Query.Count {
				out.Rows, out.Losers = append(out.Rows, row), append(out.Losers, loser)
			}
		}
		if full() {
			out.After = record.Key
			return out, nil
		}
	}
	if !r.ordered() && !r.Query.Count {
		r.sort(&out)
	}
	return out, nil
}

// ordered tells whether rows come as they are asked for.
func (r *Run) ordered() bool { return r.Choice.Ordered || r.Any }

func (r *Run) count() (out Result, err error) {
	for _, at := range r.Choice.Ranges {
		n, err := r.View.Count(at.From, at.To)
		if err != nil {
			return Result{}, err
		}
		out.Count += n
	}
	return out, nil
}

// records yields those of the ranges, in the plan's order, after the one after which to begin.
func (r *Run) records() iter.Seq2[tree.Record, error] {
	return func(yield func(tree.Record, error) bool) {
		ranges, scan := slices.Clone(r.Choice.Ranges), r.View.Ascend
		if r.Choice.Desc {
			slices.Reverse(ranges)
			scan = r.View.Descend
		}
		for _, at := range ranges {
			at = r.rest(at)
			if at.To != nil && bytes.Compare(at.From, at.To) >= 0 {
				continue
			}
			for record, err := range scan(at.From, at.To) {
				if !yield(record, err) || err != nil {
					return
				}
			}
		}
	}
}

// rest is what of a range comes after the entry after which to begin.
func (r *Run) rest(at query.Range) query.Range {
	switch {
	case r.After == nil:
	case r.Choice.Desc:
		if at.To == nil || bytes.Compare(r.After, at.To) < 0 {
			at.To = r.After
		}
	default:
		if next := append(bytes.Clone(r.After), 0); bytes.Compare(at.From, next) < 0 {
			at.From = next
		}
	}
	return at
}

// row returns that of a record, and whether another has its value.
func (r *Run) row(record tree.Record) (row Row, loser bool, err error) {
	x := r.index()
	entry, key := record.Key, record.Key
	if x != nil {
		if entry, key, err = unclaimed(*x, record.Key); err != nil {
			return row, false, wrongRow("an entry of index %s is none", x)
		}
	}
	if row, err = r.Row(key); err != nil {
		return row, false, err
	}
	if x == nil {
		if !bytes.Equal(record.Value, RowValue(&row)) || !bytes.Equal(row.Key, key) {
			err = wrongRow("key %.40q has another row under this root", key)
		}
		return row, false, err
	}
	keys, _ := x.Keys(row.Asked())
	has := slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, entry) })
	if !has || !bytes.Equal(record.Value, row.Origin[:]) {
		return row, false, wrongRow("key %.40q has another row under this root", key)
	}
	if x.Unique {
		loser, err = r.loses(record.Key, record.Key[:len(entry)-len(key)])
	}
	return row, loser, err
}

// loses tells whether an entry of a unique index is not the first of its values.
func (r *Run) loses(entry, values []byte) (bool, error) {
	for first, err := range r.View.Ascend(values, nil) {
		return !bytes.Equal(first.Key, entry), err
	}
	return false, wrongRow("an entry that is not there")
}

// first tells whether a record is the first of its row in the ranges, in the plan's order: a row counts once.
func (r *Run) first(record tree.Record, row *Row) bool {
	x := r.index()
	if x == nil || r.Choice.Once {
		return true
	}
	keys, _ := x.Keys(row.Asked())
	if r.Choice.Desc {
		slices.Reverse(keys)
	}
	for _, key := range keys {
		if slices.ContainsFunc(r.Choice.Ranges, func(at query.Range) bool {
			return bytes.Compare(key, at.From) >= 0 && (at.To == nil || bytes.Compare(key, at.To) < 0)
		}) {
			return bytes.HasPrefix(record.Key, key[:len(key)-len(row.Key)])
		}
	}
	return true
}

// sort puts rows in order that were not read in it, and leaves as many as were asked for.
func (r *Run) sort(out *Result) {
	type ranked struct {
		rank  []byte
		row   Row
		loser bool
	}
	all := make([]ranked, len(out.Rows))
	for i := range all {
		rank, _ := r.Query.Rank(out.Rows[i].Asked())
		all[i] = ranked{rank, out.Rows[i], out.Losers[i]}
	}
	slices.SortFunc(all, func(a, b ranked) int { return bytes.Compare(a.rank, b.rank) })
	all = all[:min(len(all), r.limit())]
	out.Rows, out.Losers = out.Rows[:0], out.Losers[:0]
	for _, a := range all {
		out.Rows, out.Losers = append(out.Rows, a.row), append(out.Losers, a.loser)
	}
}

// given are the records that rows have in the tree of a run, rising, which a proof of it points at. Those of a unique index
// cannot be known from the rows alone.
func (r *Run) given(rows []Row) []tree.Record {
	var out []tree.Record
	x := r.index()
	for i := range rows {
		switch {
		case x == nil:
			out = append(out, tree.Record{Key: rows[i].Key, Value: RowValue(&rows[i])})
		case !x.Unique:
			out = append(out, r.Definition.Entries(r.Choice.Index, &rows[i], nil)...)
		}
	}
	slices.SortFunc(out, func(a, b tree.Record) int { return bytes.Compare(a.Key, b.Key) })
	return out
}
