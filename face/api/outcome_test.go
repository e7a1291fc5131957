package api_test

import (
	"testing"

	"github.com/grange-grid/grange"
	"github.com/grange-grid/grange/face/api"
)

func TestMoreRoom(t *testing.T) {
	for _, c := range []struct {
		full map[string]int64
		want string
	}{
		{nil, "grange invite"},
		{map[string]int64{"cleo": 1, "bo": 10e9}, "grange pact amend bo --want 20GB, or: grange invite"},
		{map[string]int64{"bo": 60_000_001}, "grange pact amend bo --want 121MB, or: grange invite"},
		{map[string]int64{"$(rm)": 1}, "grange pact amend WHO --want 1MB, or: grange invite"},
		{map[string]int64{"-x": 1}, "grange pact amend WHO --want 1MB, or: grange invite"},
		{map[string]int64{"bo": 1<<63 - 1}, "grange pact amend bo --want 4611686018428MB, or: grange invite"},
	} {
		if got := api.MoreRoom(c.full); got != c.want {
			t.Errorf("%v: %q, want %q", c.full, got, c.want)
		}
	}
}

func TestIncompleteIsSaid(t *testing.T) {
	for want, i := range map[string]grange.Incomplete{
		"Version 3 is INCOMPLETE: 1.6 of 2.1 GB. Version 2 is untouched": {Version: 3, Last: 2, Placed: 16e8, Bytes: 21e8},
		"Version 1 is INCOMPLETE: 900 kB of 2.1 GB":                      {Version: 1, Placed: 9e5, Bytes: 21e8},
		"Version 1 is INCOMPLETE: 0 of 2.1 GB":                           {Version: 1, Bytes: 21e8},
	} {
		if got := i.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What is shown to be typed is typed: a partner may be called anything that prints.
func TestWord(t *testing.T) {
	for text, want := range map[string]string{
		"docs": "docs", "/home/anna/Bilder-2.d": "/home/anna/Bilder-2.d", "Zoë": "Zoë", "": "''", "a b": "'a b'", "x; rm -rf ~": "'x; rm -rf ~'",
		"$(id)": "'$(id)'", "it's": `'it'\''s'`, "a\nb": "'a?b'",
	} {
		if got := api.Word(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
