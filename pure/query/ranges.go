package query

import (
	"bytes"
	"slices"

	"github.com/grange-grid/grange/pure/document"
)

// after returns the least key above all that begin with prefix, nil if there is none.
func after(prefix []byte) []byte {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] < 0xff {
			end := slices.Clone(prefix[:n])
			end[n-1]++
			return end
		}
	}
	return nil
}

// kinds are the first bytes of the keys of a kind's values, from and below.
func kinds(k document.Kind) Range {
	switch k {
	case document.Null:
		return Range{[]byte{document.TagNull}, []byte{document.TagFalse}}
	case document.Bool:
		return Range{[]byte{document.TagFalse}, []byte{document.TagNumber}}
	case document.Number:
		return Range{[]byte{document.TagNumber}, []byte{document.TagText}}
	default:
		return Range{[]byte{document.TagText}, []byte{document.TagText + 1}}
	}
}

// keys returns the range of the keys of values within the bounds; whole tells that there are no others in
// it, none that there are no such values.
func (e within) keys() (r Range, whole, none bool) {
	r, whole = kinds(e.bounds[0].value.Kind()), true
	for _, b := range e.bounds {
		if b.value.Kind() != e.bounds[0].value.Kind() {
			return Range{}, true, true
		}
		one := b.keys()
		whole = whole && b.whole()
		r = r.cut(one)
	}
	return r, whole, bytes.Compare(r.From, r.To) >= 0
}

// cut returns what is in both ranges.
func (r Range) cut(s Range) Range {
	if bytes.Compare(s.From, r.From) > 0 {
		r.From = s.From
	}
	if s.To != nil && (r.To == nil || bytes.Compare(s.To, r.To) < 0) {
		r.To = s.To
	}
	return r
}

// whole tells that a bound's range has no values that it does not admit.
func (b bound) whole() bool {
	if b.op == "starts" {
		_, whole := document.AppendTextKey(nil, b.value.Text())
		return whole
	}
	return document.Whole(b.value)
}

// keys returns the range of the keys of what a bound admits, and perhaps of others with the same keys.
func (b bound) keys() Range {
	if b.op == "starts" {
		prefix, _ := document.AppendTextKey([]byte{document.TagText}, b.value.Text())
		return Range{prefix, after(prefix)}
	}
	key := document.AppendKey(nil, b.value)
	switch next := after(key); {
	case b.op == "<" && document.Whole(b.value):
		return Range{To: key}
	case b.op == "<" || b.op == "<=":
		return Range{To: next}
	case b.op == ">" && document.Whole(b.value):
		return Range{From: next}
	default:
		return Range{From: key}
	}
}

// worth says how much narrower than a whole tree the bounds seem.
func (e within) worth() int {
	var below, above bool
	for _, b := range e.bounds {
		below = below || b.op != ">" && b.op != ">="
		above = above || b.op != "<" && b.op != "<="
	}
	if below && above {
		return 4
	}
	return 3
}

// keyRanges returns the ranges of single keys in the tree of the documents.
func keyRanges(values ...document.Value) (list []Range) {
	var keys [][]byte
	for _, v := range values {
		if v.Kind() == document.Text {
			keys = append(keys, []byte(v.Text()))
		}
	}
	for _, k := range distinct(keys) {
		list = append(list, Range{k, append(slices.Clone(k), 0)})
	}
	return list
}

// primaryRanges returns the range of the bounds in the tree of the documents, where keys stand as they are.
func (e within) primaryRanges() []Range {
	var r Range
	for _, b := range e.bounds {
		if b.value.Kind() != document.Text {
			return nil
		}
		key := []byte(b.value.Text())
		next := append(slices.Clone(key), 0)
		switch b.op {
		case "starts":
			r = r.cut(Range{key, after(key)})
		case "<":
			r = r.cut(Range{To: key})
		case "<=":
			r = r.cut(Range{To: next})
		case ">":
			r = r.cut(Range{From: next})
		default:
			r = r.cut(Range{From: key})
		}
	}
	if r.To != nil && bytes.Compare(r.From, r.To) >= 0 {
		return nil
	}
	return []Range{r}
}
