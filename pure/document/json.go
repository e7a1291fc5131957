package document

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
)

// FromJSON reads a document from JSON (RFC 8259), and nothing that loses something: text
// is valid UTF-8 without lone surrogates, no name stands twice in an object, and a
// number is what float64 makes of it, to all of the digits that are there. 1.0 is 1, and -0 is 0.
// Errors tell the line and the column, in letters, from 1, and the field. They are
// core.ErrTooLarge beyond SizeMax of CBOR or TextSizeMax of JSON, else core.ErrInvalid.
func FromJSON(text []byte) (Doc, error) {
	if len(text) > TextSizeMax {
		return Doc{}, tooLarge(len(text))
	}
	p := parser{in: text, out: make([]byte, 0, len(text)+16)}
	p.space()
	if p.peek() != '{' {
		p.fail("a document is a JSON object, which begins with {")
	} else {
		p.value()
	}
	p.space()
	if p.fault == "" && p.at < len(text) {
		p.fail("there is more after the document's end")
	}
	if p.fault != "" {
		return Doc{}, p.err()
	}
	if len(p.out) > SizeMax {
		return Doc{}, tooLarge(len(p.out))
	}
	return Doc{string(p.out)}, nil
}

// parser writes CBOR as it reads JSON. It stops at the first fault, where at is.
type parser struct {
	in    []byte
	at    int
	out   []byte
	path  []string // of the field that is read
	depth int
	fault string
}

func (p *parser) fail(format string, args ...any) {
	if p.fault == "" {
		p.fault = fmt.Sprintf(format, args...)
	}
}

func (p *parser) err() error {
	before := p.in[:p.at]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	field := ""
	if len(p.path) > 0 {
		field = fmt.Sprintf(" (in %.80s)", strings.Map(printable, strings.Join(p.path, ".")))
	}
	return fmt.Errorf("%w document: line %d, column %d%s: %s", core.ErrInvalid, line, column, field, p.fault)
}

// printable keeps what a document names its fields from commanding a terminal.
func printable(r rune) rune {
	if !unicode.IsPrint(r) {
		return utf8.RuneError
	}
	return r
}

// peek returns the next byte, 0 at the end or after a fault: no zero is right anywhere.
func (p *parser) peek() byte {
	if p.at >= len(p.in) || p.fault != "" {
		return 0
	}
	return p.in[p.at]
}

func (p *parser) space() {
	for p.fault == "" && p.at < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.at]) >= 0 {
		p.at++
	}
}

// take goes past c if it is next, after spaces.
func (p *parser) take(c byte) bool {
	p.space()
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

func (p *parser) value() {
	p.space()
	switch c := p.peek(); {
	case c == '{':
		p.nested(p.object)
	case c == '[':
		p.nested(p.list)
	case c == '"':
		p.text()
	case c == '-' || '0' <= c && c <= '9':
		p.number()
	case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
		p.word()
	case p.at >= len(p.in):
		p.fail("the document ends early")
	default:
		p.fail("a value was expected")
	}
}

func (p *parser) nested(read func()) {
	if p.depth == NestingMax {
		p.fail("nested deeper than %d", NestingMax)
		return
	}
	p.depth++
	p.at++
	read()
	p.depth--
}

func (p *parser) word() {
	end := p.at
	for end < len(p.in) && ('a' <= p.in[end]|32 && p.in[end]|32 <= 'z') {
		end++
	}
	switch word := string(p.in[p.at:end]); word {
	case "true":
		p.out = append(p.out, headTrue)
	case "false":
		p.out = append(p.out, headFalse)
	case "null":
		p.out = append(p.out, headNull)
	case "NaN", "Infinity":
		p.fail("%s is no number in JSON", word)
		return
	default:
		p.fail("a value was expected: text stands in double quotes")
		return
	}
	p.at = end
}

func (p *parser) list() {
	start := len(p.out)
	n := uint64(0)
	for !p.take(']') {
		if n > 0 && !p.take(',') {
			p.fail("a comma or ] was expected")
			return
		}
		p.path = append(p.path, strconv.FormatUint(n, 10))
		p.value()
		if p.fault != "" {
			return
		}
		p.path = p.path[:len(p.path)-1]
		n++
	}
	head := appendHead(nil, majorList, n)
	p.out = slices.Insert(p.out, start, head...)
}

func (p *parser) object() {
	type pair struct{ at, start, value, end int }
	var pairs []pair
	start := len(p.out)
	for !p.take('}') {
		if len(pairs) > 0 && !p.take(',') {
			p.fail("a comma or } was expected")
			return
		}
		p.space()
		if p.peek() != '"' {
			p.fail("a field's name in double quotes was expected")
			return
		}
		at := pair{at: p.at, start: len(p.out)}
		if p.text(); p.fault != "" {
			return
		}
		at.value = len(p.out)
		p.path = append(p.path, p.name(at.start))
		if !p.take(':') {
			p.fail("a colon was expected")
			return
		}
		if p.value(); p.fault != "" {
			return
		}
		p.path = p.path[:len(p.path)-1]
		at.end = len(p.out)
		pairs = append(pairs, at)
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return bytes.Compare(p.out[a.start:a.value], p.out[b.start:b.value])
	})
	sorted := appendHead(make([]byte, 0, len(p.out)-start+9), majorObject, uint64(len(pairs)))
	for i, at := range pairs {
		if i > 0 && bytes.Equal(p.out[at.start:at.value], p.out[pairs[i-1].start:pairs[i-1].value]) {
			p.at, p.path = at.at, append(p.path, p.name(at.start))
			p.fail("the field stands twice in this object")
			return
		}
		sorted = append(sorted, p.out[at.start:at.end]...)
	}
	p.out = append(p.out[:start], sorted...)
}

