package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grange-grid/grange/pure/document"
)

// Order is by which fields an answer is ordered, the first first; rows that are equal in
// all come by key, descending if the first field is. None is by key.
type Order []Term

// Term is a field of an order.
type Term struct {
	Field Field
	Desc  bool
}

// ParseOrder reads fields with commas between, each with - before it where it descends:
// "-time,author". "" is by key.
func ParseOrder(text string) (Order, error) {
	p := newParser(text)
	var o Order
	if p.tok.kind != tokenEnd {
		o = p.order()
	}
	p.end("a comma or the end")
	return o, p.result()
}

// String returns the order as ParseOrder reads it.
func (o Order) String() string {
	texts := make([]string, len(o))
	for i, t := range o {
		texts[i] = t.Field.text
		if t.Desc {
			texts[i] = "-" + texts[i]
		}
	}
	return strings.Join(texts, ",")
}

// keyDesc tells whether rows that are equal otherwise come by descending keys.
func (o Order) keyDesc() bool {
	if n := len(o); n > 0 && o[n-1].Field.text == KeyField {
		return o[n-1].Desc
	}
	return len(o) > 0 && o[0].Desc
}

// fields returns the fields without @key, and whether all of it runs one way.
func (o Order) fields() (list []Field, oneWay bool) {
	oneWay = true
	for _, t := range o {
		if t.Field.text != KeyField {
			list = append(list, t.Field)
		}
		oneWay = oneWay && t.Desc == o.keyDesc()
	}
	return list, oneWay
}

func (p *parser) order() Order {
	var o Order
	for {
		at := p.tok.at
		desc := p.take("-")
		f := p.field()
		switch {
		case slices.ContainsFunc(o, func(t Term) bool { return t.Field.text == f.text }):
			p.fail(at, f.text+" is in the order already")
		case len(o) > 0 && o[len(o)-1].Field.text == KeyField:
			p.fail(at, "no two documents have one key: after @key nothing is left to order")
		case len(o) == document.FieldsMax:
			p.fail(at, fmt.Sprintf("an order has at most %d fields", document.FieldsMax))
		}
		o = append(o, Term{f, desc})
		if !p.take(",") {
			break
		}
	}
	// What rows that are equal are ordered by anyway is not said.
	if last := len(o) - 1; o[last].Field.text == KeyField && o[last].Desc == o[:last].keyDesc() {
		o = o[:last]
	}
	if len(o) == 0 {
		return nil
	}
	return o
}
