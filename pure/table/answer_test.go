package table

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/pure/query"
	"github.com/grange-grid/grange/pure/tree"
)

// shop is a table with every kind of index, in which two write.
func shop(t testing.TB, folds map[string]Fold) *made {
	t.Helper()
	d := definition(anna, bo)
	d.Indexes, d.Folds = []Index{index("tags,n"), index("n"), {"slug", true}, {"tags", true}}, folds
	a, b := &writer{key: anna}, &writer{key: bo}
	for i := range 150 {
		key := fmt.Sprintf("k%03d", i*37%150)
		a.put(t, uint64(2*i), key, fmt.Sprintf(`{"n": %d, "tags": ["t%d", "t%d"], "slug": "s%d"}`, i%9, i%5, i%3, i/2))
		if i%10 == 3 {
			b.put(t, uint64(2*i+1), key, fmt.Sprintf(`{"n": %d, "tags": "b%d", "slug": "s0", "x": %d}`, i%4, i%2, i))
		}
		if i%10 == 7 {
			b.delete(t, uint64(2*i+1), key)
		}
	}
	// A key whose claims are as long as can be.
	b.put(t, 1000, strings.Repeat("\xff", KeySizeMax), `{"slug": "s1", "tags": "t0"}`)
	return makeTable(t, d, a, b)
}

var questions = []string{
	`count`, `n = 3`, `n = 3 count`, `n >= 2 and n < 5 order -n limit 7`, `tags = "t1" order n limit 20`, `tags = "t1" order -n`, `tags in ("t0", "t1", "b0")`,
	`tags in ("t0", "t1") count`, `slug = "s0"`, `slug = "s1" order -slug`, `slug starts "s1" order slug limit 9`, `has x order -x`, `not has x count`, `@key >= "k1" limit 4`,
	`@key starts "k12" order -@key`, `@key in ("k001", "nowhere")`, `tags = "nothing"`, `n = 1 and n = 2`, `order -n,-@key limit 11`, `tags = "t0" and @key < "k05"`,
	`slug = "s0" and @key >= "k"`, `tags = "t2" count`, `order -@key limit 3`,
}

// Whichever tree answers, the rows are those of a list of all, and the answer is verified. Of a unique index rows with the
// same values come by their claims, so that there the set alone is compared.
func TestAnswers(t *testing.T) {
	for _, folds := range []map[string]Fold{nil, {"tags": Set, "n": Counter}} {
		m := shop(t, folds)
		for _, text := range questions {
			a, _ := m.ask(t, text)
			q, err := query.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			want, count := m.list(q)
			for choice, c := range m.def.Plan(q, &m.check) {
				run := m.def.run(q, Question{}, c, &m.check)
				run.View.Src = m.nodes
				run.Row = func(key []byte) (Row, error) { return m.rows[string(key)], nil }
				got, err := run.Do()
				if err != nil {
					t.Fatalf("%s, choice %d: %v", text, choice, err)
				}
				keys := keysOf(got.Rows)
				if x := run.index(); x != nil && x.Unique {
					if c.Ordered && q.Limit > 0 && len(q.Order) > 0 {
						continue // which of those with the last values are within the limit is by claims
					}
					keys, want = slices.Sorted(slices.Values(keys)), slices.Sorted(slices.Values(want))
				}
				if !slices.Equal(keys, want) || q.Count && got.Count != count {
					t.Errorf("%s, choice %d: %d, %q, want %d, %q", text, choice, got.Count, keys, count, want)
				}
				want, _ = m.list(q)
			}
			v, err := a.Verify(owner.DID(), a.Question, Known{})
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			b, err := a.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseAnswer(b)
			if err != nil {
				t.Fatal(err)
			}
			w, err := again.Verify(owner.DID(), a.Question, Known{Checkpoint: &m.check, Definition: m.def, DefinitionID: m.defID})
			if err != nil || !slices.Equal(keysOf(v.Rows), keysOf(w.Rows)) {
				t.Errorf("%s: read again: %v", text, err)
			}
		}
	}
}

// list answers a query from a list of all rows.
func (m *made) list(q query.Query) (keys []string, count uint64) {
	type ranked struct{ rank, key string }
	var all []ranked
	for _, r := range m.rows {
		rank, ok := q.Rank(r.Asked())
		if ok && q.Match(r.Asked()) {
			all = append(all, ranked{string(rank), string(r.Key)})
		}
	}
	slices.SortFunc(all, func(a, b ranked) int { return strings.Compare(a.rank, b.rank) })
	if q.Count {
		return nil, uint64(len(all))
	}
	for _, r := range all {
		if q.Limit > 0 && len(keys) == q.Limit {
			break
		}
		keys = append(keys, r.key)
	}
	return keys, uint64(len(all))
}

