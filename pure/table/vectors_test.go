package table

import (
	"bytes"
	"encoding/hex"
	"maps"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/query"
)

// vectors is the file's form.
type vectors struct {
	Table core.DID `json:"table"`
	// Definition is the encoding, DefinitionID the id of its operation, which the answer has whole.
	Definition   golden.Hex `json:"definition"`
	DefinitionID core.Score `json:"definitionId"`
	// Operations are all that stand, as they stand in answers; Erase is a payload.
	Operations []golden.Hex `json:"operations"`
	Erase      golden.Hex   `json:"erase"`
	Trees      []treeVector `json:"trees"`
	// Checkpoint has the roots of these trees.
	Checkpoint  golden.Hex     `json:"checkpoint"`
	Score       core.Score     `json:"score"`
	Attestation golden.Hex     `json:"attestation"`
	Answers     []answerVector `json:"answers"`
	// Export is the file.
	Export golden.Hex `json:"export"`
}

// treeVector is a tree with all its records, by key.
type treeVector struct {
	Name    string       `json:"name"`
	Salt    golden.Hex   `json:"salt"`
	Records []golden.Hex `json:"records"` // key, value, key, value, …
}

type answerVector struct {
	Query string `json:"query"`
	// Rows are those that it comes to, as JSON, in their order.
	Keys   []string   `json:"keys"`
	Rows   []string   `json:"rows"`
	Losers []bool     `json:"losers"`
	Answer golden.Hex `json:"answer"`
}

func vectorTable(t testing.TB) (*made, []*writer) {
	d := definition(anna, bo)
	d.Indexes = []Index{index("tags,time"), {"slug", true}}
	d.Folds = map[string]Fold{"likes": Counter, "tags": Set, "title": Multi}
	d.Attest, d.Read.All = []core.DID{anna.DID()}, true
	a, b := &writer{key: anna}, &writer{key: bo}
	one := a.put(t, 1, "one", `{"tags": ["#cats", "#dogs"], "time": "2026-01-01", "slug": "first", "likes": 2, "title": "One"}`)
	a.put(t, 2, "two", `{"tags": "#cats", "time": "2026-01-02", "slug": "second", "n": 0.5}`)
	a.put(t, 3, "gone", `{}`)
	b.put(t, 4, "one", `{"tags": ["#birds"], "time": "2026-01-01", "slug": "first", "likes": 3, "title": "Uno"}`, one.ID)
	b.put(t, 5, "three", `{"slug": "second"}`)
	b.delete(t, 6, "gone")
	return makeTable(t, d, a, b), []*writer{a, b}
}

