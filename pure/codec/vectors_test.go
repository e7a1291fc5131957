package codec_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
	"github.com/grange-grid/grange/pure/codec"
)

// vectors are encodings with the value that each is of (as JSON; null where the
// value has bytes in it, then the diagnostic notation of RFC 8949 says it), and
// encodings that every reader refuses, signed, stored or sent.
type vectors struct {
	Valid   []validVector   `json:"valid"`
	Refused []refusedVector `json:"refused"`
}

type validVector struct {
	Diagnostic string     `json:"diagnostic"`
	Value      any        `json:"value"`
	CBOR       golden.Hex `json:"cbor"`
}

type refusedVector struct {
	Why  string     `json:"why"`
	CBOR golden.Hex `json:"cbor"`
}

type vectorCase struct {
	diagnostic string
	value      any
}

// vectorCases are what the vectors are made of. Numbers are within 2^53, for JSON's sake.
var vectorCases = []vectorCase{
	{"0", uint64(0)},
	{"23", uint64(23)},
	{"24", uint64(24)},
	{"255", uint64(255)},
	{"256", uint64(256)},
	{"65536", uint64(65536)},
	{"4294967296", uint64(1 << 32)},
	{"-1", int64(-1)},
	{"-257", int64(-257)},
	{"true", true},
	{"null", nil},
	{`""`, ""},
	{`"ü水"`, "ü水"},
	{"[]", []any{}},
	{`[1, [2, "x"]]`, []any{uint64(1), []any{uint64(2), "x"}}},
	{`{"a": 1, "b": 2, "aa": 3}`, map[string]any{"aa": uint64(3), "b": uint64(2), "a": uint64(1)}},
	{"h''", []byte{}},
	{"h'00ff'", []byte{0, 0xff}},
	{`{"did": h'00..1f', "v": 1}`, struct {
		V   uint     `json:"v"`
		DID core.DID `json:"did"`
	}{1, core.DID{
		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
		16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
	}}},
}

var refusedCases = [][2]string{
	{"a float", "f93c00"},
	{"a float in a map", "a16161fb3ff199999999999a"},
	{"not a number", "f97e00"},
	{"a tag", "c101"},
	{"undefined", "f7"},
	{"a simple value", "f0"},
	{"a number that is not shortest", "1817"},
	{"a number that is not shortest", "1b00000000ffffffff"},
	{"a length that is not shortest", "580161"},
	{"an integer below -2^63", "3b8000000000000000"},
	{"indefinite bytes", "5f4101ff"},
	{"an indefinite list", "9f01ff"},
	{"an indefinite map", "bf616101ff"},
	{"keys that do not rise", "a2616201616102"},
	{"keys by length of the text, not of the encoding", "a262616101616202"},
	{"a key twice", "a2616101616102"},
	{"a key that is a number", "a10102"},
	{"text that is not UTF-8", "61ff"},
	{"bytes after the item", "0000"},
	{"cut short", "8201"},
	{"seventeen levels", "818181818181818181818181818181818100"},
	{"nothing", ""},
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	var v vectors
	for _, c := range vectorCases {
		b := mustMarshal(t, c.value)
		value := c.value
		if _, err := json.Marshal(value); err != nil || reflect.TypeOf(value) == reflect.TypeFor[[]byte]() || c.diagnostic[0] == '{' && c.diagnostic[1:6] == `"did"` {
			value = nil
		}
		v.Valid = append(v.Valid, validVector{c.diagnostic, value, b})
	}
	for _, c := range refusedCases {
		v.Refused = append(v.Refused, refusedVector{c[0], unhex(t, c[1])})
	}
	return v
}

func TestVectors(t *testing.T) {
	v := golden.File(t, "codec", makeVectors)
	for _, c := range v.Valid {
		var value any
		if err := codec.Unmarshal(c.CBOR, &value, 999); err != nil {
			t.Errorf("%s: %v", c.Diagnostic, err)
		}
		if _, binary := value.([]byte); binary || c.Value == nil {
			continue
		}
		got, want := asJSON(t, value), asJSON(t, c.Value)
		if got != want {
			t.Errorf("%s: decoded as %s, want %s", c.Diagnostic, got, want)
		}
	}
	for _, c := range v.Refused {
		var value any
		if err := codec.Unmarshal(c.CBOR, &value, 999); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s (%x), strict: %v, want ErrInvalid", c.Why, c.CBOR, err)
		}
		if err := codec.UnmarshalMessage(c.CBOR, &value, 999); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s (%x), message: %v, want ErrInvalid", c.Why, c.CBOR, err)
		}
	}
}

// asJSON writes what the decoder gives for any, whose maps have keys of any.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(plain(v))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func plain(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := map[string]any{}
		for k, e := range v {
			m[k.(string)] = plain(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = plain(e)
		}
		return l
	}
	return v
}
