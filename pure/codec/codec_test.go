package codec_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// sample has a field of every kind that formats use.
type sample struct {
	V     uint             `json:"v"`
	Bytes []byte           `json:"bytes"`
	Fixed [4]byte          `json:"fixed"`
	DID   core.DID         `json:"did"`
	Text  string           `json:"text"`
	Int   int64            `json:"int"`
	Uint  uint64           `json:"uint"`
	Bool  bool             `json:"bool"`
	List  []inner          `json:"list"`
	Table map[string]int64 `json:"table"`
	Maybe uint64           `json:"maybe,omitempty"`
	Ref   []byte           `json:"ref,omitempty"`
	Ptr   *inner           `json:"ptr,omitempty"`
}

type inner struct {
	Scores []core.Score `json:"scores"`
	N      uint         `json:"n"`
}

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := codec.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBothReadWhatIsWritten(t *testing.T) {
	want := sample{
		V: 1, Bytes: []byte{1, 2}, Fixed: [4]byte{9, 8, 7, 6}, DID: core.DID{31: 5}, Text: "κόσμε", Int: -1 << 63, Uint: 1<<64 - 1,
		Bool: true, List: []inner{{Scores: []core.Score{{1}, {2}}, N: 24}, {Scores: []core.Score{}}},
		Table: map[string]int64{"b": -1, "aa": 1 << 32, "a": 0}, Maybe: 7, Ref: []byte{0}, Ptr: &inner{Scores: []core.Score{}, N: 1},
	}
	b := mustMarshal(t, want)
	for name, decode := range map[string]func([]byte, any, int) error{"strict": codec.Unmarshal, "message": codec.UnmarshalMessage} {
		var got sample
		if err := decode(b, &got, len(b)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		if err := decode(b, new(sample), len(b)-1); !errors.Is(err, core.ErrTooLarge) {
			t.Errorf("%s: one byte over the limit: %v, want ErrTooLarge", name, err)
		}
		for n := range b {
			if err := decode(b[:n], new(sample), len(b)); !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%s: cut to %d bytes: %v, want ErrInvalid", name, n, err)
			}
		}
	}
}

func TestNilAndEmptyHaveOneEncoding(t *testing.T) {
	zero := mustMarshal(t, sample{})
	empty := mustMarshal(t, sample{Bytes: []byte{}, List: []inner{}, Table: map[string]int64{}, Ref: []byte{}})
	if !bytes.Equal(zero, empty) {
		t.Errorf("nil gives %x, empty %x", zero, empty)
	}
	type small struct {
		B []byte   `json:"b"`
		L []uint64 `json:"l"`
		O []byte   `json:"o,omitempty"`
	}
	if got := hex.EncodeToString(mustMarshal(t, small{})); got != "a2616240616c80" {
		t.Errorf("got %s", got)
	}
}

