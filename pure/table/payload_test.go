package table

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
)

func ids(n int) (out []core.Score) {
	for i := range n {
		out = append(out, core.ScoreOf(fmt.Append(nil, i)))
	}
	slices.SortFunc(out, func(a, b core.Score) int { return bytes.Compare(a[:], b[:]) })
	return out
}

func TestPayloadsAreReadAsTheyWereWritten(t *testing.T) {
	key := bytes.Repeat([]byte{0xff}, KeySizeMax)
	for _, seen := range [][]core.Score{nil, ids(1), ids(SeenMax)} {
		b, err := PutPayload(key, seen, doc(t, `{"a": [1, "b"]}`))
		if err != nil {
			t.Fatal(err)
		}
		w, err := ParseWrite(feed.Put, b)
		if err != nil || !bytes.Equal(w.Key, key) || !slices.Equal(w.Seen, seen) || string(w.Doc.JSON()) != `{"a":[1,"b"]}` {
			t.Errorf("%d seen: %+v, %v", len(seen), w, err)
		}
	}
	b, err := DeletePayload([]byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	if w, err := ParseWrite(feed.Delete, b); err != nil || string(w.Key) != "k" {
		t.Errorf("%+v, %v", w, err)
	}
	targets := []Target{{anna.DID(), 1}, {anna.DID(), 2}, {bo.DID(), 1}}
	slices.SortFunc(targets, func(a, b Target) int {
		if a.Less(b) {
			return -1
		}
		return 1
	})
	if b, err = ErasePayload(targets); err != nil {
		t.Fatal(err)
	}
	if got, err := ParseErase(b); err != nil || !slices.Equal(got, targets) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestBadPayloadsAreNotWritten(t *testing.T) {
	empty := doc(t, `{}`)
	for name, write := range map[string]func() ([]byte, error){
		"put without a key":    func() ([]byte, error) { return PutPayload(nil, nil, empty) },
		"put under a long key": func() ([]byte, error) { return PutPayload(make([]byte, 257), nil, empty) },
		"put that saw 65":      func() ([]byte, error) { return PutPayload([]byte("k"), ids(65), empty) },
		"delete of no key":     func() ([]byte, error) { return DeletePayload(nil) },
		"delete of a long key": func() ([]byte, error) { return DeletePayload(make([]byte, 257)) },
		"erase of nothing":     func() ([]byte, error) { return ErasePayload(nil) },
		"erase of one twice":   func() ([]byte, error) { return ErasePayload([]Target{{anna.DID(), 1}, {anna.DID(), 1}}) },
		"erase, falling":       func() ([]byte, error) { return ErasePayload([]Target{{anna.DID(), 2}, {anna.DID(), 1}}) },
		"erase of 4,097":       func() ([]byte, error) { return ErasePayload(many(ErasedMax + 1)) },
	} {
		if b, err := write(); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	if _, err := ErasePayload(many(ErasedMax)); err != nil {
		t.Errorf("erase of 4,096: %v", err)
	}
}

func many(n int) (out []Target) {
	for i := range n {
		out = append(out, Target{anna.DID(), uint64(i + 1)})
	}
	return out
}

func TestMalformedPayloadsAreVoid(t *testing.T) {
	good, err := PutPayload([]byte("key"), ids(2), doc(t, `{"a": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	swapped := bytes.Clone(good)
	copy(swapped[6:], good[6+32:6+64])
	copy(swapped[6+32:], good[6:6+32])
	twice := bytes.Clone(good)
	copy(twice[6+32:], good[6:6+32])
	long := append([]byte{1, 1}, make([]byte, 257)...)
	for name, c := range map[string]struct {
		kind feed.Kind
		b    []byte
	}{
		"no bytes":                     {feed.Put, nil},
		"half a length":                {feed.Put, good[:1]},
		"a key that ends too soon":     {feed.Put, change(0, 2)},
		"no key":                       {feed.Put, append([]byte{0, 0, 0}, good[6+64:]...)},
		"a long key":                   {feed.Put, append(append(long, 0), good[6+64:]...)},
		"nothing after the key":        {feed.Put, good[:5]},
		"65 ids":                       {feed.Put, change(5, 65)},
		"ids that end too soon":        {feed.Put, good[:6+63]},
		"ids that fall":                {feed.Put, swapped},
		"an id twice":                  {feed.Put, twice},
		"no document":                  {feed.Put, good[:6+64]},
		"half a document":              {feed.Put, good[:len(good)-1]},
		"bytes after the document":     {feed.Put, append(bytes.Clone(good), 0)},
		"a document that is no object": {feed.Put, append(bytes.Clone(good[:6+64]), 1)},
		"a longer number":              {feed.Put, append(bytes.Clone(good[:len(good)-1]), 0x18, 1)},
		"a delete with a document":     {feed.Delete, good},
		"a delete without a key":       {feed.Delete, []byte{0, 0}},
		"a delete that ends too soon":  {feed.Delete, []byte{0, 2, 'a'}},
		"an erase as a write":          {feed.Erase, good},
		"a definition as a write":      {feed.Define, good},
		"an unknown kind":              {9, good},
		"a large document":             {feed.Put, append([]byte{0, 1, 'k', 0}, make([]byte, 1<<20+1)...)},
	} {
		if w, err := ParseWrite(c.kind, c.b); !errors.Is(err, ErrVoid) {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
	erase, err := ErasePayload(many(2))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "one and a half": erase[:60], "one twice": append(bytes.Clone(erase[:40]), erase[:40]...),
		"falling": append(bytes.Clone(erase[40:]), erase[:40]...), "4,097": make([]byte, 40*(ErasedMax+1)),
	} {
		if got, err := ParseErase(b); !errors.Is(err, ErrVoid) {
			t.Errorf("erase, %s: %v, %v", name, got, err)
		}
	}
}

// What is void by the definition: ids where there is no fold, and too many entries.
func TestOperationsThatATableHasVoid(t *testing.T) {
	many := `{"a": [` + strings.TrimSuffix(strings.Repeat("1,", 33), ",") + `], "b": [1]}`
	list := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%d,", i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	plain, folds := definition(anna), definition(anna)
	folds.Folds = map[string]Fold{"x": Set}
	indexed := definition(anna)
	indexed.Indexes = []Index{index("a,b")}
	for name, c := range map[string]struct {
		d    Definition
		json string
		seen []core.Score
		void bool
	}{
		"ids in a plain table":  {plain, `{}`, ids(1), true},
		"ids in one with folds": {folds, `{}`, ids(1), false},
		"equal values":          {indexed, many, nil, false},
		"1,024 entries":         {indexed, `{"a": [` + list(32) + `], "b": [` + list(32) + `]}`, nil, false},
		"1,056 entries":         {indexed, `{"a": [` + list(33) + `], "b": [` + list(32) + `]}`, nil, true},
		"1,025 entries":         {indexed, `{"a": [` + list(1025) + `]}`, nil, true},
		"1,025 without index":   {plain, `{"a": [` + list(1025) + `]}`, nil, false},
	} {
		b, err := c.d.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		d, err := ParseDefinition(b)
		if err != nil {
			t.Fatal(err)
		}
		_, err = d.Operation((&writer{key: anna}).put(t, 0, "k", c.json, c.seen...))
		if errors.Is(err, ErrVoid) != c.void || (err == nil) == c.void {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseWrite(f *testing.F) {
	put, err := PutPayload([]byte("key"), ids(2), doc(f, `{"a": 1}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(byte(feed.Put), put)
	f.Add(byte(feed.Delete), []byte("\x00\x03key"))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		w, err := ParseWrite(feed.Kind(kind), b)
		if err != nil {
			if !errors.Is(err, ErrVoid) {
				t.Error(err)
			}
			return
		}
		var again []byte
		if w.Kind == feed.Delete {
			again, err = DeletePayload(w.Key)
		} else {
			again, err = PutPayload(w.Key, w.Seen, w.Doc)
		}
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is written %x, %v", b, again, err)
		}
	})
}

func FuzzParseErase(f *testing.F) {
	b, err := ErasePayload(many(3))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		targets, err := ParseErase(b)
		if err != nil {
			return
		}
		if again, err := ErasePayload(targets); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is written %x, %v", b, again, err)
		}
	})
}
