package grange_test

import (
	"encoding/json"
	"testing"

	"github.com/grange-grid/grange"
)

func TestPathInJSON(t *testing.T) {
	for path, want := range map[grange.Path]string{
		"/a/é": `"/a/é"`, "/a\xff": `{"base64":"L2H/"}`, "": `""`, "\x00\n\"\\": `"\u0000\n\"\\"`, "\uFFFD": "\"\uFFFD\"",
		`{"base64":"L2H/"}`: `"{\"base64\":\"L2H/\"}"`, "\xed\xa0\x80": `{"base64":"7aCA"}`,
	} {
		raw, err := json.Marshal(path)
		if err != nil || string(raw) != want {
			t.Errorf("%q is written %s, %v; want %s", path, raw, err, want)
		}
		var back grange.Path
		if err := json.Unmarshal(raw, &back); err != nil || back != path {
			t.Errorf("%s is read %q, %v", raw, back, err)
		}
	}
	for _, bad := range []string{`{}`, `{"base64":""}`, `{"base64":"!"}`, `{"base64":"AA==","x":1}`, `{"base64":3}`, `3`, `["/a"]`, `{"base64":"AA=="}}`} {
		var p grange.Path
		if json.Unmarshal([]byte(bad), &p) == nil {
			t.Errorf("%s is read as %q", bad, p)
		}
	}
}

// FuzzPath reads bytes as a path's JSON, and has them as a path.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{`"/a"`, `{"base64":"L2H/"}`, `{"base64":null}`, `{"Base64":"AA==","base64":"AQ=="}`, `null`, "\xff\"", `"\ud83d"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		paths := []grange.Path{grange.Path(b)}
		var read grange.Path
		if json.Unmarshal(b, &read) == nil {
			paths = append(paths, read)
		}
		for _, path := range paths {
			raw, err := json.Marshal(path)
			if err != nil {
				t.Fatalf("%q cannot be written: %v", path, err)
			}
			var again grange.Path
			if err := json.Unmarshal(raw, &again); err != nil || again != path {
				t.Fatalf("%q is written %s and read %q, %v", path, raw, again, err)
			}
		}
	})
}
