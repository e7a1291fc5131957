package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/grange-grid/grange/pure/document"
)

// recordsOf reads all of a text.
func recordsOf(next records) (out []string, lines []int, err error) {
	for {
		r, err := next()
		if errors.Is(err, io.EOF) {
			return out, lines, nil
		}
		if err != nil {
			return out, lines, err
		}
		out, lines = append(out, string(r.json)), append(lines, r.line)
	}
}

func TestDeb822(t *testing.T) {
	for _, c := range []struct{ text, want, wrong string }{
		{"", "", ""},
		{"\n\n  \n", "", ""},
		{"A: b", `{"a":"b"}`, ""},
		{"A:b\r\nC:\r\n\r\nD: e: f\n", `{"a":"b","c":""} {"d":"e: f"}`, ""},
		{"A: b\n# no\n c\n\td\n", `{"a":"b\nc\nd"}`, ""},
		{"Tag: x::y, z,\n w\n , \n", `{"tag":["x::y","z","w"]}`, ""},
		{"Size: 12\nInstalled-Size: 1e3\nVersion: 2\n", `{"installed-size":"1e3","size":12,"version":"2"}`, ""},
		{" b\n", "", "line 1: it goes on with a field, and there is none"},
		{"A: b\n\n b\n", `{"a":"b"}`, "line 3: it goes on with a field, and there is none"},
		{"A: b\nb\n", "", `line 2: no "Field: value"`},
		{"A: b\n: c\n", "", `line 2: no "Field: value"`},
		{"A: b\na: c\n", "", `line 2: field "a" stands twice`},
		{"A: \xff\n", "", "line 1: it is not UTF-8"},
	} {
		got, _, err := recordsOf(deb822(strings.NewReader(c.text), []string{"tag"}))
		if strings.Join(got, " ") != c.want || (err == nil) != (c.wrong == "") || err != nil && err.Error() != c.wrong {
			t.Errorf("%q: %s, %v", c.text, got, err)
		}
	}
}

func TestNDJSON(t *testing.T) {
	got, lines, err := recordsOf(ndjson(strings.NewReader("{\"a\":1}\r\n\n \n[2]\nx")))
	if err != nil || strings.Join(got, " ") != `{"a":1} [2] x` || lines[1] != 4 || lines[2] != 5 {
		t.Errorf("%q in lines %v: %v", got, lines, err)
	}
	long := strings.Repeat("x", documentSizeMax)
	if got, _, err := recordsOf(ndjson(strings.NewReader("1\n" + long + "x\n"))); err == nil || err.Error() != "line 2: it is longer than 8388608 bytes" || len(got) != 1 {
		t.Errorf("a line that is too long: %d lines, %v", len(got), err)
	}
}

func FuzzDeb822(f *testing.F) {
	f.Add([]byte("Package: a\nTag: b, c\n d\n\nPackage: e\nSize: 3\n"))
	f.Add([]byte("A:\r\n# x\n\t\n:\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		next := deb822(bytes.NewReader(text), []string{"tag"})
		for before := 0; ; {
			r, err := next()
			if err != nil {
				return
			}
			if r.line <= before {
				t.Fatalf("line %d after %d", r.line, before)
			}
			before = r.line
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(r.json, &fields); err != nil || len(fields) == 0 {
				t.Fatalf("%s: %v", r.json, err)
			}
			if _, err := document.FromJSON(r.json); err != nil && !strings.Contains(string(r.json), "size") {
				t.Fatalf("%s: %v", r.json, err) // numbers may be over 2⁵³
			}
		}
	})
}
