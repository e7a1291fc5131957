package document

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
)

func TestOnlyTheOneEncodingIsRead(t *testing.T) {
	deep := func(n int) string { return "a16161" + strings.Repeat("81", n-2) + "80" }
	for _, test := range []struct{ cbor, want string }{
		{"", "not an object"},
		{"80", "not an object"},
		{"6161", "not an object"},
		{"a1", "at byte 1: ends early"},
		{"a16161", "at byte 3: ends early"},
		{"a0a0", "at byte 1: bytes after its end"},
		{"bf6161 01ff", "at byte 0: no definite length"},
		{"a161619f01ff", "at byte 3: no definite length"},
		{"a161617f6161ff", "at byte 3: no definite length"},
		{"a161611c", "at byte 3: no definite length"},
		{"a161611801", "at byte 3: a number that is not as short as can be"},
		{"a1616119 00ff", "at byte 3: a number that is not as short as can be"},
		{"a161611a 0000ffff", "at byte 3: a number that is not as short as can be"},
		{"a161611b 00000000ffffffff", "at byte 3: a number that is not as short as can be"},
		{"b8016161 01", "at byte 0: a number that is not as short as can be"},
		{"a178016101", "at byte 1: a number that is not as short as can be"},
		{"a161611b 0020000000000001", "at byte 3: an integer beyond 2^53"},
		{"a161613b 0020000000000000", "at byte 3: an integer beyond 2^53"},
		{"a161613b ffffffffffffffff", "at byte 3: an integer beyond 2^53"},
		{"a1616119ff", "at byte 3: ends early"},
		{"a16161fb 7ff8000000000000", "at byte 3: a number that is not finite"},
		{"a16161fb fff0000000000000", "at byte 3: a number that is not finite"},
		{"a16161fb 3ff0000000000000", "at byte 3: an integer as a float"},
		{"a16161fb 8000000000000000", "at byte 3: an integer as a float"},
		{"a16161fb 4340000000000000", "at byte 3: an integer as a float"},
		{"a16161fb 3ff8", "at byte 3: ends early"},
		{"a16161f93e00", "at byte 3: a simple value, or a float that is not of 64 bits"},
		{"a16161fa3fc00000", "at byte 3: a simple value, or a float that is not of 64 bits"},
		{"a16161f7", "at byte 3: a simple value, or a float that is not of 64 bits"},
		{"a16161ff", "at byte 3: a simple value, or a float that is not of 64 bits"},
		{"a16161f820", "at byte 3: a simple value, or a float that is not of 64 bits"},
		{"a161614161", "at byte 3: a byte string or a tag"},
		{"a16161c100", "at byte 3: a byte string or a tag"},
		{"a1616161ff", "at byte 3: text that is not UTF-8"},
		{"a161616261", "at byte 3: ends early"},
		{"a161617bffffffffffffffff", "at byte 3: ends early"},
		{"a161619bffffffffffffffff", "at byte 12: ends early"},
		{"a1616101 00", "at byte 4: bytes after its end"},
		{"bbffffffffffffffff", "at byte 9: ends early"},
		{"a10101", "at byte 1: a name that is no text"},
		{"a161ff01", "at byte 1: text that is not UTF-8"},
		{"a2616101616102", "at byte 4: names that do not rise"},
		{"a2616201616102", "at byte 4: names that do not rise"},
		{"a262616101616201", "at byte 5: names that do not rise"},
		{"a16161" + "a2616201616102", "at byte 7: names that do not rise"},
		{deep(33), "at byte 34: nested deeper than 32"},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(test.cbor, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := FromCBOR(b); !errors.Is(err, core.ErrInvalid) || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.cbor, err, test.want)
		}
	}
	b, err := hex.DecodeString(deep(32))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FromCBOR(b); err != nil {
		t.Error(err)
	}
}

