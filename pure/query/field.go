package query

import (
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/grange-grid/grange/pure/document"
)

// The pseudo-fields, which every row has: the document's key; the DID of who wrote it, as text; and
// when, as text in RFC 3339 with milliseconds, in UTC.
const (
	KeyField    = "@key"
	AuthorField = "@author"
	TimeField   = "@time"
)

var pseudoFields = []string{AuthorField, KeyField, TimeField}

// Field is a field of a document by its path, or a pseudo-field.
type Field struct {
	text string
	path document.Path // of a pseudo-field nil
}

// ParseField reads a field: names, with dots between, where one that is no plain word, or a word of the
// language, stands in backquotes, and a backquote in it twice; or a pseudo-field.
func ParseField(text string) (Field, error) {
	p := newParser(text)
	f := p.field()
	p.end("the end")
	return f, p.result()
}

// String returns the field as ParseField reads it.
func (f Field) String() string { return f.text }

// Pseudo tells whether it is a pseudo-field, which is never missing and never a list.
func (f Field) Pseudo() bool { return f.path == nil }

// scalars yields the values that comparisons are about: one that is no list, or the elements of a
// list, and of those null, booleans, numbers and text.
func (f Field) scalars(row *Row) iter.Seq[document.Value] {
	return func(yield func(document.Value) bool) {
		v, ok := f.value(row)
		if !ok {
			return
		}
		if v.Kind() != document.List {
			if v.Scalar() {
				yield(v)
			}
			return
		}
		for e := range v.Elements() {
			if e.Scalar() && !yield(e) {
				return
			}
		}
	}
}

func (f Field) value(row *Row) (document.Value, bool) {
	if !f.Pseudo() {
		return row.Doc.Field(f.path)
	}
	switch f.text {
	case KeyField:
		return document.TextValue(row.Key), true
	case AuthorField:
		return document.TextValue(row.Author.String()), true
	default:
		return document.TextValue(TimeText(row.Time)), true
	}
}

// fieldOf makes a field of its names.
func fieldOf(path document.Path) Field {
	var text strings.Builder
	for i, name := range path {
		if i > 0 {
			text.WriteByte('.')
		}
		if word := wordSize(name); word > 0 && word == len(name) && (i > 0 || !slices.Contains(keywords, strings.ToLower(name))) {
			text.WriteString(name)
		} else {
			text.WriteString("`" + strings.ReplaceAll(name, "`", "``") + "`")
		}
	}
	return Field{text.String(), path}
}

// wordSize is how many bytes of s are a plain word: a letter, _ or $, then digits and - too.
func wordSize(s string) int {
	for i, r := range s {
		switch {
		case r == '_' || r == '$' || r != utf8.RuneError && unicode.IsLetter(r):
		case i > 0 && (r == '-' || '0' <= r && r <= '9'):
		default:
			return i
		}
	}
	return len(s)
}

// quotedName reads a name in backquotes from the beginning of s; size is 0 where it has no end.
func quotedName(s string) (name string, size int) {
	for i := 1; i < len(s); i++ {
		if s[i] != '`' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '`' {
			i++
			continue
		}
		return strings.ReplaceAll(s[1:i], "``", "`"), i + 1
	}
	return "", 0
}

// TimeText returns a time in milliseconds since 1970-01-01 UTC as @time has it, such as
// 2026-01-31T12:00:00.000Z. Times outside of the years 1970 to 9999 are the first or last of these.
func TimeText(ms int64) string {
	const day, last = 86_400_000, 253_402_300_799_999
	ms = min(max(ms, 0), last)
	year, month, date := civil(int(ms / day))
	in := int(ms % day)
	b := []byte("0000-00-00T00:00:00.000Z")
	for _, part := range []struct{ end, n int }{
		{4, year},
		{7, month},
		{10, date},
		{13, in / 3_600_000},
		{16, in / 60_000 % 60},
		{19, in / 1000 % 60},
		{23, in % 1000},
	} {
		for i, n := part.end-1, part.n; n > 0; i, n = i-1, n/10 {
			b[i] = byte('0' + n%10)
		}
	}
	return string(b)
}

// civil returns the date of a day, counted from 1970-01-01: Howard Hinnant, "chrono-Compatible
// Low-Level Date Algorithms", civil_from_days. Pure rooms have no package time.
func civil(days int) (year, month, day int) {
	days += 719_468 // since 0000-03-01
	era := days / 146_097
	doe := days % 146_097
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	year, month, day = yoe+era*400, mp+3, doy-(153*mp+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, day
}
