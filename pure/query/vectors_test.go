package query

import (
	"bytes"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

type vectors struct {
	About   string         `json:"about"`
	Queries []queryVector  `json:"queries"`
	Entries []entryVector  `json:"entries"`
	Answers []answerVector `json:"answers"`
}

// queryVector is a query and its canonical text.
type queryVector struct {
	Text      string `json:"text"`
	Canonical string `json:"canonical"`
}

// entryVector is a row, and the keys of its entries in an index.
type entryVector struct {
	rowVector
	Index string       `json:"index"`
	Keys  []golden.Hex `json:"keys"`
}

type rowVector struct {
	Key    string     `json:"key"`
	Author golden.Hex `json:"author,omitempty"`
	Time   int64      `json:"time,omitempty"`
	JSON   string     `json:"json"`
}

func (r rowVector) row(t *testing.T) Row {
	t.Helper()
	row := rowOf(t, r.Key, r.JSON)
	copy(row.Author[:], r.Author)
	row.Time = r.Time
	return row
}

// answerVector is a query of the rows of answerRows, and the keys of the answer.
type answerVector struct {
	Query string   `json:"query"`
	Keys  []string `json:"keys"`
}

func (e entryVector) made(t *testing.T) entryVector {
	t.Helper()
	x, err := ParseIndex(e.Index)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := x.Keys(e.row(t))
	if err != nil {
		t.Fatal(err)
	}
	e.Keys = []golden.Hex{}
	for _, k := range keys {
		e.Keys = append(e.Keys, k)
	}
	return e
}

// entryRows are also the rows that are asked.
func entryRows() []entryVector {
	author := core.DID{31: 1}
	return []entryVector{
		{rowVector: rowVector{Key: "p1", JSON: `{"tags": ["#dogs", "#cats", "#dogs"], "time": 3}`}, Index: "tags,time"},
		{rowVector: rowVector{Key: "p2", JSON: `{"tags": ["#cats"]}`}, Index: "tags,time"},
		{rowVector: rowVector{Key: "p3", JSON: `{"tags": [], "time": [1, 9]}`}, Index: "tags,time"},
		{rowVector: rowVector{Key: "p4", JSON: `{"tags": "#cats", "time": [5, 4, {}, [7]]}`}, Index: "tags,time"},
		{rowVector: rowVector{Key: "p5", Author: author[:], Time: 1_767_225_600_123, JSON: "{\"by.\": {\"in\": null}}"}, Index: "`by.`.in,@author,@time"},
	}
}

func writeVectors(t *testing.T) vectors {
	v := vectors{About: "SPEC 14: queries and their canonical texts; rows and the keys of their entries in an index; what queries answer of these rows"}
	for _, text := range []string{
		`TAGS = '#cats' AND time>=1e1 Order -time,@key Limit 32`,
		`tags="#cats"and(time>=1 and(not(a=1 or has b.c)))and time<5`,
		"`in`.`a b` in (1, 1.0, 'x', null) or not not count = true or @key starts '' and @author != \"did:key:z\" count",
	} {
		v.Queries = append(v.Queries, queryVector{text, mustParse(t, text).String()})
	}
	for _, e := range entryRows() {
		v.Entries = append(v.Entries, e.made(t))
	}
	for _, text := range []string{
		``, `order -@key limit 2`, `tags = "#cats"`, `tags = "#cats" order -time`, `order time`, `time >= 2 and time <= 8`, `time >= 2 order time`, `not has time`, `time != 9`, `tags starts "#" and not tags > "#d"`,
		`@time >= "2026-01-01" and @time < "2026-01-02"`,
	} {
		v.Answers = append(v.Answers, answerVector{text, answersOf(t, text)})
	}
	return v
}

func answersOf(t *testing.T, text string) []string {
	var rows []Row
	for _, e := range entryRows() {
		rows = append(rows, e.row(t))
	}
	return append([]string{}, answer(mustParse(t, text), rows)...)
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "query", writeVectors)
	for _, q := range v.Queries {
		if got := mustParse(t, q.Text).String(); got != q.Canonical || mustParse(t, got).String() != got {
			t.Errorf("%s is %s, want %s", q.Text, got, q.Canonical)
		}
	}
	for _, e := range v.Entries {
		if got := e.made(t); !slices.EqualFunc(got.Keys, e.Keys, func(a, b golden.Hex) bool { return bytes.Equal(a, b) }) {
			t.Errorf("%s has %x in %s", e.JSON, got.Keys, e.Index)
		}
	}
	for _, a := range v.Answers {
		if got := answersOf(t, a.Query); !slices.Equal(got, a.Keys) {
			t.Errorf("%s answers %q, want %q", a.Query, got, a.Keys)
		}
	}
}
