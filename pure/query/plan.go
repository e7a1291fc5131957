package query

import (
	"cmp"
	"slices"

	"github.com/grange-grid/grange/pure/document"
)

// Primary stands for the tree of the documents by key where a choice names an index.
const Primary = -1

// choicesMax is how many choices are looked at for one index: a query from a stranger may allow very many.
const choicesMax = 64

// Range is the keys from From on that are below To; where To is nil, all of them.
type Range struct {
	From, To []byte
}

// Choice is a way to answer a query: by all entries of some ranges of one tree. Whichever
// choice is taken, the answer is the same.
type Choice struct {
	// Index is the place of the index among those that Plan was given, or Primary.
	Index int
	// Ranges are disjoint and rise; at most ValuesMax. Without any, no document is in the answer.
	Ranges []Range
	// Bound tells that the query's conditions bound the ranges: else they are the tree.
	Bound bool
	// Ordered tells that entries come in the query's order, from the last to the first if Desc; of a document that
	// comes more than once the first counts. So reading ends with the query's limit. Else the rows are sorted by Rank.
	Ordered, Desc bool
	// Exact tells that each entry's document is in the answer. Else each is to be asked for Match.
	Exact bool
	// Once tells that no document has two entries in the ranges. What is exact, and this, is counted by counting entries.
	Once bool

	rank, fields int
}

// Plan returns the ways to answer a query with the tree of the documents and those of some
// indexes, which seem the best first. It knows nothing of how many entries there are: who does may take another.
func (q Query) Plan(indexes []Index) []Choice {
	p := planner{q: q, all: conjuncts(q.Where)}
	p.order, p.oneWay = q.Order.fields()
	p.primary()
	for i, x := range indexes {
		p.index, p.x, p.left = i, x, choicesMax
		p.walk(way{prefixes: [][]byte{{}}, whole: true})
	}
	slices.SortStableFunc(p.out, func(a, b Choice) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.fields, b.fields))
	})
	return p.out
}

// Suggest returns the index that would serve the query best, if it were better than all that there are.
func (q Query) Suggest(indexes []Index) (Index, bool) {
	var fields, some []Field
	add := func(to []Field, f Field) []Field {
		if f.text == KeyField || slices.ContainsFunc(slices.Concat(fields, to), f.same) {
			return to
		}
		return append(to, f)
	}
	all := conjuncts(q.Where)
	for _, e := range all {
		if e, ok := e.(equal); ok {
			fields = add(fields, e.field)
		}
	}
	order, oneWay := q.Order.fields()
	if len(order) == 0 || !oneWay {
		order = nil
		for _, e := range all {
			if e, ok := e.(among); ok {
				some = add(some, e.field)
			}
		}
		fields = append(fields, some[:min(1, len(some))]...)
		for _, e := range all {
			if e, ok := e.(within); ok {
				order = add(order, e.field)
			}
		}
		order = order[:min(1, len(order))]
	}
	fields = fields[:min(len(fields), document.FieldsMax-len(order))]
	x := Index{Fields: append(fields, order...)}
	if len(x.Fields) == 0 {
		return Index{}, false
	}
	best := q.Plan(append(slices.Clone(indexes), x))[0]
	return x, best.Index == len(indexes)
}

func (f Field) same(g Field) bool { return f.text == g.text }

// planner makes the choices for one tree after the other.
type planner struct {
	q      Query
	all    []Expr // the conditions that all have to hold
	order  []Field
	oneWay bool
	index  int
	x      Index
	left   int
	out    []Choice
}

// way is how far the keys of a range are known: the values of the first k fields.
type way struct {
	k        int
	prefixes [][]byte
	used     uint64 // which of the conditions
	whole    bool   // no value is longer than keys hold
	several  bool   // a document may have entries below more than one prefix
	rank     int
}

// walk takes one condition more for the next field of the index, in each way that there is.
func (p *planner) walk(w way) {
	if w.k == len(p.x.Fields) {
		p.finish(w, -1)
		return
	}
	f := p.x.Fields[w.k]
	for i, e := range p.all {
		if e, ok := e.(equal); ok && e.field.same(f) {
			p.walk(w.with(i, f, []document.Value{e.value}))
		}
	}
	bounds := -1
	for i, e := range p.all {
		switch e := e.(type) {
		case among:
			if e.field.same(f) && len(w.prefixes)*len(e.values) <= ValuesMax {
				p.walk(w.with(i, f, e.values))
			}
		case within:
			if e.field.same(f) {
				bounds = i
				p.finish(w, i)
			}
		}
	}
	// A whole index has no documents without its first field: it answers only what these are not in.
	if w.k > 0 || bounds < 0 && slices.ContainsFunc(p.order, f.same) {
		p.finish(w, -1)
	}
}

