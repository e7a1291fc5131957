package query

import (
	"slices"
	"strings"

	"github.com/grange-grid/grange/pure/document"
)

// Inside tells whether all that a query answers is seen to be in a part of a table, which is
// what fulfils the part's Where: each condition of it follows from one that the query has in its
// outermost and. There may be more that is inside than what is seen to be.
func (q Query) Inside(part Query) bool {
	has := conjuncts(q.Where)
	for _, p := range conjuncts(part.Where) {
		if !slices.ContainsFunc(has, func(e Expr) bool { return follows(p, e) }) {
			return false
		}
	}
	return true
}

// follows tells whether p holds wherever e does.
func follows(p, e Expr) bool {
	if p.String() == e.String() {
		return true
	}
	field, values := asked(e)
	switch p := p.(type) {
	case has:
		return field.text != "" && field.same(p.field)
	case among:
		return field.same(p.field) && len(values) > 0 && !slices.ContainsFunc(values, func(v document.Value) bool {
			_, ok := slices.BinarySearchFunc(p.sorted, v, document.Compare)
			return !ok
		})
	case within:
		if !field.same(p.field) {
			return false
		}
		if w, ok := e.(within); ok {
			return !slices.ContainsFunc(p.bounds, func(b bound) bool { return !slices.ContainsFunc(w.bounds, b.follows) })
		}
		return !slices.ContainsFunc(values, func(v document.Value) bool { return !p.admit(v) })
	}
	return false
}

// asked returns the field that a condition says something of, and the values that it lets be, if it lists them.
func asked(e Expr) (f Field, values []document.Value) {
	switch e := e.(type) {
	case equal:
		return e.field, []document.Value{e.value}
	case among:
		return e.field, e.values
	case within:
		return e.field, nil
	}
	return Field{}, nil
}

// follows tells whether b admits whatever a does.
func (b bound) follows(a bound) bool {
	if a.value.Kind() != b.value.Kind() {
		return false
	}
	c := document.Compare(a.value, b.value)
	switch b.op {
	case "starts":
		return a.op == "starts" && strings.HasPrefix(a.value.Text(), b.value.Text())
	case "<":
		return a.op == "<" && c <= 0 || a.op == "<=" && c < 0
	case "<=":
		return (a.op == "<" || a.op == "<=") && c <= 0
	case ">":
		return a.op == ">" && c >= 0 || (a.op == ">=" || a.op == "starts") && c > 0
	default:
		return (a.op == ">" || a.op == ">=" || a.op == "starts") && c >= 0
	}
}