func TestADocumentHasASizeAtMost(t *testing.T) {
	// a1 6161 7a xxxxxxxx and the text.
	fits := `{"a":"` + strings.Repeat("x", SizeMax-8) + `"}`
	d := mustDoc(t, fits)
	if d.Size() != SizeMax {
		t.Fatalf("%d bytes", d.Size())
	}
	if _, err := FromCBOR(d.Bytes()); err != nil {
		t.Error(err)
	}
	const limit = "at most 1048576 (1 MiB)"
	for name, text := range map[string]string{"one byte more": `{"a":"` + strings.Repeat("x", SizeMax-7) + `"}`, "16 MiB": `{"a":"` + strings.Repeat("x", 16<<20) + `"}`} {
		if _, err := FromJSON([]byte(text)); !errors.Is(err, core.ErrTooLarge) || !strings.Contains(err.Error(), limit) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := FromCBOR(make([]byte, SizeMax+1)); !errors.Is(err, core.ErrTooLarge) || !strings.Contains(err.Error(), limit) {
		t.Error(err)
	}
	// What is longest as JSON comes back.
	controls := mustDoc(t, `{"a":"`+strings.Repeat(`\u0001`, SizeMax-8)+`"}`)
	if again, err := FromJSON(controls.JSON()); err != nil || again != controls {
		t.Error(err)
	}
}

func TestFieldsAreFoundByPath(t *testing.T) {
	d := mustDoc(t, `{"a":{"b":{"c":1},"":"empty"},"list":[{"a":1}],"n":null,"zz":true}`)
	for _, test := range []struct {
		path Path
		want string
	}{
		{Path{"a", "b", "c"}, "1"},
		{Path{"a", ""}, `"empty"`},
		{Path{"a", "b"}, `{"c":1}`},
		{Path{"n"}, "null"},
		{Path{"zz"}, "true"},
		{Path{"list"}, `[{"a":1}]`},
		{Path{}, string(d.JSON())},
		{Path{"a", "b", "c", "d"}, ""},
		{Path{"list", "a"}, ""},
		{Path{"list", "0"}, ""},
		{Path{"A"}, ""},
		{Path{"y"}, ""},
		{Path{"a", "x"}, ""},
		{Path{"z"}, ""},
	} {
		v, ok := d.Field(test.path)
		if ok != (test.want != "") || ok && string(v.AppendJSON(nil)) != test.want {
			t.Errorf("%q: %s, want %s", test.path, v.AppendJSON(nil), test.want)
		}
	}
	if _, ok := (Doc{}).Field(Path{}); ok || (Doc{}).JSON() != nil {
		t.Error("the zero Doc has something")
	}
}

func FuzzFromJSON(f *testing.F) {
	for _, text := range []string{`{"a":[1,-0.5e-3,"\u00e9\ud83d\ude00",null,true,{"b":{},"aa":9007199254740993}]}`, `{"a":1,"a":2}`, " {\"\":1e400}\n"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := FromJSON(text)
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) && !errors.Is(err, core.ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		if again, err := FromCBOR(d.Bytes()); err != nil || again != d {
			t.Fatalf("%x: %v", d.Bytes(), err)
		}
		if again, err := FromJSON(d.JSON()); err != nil || again != d {
			t.Fatalf("%s: %v", d.JSON(), err)
		}
	})
}

func FuzzFromCBOR(f *testing.F) {
	f.Add(mustDoc(f, `{"a":[1,-0.5e-3,"é",null,true,{"b":{},"aa":9007199254740992}]}`).Bytes())
	f.Add([]byte{0xa1, 0x61, 'a', 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := FromCBOR(b)
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) && !errors.Is(err, core.ErrTooLarge) {
				t.Fatal(err)
			}
			return
		}
		if again, err := FromJSON(d.JSON()); err != nil || again != d {
			t.Fatalf("%x comes back as %s: %v", b, d.JSON(), err)
		}
		d.Field(Path{"a", "b"})
		if Compare(d.Value(), d.Value()) != 0 {
			t.Fatal("a document is not equal to itself")
		}
	})
}

// sample has about 100 bytes.
const sample = `{"author":{"name":"ann"},"tags":["#cats","#dogs"],"time":"2026-01-01T12:00:00Z","title":"Hello","likes":1234}`

func BenchmarkFromCBOR(b *testing.B) {
	data := mustDoc(b, sample).Bytes()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromCBOR(data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFromJSON(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := FromJSON([]byte(sample)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkField(b *testing.B) {
	d, path := mustDoc(b, sample), Path{"author", "name"}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := d.Field(path); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkAppendKey(b *testing.B) {
	v := TextValue("2026-01-01T12:00:00Z")
	var key []byte
	b.ReportAllocs()
	for b.Loop() {
		key = AppendKey(key[:0], v)
	}
}

func TestADocumentsKeyIsText(t *testing.T) {
	for key, want := range map[string]bool{"a": true, "é\x00": true, strings.Repeat("x", NameMax): true, "": false, strings.Repeat("x", NameMax+1): false, "\xff": false} {
		if err := CheckName(key); (err == nil) != want || err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%q: %v", key, err)
		}
	}
}
