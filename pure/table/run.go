package table

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
	"github.com/grange-grid/grange/pure/query"
	"github.com/grange-grid/grange/pure/tree"
)

const (
	// LimitMax is how many rows a query asks for at most.
	LimitMax = 1000
	// ReadMax is how many entries are read for one.
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
	View  tree.View
	// Single tells that no row has two entries in the tree.
	Single bool
	// Row returns the row of a key. What its record says is compared with it.
	Row func(key []byte) (Row, error)
}

// tree of the run: nil is that of the rows.
func (r *Run) index() *Index {
	if r.Choice.Index < 0 {
		return nil
	}
	return &r.Definition.Indexes[r.Choice.Index]
}

// Do runs it. Errors: tree.ErrNotProven where something is missing, ErrTooMany, ErrRow, those of Row.
func (r *Run) Do() (Result, error) {
	if r.Query.Count && r.counted() {
		return r.count()
	}
	var out Result
	var last []byte
	for record, err := range r.records() {
		if err != nil {
			return Result{}, err
		}
		if out.Read++; out.Read > ReadMax {
			return Result{}, fmt.Errorf("%w: over %d", ErrTooMany, ReadMax)
		}
		last = record.Key
		row, loser, err := r.row(record)
		if err != nil {
			return Result{}, err
		}
		if !r.first(record, &row) || !r.Query.Matches(fields{&row}) {
			continue
		}
		if out.Count++; r.Query.Count {
			continue
		}
		out.Rows, out.Losers = append(out.Rows, row), append(out.Losers, loser)
		if r.Choice.Ordered && len(out.Rows) == r.Query.Limit {
			out.After = last
			return out, nil
		}
	}
	if !r.Choice.Ordered && !r.Query.Count {
		r.sort(&out)
	}
	return out, nil
}

// counted tells whether the tree says how many rows match, without any being read.
func (r *Run) counted() bool {
	return r.Choice.Exact && (r.Single || r.Choice.Bound && len(r.Choice.Ranges) == 1)
}

func (r *Run) count() (out Result, err error) {
	for _, at := range r.Choice.Ranges {
		n, err := r.View.Count(at.Lo, at.Hi)
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
		ranges := slices.Clone(r.Choice.Ranges)
		scan := r.View.Ascend
		if r.Choice.Descending {
			slices.Reverse(ranges)
			scan = r.View.Descend
		}
		for _, at := range ranges {
			lo, hi := at.Lo, at.Hi
			switch {
			case r.After == nil:
			case r.Choice.Descending:
				if hi == nil || bytes.Compare(r.After, hi) < 0 {
					hi = r.After
				}
			default:
				if after := append(bytes.Clone(r.After), 0); bytes.Compare(lo, after) < 0 {
					lo = after
				}
			}
			if hi != nil && bytes.Compare(lo, hi) >= 0 {
				continue
			}
			for record, err := range scan(lo, hi) {
				if !yield(record, err) || err != nil {
					return
				}
			}
		}
	}
}

// row returns that of a record, and whether another has its value.
func (r *Run) row(record tree.Record) (row Row, loser bool, err error) {
	x := r.index()
	key, value := record.Key, record.Key
	if x != nil {
		n, err := document.KeysSize(record.Key, len(x.Fields))
		if err == nil && x.Unique {
			n += claimSize
		}
		if err != nil || n >= len(record.Key) {
			return row, false, wrongRow("an entry of index %s is none", x)
		}
		key, value = record.Key[n:], record.Key[:n]
	}
	if row, err = r.Row(key); err != nil {
		return row, false, err
	}
	switch {
	case !bytes.Equal(row.Key, key):
		return row, false, wrongRow("key %.40q has the row of another", key)
	case x == nil && !bytes.Equal(record.Value, RowValue(&row)), x != nil && !bytes.Equal(record.Value, row.Origin[:]):
		return row, false, wrongRow("key %.40q has another row under this root", key)
	case x == nil:
		return row, false, nil
	case x.Unique:
		value = value[:len(value)-claimSize]
	}
	if !slices.ContainsFunc(x.values(row.Doc, rowEntriesMax), func(v []byte) bool { return bytes.Equal(v, value) }) {
		return row, false, wrongRow("key %.40q stands in index %s with a value that its row has not", key, x)
	}
	if x.Unique {
		loser, err = r.loses(record.Key, value)
	}
	return row, loser, err
}

// loses tells whether an entry of a unique index is not the first of its value.
func (r *Run) loses(entry, value []byte) (bool, error) {
	for first, err := range r.View.Ascend(value, nil) {
		return !bytes.Equal(first.Key, entry), err
	}
	return false, wrongRow("an entry that is not there")
}

// first tells whether a record is the first of its row in the ranges, in the plan's order: a row counts once.
func (r *Run) first(record tree.Record, row *Row) bool {
	x := r.index()
	if x == nil || r.Single {
		return true
	}
	var in [][]byte
	for _, v := range x.values(row.Doc, rowEntriesMax) {
		if slices.ContainsFunc(r.Choice.Ranges, func(at query.Range) bool {
			return bytes.Compare(v, at.Lo) >= 0 && (at.Hi == nil || bytes.Compare(v, at.Hi) < 0)
		}) {
			in = append(in, v)
		}
	}
	if len(in) == 0 {
		return true
	}
	v := in[0]
	if r.Choice.Descending {
		v = in[len(in)-1]
	}
	return bytes.HasPrefix(record.Key, v)
}

// sort puts rows in order that were not read in it, and leaves as many as were asked for.
func (r *Run) sort(out *Result) {
	at := make([]int, len(out.Rows))
	for i := range at {
		at[i] = i
	}
	slices.SortStableFunc(at, func(a, b int) int {
		return r.Query.Compare(fields{&out.Rows[a]}, fields{&out.Rows[b]})
	})
	if len(at) > r.Query.Limit {
		at = at[:r.Query.Limit]
	}
	rows, losers := make([]Row, len(at)), make([]bool, len(at))
	for i, from := range at {
		rows[i], losers[i] = out.Rows[from], out.Losers[from]
	}
	out.Rows, out.Losers = rows, losers
}

// fields are what a query sees of a row.
type fields struct{ row *Row }

func (f fields) Key() []byte            { return f.row.Key }
func (f fields) Author() core.DID       { return f.row.Newest().Author }
func (f fields) Clock() uint64          { return f.row.Newest().Clock }
func (f fields) Document() document.Doc { return f.row.Doc }

// given are the records that rows have in the tree of a run, rising, as a proof leaves them out. Those of a unique index
// cannot be known from the rows alone.
func (r *Run) given(rows []Row) []tree.Record {
	var out []tree.Record
	x := r.index()
	for i := range rows {
		switch {
		case x == nil:
			out = append(out, tree.Record{Key: rows[i].Key, Value: RowValue(&rows[i])})
		case !x.Unique:
			out = append(out, r.Definition.Entries(*x, &rows[i], nil)...)
		}
	}
	slices.SortFunc(out, func(a, b tree.Record) int { return bytes.Compare(a.Key, b.Key) })
	return out
}