// TestAStrictReadingRefuses holds the encodings that a signed or stored format never has.
func TestAStrictReadingRefuses(t *testing.T) {
	type s struct {
		A uint64   `json:"a"`
		B []byte   `json:"b"`
		C [2]byte  `json:"c"`
		L []uint64 `json:"l"`
		O uint64   `json:"o,omitempty"`
	}
	if err := codec.Unmarshal(unhex(t, "a4 6161 01 6162 4102 6163 420304 616c 81 05"), new(s), 99); err != nil {
		t.Fatalf("the base of the cases below: %v", err)
	}
	tests := []struct{ name, data, message string }{
		{"nothing", "", "no"},
		{"a missing field", "a3 6161 01 6162 4102 6163 420304", ""},
		{"an unknown field", "a5 6161 01 6162 4102 6163 420304 616c 81 05 6178 01", ""},
		{"an unknown field with a float", "a5 6161 01 6162 4102 6163 420304 616c 81 05 6178 f93c00", "no"},
		{"an unknown field that comes twice", "a6 6161 01 6162 4102 6163 420304 616c 81 05 6178 01 6178 01", "no"},
		{"an unknown field with a doubled key inside", "a5 6161 01 6162 4102 6163 420304 616c 81 05 6178 a2 6161 01 6161 01", "no"},
		{"a field in the wrong case", "a4 6141 01 6162 4102 6163 420304 616c 81 05", ""},
		{"an optional field that is there and zero", "a5 6161 01 6162 4102 6163 420304 616c 81 05 616f 00", ""},
		{"an optional field that is null", "a5 6161 01 6162 4102 6163 420304 616c 81 05 616f f6", ""},
		{"null for a number", "a4 6161 f6 6162 4102 6163 420304 616c 81 05", "no"},
		{"null for bytes", "a4 6161 01 6162 f6 6163 420304 616c 81 05", "no"},
		{"null for a list", "a4 6161 01 6162 4102 6163 420304 616c f6", "no"},
		{"a short byte array", "a4 6161 01 6162 4102 6163 4103 616c 81 05", "no"},
		{"a long byte array", "a4 6161 01 6162 4102 6163 43030405 616c 81 05", "no"},
		{"a list of numbers for bytes", "a4 6161 01 6162 81 02 6163 420304 616c 81 05", "no"},
		{"text for bytes", "a4 6161 01 6162 6102 6163 420304 616c 81 05", "no"},
		{"a number in two bytes", "a4 6161 1801 6162 4102 6163 420304 616c 81 05", "no"},
		{"a number in three bytes", "a4 6161 1900ff 6162 4102 6163 420304 616c 81 05", "no"},
		{"a number in five bytes", "a4 6161 1a0000ffff 6162 4102 6163 420304 616c 81 05", "no"},
		{"a number in nine bytes", "a4 6161 1b00000000ffffffff 6162 4102 6163 420304 616c 81 05", "no"},
		{"a length in two bytes", "a4 6161 01 6162 580102 6163 420304 616c 81 05", "no"},
		{"a float", "a4 6161 f93c00 6162 4102 6163 420304 616c 81 05", "no"},
		{"a bool for a number", "a4 6161 f5 6162 4102 6163 420304 616c 81 05", "no"},
		{"a negative number", "a4 6161 20 6162 4102 6163 420304 616c 81 05", "no"},
		{"an indefinite list", "a4 6161 01 6162 4102 6163 420304 616c 9f 05 ff", "no"},
		{"an indefinite map", "bf 6161 01 6162 4102 6163 420304 616c 81 05 ff", "no"},
		{"indefinite bytes", "a4 6161 01 6162 5f 4102 ff 6163 420304 616c 81 05", "no"},
		{"a tag", "a4 6161 c1 01 6162 4102 6163 420304 616c 81 05", "no"},
		{"a bignum", "a4 6161 c2 4101 6162 4102 6163 420304 616c 81 05", "no"},
		{"undefined", "a5 6161 01 6162 4102 6163 420304 616c 81 05 616f f7", "no"},
		{"a simple value", "a5 6161 01 6162 4102 6163 420304 616c 81 05 616f e0", "no"},
		{"a simple value in two bytes", "a5 6161 01 6162 4102 6163 420304 616c 81 05 616f f8ff", "no"},
		{"keys out of order", "a4 6162 4102 6161 01 6163 420304 616c 81 05", "no"},
		{"a field that comes twice", "a5 6161 01 6161 01 6162 4102 6163 420304 616c 81 05", "no"},
		{"a key that is a number", "a5 01 01 6161 01 6162 4102 6163 420304 616c 81 05", "no"},
		{"a key that is bytes", "a4 4161 01 6162 4102 6163 420304 616c 81 05", "no"},
		{"bytes after the end", "a4 6161 01 6162 4102 6163 420304 616c 81 05 00", "no"},
		{"a list for a map", "84 01 4102 420304 81 05", "no"},
		{"a list that claims 2^63 elements", "a4 6161 01 6162 4102 6163 420304 616c 9b8000000000000000 05", "no"},
		{"bytes that claim 2^63", "a4 6161 01 6162 5b8000000000000000 02", "no"},
		{"a map that claims 2^63 pairs", "bb8000000000000000 6161 01", "no"},
		{"a reserved head", "a4 6161 1c 6162 4102 6163 420304 616c 81 05", "no"},
		{"text that is not UTF-8", "a4 61ff 01 6162 4102 6163 420304 616c 81 05", "no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := unhex(t, tt.data)
			if err := codec.Unmarshal(data, new(s), 99); !errors.Is(err, core.ErrInvalid) {
				t.Errorf("strict: %v, want ErrInvalid", err)
			}
			err := codec.UnmarshalMessage(data, new(s), 99)
			if tt.message == "no" && !errors.Is(err, core.ErrInvalid) {
				t.Errorf("message: %v, want ErrInvalid", err)
			}
			if tt.message == "" && err != nil {
				t.Errorf("message: %v, want nil", err)
			}
		})
	}
}

func TestVersionIsRefusedByName(t *testing.T) {
	type v1 struct {
		K uint `json:"k"`
		V uint `json:"v"`
	}
	var got v1
	if err := codec.Unmarshal(mustMarshal(t, v1{K: 3, V: 1}), &got, 99); err != nil || got != (v1{K: 3, V: 1}) {
		t.Errorf("version 1: %v %v", got, err)
	}
	type v2 struct {
		K   uint   `json:"k"`
		V   uint   `json:"v"`
		New string `json:"new"`
	}
	err := codec.Unmarshal(mustMarshal(t, v2{V: 2}), new(v1), 99)
	if !errors.Is(err, core.ErrVersion) || !strings.Contains(err.Error(), "unknown version 2") {
		t.Errorf("version 2 with a new field: %v, want ErrVersion that names 2", err)
	}
	if err := codec.Unmarshal(mustMarshal(t, v1{}), new(v1), 99); !errors.Is(err, core.ErrVersion) {
		t.Errorf("version 0: %v, want ErrVersion", err)
	}
	if err := codec.Unmarshal(mustMarshal(t, struct{}{}), new(v1), 99); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("no version: %v, want ErrInvalid", err)
	}
	if err := codec.Unmarshal(unhex(t, "a2 616b 03 6176 6131"), new(v1), 99); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a version that is text: %v, want ErrInvalid", err)
	}
}

