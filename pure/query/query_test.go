package query

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
)

func mustParse(t testing.TB, text string) Query {
	t.Helper()
	q, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return q
}

func rowOf(t testing.TB, key, text string) Row {
	t.Helper()
	d, err := document.FromJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Row{Key: key, Doc: d}
}

func TestAQueryHasOneText(t *testing.T) {
	for in, want := range map[string]string{
		"":     "",
		" \n ": "",
		`tags = "#cats" and time >= "2026-01-01" order -time limit 32`: `tags = "#cats" and time >= "2026-01-01" order -time limit 32`,
		`a='it''s'`:                                 "",
		`a = 'it\'s "x" \u00e9\/'`:                  `a = "it's \"x\" é/"`,
		`A=1AND b=2`:                                "",
		`A=1 AND NOT(b=2 OR HAS c)`:                 `A = 1 and not (b = 2 or has c)`,
		`((a=1))or(b=2 and(c=3 or d=4))`:            `a = 1 or b = 2 and (c = 3 or d = 4)`,
		`a=1 or (b=2 or c=3) or d=4`:                `a = 1 or b = 2 or c = 3 or d = 4`,
		`a=1 and (b=2 and (c=3))`:                   `a = 1 and b = 2 and c = 3`,
		`a>=1 and b=2 and (a<5 and a!=3)`:           `a >= 1 and a < 5 and b = 2 and a != 3`,
		`not (a>=1 and a<5)`:                        `not (a >= 1 and a < 5)`,
		`(a>=1 or b=1) and a<5`:                     `(a >= 1 or b = 1) and a < 5`,
		`not not not a = 1`:                         `a != 1`,
		`not a != 1`:                                `a = 1`,
		`not has a`:                                 `not has a`,
		`not a starts "x"`:                          `not a starts "x"`,
		`a in (1)`:                                  `a = 1`,
		`a in(1,2,1.0,"1",null,TRUE)`:               `a in (1, 2, "1", null, true)`,
		`not a in (1,2)`:                            `not a in (1, 2)`,
		"`in`.or.`a b`.````.`` = -1.50e2":           "`in`.or.`a b`.````.`` = -150",
		"`a`.`é-1` = 1":                             `a.é-1 = 1`,
		"@KEY starts 'p' and @author='x'":           `@key starts "p" and @author = "x"`,
		"`@key` = 1":                                "`@key` = 1",
		`count`:                                     `count`,
		`Count = 1 count`:                           "`Count` = 1 count",
		`count > 3 and limit = 2 or order in (1,2)`: "`count` > 3 and `limit` = 2 or `order` in (1, 2)",
		`limit 3`:                                   `limit 3`,
		`has order order order limit 1`:             "has `order` order `order` limit 1",
		`order time, -author.name,@key`:             `order time,-author.name`,
		`order -time,-@key`:                         `order -time`,
		`order time,-@key`:                          `order time,-@key`,
		`order @key`:                                ``,
		`order -@key`:                               `order -@key`,
		`a = 1e300 limit 5`:                         `a = 1e+300 limit 5`,
	} {
		q, err := Parse(in)
		if in == `a='it''s'` || in == `A=1AND b=2` {
			if err == nil {
				t.Errorf("%s is taken", in)
			}
			continue
		}
		if err != nil || q.String() != want {
			t.Errorf("%s: %q, want %q: %v", in, q, want, err)
			continue
		}
		if again := mustParse(t, want); again.String() != want {
			t.Errorf("%s comes back as %s", want, again)
		}
	}
}

