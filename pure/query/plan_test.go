package query

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
)

// answer is what a query means: all rows are asked, and sorted.
func answer(q Query, rows []Row) []string {
	type ranked struct{ rank, key string }
	var list []ranked
	for _, r := range rows {
		rank, ok := q.Rank(r)
		if ok != q.Match(r) {
			panic("Rank and Match say different things")
		}
		if ok {
			list = append(list, ranked{string(rank), r.Key})
		}
	}
	slices.SortFunc(list, func(a, b ranked) int { return strings.Compare(a.rank, b.rank) })
	var keys []string
	for _, r := range list {
		keys = append(keys, r.key)
	}
	return limited(q, keys)
}

func limited(q Query, keys []string) []string {
	if q.Limit > 0 && len(keys) > q.Limit {
		return keys[:q.Limit]
	}
	return keys
}

// tree is the sorted keys of a tree, and the document of each.
type tree struct {
	keys [][]byte
	doc  map[string]string
}

func treeOf(t *rapid.T, x *Index, rows []Row) tree {
	tr := tree{doc: map[string]string{}}
	for _, r := range rows {
		keys := [][]byte{[]byte(r.Key)}
		if x != nil {
			var err error
			if keys, err = x.Keys(r); err != nil {
				t.Fatal(err)
			}
			if !slices.IsSortedFunc(keys, bytes.Compare) {
				t.Fatalf("the keys of an index do not rise: %x", keys)
			}
		}
		for _, k := range keys {
			if _, ok := tr.doc[string(k)]; ok {
				t.Fatalf("a key is in the tree twice: %x", k)
			}
			tr.keys, tr.doc[string(k)] = append(tr.keys, k), r.Key
			if x == nil {
				continue
			}
			if _, key, err := x.Split(k); err != nil || string(key) != r.Key {
				t.Fatalf("the key %x has the document %q, want %q: %v", k, key, r.Key, err)
			}
		}
	}
	slices.SortFunc(tr.keys, bytes.Compare)
	return tr
}

// execute answers a query as a choice says, and no other way.
func execute(t *rapid.T, q Query, c Choice, tr tree, rows map[string]Row) []string {
	var found []string // documents, as the entries come
	for i, r := range c.Ranges {
		if i > 0 && (c.Ranges[i-1].To == nil || bytes.Compare(c.Ranges[i-1].To, r.From) > 0) {
			t.Fatalf("ranges that do not rise: %x", c.Ranges)
		}
		for _, k := range tr.keys {
			if bytes.Compare(k, r.From) >= 0 && (r.To == nil || bytes.Compare(k, r.To) < 0) {
				found = append(found, tr.doc[string(k)])
			}
		}
	}
	if c.Desc {
		slices.Reverse(found)
	}
	seen, matched := map[string]bool{}, []Row{}
	for _, key := range found {
		if c.Exact && !q.Match(rows[key]) {
			t.Fatalf("exact, but %s is no answer", key)
		}
		if seen[key] && c.Once {
			t.Fatalf("once, but %s is there twice", key)
		}
		if !seen[key] && q.Match(rows[key]) {
			matched = append(matched, rows[key])
		}
		seen[key] = true
	}
	if !c.Ordered {
		return answer(q, matched)
	}
	var keys []string
	for _, r := range matched {
		keys = append(keys, r.Key)
	}
	return limited(q, keys)
}

// Few values, so that they meet; and texts that are equal as far as keys go.
var (
	long    = strings.Repeat("x", 158)
	scalars = []string{`null`, `false`, `true`, `-1`, `0`, `1.5`, `2`, `""`, `"a"`, `"a\u0000"`, `"ab"`, `"b"`, `"é"`, `"` + long + `"`, `"` + long + `x"`, `"` + long + `xx"`, `"` + long + `xy"`, `"` + long + `xya"`, `"` + long + `x\u0000"`}
	names   = []string{"a", "b", "c.d"}
)

func drawValue(t *rapid.T) string {
	one := rapid.SampledFrom(scalars)
	switch rapid.IntRange(0, 9).Draw(t, "form") {
	case 0, 1, 2:
		return "[" + strings.Join(rapid.SliceOfN(one, 0, 5).Draw(t, "list"), ",") + "]"
	case 3:
		return `[[` + one.Draw(t, "inner") + `],{}]`
	default:
		return one.Draw(t, "scalar")
	}
}

