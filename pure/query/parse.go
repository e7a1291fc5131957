package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/grange-grid/grange/pure/document"
)

// Parse reads a query: a condition, or none, then perhaps its order, limit, or count. Errors are *Error.
func Parse(text string) (Query, error) {
	p := newParser(text)
	var q Query
	if p.tok.kind != tokenEnd && !p.clause() {
		q.Where = p.or()
	}
	expected, words := "and, or, or the end", []string{"and", "or", "order", "limit", "count"}
	if p.take("order") {
		q.Order = p.order()
		expected, words = "a comma, limit, or the end", []string{"limit"}
	}
	if p.take("limit") {
		q.Limit = p.limit()
		expected, words = "the end", nil
	}
	if at := p.tok.at; p.take("count") {
		q.Count = true
		if err := q.Check(); err != nil {
			p.fail(at, err.Error())
		}
		expected, words = "the end", nil
	}
	p.end(expected, words...)
	if err := p.result(); err != nil {
		return Query{}, err
	}
	if len(q.String()) > TextMax {
		return Query{}, &Error{1, fmt.Sprintf("the query is longer than %d bytes", TextMax), text}
	}
	return q, nil
}

// parser reads by recursive descent. After a fault all tokens are the end.
type parser struct {
	lexer
	tok         token
	ahead       token // the one after tok
	depth       int
	comparisons int
	failed      bool // the parser has stopped, and not only the lexer
}

func newParser(text string) *parser {
	p := &parser{lexer: lexer{text: text}}
	if len(text) > TextMax {
		p.fail(0, fmt.Sprintf("the query is longer than %d bytes", TextMax))
		return p
	}
	p.tok = p.lexer.next()
	p.ahead = p.lexer.next()
	return p
}

func (p *parser) advance() token {
	t := p.tok
	p.tok, p.ahead = p.ahead, p.lexer.next()
	return t
}

// failHere says what was expected where the parser is.
func (p *parser) failHere(expected string) {
	p.fail(p.tok.at, expected+" was expected, and here is "+p.tok.describe())
}

// fail keeps the fault that is first in the text: the lexer is ahead. Of a token that is bad in itself, only that is said.
func (p *parser) fail(at int, problem string) {
	if c := column(p.text, at); !p.failed && (p.err == nil || c < p.err.Column && p.tok.kind != tokenBad) {
		p.err = &Error{c, problem, p.text}
	}
	p.failed = true
	p.tok, p.ahead = token{at: at}, token{at: at}
}

// take goes past a word or mark if it is next.
func (p *parser) take(text string) bool {
	if !p.tok.is(text) {
		return false
	}
	p.advance()
	return true
}

func (p *parser) result() error {
	if p.err != nil {
		return p.err
	}
	return nil
}

// end holds that nothing follows. Of words that might have been meant the nearest is named.
func (p *parser) end(expected string, words ...string) {
	if p.tok.kind == tokenEnd {
		return
	}
	hint := ""
	if p.tok.kind == tokenField {
		hint = nearest(p.tok.field.text, words)
	}
	p.fail(p.tok.at, expected+" was expected, and here is "+p.tok.describe()+hint)
}

// clause tells whether order, limit or count is next, and no field of that name that is compared.
func (p *parser) clause() bool {
	if p.tok.kind != tokenWord || !slices.Contains(clauses, p.tok.text) {
		return false
	}
	compared := p.ahead.kind == tokenMark && slices.Contains(operators, p.ahead.text) || p.ahead.is("in") || p.ahead.is("starts")
	return !compared
}

func (p *parser) or() Expr {
	list := []Expr{p.and()}
	for p.take("or") {
		list = append(list, p.and())
	}
	return newOr(list)
}

func (p *parser) and() Expr {
	list := []Expr{p.unary()}
	for p.take("and") {
		list = append(list, p.unary())
	}
	return newAnd(list)
}

