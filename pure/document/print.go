package document

import (
	"slices"
	"strings"
)

// JSON returns the document as JSON on one line: names in bytewise order, numbers as
// ECMAScript prints them. FromJSON makes the same document of it. The zero Doc gives nothing.
func (d Doc) JSON() []byte {
	if d.cbor == "" {
		return nil
	}
	return d.Value().AppendJSON(make([]byte, 0, 2*len(d.cbor)))
}

// AppendJSON appends a value as JSON; what is not there as null.
func (v Value) AppendJSON(dst []byte) []byte {
	switch v.kind {
	case Bool:
		if v.num == 1 {
			return append(dst, "true"...)
		}
		return append(dst, "false"...)
	case Number:
		return AppendNumber(dst, v.num)
	case Text:
		return AppendText(dst, v.raw)
	case List:
		dst = append(dst, '[')
		first := true
		for e := range v.Elements() {
			dst = appendComma(dst, &first)
			dst = e.AppendJSON(dst)
		}
		return append(dst, ']')
	case Object:
		return v.appendObject(dst)
	default:
		return append(dst, "null"...)
	}
}

func (v Value) appendObject(dst []byte) []byte {
	type field struct {
		name  string
		value Value
	}
	var fields []field
	for name, value := range v.Fields() {
		fields = append(fields, field{name, value})
	}
	slices.SortFunc(fields, func(a, b field) int { return strings.Compare(a.name, b.name) })
	dst = append(dst, '{')
	first := true
	for _, f := range fields {
		dst = appendComma(dst, &first)
		dst = append(AppendText(dst, f.name), ':')
		dst = f.value.AppendJSON(dst)
	}
	return append(dst, '}')
}

func appendComma(dst []byte, first *bool) []byte {
	if !*first {
		dst = append(dst, ',')
	}
	*first = false
	return dst
}

// AppendText appends a text as JSON, in double quotes, with as few escapes as there can be.
func AppendText(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		c := s[i]
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else if c >= ' ' {
			dst = append(dst, c)
		} else if j := strings.IndexByte("\b\f\n\r\t", c); j >= 0 {
			dst = append(dst, '\\', "bfnrt"[j])
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, '"')
}