func TestAnErrorPointsAtTheColumn(t *testing.T) {
	sixtyFive := strings.TrimSuffix(strings.Repeat("a = 1 or ", 65), " or ")
	values := strings.TrimSuffix(strings.Repeat("1, ", 65), ", ")
	for in, want := range map[string]string{
		`tags`:                               "5: one of = != < <= > >= in starts was expected, and here is the end",
		`tags =`:                             "7: a value was expected, and here is the end",
		`tags = cats`:                        "8: a value was expected: text stands in quotes",
		`ok = ture`:                          "6: a value was expected: text stands in quotes: did you mean true?",
		`é = "x" adn b = 1`:                  "9: and, or, or the end was expected, and here is adn: did you mean and?",
		`a = 1 limt 3`:                       "7: and, or, or the end was expected, and here is limt: did you mean limit?",
		`a strats "x"`:                       "3: one of = != < <= > >= in starts was expected, and here is strats: did you mean starts?",
		`a like "x"`:                         "3: one of = != < <= > >= in starts was expected, and here is like",
		`a == 1`:                             "3: equality is =",
		`a <> 1`:                             "3: inequality is !=",
		`a = 1 && b = 1`:                     "7: write and",
		`!a = 1`:                             "1: write not",
		`a = "x%" or b = *`:                  "17: there are no patterns: write starts",
		`a = "x`:                             "7: a text without its closing quote",
		`a = "\q"`:                           "6: an escape that JSON does not have",
		"a = \"\xff\"":                       "6: not UTF-8",
		"a\xff = 1":                          "2: not UTF-8",
		"`\xff` = 1":                         "1: not UTF-8",
		"`a = 1":                             "1: a name without its closing backquote",
		`a. = 1`:                             "3: a field's name was expected after the dot: odd ones stand in backquotes",
		`a = 1 # b`:                          "7: nothing in a query begins with #: text stands in quotes, odd names in backquotes",
		`(a = 1`:                             "7: a closing parenthesis, and or or was expected, and here is the end",
		`a = 1)`:                             "6: and, or, or the end was expected, and here is )",
		`()`:                                 "2: a field was expected, and here is )",
		`a = 1 and`:                          "10: a field was expected, and here is the end",
		`"a" = 1`:                            "1: a field was expected, and here is a text",
		`in = 1`:                             "1: a field was expected: one that is named in stands in backquotes",
		`has 1`:                              "5: a field was expected, and here is a number",
		`a in 1`:                             "6: a list of values in parentheses was expected, and here is a number",
		`a in ()`:                            "7: a value was expected, and here is )",
		`a in (1 2)`:                         "9: a comma or a closing parenthesis was expected, and here is a number",
		`a starts 1`:                         "10: a text in quotes was expected, and here is a number",
		`a = 01`:                             "5: not a number of JSON",
		`a = 1x`:                             "5: not a number of JSON",
		`a = 9007199254740993`:               "5: a number that float64 does not keep: write it as text, in quotes",
		`@autor = "x"`:                       "1: there are @author, @key and @time: did you mean @author?",
		`a = 1 limit 0`:                      "13: a limit is a number from 1 to 1073741824",
		`limit 1.5`:                          "7: a limit is a number from 1 to 1073741824",
		`limit "x"`:                          "7: a limit is a number from 1 to 1073741824",
		`order a,b,a`:                        "11: a is in the order already",
		`order @key,a`:                       "12: no two documents have one key: after @key nothing is left to order",
		`order a,b,c,d,e`:                    "15: an order has at most 4 fields",
		`order a desc`:                       "9: a comma, limit, or the end was expected, and here is desc",
		`a = 1 limit 1 order b`:              "15: the end was expected, and here is order",
		`a = 1 order b count`:                "15: a count has neither an order nor a limit",
		`limit 1 count`:                      "9: a count has neither an order nor a limit",
		sixtyFive:                            "577: more than 64 comparisons",
		"a in (" + values + ")":              "199: more than 64 values",
		strings.Repeat("(", 33) + "a = 1":    "33: nested deeper than 32",
		strings.Repeat("not ", 33) + "a = 1": "129: nested deeper than 32",
		`a = "` + strings.Repeat("x", TextMax) + `"`: "1: the query is longer than 4096 bytes",
		strings.TrimSuffix(strings.Repeat("a=1e20 or ", 64), " or ") + strings.Repeat(" ", 3000) + "order `" + strings.Repeat("b", 1000-513) + "`": "1: the query is longer than 4096 bytes",
	} {
		_, err := Parse(in)
		var e *Error
		if !errors.As(err, &e) || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%.80s: %v, want %s", in, err, want)
			continue
		}
		if got := fmt.Sprintf("%d: %s", e.Column, e.Problem); got != want {
			t.Errorf("%.80s: %s, want %s", in, got, want)
		}
	}
}