func (p *parser) unary() Expr {
	at := p.tok.at
	if !p.tok.is("not") && !p.tok.is("(") {
		return p.comparison()
	}
	if p.depth == NestingMax {
		p.fail(at, fmt.Sprintf("nested deeper than %d", NestingMax))
		return and(nil)
	}
	p.depth++
	defer func() { p.depth-- }()
	if p.take("not") {
		return newNot(p.unary())
	}
	p.advance()
	e := p.or()
	if !p.take(")") {
		p.failHere("a closing parenthesis, and or or")
	}
	return e
}

var operators = []string{"=", "!=", "<", "<=", ">", ">="}

func (p *parser) comparison() Expr {
	if p.comparisons++; p.comparisons > ComparisonsMax {
		p.fail(p.tok.at, fmt.Sprintf("more than %d comparisons", ComparisonsMax))
	}
	if p.take("has") {
		return has{p.field()}
	}
	f := p.field()
	switch op := p.tok; {
	case p.take("="):
		return equal{f, p.value()}
	case p.take("!="):
		return newNot(equal{f, p.value()})
	case p.take("in"):
		return p.among(f)
	case p.take("starts"):
		if p.tok.kind != tokenText {
			p.failHere("a text in quotes")
		}
		return within{f, []bound{{op.text, p.advance().value}}}
	case op.kind == tokenMark && slices.Contains(operators, op.text):
		p.advance()
		return within{f, []bound{{op.text, p.value()}}}
	}
	hint := ""
	if p.tok.kind == tokenField {
		hint = nearest(p.tok.field.text, []string{"in", "starts"})
	}
	p.fail(p.tok.at, "one of = != < <= > >= in starts was expected, and here is "+p.tok.describe()+hint)
	return and(nil)
}

// field reads a field; order, limit and count are fields here.
func (p *parser) field() Field {
	if p.tok.kind == tokenField || p.tok.kind == tokenWord && slices.Contains(clauses, p.tok.text) {
		return p.advance().field
	}
	switch {
	case p.tok.kind == tokenWord && p.tok.text != "not" && p.tok.text != "has":
		p.fail(p.tok.at, "a field was expected: one that is named "+p.tok.text+" stands in backquotes")
	default:
		p.failHere("a field")
	}
	return Field{}
}

func (p *parser) value() document.Value {
	switch t := p.tok; {
	case t.kind == tokenText || t.kind == tokenNumber:
		return p.advance().value
	case p.take("true"), p.take("false"):
		return document.BoolValue(t.text == "true")
	case p.take("null"):
		return document.NullValue()
	case t.kind == tokenField:
		p.fail(t.at, "a value was expected: text stands in quotes"+nearest(t.field.text, []string{"true", "false", "null"}))
	default:
		p.failHere("a value")
	}
	return document.NullValue()
}

func (p *parser) among(f Field) Expr {
	if !p.take("(") {
		p.failHere("a list of values in parentheses")
	}
	values := []document.Value{p.value()}
	for n := 1; p.take(","); n++ {
		if n == ValuesMax {
			p.fail(p.tok.at, fmt.Sprintf("more than %d values", ValuesMax))
		}
		v := p.value()
		if !slices.ContainsFunc(values, func(x document.Value) bool { return document.Compare(x, v) == 0 }) {
			values = append(values, v)
		}
	}
	if !p.take(")") {
		p.failHere("a comma or a closing parenthesis")
	}
	if len(values) == 1 {
		return equal{f, values[0]}
	}
	return among{f, values, slices.SortedFunc(slices.Values(values), document.Compare)}
}

func (p *parser) limit() int {
	t := p.tok
	n := t.value.Number()
	if t.kind != tokenNumber || n < 1 || n > LimitMax || n != float64(int(n)) || strings.ContainsAny(t.text, ".eE") {
		p.fail(t.at, fmt.Sprintf("a limit is a number from 1 to %d", LimitMax))
		return 0
	}
	p.advance()
	return int(n)
}