func drawRow(t *rapid.T, i int) Row {
	var fields []string
	for _, name := range []string{"a", "b"} {
		if rapid.IntRange(0, 4).Draw(t, "has") > 0 {
			fields = append(fields, fmt.Sprintf("%q:%s", name, drawValue(t)))
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "has") > 0 {
		fields = append(fields, `"c":{"d":`+drawValue(t)+`}`)
	} else if rapid.Bool().Draw(t, "flat") {
		fields = append(fields, `"c":`+drawValue(t))
	}
	d, err := document.FromJSON([]byte("{" + strings.Join(fields, ",") + "}"))
	if err != nil {
		t.Fatal(err)
	}
	key := rapid.SampledFrom([]string{"", "k", "k\x00", "key", "l", "é"}).Draw(t, "key")
	return Row{Key: fmt.Sprintf("%s%d", key, i), Author: core.DID{31: byte(i % 2)}, Time: int64(i%3) * 1000, Doc: d}
}

func drawCondition(t *rapid.T, depth int) string {
	one := rapid.SampledFrom(scalars)
	field := rapid.SampledFrom(append(names, names...)).Draw(t, "field")
	switch rapid.IntRange(0, 12).Draw(t, "pseudo") {
	case 0:
		field = "@key"
	case 1:
		field = "@time"
		one = rapid.SampledFrom([]string{`"1970-01-01T00:00:01.000Z"`, `"1970-01-01"`, `2`})
	}
	if field == "@key" {
		one = rapid.SampledFrom([]string{`"k"`, `"k0"`, `"k1"`, `"k\u00001"`, `"key3"`, `"0"`, `3`})
	}
	switch form := rapid.IntRange(0, 13).Draw(t, "condition"); {
	case form == 0 && depth > 0:
		return "(" + drawCondition(t, depth-1) + " or " + drawCondition(t, depth-1) + ")"
	case form == 1 && depth > 0:
		return "not (" + drawCondition(t, depth-1) + " and " + drawCondition(t, depth-1) + ")"
	case form == 2:
		return "has " + field
	case form <= 4:
		return field + " in (" + strings.Join(rapid.SliceOfN(one, 1, 3).Draw(t, "values"), ",") + ")"
	case form == 5:
		return field + ` starts ` + rapid.SampledFrom([]string{`""`, `"a"`, `"k"`, `"` + long + `"`, `"` + long + `x"`, `"` + long + `xy"`, `"` + long + `xya"`}).Draw(t, "prefix")
	case form <= 9:
		return field + " = " + one.Draw(t, "value")
	default:
		return field + rapid.SampledFrom([]string{"<", "<=", ">", ">=", "!="}).Draw(t, "op") + one.Draw(t, "value")
	}
}

func drawQuery(t *rapid.T) Query {
	if rapid.Bool().Draw(t, "usual") {
		return drawUsual(t)
	}
	var parts []string
	for range rapid.IntRange(0, 3).Draw(t, "conditions") {
		parts = append(parts, drawCondition(t, 2))
	}
	q, err := Parse(strings.Join(parts, " and "))
	if err != nil {
		t.Fatal(err)
	}
	if rapid.Bool().Draw(t, "ordered") {
		fields := rapid.SliceOfNDistinct(rapid.SampledFrom(append(names, "@time", "@key")), 1, 3, rapid.ID).Draw(t, "order")
		sign := rapid.SampledFrom([]string{"", "-", "-", "mixed"}).Draw(t, "sign")
		for i, f := range fields {
			if sign == "-" || sign == "mixed" && i%2 == 1 {
				fields[i] = "-" + f
			}
			if f == "@key" {
				fields = fields[:i+1]
				break
			}
		}
		if q.Order, err = ParseOrder(strings.Join(fields, ",")); err != nil {
			t.Fatal(err)
		}
	}
	q.Limit = rapid.IntRange(0, 3).Draw(t, "limit")
	return q
}

// drawUsual makes a query as indexes are made for: a = 1 and b > 2 and b < 3 order b.
func drawUsual(t *rapid.T) Query {
	one := rapid.SampledFrom(scalars)
	fields := rapid.SliceOfNDistinct(rapid.SampledFrom(names), 2, 2, rapid.ID).Draw(t, "fields")
	var parts []string
	if rapid.Bool().Draw(t, "equal") {
		parts = append(parts, fields[0]+" = "+one.Draw(t, "value"))
	}
	for _, op := range []string{">=", ">", "<=", "<"} {
		if rapid.IntRange(0, 2).Draw(t, "bound") == 0 {
			parts = append(parts, fields[1]+op+one.Draw(t, "value"))
		}
	}
	q, err := Parse(strings.Join(parts, " and "))
	if err != nil {
		t.Fatal(err)
	}
	if q.Order, err = ParseOrder(rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign") + fields[1]); err != nil {
		t.Fatal(err)
	}
	return q
}

// TestEachChoiceGivesTheSameAnswer asks random queries of random documents in every way that is planned.
func TestEachChoiceGivesTheSameAnswer(t *testing.T) {
	ordered, exact, once := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		var rows []Row
		byKey := map[string]Row{}
		for i := range rapid.IntRange(0, 12).Draw(t, "rows") {
			r := drawRow(t, i)
			rows, byKey[r.Key] = append(rows, r), r
		}
		var indexes []Index
		for range 3 {
			fields := rapid.SliceOfNDistinct(rapid.SampledFrom(append(names, "@time", "@author")), 1, 3, rapid.ID).Draw(t, "index")
			x, err := ParseIndex(strings.Join(fields, ","))
			if err != nil {
				t.Fatal(err)
			}
			x.Flat = true
			for _, r := range rows {
				keys, _ := x.Keys(r)
				x.Flat = x.Flat && len(keys) <= 1
			}
			indexes = append(indexes, x)
		}
		for range 4 {
			q := drawQuery(t)
			want := answer(q, rows)
			for _, c := range q.Plan(indexes) {
				var x *Index
				if c.Index != Primary {
					x = &indexes[c.Index]
				}
				if got := execute(t, q, c, treeOf(t, x, rows), byKey); !slices.Equal(got, want) {
					t.Fatalf("%s by %v (%+v): %q, want %q", q, x, c, got, want)
				}
				if c.Index != Primary && len(want) > 0 {
					for n, is := range map[*int]bool{&ordered: c.Ordered, &exact: c.Exact, &once: c.Once} {
						if is {
							*n++
						}
					}
				}
			}
			if again, err := Parse(q.String()); err != nil || again.String() != q.String() {
				t.Fatalf("%s comes back as %s: %v", q, again, err)
			}
		}
	})
	t.Logf("with answers: %d ordered, %d exact, %d once", ordered, exact, once)
}
