package query

import (
	"slices"
	"strings"

	"github.com/grange-grid/grange/pure/document"
)

// Expr is a condition on a row.
type Expr interface {
	// String returns the canonical text.
	String() string
	match(row *Row) bool
}

// Match tells whether a condition holds; nil always does.
func Match(e Expr, row Row) bool { return e == nil || e.match(&row) }

type (
	and []Expr // of none: all rows
	or  []Expr
	not struct{ Expr }

	// has holds where the field is there, whatever it is.
	has struct{ field Field }
	// equal holds for one of the field's values, as among and within do.
	equal struct {
		field Field
		value document.Value
	}
	among struct {
		field  Field
		values []document.Value
		sorted []document.Value
	}
	// within are all bounds that one and sets to a field: one value satisfies all of them.
	within struct {
		field  Field
		bounds []bound
	}
)

type bound struct {
	op    string // < <= > >= starts
	value document.Value
}

func (e and) match(row *Row) bool {
	for _, x := range e {
		if !x.match(row) {
			return false
		}
	}
	return true
}

func (e or) match(row *Row) bool {
	return slices.ContainsFunc(e, func(x Expr) bool { return x.match(row) })
}

func (e not) match(row *Row) bool { return !e.Expr.match(row) }

func (e has) match(row *Row) bool {
	_, ok := e.field.value(row)
	return ok
}

func (e equal) match(row *Row) bool {
	for v := range e.field.scalars(row) {
		if document.Compare(v, e.value) == 0 {
			return true
		}
	}
	return false
}

func (e among) match(row *Row) bool {
	for v := range e.field.scalars(row) {
		if _, ok := slices.BinarySearchFunc(e.sorted, v, document.Compare); ok {
			return true
		}
	}
	return false
}

func (e within) match(row *Row) bool {
	for v := range e.field.scalars(row) {
		if e.admit(v) {
			return true
		}
	}
	return false
}

func (e within) admit(v document.Value) bool {
	for _, b := range e.bounds {
		if !b.admits(v) {
			return false
		}
	}
	return true
}

func (b bound) admits(v document.Value) bool {
	if v.Kind() != b.value.Kind() {
		return false
	}
	if b.op == "starts" {
		return strings.HasPrefix(v.Text(), b.value.Text())
	}
	switch c := document.Compare(v, b.value); b.op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	default:
		return c >= 0
	}
}

// newAnd joins conditions: ands in it are taken apart, and the bounds of a field brought together.
func newAnd(list []Expr) Expr {
	var all and
	at := map[string]int{}
	for _, e := range list {
		for _, x := range conjuncts(e) {
			w, ok := x.(within)
			if !ok {
				all = append(all, x)
				continue
			}
			i, known := at[w.field.text]
			if !known {
				at[w.field.text] = len(all)
				all = append(all, x)
				continue
			}
			first := all[i].(within)
			all[i] = within{w.field, append(slices.Clone(first.bounds), w.bounds...)}
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

func newOr(list []Expr) Expr {
	var all or
	for _, e := range list {
		if inner, ok := e.(or); ok {
			all = append(all, inner...)
		} else {
			all = append(all, e)
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return all
}

func newNot(e Expr) Expr {
	if inner, ok := e.(not); ok {
		return inner.Expr
	}
	return not{e}
}

// conjuncts returns the conditions that all have to hold.
func conjuncts(e Expr) []Expr {
	switch e := e.(type) {
	case nil:
		return nil
	case and:
		return e
	default:
		return []Expr{e}
	}
}

// boundsOn returns the bounds that are set to a field among conjuncts, and which of them it is.
func boundsOn(all []Expr, f Field) (*within, int) {
	for i, e := range all {
		if w, ok := e.(within); ok && w.field.text == f.text {
			return &w, i
		}
	}
	return nil, -1
}

func (e and) String() string {
	texts := make([]string, len(e))
	for i, x := range e {
		texts[i] = x.String()
		if _, ok := x.(or); ok {
			texts[i] = "(" + texts[i] + ")"
		}
	}
	return strings.Join(texts, " and ")
}

func (e or) String() string {
	texts := make([]string, len(e))
	for i, x := range e {
		texts[i] = x.String()
	}
	return strings.Join(texts, " or ")
}

func (e not) String() string {
	switch x := e.Expr.(type) {
	case equal:
		return x.field.text + " != " + valueText(x.value)
	case and, or:
		return "not (" + x.String() + ")"
	case within:
		if len(x.bounds) > 1 {
			return "not (" + x.String() + ")"
		}
	}
	return "not " + e.Expr.String()
}

func (e has) String() string   { return "has " + e.field.text }
func (e equal) String() string { return e.field.text + " = " + valueText(e.value) }

func (e among) String() string {
	texts := make([]string, len(e.values))
	for i, v := range e.values {
		texts[i] = valueText(v)
	}
	return e.field.text + " in (" + strings.Join(texts, ", ") + ")"
}

func (e within) String() string {
	texts := make([]string, len(e.bounds))
	for i, b := range e.bounds {
		texts[i] = e.field.text + " " + b.op + " " + valueText(b.value)
	}
	return strings.Join(texts, " and ")
}

func valueText(v document.Value) string { return string(v.AppendJSON(nil)) }
