package document

import (
	"bytes"
	"testing"

	"github.com/grange-grid/grange/internal/golden"
)

type vectors struct {
	About     string           `json:"about"`
	Documents []documentVector `json:"documents"`
	Refused   []refusedVector  `json:"refused"`
	Keys      []keyVector      `json:"keys"`
}

// documentVector is a document as it was written, as it is kept, and as it is printed.
type documentVector struct {
	JSON    string     `json:"json"`
	CBOR    golden.Hex `json:"cbor"`
	Printed string     `json:"printed"`
}

type refusedVector struct {
	Why  string     `json:"why"`
	CBOR golden.Hex `json:"cbor"`
}

// keyVector is the key of the field v of a document.
type keyVector struct {
	JSON string     `json:"json"`
	Key  golden.Hex `json:"key"`
}

func (k keyVector) made(t *testing.T) keyVector {
	t.Helper()
	v, ok := mustDoc(t, k.JSON).Field(Path{"v"})
	if !ok {
		t.Fatalf("%s has no v", k.JSON)
	}
	k.Key = AppendKey(nil, v)
	return k
}

func writeVectors(t *testing.T) vectors {
	v := vectors{
		About: "SPEC 14: documents as JSON and CBOR; CBOR that is refused; the keys of the fields v, in their order",
		Refused: []refusedVector{
			{"names do not rise", golden.Hex{0xa2, 0x62, 'a', 'a', 1, 0x61, 'b', 2}},
			{"a name twice", golden.Hex{0xa2, 0x61, 'a', 1, 0x61, 'a', 2}},
			{"an integer as a float", golden.Hex{0xa1, 0x61, 'a', 0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0}},
			{"a float of 16 bits", golden.Hex{0xa1, 0x61, 'a', 0xf9, 0x3e, 0}},
			{"an integer beyond 2^53", golden.Hex{0xa1, 0x61, 'a', 0x1b, 0, 0x20, 0, 0, 0, 0, 0, 1}},
			{"a byte string", golden.Hex{0xa1, 0x61, 'a', 0x41, 0}},
			{"no object", golden.Hex{0x80}},
		},
	}
	for _, text := range []string{
		`{}`,
		`{"title": "Hello", "tags": ["#cats", "#dogs"], "time": "2026-01-01T12:00:00Z", "by": {"name": "Ann", "age": 41}}`,
		`{"n": [0, -0.0, 1.0, -1, 23, 24, 256, 65536, 4294967296, 9007199254740992, -9007199254740992, 9007199254740994, 0.1, -2.5, 1e21, 5e-324]}`,
		`{"bb": 1, "a": null, "": [true, false, []], "é": "\u0000\ud83d\ude00\/"}`,
	} {
		d := mustDoc(t, text)
		v.Documents = append(v.Documents, documentVector{text, d.Bytes(), string(d.JSON())})
	}
	x := string(bytes.Repeat([]byte("x"), 157))
	for _, value := range []string{
		`[]`, `null`, `false`, `true`, `-1e300`, `-1`, `-0.5`, `0`, `0.5`, `1`, `9007199254740992`, `1e300`,
		`""`, `"\u0000"`, `"a"`, `"a\u0000b"`, `"aa"`, `"` + x + `xx\u0000"`, `"` + x + `xxx"`, `"` + x + `xxxx"`, `"` + x + `éé"`, `"é"`,
	} {
		v.Keys = append(v.Keys, keyVector{JSON: `{"v":` + value + `}`}.made(t))
	}
	return v
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "document", writeVectors)
	for _, d := range v.Documents {
		made := mustDoc(t, d.JSON)
		if read, err := FromCBOR(d.CBOR); err != nil || read != made || string(read.JSON()) != d.Printed {
			t.Errorf("%s: %v", d.JSON, err)
		}
	}
	for _, r := range v.Refused {
		if _, err := FromCBOR(r.CBOR); err == nil {
			t.Errorf("%s is read", r.Why)
		}
	}
	var before golden.Hex
	for _, k := range v.Keys {
		if got := k.made(t); !bytes.Equal(got.Key, k.Key) || bytes.Compare(before, k.Key) > 0 {
			t.Errorf("%s has the key %x, after %x", k.JSON, got.Key, before)
		}
		before = k.Key
	}
}
