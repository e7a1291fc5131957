package query

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
)

func mustIndexes(t testing.TB, texts ...string) (list []Index) {
	t.Helper()
	for _, text := range texts {
		text, flat := strings.CutSuffix(text, " flat")
		text, unique := strings.CutSuffix(text, " unique")
		x, err := ParseIndex(text)
		if err != nil {
			t.Fatal(err)
		}
		x.Flat, x.Unique = flat, unique
		list = append(list, x)
	}
	return list
}

// describe writes a choice as a reader of these tests would say it.
func describe(c Choice, indexes []Index) string {
	words := []string{"primary"}
	if c.Index != Primary {
		words[0] = indexes[c.Index].String()
	}
	for _, r := range c.Ranges {
		to := "end"
		if r.To != nil {
			to = fmt.Sprintf("%q", r.To)
		}
		words = append(words, fmt.Sprintf("%q-%s", r.From, to))
	}
	for _, w := range []struct {
		is   bool
		word string
	}{{c.Bound, "bound"}, {c.Ordered, "ordered"}, {c.Desc, "desc"}, {c.Exact, "exact"}, {c.Once, "once"}} {
		if w.is {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, " ")
}

func TestTheBestChoice(t *testing.T) {
	const cats, cats1 = `\x05#cats\x00\x00`, `\x05#cats\x00\x01`
	for _, test := range []struct {
		query   string
		indexes []string
		want    string
	}{
		{``, []string{"tags"}, `primary ""-end ordered exact once`},
		{`limit 5`, []string{"tags"}, `primary ""-end ordered exact once`},
		{`order -@key`, []string{"tags"}, `primary ""-end ordered desc exact once`},
		{`@key = "a"`, []string{"tags"}, `primary "a"-"a\x00" bound ordered exact once`},
		{`@key = 1`, []string{"tags"}, `primary bound ordered exact once`},
		{`@key in ("b", "a", 3)`, nil, `primary "a"-"a\x00" "b"-"b\x00" bound ordered exact once`},
		{`@key starts "a/" and @key > "a/b"`, nil, `primary "a/b\x00"-"a0" bound ordered exact once`},
		{`@key starts "a" order -@key`, nil, `primary "a"-"b" bound ordered desc exact once`},
		{`@key = "a" and tags = "#cats" order time,-x`, []string{"tags,time"}, `primary "a"-"a\x00" bound ordered once`},
		{`tags = "#cats" order -time limit 32`, []string{"tags", "time", "tags,time", "time,tags"}, `tags,time "` + cats + `\x01"-"` + cats1 + `" bound ordered desc exact`},
		{`tags = "#cats" order -time limit 32`, []string{"tags,time flat"}, `tags,time "` + cats + `\x01"-"` + cats1 + `" bound ordered desc exact once`},
		{`tags = "#cats" order -time limit 32`, []string{"tags"}, `tags "` + cats + `"-"` + cats1 + `" bound once`},
		{`tags = "#cats" order @time`, []string{"tags,@time"}, `tags,@time "` + cats + `\x01"-"` + cats1 + `" bound ordered exact once`},
		{`tags = "#cats" and time >= 1 and time < 2 order time`, []string{"tags,time"}, `tags,time "` + cats + `\x04\xbf\xf0\x00\x00\x00\x00\x00\x00"-"` + cats + `\x04\xc0\x00\x00\x00\x00\x00\x00\x00" bound ordered exact`},
		{`tags = "#cats" limit 3`, []string{"tags,time", "tags"}, `tags "` + cats + `"-"` + cats1 + `" bound ordered exact once`},
		{`tags = "#cats" count`, []string{"tags,time", "tags"}, `tags "` + cats + `"-"` + cats1 + `" bound ordered exact once`},
		{`tags = "#cats" count`, []string{"tags,time"}, `tags,time "` + cats + `"-"` + cats1 + `" bound exact`},
		{`tags = "#cats" and other = 1 count`, []string{"tags"}, `tags "` + cats + `"-"` + cats1 + `" bound ordered once`},
		{`tags in ("#cats", null)`, []string{"tags"}, `tags "\x01"-"\x02" "` + cats + `"-"` + cats1 + `" bound exact`},
		{`tags in (true, null) and a = false`, []string{"tags,a"}, `tags,a "\x01\x02"-"\x01\x03" "\x03\x02"-"\x03\x03" bound exact`},
		{`@author in ("a", "b") and n > 1`, []string{"@author,n"}, `@author,n "\x05a\x00\x00\x04\xbf\xf0\x00\x00\x00\x00\x00\x01"-"\x05a\x00\x00\x05" "\x05b\x00\x00\x04\xbf\xf0\x00\x00\x00\x00\x00\x01"-"\x05b\x00\x00\x05" bound exact`},
		{`time > 1 and time < "x"`, []string{"time"}, `time bound exact`},
		{`time < 1 and time > 2`, []string{"time"}, `time bound exact`},
		{`time >= true`, []string{"time"}, `time "\x03"-"\x04" bound exact`},
		{`time > null`, []string{"time"}, `time bound exact`},
		{`order -time limit 9`, []string{"time"}, `time ""-end ordered desc exact`},
		{`order -time,a limit 9`, []string{"time,a"}, `primary ""-end once`},
		{`order a,b`, []string{"a,b", "b,a"}, `a,b ""-end ordered`},
		{`has a and b != 1 or c = 1`, []string{"a", "b", "c"}, `primary ""-end ordered once`},
		{`slug = "x" and a = 1`, []string{"a", "slug unique"}, `slug "\x05x\x00\x00"-"\x05x\x00\x01" bound ordered once`},
		{`name = "` + strings.Repeat("x", 159) + `"`, []string{"name"}, `name "\x05` + strings.Repeat("x", 159) + `\x00\x00"-"\x05` + strings.Repeat("x", 159) + `\x00\x01" bound ordered once`},
		{`name starts "` + strings.Repeat("x", 160) + `" order name`, []string{"name"}, `name "\x05` + strings.Repeat("x", 160) + `"-"\x05` + strings.Repeat("x", 159) + `y" bound ordered exact`},
		{`name starts "` + strings.Repeat("x", 161) + `" order name`, []string{"name"}, `name "\x05` + strings.Repeat("x", 160) + `"-"\x05` + strings.Repeat("x", 159) + `y" bound`},
	} {
		indexes := mustIndexes(t, test.indexes...)
		choices := mustParse(t, test.query).Plan(indexes)
		if got := describe(choices[0], indexes); got != test.want {
			t.Errorf("%s\ngot  %s\nwant %s", test.query, got, test.want)
		}
	}
}

// TestALaterChoiceMayBeTaken: which of two tags is the rarer, the tree's counts tell.
func TestALaterChoiceMayBeTaken(t *testing.T) {
	indexes := mustIndexes(t, "tags,time", "time")
	var got []string
	for _, c := range mustParse(t, `tags = "a" and tags = "b" and time > 1 order time`).Plan(indexes) {
		got = append(got, describe(c, indexes))
	}
	const above = `\x04\xbf\xf0\x00\x00\x00\x00\x00\x01`
	want := []string{
		`tags,time "\x05a\x00\x00` + above + `"-"\x05a\x00\x00\x05" bound ordered`,
		`tags,time "\x05b\x00\x00` + above + `"-"\x05b\x00\x00\x05" bound ordered`,
		// Without the bounds the first entry of a list is perhaps not the one that orders it.
		`time "` + above + `"-"\x05" bound ordered`,
		`tags,time "\x05a\x00\x00\x01"-"\x05a\x00\x01" bound`,
		`tags,time "\x05b\x00\x00\x01"-"\x05b\x00\x01" bound`,
		`primary ""-end once`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAStrangersQueryIsPlannedInBoundedTime(t *testing.T) {
	var parts []string
	for i := range 16 {
		for _, f := range []string{"a", "b", "c", "d"} {
			parts = append(parts, fmt.Sprintf("%s = %d", f, i))
		}
	}
	choices := mustParse(t, strings.Join(parts, " and ")).Plan(mustIndexes(t, "a,b,c,d", "d,c,b,a"))
	if n := len(choices); n != 1+2*choicesMax {
		t.Errorf("%d choices", n)
	}
	if c := choices[0]; c.Index != 0 || !c.Ordered || len(c.Ranges) != 1 {
		t.Errorf("the best is %+v", c)
	}
	var many []string
	for i := range 9 {
		many = append(many, fmt.Sprint(i))
	}
	list := strings.Join(many, ",")
	for _, c := range mustParse(t, "a in ("+list+") and b in ("+list+")").Plan(mustIndexes(t, "a,b")) {
		if len(c.Ranges) > ValuesMax {
			t.Errorf("%d ranges", len(c.Ranges))
		}
	}
}

// TestAListIsOrderedByWhatIsWithinItsBounds, whichever tree answers.
func TestAListIsOrderedByWhatIsWithinItsBounds(t *testing.T) {
	rows := []Row{rowOf(t, "x", `{"a":1,"n":[1,5]}`), rowOf(t, "y", `{"a":1,"n":[2,4]}`), rowOf(t, "z", `{"a":[1,2],"n":[3,0]}`)}
	byKey := map[string]Row{}
	for _, r := range rows {
		byKey[r.Key] = r
	}
	indexes := mustIndexes(t, "n", "a,n", "n,a", "a")
	for text, want := range map[string]string{
		`a = 1 and n >= 3 order n`:          "z y x",
		`a = 1 and n <= 3 order -n`:         "z y x",
		`a = 1 and n > 1 and n < 5 order n`: "y z",
		`n > 1 order n,a`:                   "y z x",
		`a = 1 order n`:                     "z x y",
		`a = 1 order -n limit 2`:            "x y",
	} {
		q := mustParse(t, text)
		if got := strings.Join(answer(q, rows), " "); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		rapid.Check(t, func(t *rapid.T) { // execute reports to it; nothing is drawn
			for _, c := range q.Plan(indexes) {
				var x *Index
				if c.Index != Primary {
					x = &indexes[c.Index]
				}
				if got := strings.Join(execute(t, q, c, treeOf(t, x, rows), byKey), " "); got != want {
					t.Fatalf("%s by %s: %s, want %s", text, describe(c, indexes), got, want)
				}
			}
		})
	}
}

func TestSuggestions(t *testing.T) {
	for _, test := range []struct {
		query, want string
		indexes     []string
	}{
		{`tags = "#cats" order -time limit 32`, "tags,time", []string{"tags", "time"}},
		{`tags = "#cats" order -time limit 32`, "", []string{"tags,time"}},
		{`tags = "#cats"`, "tags", nil},
		{`tags = "#cats"`, "", []string{"tags"}},
		{`time > 1 and time < 5 and tags = "#cats" and tags = "#dogs"`, "tags,time", []string{"tags"}},
		{`order -time`, "time", nil},
		{`order -time,author`, "", nil},
		{`order time,author`, "time,author", []string{"time"}},
		{`a in (1, 2) and b > 3`, "a,b", []string{"b"}},
		{`a = 1 and b = 2 and c = 3 and d = 4 and e = 5 order f`, "a,b,c,f", nil},
		{`a = 1 or b = 2`, "", nil},
		{`has a and not b = 1`, "", nil},
		{`@key = "x" and a = 1`, "", nil},
		{``, "", nil},
	} {
		x, ok := mustParse(t, test.query).Suggest(mustIndexes(t, test.indexes...))
		if got := x.String(); ok != (test.want != "") || ok && got != test.want {
			t.Errorf("%s: %s (%v), want %q", test.query, got, ok, test.want)
		}
	}
}

func TestIndexes(t *testing.T) {
	for text, want := range map[string]string{
		"tags": "tags", "author.name , time": "author.name,time", "`in`,@author": "`in`,@author", "a,b,c,d": "a,b,c,d", "order,`a``b`": "`order`,`a``b`",
	} {
		x, err := ParseIndex(text)
		if err != nil || x.String() != want {
			t.Errorf("%s: %s: %v", text, x, err)
		}
	}
	for text, want := range map[string]string{
		"": "column 1: a field was expected, and here is the end", "a,": "column 3: a field was expected, and here is the end", "a,b,c,d,e": "column 9: an index has at most 4 fields",
		"a,b,a": "column 5: a is in the index already", "a,@key": "column 3: each index ends with the document's key anyway", "a b": "column 3: a comma or the end was expected, and here is b", "-a": "column 1: a field was expected, and here is -",
	} {
		if _, err := ParseIndex(text); !errors.Is(err, core.ErrInvalid) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{"a.b": "a.b", "`a`": "a", "@time": "@time"} {
		if f, err := ParseField(text); err != nil || f.String() != want {
			t.Errorf("%s: %s: %v", text, f, err)
		}
	}
	for _, text := range []string{"", "a b", "a,b", "1", "@x", "in"} {
		if f, err := ParseField(text); err == nil {
			t.Errorf("%q is the field %s", text, f)
		}
	}
}

func TestADocumentHasSoManyEntries(t *testing.T) {
	list := func(n int) string {
		var values []string
		for i := range n {
			values = append(values, fmt.Sprint(i))
		}
		return "[" + strings.Join(values, ",") + "]"
	}
	x := mustIndexes(t, "a,b")[0]
	keys, err := x.Keys(rowOf(t, "k", `{"a":`+list(32)+`,"b":`+list(32)+`}`))
	if err != nil || len(keys) != EntriesMax {
		t.Errorf("%d entries: %v", len(keys), err)
	}
	if _, err := x.Keys(rowOf(t, "k", `{"a":`+list(32)+`,"b":`+list(33)+`}`)); !errors.Is(err, core.ErrTooLarge) {
		t.Error(err)
	}
	same := strings.Repeat("1,2,3,", 5000)
	if keys, err := x.Keys(rowOf(t, "k", `{"a":[`+same+`4]}`)); err != nil || len(keys) != 4 {
		t.Errorf("%d entries: %v", len(keys), err)
	}
	if _, err := x.Keys(rowOf(t, "k", `{"a":`+list(5000)+`}`)); !errors.Is(err, core.ErrTooLarge) {
		t.Error(err)
	}
	for _, entry := range []string{"", "\x00\x01k", "\x01", "\x06"} {
		if _, _, err := x.Split([]byte(entry)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q: %v", entry, err)
		}
	}
}

func BenchmarkQuery(b *testing.B) {
	const text = `tags = "#cats" and time >= "2026-01-01" order -time limit 32`
	q, indexes := mustParse(b, text), mustIndexes(b, "tags", "time", "tags,time")
	row := rowOf(b, "k", `{"author":{"name":"ann"},"tags":["#cats","#dogs"],"time":"2026-01-01T12:00:00Z","title":"Hello"}`)
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Parse(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			q.Plan(indexes)
		}
	})
	b.Run("match", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !q.Match(row) {
				b.Fatal("no match")
			}
		}
	})
	b.Run("keys", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := indexes[2].Keys(row); err != nil {
				b.Fatal(err)
			}
		}
	})
}