func writeVectors(t *testing.T) vectors {
	m, writers := vectorTable(t)
	v := vectors{Table: owner.DID(), DefinitionID: m.defID, Score: m.check.Score()}
	must := func(b []byte, err error) golden.Hex {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	v.Definition, v.Checkpoint = must(m.def.Marshal()), must(m.check.Marshal())
	for _, w := range writers {
		for i := range w.ops {
			v.Operations = append(v.Operations, golden.Hex(SentOf(&w.ops[i])))
		}
	}
	v.Erase = must(ErasePayload([]Target{{anna.DID(), 1}, {anna.DID(), 300}}))
	for _, name := range slices.Sorted(maps.Keys(m.trees)) {
		salt := Salt(owner.DID(), name)
		tv := treeVector{Name: name, Salt: salt[:]}
		for _, key := range slices.Sorted(maps.Keys(m.trees[name])) {
			tv.Records = append(tv.Records, golden.Hex(key), m.trees[name][key])
		}
		v.Trees = append(v.Trees, tv)
	}
	signed, err := Attest(anna, m.check, 1_767_225_700)
	if err != nil {
		t.Fatal(err)
	}
	v.Attestation = must(signed.Marshal())
	v.Export = exportOf(t, m, writers, ExportEnd{Checkpoint: m.check, Attestations: []identity.Signed{signed}})
	for _, text := range []string{`tags = "#cats" order -time`, `slug >= "" order slug`, `tags in ("#cats", "#birds") count`, `@key = "one"`} {
		a, result := m.ask(t, text)
		a.Attestations = []identity.Signed{signed}
		av := answerVector{Query: text, Keys: []string{}, Rows: []string{}, Losers: []bool{}, Answer: must(a.Marshal())}
		for i, r := range result.Rows {
			av.Keys, av.Rows = append(av.Keys, string(r.Key)), append(av.Rows, string(r.Doc.JSON()))
			av.Losers = append(av.Losers, result.Losers[i])
		}
		v.Answers = append(v.Answers, av)
	}
	return v
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "table", writeVectors)
	d, err := ParseDefinition(v.Definition)
	if err != nil {
		t.Fatal(err)
	}
	byKey := map[string][]Op{}
	for _, b := range v.Operations {
		l, err := Sent(b).Open(v.Table)
		if err != nil {
			t.Fatal(err)
		}
		op, err := d.Operation(l)
		if err != nil {
			t.Fatal(err)
		}
		byKey[string(op.Key)] = append(byKey[string(op.Key)], op)
		if op.Write.Kind != feed.Put && op.Write.Kind != feed.Delete {
			t.Errorf("kind %d", op.Write.Kind)
		}
	}
	if targets, err := ParseErase(v.Erase); err != nil || !slices.Equal(targets, []Target{{anna.DID(), 1}, {anna.DID(), 300}}) {
		t.Errorf("%v, %v", targets, err)
	}
	roots := map[string]Root{}
	for _, tv := range v.Trees {
		records := map[string][]byte{}
		for i := 0; i < len(tv.Records); i += 2 {
			records[string(tv.Records[i])] = tv.Records[i+1]
		}
		roots[tv.Name] = nodes{}.build(t, [16]byte(tv.Salt), records)
		if salt := Salt(v.Table, tv.Name); !bytes.Equal(salt[:], tv.Salt) {
			t.Errorf("the salt of %s is %x", tv.Name, salt)
		}
	}
	c := Checkpoint{1, v.Table, v.DefinitionID, roots["feeds"], roots["rows"], roots["gone"], []IndexRoot{{roots["index tags,time"], 2}, {roots["index unique slug"], 3}}}
	if b, err := c.Marshal(); err != nil || !bytes.Equal(b, v.Checkpoint) || c.Score() != v.Score {
		t.Errorf("%x, %v", b, err)
	}
	signed, err := identity.ParseSigned(v.Attestation, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := OpenAttestation(signed); err != nil || at.Checkpoint != v.Score || at.Table != v.Table || at.Machine != anna.DID() {
		t.Errorf("%+v, %v", at, err)
	}
	for _, av := range v.Answers {
		verifyVector(t, &v, av)
	}
	verifyExport(t, &v)
}

func verifyVector(t *testing.T, v *vectors, av answerVector) {
	a, err := ParseAnswer(av.Answer)
	if err != nil {
		t.Fatal(err)
	}
	q, err := query.Parse(av.Query)
	if err != nil || q.String() != av.Query {
		t.Fatal(q, err)
	}
	got, err := a.Verify(v.Table, Question{Text: av.Query}, Known{})
	if err != nil || !slices.Equal(keysOf(got.Rows), av.Keys) || !slices.Equal(got.Losers, av.Losers) && len(av.Losers) > 0 || len(got.Attestations) != 1 {
		t.Fatalf("%s: %q, %v, %v", av.Query, keysOf(got.Rows), got.Losers, err)
	}
	for i, r := range got.Rows {
		if text := string(r.Doc.JSON()); text != av.Rows[i] {
			t.Errorf("%s: %s, want %s", av.Query, text, av.Rows[i])
		}
	}
	if got.DefinitionID != v.DefinitionID || got.Checkpoint.Score() != v.Score {
		t.Errorf("%s: %s, %s", av.Query, hex.EncodeToString(got.DefinitionID[:]), hex.EncodeToString(v.Score[:]))
	}
}