// name reads the name whose encoding begins at start of what is written.
func (p *parser) name(start int) string {
	r := reader{s: string(p.out[start:])}
	return r.text()
}

// text reads a text in double quotes.
func (p *parser) text() {
	if s := p.quoted(); p.fault == "" {
		p.out = append(appendHead(p.out, majorText, uint64(len(s))), s...)
	}
}

// ReadText reads a text as JSON has it from the beginning of in, where its quote is, single or
// double, and returns it and how many bytes it took, or where it is wrong. In single quotes \' is one.
func ReadText(in string) (text string, size int, err error) {
	p := parser{in: []byte(in)}
	s := p.quoted()
	if p.fault != "" {
		return "", p.at, errors.New(p.fault)
	}
	return string(s), p.at, nil
}

// quoted reads a text up to a quote like the one that it begins with.
func (p *parser) quoted() (s []byte) {
	quote := p.in[p.at]
	p.at++
	for {
		plain := p.at
		for p.at < len(p.in) && p.in[p.at] >= ' ' && p.in[p.at] != quote && p.in[p.at] != '\\' {
			p.at++
		}
		if run := p.in[plain:p.at]; !utf8.Valid(run) {
			p.at = plain + validPrefix(run)
			p.fail("not UTF-8")
			return nil
		}
		s = append(s, p.in[plain:p.at]...)
		switch {
		case p.at == len(p.in):
			p.fail("a text without its closing quote")
			return nil
		case p.in[p.at] == quote:
			p.at++
			return s
		case p.in[p.at] == '\\':
			var ok bool
			if s, ok = p.escape(s, quote); !ok {
				return nil
			}
		default:
			p.fail("a control character in a text: write it as \\u%04x", p.in[p.at])
			return nil
		}
	}
}

func validPrefix(b []byte) (n int) {
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// escape reads what begins with a backslash.
func (p *parser) escape(s []byte, quote byte) ([]byte, bool) {
	if p.at+1 < len(p.in) {
		if p.in[p.at+1] == quote {
			p.at += 2
			return append(s, quote), true
		}
		if i := strings.IndexByte(`"\/bfnrt`, p.in[p.at+1]); i >= 0 {
			p.at += 2
			return append(s, "\"\\/\b\f\n\r\t"[i]), true
		}
	}
	r, ok := p.unit(p.at)
	if !ok {
		p.fail("an escape that JSON does not have")
		return s, false
	}
	size := 6
	if utf16.IsSurrogate(r) {
		low, _ := p.unit(p.at + 6)
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			p.fail("half of a surrogate pair")
			return s, false
		}
		size = 12
	}
	p.at += size
	return utf8.AppendRune(s, r), true
}

// unit reads \uXXXX.
func (p *parser) unit(at int) (rune, bool) {
	if at+6 > len(p.in) || p.in[at] != '\\' || p.in[at+1] != 'u' {
		return 0, false
	}
	n := rune(0)
	for _, c := range p.in[at+2 : at+6] {
		switch {
		case '0' <= c && c <= '9':
			n = n<<4 | rune(c-'0')
		case 'a' <= c|32 && c|32 <= 'f':
			n = n<<4 | rune(c|32-'a'+10)
		default:
			return 0, false
		}
	}
	return n, true
}

func (p *parser) number() {
	rest := p.in[p.at:]
	size := 0
	for size < len(rest) && strings.IndexByte("+-.0123456789eE", rest[size]) >= 0 {
		size++
	}
	f, err := ParseNumber(string(rest[:min(size, numberSizeMax+1)]))
	if err != nil {
		p.fail("%s", err)
		return
	}
	p.at += size
	p.out = appendNumber(p.out, f)
}