// Going on where an answer ended comes to all rows, each once.
func TestGoingOn(t *testing.T) {
	m := shop(t, nil)
	for _, text := range []string{`order n limit 7`, `order -n limit 7`, `tags in ("t0", "t1") order tags,n limit 5`, `limit 9`, `order -@key limit 9`, `slug starts "s" order slug limit 8`} {
		question, err := ParseQuestion(text)
		if err != nil {
			t.Fatal(err)
		}
		q, err := question.parse()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for page := range 100 {
			a, r, err := Ask(m.def, &m.check, question, func(int) tree.Source { return m.nodes }, func(key []byte) (Row, error) { return m.rows[string(key)], nil })
			if err != nil {
				t.Fatalf("%s, page %d: %v", text, page, err)
			}
			check := m.check
			a.Checkpoint, a.Definition = &check, m.sent
			if v, err := a.Verify(owner.DID(), question, Known{}); err != nil || !slices.Equal(keysOf(v.Rows), keysOf(r.Rows)) || string(v.After) != string(r.After) {
				t.Fatalf("%s, page %d: %v", text, page, err)
			}
			got = append(got, keysOf(r.Rows)...)
			if question.After = r.After; r.After == nil {
				break
			}
		}
		q.Limit = 0
		want, _ := m.list(q)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) && m.def.Plan(q, &m.check)[0].Ordered {
			t.Errorf("%s: %d rows, want %d", text, len(got), len(want))
		}
	}
}

// Of a unique index the oldest claim has its values, and the others are told so.
func TestLosers(t *testing.T) {
	d := definition(anna, bo)
	d.Indexes = []Index{{"slug", true}}
	a, b := &writer{key: anna}, &writer{key: bo}
	a.put(t, 2, "a", `{"slug": "x"}`)
	b.put(t, 1, "b", `{"slug": "x"}`)
	b.put(t, 3, "c", `{"slug": "y"}`)
	b.put(t, 9, "b", `{"slug": "x", "n": 1}`)
	m := makeTable(t, d, a, b)
	answer, _ := m.ask(t, `slug >= "" order slug`)
	v, err := answer.Verify(owner.DID(), answer.Question, Known{})
	if err != nil || !slices.Equal(keysOf(v.Rows), []string{"b", "a", "c"}) || !slices.Equal(v.Losers, []bool{false, true, false}) || v.Index != "unique slug" {
		t.Errorf("%q, %v, %q, %v", keysOf(v.Rows), v.Losers, v.Index, err)
	}
	answer, _ = m.ask(t, `slug = "x" order -slug`)
	if v, err = answer.Verify(owner.DID(), answer.Question, Known{}); err != nil || !slices.Equal(keysOf(v.Rows), []string{"b", "a"}) || !slices.Equal(v.Losers, []bool{false, true}) {
		t.Errorf("sorted, downwards: %q, %v, %v", keysOf(v.Rows), v.Losers, err)
	}
}

func FuzzSentOpen(f *testing.F) {
	l := (&writer{key: anna}).put(f, 1, "k", `{"a": 1}`)
	f.Add([]byte(SentOf(&l)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Sent(b).Open(owner.DID())
		if err == nil && string(SentOf(&got)) != string(b) {
			t.Errorf("%x is sent as %x", b, SentOf(&got))
		}
		_, _, _ = Sent(b).Definition(owner.DID())
	})
}

func FuzzAnswer(f *testing.F) {
	m := shop(f, nil)
	for _, text := range questions[:8] {
		a, _ := m.ask(f, text)
		b, err := a.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	d := definition(anna, bo)
	d.Folds = map[string]Fold{"n": Counter}
	x, y := &writer{key: anna}, &writer{key: bo}
	x.put(f, 1, "k", `{"n": 1}`)
	y.put(f, 2, "k", `{"n": 2}`)
	small := makeTable(f, d, x, y)
	a, _ := small.ask(f, `n >= 1`)
	b, err := a.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAnswer(b)
		if err != nil {
			return
		}
		if again, err := a.Marshal(); err != nil || string(again) != string(b) {
			t.Errorf("%x is written %x, %v", b, again, err)
		}
		for _, m := range []*made{m, small} {
			v, err := a.Verify(owner.DID(), a.Question, Known{Checkpoint: &m.check, Definition: m.def, DefinitionID: m.defID})
			if err != nil || v.Checkpoint.Score() != m.check.Score() {
				continue
			}
			// What is verified against this table is what this table says.
			q, err := a.parse()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range v.Rows {
				if want, ok := m.rows[string(r.Key)]; !ok || want.Origin != r.Origin {
					t.Errorf("%s: a row %q that is none", a.Text, r.Key)
				}
			}
			if _, count := m.list(q); q.Count && v.Count != count {
				t.Errorf("%s: %d, want %d", a.Text, v.Count, count)
			}
		}
	})
}
