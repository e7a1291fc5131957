package document

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
)

// Sizes of keys, in bytes.
const (
	// KeyTextMax is how much of a text is in a key, with its zeros escaped: texts that are equal so far are equal in it.
	KeyTextMax = 160
	// FieldKeyMax is the longest key of one value.
	FieldKeyMax = 1 + KeyTextMax + 2
	// FieldsMax is how many values a key of an index is made of at most.
	FieldsMax = 4
	// NameMax is how long a document's own key is at most, which ends a key of an index.
	NameMax = 256
	// KeyMax is the longest key of an index: pure/tree takes 1,024 bytes.
	KeyMax = FieldsMax*FieldKeyMax + NameMax
)

// The first byte of a value's key. What is not there, a list and an object have the key of none.
const (
	TagNone byte = iota
	TagNull
	TagFalse
	TagTrue
	TagNumber
	TagText
	tagEnd
)

// AppendKey appends the key of a value. The bytewise order of keys is that of Compare; no key
// begins with another. A list or an object has no key of its own, and gets that of none.
func AppendKey(dst []byte, v Value) []byte {
	switch v.kind {
	case Null:
		return append(dst, TagNull)
	case Bool:
		return append(dst, TagFalse+byte(v.num))
	case Number:
		return binary.BigEndian.AppendUint64(append(dst, TagNumber), orderedBits(v.num))
	case Text:
		dst, _ = AppendTextKey(append(dst, TagText), v.raw)
		return append(dst, 0, 0)
	default:
		return append(dst, TagNone)
	}
}

// AppendTextKey appends a text as it stands in a key, without the tag before and the two
// zeros behind it, and tells whether all of it is there. The keys of all texts that begin with s begin so.
func AppendTextKey(dst []byte, s string) ([]byte, bool) {
	// Not to the end of a letter: a letter that is cut off must still be above what is less than it.
	if len(s) <= KeyTextMax && strings.IndexByte(s, 0) < 0 {
		return append(dst, s...), true
	}
	start := len(dst)
	for i := range len(s) {
		room := KeyTextMax - (len(dst) - start)
		if room == 0 || room == 1 && s[i] == 0 {
			return dst, false
		}
		dst = append(dst, s[i])
		if s[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return dst, true
}

// Whole tells whether v is the only value with its key: a text may be cut off.
func Whole(v Value) bool {
	// One that is not cut, but is as long as those that are, has their key.
	return v.kind != Text || len(v.raw)+strings.Count(v.raw, "\x00") < KeyTextMax-1
}

// orderedBits maps floats to numbers in the same order.
func orderedBits(f float64) uint64 {
	b := math.Float64bits(f)
	if b>>63 == 1 {
		return ^b
	}
	return b | 1<<63
}

// ParseKey reads the keys of n values from the beginning of b, and returns the values and what
// follows. A text of KeyTextMax bytes or one less may be cut off, within a letter too. Errors: core.ErrInvalid.
func ParseKey(b []byte, n int) (values []Value, rest []byte, err error) {
	values = make([]Value, 0, min(n, FieldsMax))
	for range n {
		var v Value
		if v, b, err = parseKey(b); err != nil {
			return nil, nil, err
		}
		values = append(values, v)
	}
	return values, b, nil
}

func parseKey(b []byte) (Value, []byte, error) {
	if len(b) == 0 || b[0] >= tagEnd {
		return Value{}, nil, fmt.Errorf("%w key: no value begins so", core.ErrInvalid)
	}
	tag, b := b[0], b[1:]
	switch tag {
	case TagNull:
		return NullValue(), b, nil
	case TagFalse, TagTrue:
		return BoolValue(tag == TagTrue), b, nil
	case TagNumber:
		if len(b) < 8 {
			return Value{}, nil, fmt.Errorf("%w key: a number ends early", core.ErrInvalid)
		}
		bits := binary.BigEndian.Uint64(b)
		if bits>>63 == 1 {
			bits &^= 1 << 63
		} else {
			bits = ^bits
		}
		f := math.Float64frombits(bits)
		if !finite(f) || f == 0 && math.Signbit(f) {
			return Value{}, nil, fmt.Errorf("%w key: not a number of documents", core.ErrInvalid)
		}
		return Value{kind: Number, num: f}, b[8:], nil
	case TagText:
		return parseTextKey(b)
	default:
		return Value{}, b, nil
	}
}

func parseTextKey(b []byte) (Value, []byte, error) {
	text := make([]byte, 0, min(len(b), KeyTextMax))
	for i := 0; i < len(b) && i <= KeyTextMax; i++ {
		if b[i] != 0 {
			text = append(text, b[i])
			continue
		}
		if i+1 == len(b) {
			break
		}
		switch b[i+1] {
		case 0:
			if !utf8.Valid(text) && (i < KeyTextMax || !cutOff(text)) {
				return Value{}, nil, fmt.Errorf("%w key: text that is not UTF-8", core.ErrInvalid)
			}
			return Value{kind: Text, raw: string(text)}, b[i+2:], nil
		case 0xff:
			text = append(text, 0)
			i++
		default:
			return Value{}, nil, fmt.Errorf("%w key: a zero that is not escaped", core.ErrInvalid)
		}
	}
	return Value{}, nil, fmt.Errorf("%w key: a text without an end", core.ErrInvalid)
}

// cutOff tells whether text is UTF-8 but for its last letter, which has not all its bytes.
func cutOff(text []byte) bool {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if last := text[len(text)-n:]; utf8.RuneStart(last[0]) {
			return !utf8.FullRune(last) && utf8.Valid(text[:len(text)-n])
		}
	}
	return false
}