// with goes on with the values that one condition leaves to the next field.
func (w way) with(condition int, f Field, values []document.Value) way {
	var keys [][]byte
	for _, v := range values {
		keys = append(keys, document.AppendKey(nil, v))
		w.whole = w.whole && document.Whole(v)
	}
	keys = distinct(keys)
	w.k++
	w.prefixes = product(w.prefixes, keys)
	w.used |= 1 << condition
	if len(keys) > 1 {
		w.several = w.several || !f.Pseudo()
		w.rank += 6
	} else {
		w.rank += 8
	}
	return w
}

// finish makes a choice of a way, and of the bounds that a condition sets to the next field, if it is not below 0.
func (p *planner) finish(w way, bounds int) {
	if p.left == 0 {
		return
	}
	p.left--
	c := Choice{Index: p.index, Bound: w.k > 0 || bounds >= 0, fields: len(p.x.Fields), rank: w.rank}
	rest := p.x.Fields[w.k:]
	next := Range{} // within what is below a prefix
	if bounds >= 0 {
		b := p.all[bounds].(within)
		var whole, none bool
		next, whole, none = b.keys()
		w.whole, w.used = w.whole && whole, w.used|1<<bounds
		c.rank += b.worth()
		if none {
			w.prefixes = nil
		}
	} else if len(rest) > 0 && w.k > 0 && slices.ContainsFunc(p.order, rest[0].same) {
		next.From = []byte{document.TagNone + 1} // what has no value for a field of the order is not in the answer
	}
	for _, prefix := range w.prefixes {
		r := Range{slices.Concat(prefix, next.From), after(prefix)}
		if next.To != nil {
			r.To = slices.Concat(prefix, next.To)
		}
		c.Ranges = append(c.Ranges, r)
	}
	c.Ordered = len(w.prefixes) <= 1 && p.oneWay && slices.EqualFunc(rest, p.order, Field.same) && p.inBounds(rest, bounds, w.whole)
	c.Exact = w.whole && w.used == 1<<len(p.all)-1 && p.sure(rest)
	c.Once = p.x.Flat || !w.several && !slices.ContainsFunc(rest, func(f Field) bool { return !f.Pseudo() })
	if p.x.Unique && len(rest) == 0 {
		c.rank += 20
	}
	p.add(c)
}

// inBounds tells whether the first entry of a document is the one that orders it: the
// order looks at those elements of a list alone that are within the bounds set to its field.
func (p *planner) inBounds(rest []Field, bounds int, whole bool) bool {
	for i, f := range rest {
		if _, at := boundsOn(p.all, f); at >= 0 && (i > 0 || at != bounds || !whole) {
			return false
		}
	}
	return true
}

// sure tells whether what is in the ranges, and fulfils all conditions, has a value for each field of the order.
func (p *planner) sure(rest []Field) bool {
	for _, f := range p.order {
		asked := slices.ContainsFunc(p.all, func(e Expr) bool {
			switch e := e.(type) {
			case equal:
				return e.field.same(f)
			case among:
				return e.field.same(f)
			case within:
				return e.field.same(f)
			}
			return false
		})
		// The first field of an index is never without one, and the first of the rest is not if it is in the order.
		if !asked && !f.Pseudo() && (len(rest) == 0 || !rest[0].same(f)) && (len(p.x.Fields) == 0 || !p.x.Fields[0].same(f)) {
			return false
		}
	}
	return true
}

// add ranks a choice by what it saves.
func (p *planner) add(c Choice) {
	if c.Ordered {
		c.Desc = p.q.Order.keyDesc()
		c.rank++
		if p.q.Limit > 0 || len(p.order) > 0 {
			c.rank += 4
		}
	}
	if c.Exact {
		c.rank++
		if c.Once && p.q.Count {
			c.rank += 3
		}
	}
	p.out = append(p.out, c)
}

// primary makes the choices for the tree of the documents.
func (p *planner) primary() {
	p.index, p.x = Primary, Index{}
	base := Choice{Index: Primary, Once: true, Ordered: len(p.order) == 0, Ranges: []Range{{}}}
	p.addPrimary(base, 0)
	for i, e := range p.all {
		c, used := base, uint64(1)<<i
		c.Bound = true
		switch e := e.(type) {
		case equal:
			if e.field.text != KeyField {
				continue
			}
			c.Ranges, c.rank, c.Ordered = keyRanges(e.value), 40, true
		case among:
			if e.field.text != KeyField {
				continue
			}
			c.Ranges, c.rank = keyRanges(e.values...), 30
		case within:
			if e.field.text != KeyField {
				continue
			}
			c.Ranges, c.rank = e.primaryRanges(), e.worth()
		default:
			continue
		}
		p.addPrimary(c, used)
	}
}

func (p *planner) addPrimary(c Choice, used uint64) {
	c.Exact = used == 1<<len(p.all)-1 && p.sure(nil)
	p.add(c)
}