func TestMarshalRefusesWhatHasNoEncoding(t *testing.T) {
	var deep any = "x"
	for range codec.NestingMax + 1 {
		deep = []any{deep}
	}
	for name, v := range map[string]any{
		"a float":               struct{ F float64 }{1.5},
		"a whole float":         float32(1),
		"not a number in a map": map[string]any{"x": []any{0.0}},
		"not UTF-8":             "\xff",
		"a key of numbers":      map[int]int{1: 1},
		"too deep":              deep,
		"a function":            func() {},
	} {
		if b, err := codec.Marshal(v); err == nil {
			t.Errorf("%s: encoded as %x", name, b)
		}
	}
}

func TestNesting(t *testing.T) {
	nested := func(n int) []byte { return append(bytes.Repeat([]byte{0x81}, n), 0x00) }
	var v any
	if err := codec.Unmarshal(nested(codec.NestingMax), &v, 99); err != nil {
		t.Errorf("%d levels: %v", codec.NestingMax, err)
	}
	for _, n := range []int{codec.NestingMax + 1, 90} {
		if err := codec.Unmarshal(nested(n), &v, 99); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%d levels: %v, want ErrInvalid", n, err)
		}
	}
}

// TestManyItemsOfOneByteAreRefused: four million empty maps would become four
// million structures, of a hundred bytes each.
func TestManyItemsOfOneByteAreRefused(t *testing.T) {
	const n = 4 << 20
	data := append([]byte{0x9a, n >> 24, n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff}, bytes.Repeat([]byte{0xa0}, n)...)
	var v []sample
	allocs := testing.AllocsPerRun(1, func() {
		if err := codec.UnmarshalMessage(data, &v, len(data)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%v, want ErrInvalid", err)
		}
	})
	if v != nil || allocs > 100 {
		t.Errorf("decoded %d values in %.0f allocations", len(v), allocs)
	}
	scores := make([]core.Score, 240_000) // an answer of 8 MiB is full of these
	var got []core.Score
	if err := codec.Unmarshal(mustMarshal(t, scores), &got, 8<<20); err != nil || len(got) != len(scores) {
		t.Errorf("%d scores: %v", len(got), err)
	}
}

func TestMessageReadsOldAndNew(t *testing.T) {
	type older struct {
		A uint64  `json:"a"`
		M []inner `json:"m"`
	}
	type newer struct {
		A    uint64       `json:"a"`
		B    core.Score   `json:"b"`
		M    []newerInner `json:"m"`
		Last string       `json:"zz"`
	}
	sent := newer{A: 7, B: core.Score{3}, M: []newerInner{{X: "new", N: 4, Scores: []core.Score{{1}}}}, Last: "more"}
	var old older
	if err := codec.UnmarshalMessage(mustMarshal(t, sent), &old, 999); err != nil {
		t.Fatal(err)
	}
	if want := (older{A: 7, M: []inner{{Scores: []core.Score{{1}}, N: 4}}}); !reflect.DeepEqual(old, want) {
		t.Errorf("an old reader has %+v, want %+v", old, want)
	}
	var fresh newer
	if err := codec.UnmarshalMessage(mustMarshal(t, old), &fresh, 999); err != nil {
		t.Fatal(err)
	}
	if want := (newer{A: 7, M: []newerInner{{N: 4, Scores: []core.Score{{1}}}}}); !reflect.DeepEqual(fresh, want) {
		t.Errorf("a new reader has %+v, want %+v", fresh, want)
	}
	// A message of version 2 is still read: fields are only ever added.
	var v struct {
		V uint `json:"v"`
	}
	if err := codec.UnmarshalMessage(unhex(t, "a1 6176 02"), &v, 9); err != nil || v.V != 2 {
		t.Errorf("got %v %v", v, err)
	}
}

type newerInner struct {
	Scores []core.Score `json:"scores"`
	X      string       `json:"x"`
	N      uint         `json:"n"`
}

func BenchmarkUnmarshal(b *testing.B) {
	type lease struct {
		Pieces []core.Score `json:"pieces"`
	}
	data, err := codec.Marshal(lease{Pieces: make([]core.Score, 4096)})
	if err != nil {
		b.Fatal(err)
	}
	for name, decode := range map[string]func([]byte, any, int) error{"strict": codec.Unmarshal, "message": codec.UnmarshalMessage} {
		b.Run(fmt.Sprintf("4096scores/%s", name), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				var l lease
				if err := decode(data, &l, len(data)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
