package document

// ListValue is a list of values.
func ListValue(values []Value) Value {
	out := appendHead(nil, majorList, uint64(len(values)))
	for _, v := range values {
		out = appendValue(out, v)
	}
	return Value{kind: List, raw: string(out)}
}

// appendValue appends the encoding of a value, which is not None.
func appendValue(dst []byte, v Value) []byte {
	switch v.kind {
	case Bool:
		if v.num == 1 {
			return append(dst, headTrue)
		}
		return append(dst, headFalse)
	case Number:
		return appendNumber(dst, v.num)
	case Text:
		return append(appendHead(dst, majorText, uint64(len(v.raw))), v.raw...)
	case List, Object:
		return append(dst, v.raw...)
	default:
		return append(dst, headNull)
	}
}

// With returns the document with another value of one of its own fields, which it need not have had; of the zero Value, without that field.
// A document of more than SizeMax bytes may come of it.
func (d Doc) With(name string, value Value) Doc {
	count, body, done := uint64(0), []byte(nil), value.kind == None
	add := func(name string, v Value) {
		count++
		body = append(appendHead(body, majorText, uint64(len(name))), name...)
		body = appendValue(body, v)
	}
	for n, v := range d.Value().Fields() {
		c := compareNames(n, name)
		if c >= 0 && !done {
			add(name, value)
			done = true
		}
		if c != 0 {
			add(n, v)
		}
	}
	if !done {
		add(name, value)
	}
	return Doc{string(appendHead(nil, majorObject, count)) + string(body)}
}
