// Package query is the language in which tables are asked:
//
//	tags = "#cats" and time >= "2026-01-01" order -time limit 32
//
// A query has one canonical text. What it means for a document is said here alone
// (Match, Rank), and which trees may answer it is found here alone (Plan): a table
// has a tree of its documents by key, and one for each index. Where a plan says that the
// entries of a range are the answer, or are in its order, they are for any documents
// whatever: fields may be missing, be lists, or be text longer than an index's keys hold.
//
// It reads no tree: pure/table does, and shows what it read. The language and the
// entries of indexes are in docs/SPEC.md §14.
package query

import (
	"errors"
	"strconv"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
)

// Limits.
const (
	// TextMax is how many bytes a query has at most, as it came and in its canonical text.
	TextMax = 4 << 10
	// NestingMax is how many parentheses and nots may stand one in the other.
	NestingMax = 32
	// ComparisonsMax is how many comparisons a query has at most.
	ComparisonsMax = 64
	// ValuesMax is how many values an in has at most, and how many ranges a choice.
	ValuesMax = 64
	// LimitMax is the highest limit.
	LimitMax = 1 << 30
)

// Row is a document with what the pseudo-fields tell of it.
type Row struct {
	// Key is the document's key in its table, @key.
	Key string
	// Author is who wrote it, @author.
	Author core.DID
	// Time is when that was, @time, in milliseconds since 1970-01-01 UTC.
	Time int64
	Doc  document.Doc
}

// Query is what is asked. The zero Query is for all documents, by key.
type Query struct {
	// Where says which documents; nil is all.
	Where Expr
	// Order is in what order they come.
	Order Order
	// Limit is how many come at most; 0 is no limit.
	Limit int
	// Count asks for their number alone. Then there is neither order nor limit.
	Count bool
}

// Check tells whether a query that was not read by Parse makes sense.
func (q Query) Check() error {
	switch {
	case q.Count && (len(q.Order) > 0 || q.Limit != 0):
		return errors.New("a count has neither an order nor a limit")
	case q.Limit < 0 || q.Limit > LimitMax:
		return errors.New("a limit is from 1 to " + strconv.Itoa(LimitMax))
	case len(q.String()) > TextMax:
		return errors.New("the query is longer than " + strconv.Itoa(TextMax) + " bytes")
	}
	return nil
}

// String returns the canonical text, of which Parse makes the same query.
func (q Query) String() string {
	var parts []string
	if q.Where != nil {
		if where := q.Where.String(); where != "" {
			parts = append(parts, where)
		}
	}
	if len(q.Order) > 0 {
		parts = append(parts, "order "+q.Order.String())
	}
	if q.Limit > 0 {
		parts = append(parts, "limit "+strconv.Itoa(q.Limit))
	}
	if q.Count {
		parts = append(parts, "count")
	}
	return strings.Join(parts, " ")
}

// Match tells whether a row is in the answer: Where holds, and it has a value for each field of Order.
func (q Query) Match(row Row) bool {
	if q.Where != nil && !q.Where.match(&row) {
		return false
	}
	for _, t := range q.Order {
		if _, ok := q.extreme(&row, t); !ok {
			return false
		}
	}
	return true
}

// Rank returns bytes in the order of which the rows of the answer come, and false for a row that is not in it.
func (q Query) Rank(row Row) ([]byte, bool) {
	if q.Where != nil && !q.Where.match(&row) {
		return nil, false
	}
	var rank []byte
	for _, t := range q.Order {
		if t.Field.text == KeyField {
			continue
		}
		v, ok := q.extreme(&row, t)
		if !ok {
			return nil, false
		}
		start := len(rank)
		rank = document.AppendKey(rank, v)
		if t.Desc {
			complement(rank[start:])
		}
	}
	start := len(rank)
	rank = append(rank, strings.ReplaceAll(row.Key, "\x00", "\x00\xff")...)
	rank = append(rank, 0, 0)
	if q.Order.keyDesc() {
		complement(rank[start:])
	}
	return rank, true
}

func complement(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}

// extreme returns the value by which a row is ordered: of a list the first in the
// order's direction, of those that Where lets be when it sets bounds to the field.
func (q Query) extreme(row *Row, t Term) (best document.Value, ok bool) {
	bounds, _ := boundsOn(conjuncts(q.Where), t.Field)
	for v := range t.Field.scalars(row) {
		if bounds != nil && !bounds.admit(v) {
			continue
		}
		if c := document.Compare(v, best); !ok || c < 0 && !t.Desc || c > 0 && t.Desc {
			best, ok = v, true
		}
	}
	return best, ok
}