func TestAPictureShowsTheColumn(t *testing.T) {
	for in, want := range map[string]string{
		"é = 'x'\nand b": "é = 'x' and b\n             ^",
		"tags = cats":    "tags = cats\n       ^",
		strings.Repeat("a = 1 or ", 10) + "x y = 2 or a = 1 or a = 1 or a = 1 or a = 1 or a = 1": "…= 1 or a = 1 or a = 1 or a = 1 or x y = 2 or a = 1 or a = 1 or a = 1 or …\n                                     ^",
	} {
		_, err := Parse(in)
		var e *Error
		if !errors.As(err, &e) {
			t.Fatal(err)
		}
		if got := e.Picture(); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}

func TestWhatAConditionHoldsFor(t *testing.T) {
	row := rowOf(t, "post/1", `{"n":5,"s":"abc","yes":true,"nil":null,"tags":["#cats","#dogs",7],"none":[],"deep":[[1]],"of":{"who":"ann"},"nums":[1,9],"odd name":1}`)
	row.Author, row.Time = core.DID{1}, 1_767_225_600_123
	for text, want := range map[string]bool{
		``: true, `n = 5`: true, `n = "5"`: false, `n != "5"`: true, `n > "4"`: false, `n < 6`: true, `n <= 5`: true, `n < 5`: false, `n >= 5`: true, `n > 5`: false,
		`s = "abc"`: true, `s < "abd"`: true, `s starts "ab"`: true, `s starts "b"`: false, `s starts ""`: true, `n starts ""`: false, `s in ("x", "abc")`: true, `s in ("x", 5)`: false,
		`yes = true`: true, `yes > false`: true, `yes = 1`: false, `nil = null`: true, `nil <= null`: true, `nil < null`: false, `nil = false`: false,
		`tags = "#cats"`: true, `tags = "#dogs"`: true, `tags = 7`: true, `tags = "#mice"`: false, `tags != "#cats"`: false, `tags starts "#d"`: true, `tags in ("#mice", 7)`: true,
		`tags = "#cats" and tags = "#dogs"`: true,
		`none = null`:                       false, `has none`: true, `deep = 1`: false, `has deep`: true, `of = "ann"`: false, `of.who = "ann"`: true, `has of`: true, `of.who.x = 1`: false, `tags.who = 1`: false,
		`miss = 1`: false, `miss != 1`: true, `miss = null`: false, `has miss`: false, `not has miss`: true, `not miss < 1`: true,
		// Bounds of one and are about one element, and bounds that are not joined are not.
		`nums >= 2 and nums <= 8`: false, `nums >= 1 and nums <= 8`: true, `nums > 8 or nums < 2`: true, `nums >= 2 and (nums <= 8 or n = 0)`: true,
		`nums >= 2 and n = 5 and nums <= 8`: false, `nums >= 2 and not nums <= 8`: false, `tags starts "#" and tags > "#d"`: true, `tags starts "#d" and tags < "#d"`: false,
		"`odd name` = 1": true, `n = 5 and s = "x"`: false, `n = 5 or s = "x"`: true, `not (n = 5 and s = "x")`: true,
		`@key = "post/1"`: true, `@key starts "post/"`: true, `@key = 1`: false, `@author starts "did:key:z6Mk"`: true, `@time = "2026-01-01T00:00:00.123Z"`: true, `@time >= "2026-01-01"`: true, `@time >= "2026-01-02"`: false, `has @key`: true,
	} {
		q := mustParse(t, text)
		if got := q.Match(row); got != want || Match(q.Where, row) != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestTimesAreWrittenAsThePackageTimeDoes(t *testing.T) {
	for ms := int64(0); ms < 253_402_300_800_000; ms += 97_777_777_777 {
		if got, want := TimeText(ms), time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Fatalf("%d: %s, want %s", ms, got, want)
		}
	}
	for ms, want := range map[int64]string{
		-1: "1970-01-01T00:00:00.000Z", 951_782_399_999: "2000-02-28T23:59:59.999Z", 951_782_400_000: "2000-02-29T00:00:00.000Z",
		253_402_300_799_999: "9999-12-31T23:59:59.999Z", 1 << 62: "9999-12-31T23:59:59.999Z",
	} {
		if got := TimeText(ms); got != want {
			t.Errorf("%d: %s, want %s", ms, got, want)
		}
	}
}

func TestRowsComeInOrder(t *testing.T) {
	rows := []Row{
		rowOf(t, "e", `{"n":[5,0],"s":"b"}`),
		rowOf(t, "d", `{"n":2,"s":"b"}`),
		rowOf(t, "da", `{"n":2,"s":"a"}`),
		rowOf(t, "c", `{"n":"x","s":"b"}`),
		rowOf(t, "b", `{"n":null,"s":"b"}`),
		rowOf(t, "a", `{"s":"b"}`),
		rowOf(t, "f", `{"n":[],"s":["b","c"]}`),
	}
	for text, want := range map[string]string{
		``:                        "a b c d da e f",
		`order -@key`:             "f e da d c b a",
		`order n`:                 "b e d da c",
		`order -n`:                "c e da d b",
		`order n,-@key`:           "b e da d c",
		`order s,n`:               "da b e d c",
		`order -s`:                "f e d c b a da",
		`order s,-@key`:           "da f e d c b a",
		`n >= 1 order n`:          "d da e",
		`n < 5 order -n`:          "da d e",
		`n >= 1 order n limit 2`:  "d da",
		`n = 2 or n = 0 order -n`: "e da d",
	} {
		if got := strings.Join(answer(mustParse(t, text), rows), " "); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{`a = 1 and (b < "x" or not has c.d) order -time,@key limit 3`, "`in`.`` in (1,'x',null)", `count = 1 count`, `@key starts "\ud83d\ude00"`, `not not a>=1 and a<2`} {
		f.Add(text)
	}
	row := rowOf(f, "k", `{"a":[1,"x",null],"b":{"c":1}}`)
	index, err := ParseIndex("a,b.c")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		q, err := Parse(text)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Column < 1 || e.Column > len(text)+1 {
				t.Fatalf("%v", err)
			}
			e.Picture()
			return
		}
		again, err := Parse(q.String())
		if err != nil || again.String() != q.String() {
			t.Fatalf("%q comes back as %q: %v", q, again, err)
		}
		if again.Match(row) != q.Match(row) {
			t.Fatalf("%q means something else when it comes back", q)
		}
		if len(q.Plan([]Index{index})) == 0 {
			t.Fatal("no choice")
		}
		q.Suggest(nil)
	})
}

func TestAQueryThatIsMadeIsChecked(t *testing.T) {
	order, err := ParseOrder("-time")
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []Query{{Limit: -1}, {Limit: LimitMax + 1}, {Count: true, Limit: 1}, {Count: true, Order: order}} {
		if q.Check() == nil {
			t.Errorf("%q is good", q)
		}
	}
	if err := (Query{Order: order, Limit: 3}).Check(); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"a,", "-", "a b", "a,a", "@key,a", "a,b,c,d,e"} {
		if o, err := ParseOrder(text); err == nil {
			t.Errorf("%s is the order %s", text, o)
		}
	}
	if o, err := ParseOrder(""); err != nil || len(o) != 0 {
		t.Error(o, err)
	}
}
