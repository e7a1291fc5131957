package api

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"github.com/grange-grid/grange"
)

func TestCat(t *testing.T) {
	both(t, func(t *testing.T, anna, bo *home) {
		befriend(t, anna, bo)
		if _, err := anna.Put(t.Context(), PutRequest{Path: tree(t)}, nil); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			path       string
			part       Range
			text, code string
		}{
			{"sub/b.txt", Range{0, -1}, "second one", ""},
			{"sub/b.txt", Range{7, 2}, "on", ""},
			{"sub/b.txt", Range{7, 100}, "one", ""},
			{"sub/b.txt", Range{3, 0}, "", ""},
			{"sub/b.txt", Range{10, -1}, "", ""},
			{"sub/b.txt", Range{11, -1}, "", CodeInvalid},
			{"sub/b.txt", Range{-1, -1}, "", CodeInvalid},
			{"sub/deep/c", Range{0, -1}, "", ""},
			{"sub", Range{0, -1}, "", CodeInvalid},
			{"", Range{0, -1}, "", CodeInvalid},
			{"link", Range{0, -1}, "", CodeInvalid},
			{"none", Range{0, -1}, "", CodeNotFound},
		} {
			var out bytes.Buffer
			err := anna.Cat(t.Context(), grange.Ref{Name: "tree", Path: c.path}, c.part, &out)
			code := ""
			if err != nil {
				code = ErrorOf(err).Code
			}
			if out.String() != c.text || code != c.code {
				t.Errorf("%s %+v: %q, %v, want %q, %s", c.path, c.part, &out, err, c.text, c.code)
			}
		}
	})
}

// What breaks off is gone on with, and in the end has its error.
func TestCatGoesOn(t *testing.T) {
	const text = "0123456789"
	for stop, want := range map[int]string{-1: text, 6: "012345"} {
		asked := 0
		c := Local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked++
			from, err := strconv.Atoi(r.FormValue("from"))
			if err != nil {
				t.Error(err)
			}
			if from == stop {
				failure(nil, fmt.Errorf("no more: %w", grange.ErrUnreachable))(w)
				return
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(text)-from))
			_, _ = w.Write([]byte(text[from:min(len(text), from+3)]))
		}))
		var out bytes.Buffer
		err := c.Cat(t.Context(), grange.Ref{Name: "a"}, Range{0, -1}, &out)
		if out.String() != want || (err != nil) != (stop >= 0) || asked < 3 || asked > 4 {
			t.Errorf("stopped at %d: %q after %d requests, %v", stop, &out, asked, err)
		}
		c.Close()
	}
}
