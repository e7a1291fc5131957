package document

import (
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
)

func mustDoc(t testing.TB, text string) Doc {
	t.Helper()
	d, err := FromJSON([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return d
}

func TestJSONBecomesOneEncodingAndComesBack(t *testing.T) {
	for _, test := range []struct{ in, cbor, out string }{
		{`{}`, "a0", `{}`},
		{` { "b" : 1 , "a" : [ true , false , null ] } `, "a2616183f5f4f6616201", `{"a":[true,false,null],"b":1}`},
		{`{"aa":1,"b":2}`, "a2616202 62616101", `{"aa":1,"b":2}`},
		{`{"n":[0,-0,-0.0,0e9,1.0,-1,23,24,255,256,65536,4294967296]}`, "a1616e8c000000000120171818 18ff 190100 1a00010000 1b0000000100000000", `{"n":[0,0,0,0,1,-1,23,24,255,256,65536,4294967296]}`},
		{`{"n":[9007199254740992,-9007199254740992,9007199254740994]}`, "a1616e83 1b0020000000000000 3b001fffffffffffff fb4340000000000001", `{"n":[9007199254740992,-9007199254740992,9007199254740994]}`},
		{
			`{"n":[0.1,1.5e300,5e-324,1e-7,123e19,0.10000000000000001]}`, "a1616e86 fb3fb999999999999a fb7e41eb2d66005835 fb0000000000000001 fb3e7ad7f29abcaf48 fb4450ab6b74cb909e fb3fb999999999999a",
			`{"n":[0.1,1.5e+300,5e-324,1e-7,1.23e+21,0.1]}`,
		},
		{`{"":"\u0000\ud83d\ude00\/\"\\\n\u001f\u007fé"}`, "a1606d00f09f98802f225c0a1f7fc3a9", `{"":"\u0000😀/\"\\\n\u001f` + "\u007f" + `é"}`},
	} {
		d := mustDoc(t, test.in)
		if got, want := hex.EncodeToString(d.Bytes()), strings.ReplaceAll(test.cbor, " ", ""); got != want {
			t.Errorf("%s: encoded\n%s, want\n%s", test.in, got, want)
		}
		if got := string(d.JSON()); got != test.out {
			t.Errorf("%s: printed\n%s, want\n%s", test.in, got, test.out)
		}
		if again := mustDoc(t, test.out); again != d {
			t.Errorf("%s: another document comes back", test.in)
		}
		if again, err := FromCBOR(d.Bytes()); again != d {
			t.Errorf("%s: %v", test.in, err)
		}
	}
}

func TestJSONThatLosesSomethingIsRefused(t *testing.T) {
	deep := strings.Repeat("[", 31)
	for _, test := range []struct{ in, want string }{
		{``, "line 1, column 1: a document is a JSON object, which begins with {"},
		{`[]`, "line 1, column 1: a document is a JSON object, which begins with {"},
		{"\ufeff{}", "line 1, column 1: a document is a JSON object, which begins with {"},
		{`{`, "line 1, column 2: a field's name in double quotes was expected"},
		{`{"a"`, "line 1, column 5 (in a): a colon was expected"},
		{`{"a":`, "line 1, column 6 (in a): the document ends early"},
		{`{"a":1`, "line 1, column 7: a comma or } was expected"},
		{`{"a":1,}`, "line 1, column 8: a field's name in double quotes was expected"},
		{`{"a":[1,]}`, "line 1, column 9 (in a.1): a value was expected"},
		{`{"a":[1 2]}`, "line 1, column 9 (in a): a comma or ] was expected"},
		{`{} x`, "line 1, column 4: there is more after the document's end"},
		{"{\n \"é\": 1, \"é\": 2}", "line 2, column 10 (in é): the field stands twice in this object"},
		{`{"a":{"x":1,"b":3,"\u0078":2}}`, "line 1, column 19 (in a.x): the field stands twice in this object"},
		{`{"a":NaN}`, "line 1, column 6 (in a): NaN is no number in JSON"},
		{`{"a":Infinity}`, "line 1, column 6 (in a): Infinity is no number in JSON"},
		{`{"a":-Infinity}`, "line 1, column 6 (in a): not a number of JSON"},
		{`{"a":True}`, "line 1, column 6 (in a): a value was expected: text stands in double quotes"},
		{`{"a":'x'}`, "line 1, column 6 (in a): a value was expected"},
		{`{"a":01}`, "line 1, column 6 (in a): not a number of JSON"},
		{`{"a":1.}`, "line 1, column 6 (in a): not a number of JSON"},
		{`{"a":.5}`, "line 1, column 6 (in a): a value was expected"},
		{`{"a":+1}`, "line 1, column 6 (in a): a value was expected"},
		{`{"a":1e}`, "line 1, column 6 (in a): not a number of JSON"},
		{`{"a":1e5.0}`, "line 1, column 6 (in a): not a number of JSON"},
		{`{"a":9007199254740993}`, "line 1, column 6 (in a): a number that float64 does not keep: write it as text, in quotes"},
		{`{"a":3.141592653589793238}`, "line 1, column 6 (in a): a number that float64 does not keep: write it as text, in quotes"},
		{`{"` + strings.Repeat("é", 100) + `":x}`, "(in " + strings.Repeat("é", 80) + "): a value was expected: text stands in double quotes"},
		{`{"\u001b[1m":x}`, "(in \uFFFD[1m): a value was expected: text stands in double quotes"},
		{`{"a":1e400}`, "line 1, column 6 (in a): a number that float64 does not keep: write it as text, in quotes"},
		{`{"a":1e-400}`, "line 1, column 6 (in a): a number that float64 does not keep: write it as text, in quotes"},
		{`{"a":1.2345678e-320}`, "line 1, column 6 (in a): a number that float64 does not keep: write it as text, in quotes"},
		{`{"a":1` + strings.Repeat("0", 1000) + `}`, "line 1, column 6 (in a): a number of more than 1000 characters: write it as text, in quotes"},
		{`{"a":"` + "x\xff" + `"}`, "line 1, column 8 (in a): not UTF-8"},
		{`{"` + "\xc3" + `":1}`, "line 1, column 3: not UTF-8"},
		{`{"a":"\ud800"}`, "line 1, column 7 (in a): half of a surrogate pair"},
		{`{"a":"\udc00\ud800"}`, "line 1, column 7 (in a): half of a surrogate pair"},
		{`{"a":"\ud800\u0041"}`, "line 1, column 7 (in a): half of a surrogate pair"},
		{`{"a":"\x"}`, "line 1, column 7 (in a): an escape that JSON does not have"},
		{`{"a":"\u12g4"}`, "line 1, column 7 (in a): an escape that JSON does not have"},
		{"{\"a\":\"x\n\"}", "line 1, column 8 (in a): a control character in a text: write it as \\u000a"},
		{`{"a":"x`, "line 1, column 8 (in a): a text without its closing quote"},
		{`{"a":` + deep + `{}` + strings.Repeat("]", 31) + `}`, "nested deeper than 32"},
	} {
		_, err := FromJSON([]byte(test.in))
		if !errors.Is(err, core.ErrInvalid) || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%.60s: %v, want %s", test.in, err, test.want)
		}
	}
	mustDoc(t, `{"a":`+deep+strings.Repeat("]", 31)+`}`)
}

func TestEachNumberComesBack(t *testing.T) {
	for e := -1074; e < 1024; e++ {
		for _, f := range []float64{math.Ldexp(1, e), -math.Ldexp(3, e-1), math.Nextafter(math.Ldexp(1, e), 0)} {
			text := string(AppendNumber(nil, f))
			if got, err := ParseNumber(text); err != nil || got != f {
				t.Errorf("%s comes back as %v: %v", text, got, err)
			}
		}
	}
}
