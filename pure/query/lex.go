package query

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/grange-grid/grange/pure/document"
)

// keywords are the words of the language, in any case of letters. The last three are
// words of it only where a condition has ended, or none begins.
var keywords = []string{"and", "or", "not", "in", "starts", "has", "true", "false", "null", "order", "limit", "count"}

var clauses = keywords[9:]

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenField
	tokenWord // in lower case in text
	tokenText
	tokenNumber
	tokenMark // an operator, a parenthesis, a comma
	tokenBad  // what is wrong in itself: the lexer has said so
)

// token is a word of a query.
type token struct {
	kind  tokenKind
	at    int
	text  string
	field Field
	value document.Value
}

func (t token) is(text string) bool {
	return (t.kind == tokenWord || t.kind == tokenMark) && t.text == text
}

// describe says what was found where something else was expected.
func (t token) describe() string {
	switch t.kind {
	case tokenEnd:
		return "the end"
	case tokenField:
		return t.field.text
	case tokenText:
		return "a text"
	case tokenNumber:
		return "a number"
	default:
		return t.text
	}
}

// marks are tried in this order; of those with a hint only the hint comes.
var marks = []struct{ mark, hint string }{
	{"!=", ""},
	{"<=", ""},
	{">=", ""},
	{"==", "equality is ="},
	{"=", ""},
	{"<>", "inequality is !="},
	{"<", ""},
	{">", ""},
	{"(", ""},
	{")", ""},
	{",", ""},
	{"-", ""},
	{"&", "write and"},
	{"|", "write or"},
	{"!", "write not"},
	{";", "a query is one, without an end mark"},
	{"*", "there are no patterns: write starts"},
	{"%", "there are no patterns: write starts"},
}

// lexer cuts a query into tokens. It stops at the first fault.
type lexer struct {
	text string
	at   int
	err  *Error
}

// bad keeps what is wrong at a place of the token that begins at l.at.
func (l *lexer) bad(at int, problem string) token {
	l.err = &Error{column(l.text, at), problem, l.text}
	return token{kind: tokenBad, at: l.at}
}

// next returns the next token, after a fault always the end.
func (l *lexer) next() token {
	for l.at < len(l.text) && strings.IndexByte(" \t\r\n", l.text[l.at]) >= 0 {
		l.at++
	}
	t := token{at: l.at}
	if l.at == len(l.text) || l.err != nil {
		return t
	}
	rest := l.text[l.at:]
	switch c := rest[0]; {
	case c == '"' || c == '\'':
		return l.quoted(t, rest)
	case '0' <= c && c <= '9' || c == '-' && len(rest) > 1 && '0' <= rest[1] && rest[1] <= '9':
		return l.number(t, rest)
	case c == '@':
		return l.pseudo(t, rest)
	case c == '`' || wordSize(rest) > 0:
		return l.word(t, rest)
	}
	for _, m := range marks {
		if !strings.HasPrefix(rest, m.mark) {
			continue
		}
		if m.hint != "" {
			return l.bad(t.at, m.hint)
		}
		l.at += len(m.mark)
		t.kind, t.text = tokenMark, m.mark
		return t
	}
	r, size := utf8.DecodeRuneInString(rest)
	if r == utf8.RuneError && size == 1 {
		return l.bad(t.at, "not UTF-8")
	}
	return l.bad(t.at, "nothing in a query begins with "+string(r)+": text stands in quotes, odd names in backquotes")
}

func (l *lexer) quoted(t token, rest string) token {
	text, size, err := document.ReadText(rest)
	if err != nil {
		return l.bad(l.at+size, err.Error())
	}
	l.at += size
	t.kind, t.value = tokenText, document.TextValue(text)
	return t
}

func (l *lexer) number(t token, rest string) token {
	size := 1
	for size < len(rest) {
		c := rest[size]
		exponent := (c == '+' || c == '-') && rest[size-1]|32 == 'e'
		if !exponent && c != '.' && c != '_' && ('0' > c || c > '9') && ('a' > c|32 || c|32 > 'z') {
			break
		}
		size++
	}
	f, err := document.ParseNumber(rest[:size])
	if err != nil {
		return l.bad(t.at, err.Error())
	}
	l.at += size
	t.kind, t.text, t.value = tokenNumber, rest[:size], document.NumberValue(f)
	return t
}

func (l *lexer) pseudo(t token, rest string) token {
	size := 1 + wordSize(rest[1:])
	name := strings.ToLower(rest[:size])
	if !slices.Contains(pseudoFields, name) {
		return l.bad(t.at, "there are @author, @key and @time"+nearest(name, pseudoFields))
	}
	l.at += size
	t.kind, t.field = tokenField, Field{text: name}
	return t
}

// word reads a field, or a word of the language.
func (l *lexer) word(t token, rest string) token {
	var path document.Path
	at, plain := 0, true
	for {
		size := wordSize(rest[at:])
		if size > 0 {
			path = append(path, rest[at:at+size])
		} else if at < len(rest) && rest[at] == '`' {
			var name string
			if name, size = quotedName(rest[at:]); size == 0 {
				return l.bad(t.at+at, "a name without its closing backquote")
			}
			if !utf8.ValidString(name) {
				return l.bad(t.at+at, "not UTF-8")
			}
			path, plain = append(path, name), false
		} else {
			return l.bad(t.at+at, "a field's name was expected after the dot: odd ones stand in backquotes")
		}
		if at += size; at == len(rest) || rest[at] != '.' {
			break
		}
		at++
	}
	l.at += at
	if len(path) > document.NestingMax {
		return l.bad(t.at, "a field of more names than documents are deep")
	}
	if word := strings.ToLower(path[0]); plain && len(path) == 1 && slices.Contains(keywords, word) {
		t.kind, t.text = tokenWord, word
	}
	if t.kind == tokenEnd {
		t.kind = tokenField
	}
	t.field = fieldOf(path)
	return t
}
