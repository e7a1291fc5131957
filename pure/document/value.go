package document

import (
	"cmp"
	"iter"
	"strings"
	"unicode/utf8"
)

// Kind says what a value is. Kinds are in the order of Compare.
type Kind uint8

// The kinds. None is that of the zero Value: there is no value.
const (
	None Kind = iota
	Null
	Bool
	Number
	Text
	List
	Object
)

// String returns the kind's name, as people read it.
func (k Kind) String() string {
	return [...]string{"nothing", "null", "a boolean", "a number", "text", "a list", "an object"}[k]
}

// Value is a value in a document, or one to compare with.
type Value struct {
	kind Kind
	num  float64
	raw  string // the text; of a list or an object the encoding
}

// NullValue, BoolValue, NumberValue and TextValue make values.
func NullValue() Value { return Value{kind: Null} }

// BoolValue is true or false.
func BoolValue(b bool) Value {
	v := Value{kind: Bool}
	if b {
		v.num = 1
	}
	return v
}

// NumberValue is a number. f is finite; -0 is 0.
func NumberValue(f float64) Value { return Value{kind: Number, num: f + 0} }

// TextValue is text. s is valid UTF-8; what is not is replaced by U+FFFD.
func TextValue(s string) Value {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return Value{kind: Text, raw: s}
}

// Kind returns what the value is.
func (v Value) Kind() Kind { return v.kind }

// Bool returns the value of a boolean, false of anything else.
func (v Value) Bool() bool { return v.kind == Bool && v.num == 1 }

// Number returns a number, 0 of anything else.
func (v Value) Number() float64 {
	if v.kind != Number {
		return 0
	}
	return v.num
}

// Text returns a text, "" of anything else.
func (v Value) Text() string {
	if v.kind != Text {
		return ""
	}
	return v.raw
}

// Scalar tells whether the value is null, a boolean, a number or text: those have keys.
func (v Value) Scalar() bool { return v.kind >= Null && v.kind <= Text }

// Elements yields the elements of a list, in order; nothing of anything else.
func (v Value) Elements() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if v.kind != List {
			return
		}
		r := reader{s: v.raw}
		for _, n := r.head(); n > 0; n-- {
			if !yield(r.value()) {
				return
			}
		}
	}
}

// Fields yields the names and values of an object, shorter names first, then bytewise; nothing of anything else.
func (v Value) Fields() iter.Seq2[string, Value] {
	return func(yield func(string, Value) bool) {
		if v.kind != Object {
			return
		}
		r := reader{s: v.raw}
		for _, n := r.head(); n > 0; n-- {
			if !yield(r.text(), r.value()) {
				return
			}
		}
	}
}

// field finds a field of an object.
func (v Value) field(name string) (Value, bool) {
	if v.kind != Object {
		return Value{}, false
	}
	r := reader{s: v.raw}
	for _, n := r.head(); n > 0; n-- {
		switch c := compareNames(r.text(), name); {
		case c == 0:
			return r.value(), true
		case c > 0:
			return Value{}, false
		}
		r.skip()
	}
	return Value{}, false
}

// compareNames orders fields' names as their encodings are, which begin with the length.
func compareNames(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// Compare orders values: null, false, true, numbers, text bytewise, lists, objects. Lists
// are ordered by the first element that differs, then by length; objects likewise, by name before value.
func Compare(a, b Value) int {
	if a.kind != b.kind {
		return cmp.Compare(a.kind, b.kind)
	}
	switch a.kind {
	case Bool, Number:
		return cmp.Compare(a.num, b.num)
	case Text:
		return strings.Compare(a.raw, b.raw)
	case List, Object:
		return compareItems(a, b)
	default:
		return 0
	}
}

func compareItems(a, b Value) int {
	x, y := reader{s: a.raw}, reader{s: b.raw}
	_, n := x.head()
	_, m := y.head()
	for range min(n, m) {
		if a.kind == Object {
			if c := compareNames(x.text(), y.text()); c != 0 {
				return c
			}
		}
		if c := Compare(x.value(), y.value()); c != 0 {
			return c
		}
	}
	return cmp.Compare(n, m)
}
