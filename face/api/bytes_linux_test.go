package api

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/grange-grid/grange"
)

// TestNamesThatAreNotText has paths that are not UTF-8 wherever the API has paths.
// Other systems' file systems have no such names.
func TestNamesThatAreNotText(t *testing.T) {
	both(t, func(t *testing.T, anna, bo *home) {
		befriend(t, anna, bo)
		dir := filepath.Join(t.TempDir(), "caf\xe9")
		for name, text := range map[string]string{"\xff": "one", "sub\xfe/\xc3": "two", "sub\xfe/out\xe9": "three", "?": "four"} {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink("sub\xfe/\xc3", filepath.Join(dir, "link\xe9")); err != nil {
			t.Fatal(err)
		}
		_, err := anna.Put(t.Context(), PutRequest{Path: grange.Path(dir)}, nil)
		if e := ErrorOf(err); e == nil || e.Code != CodeInvalid || e.Message != `name: "caf\xe9" is not UTF-8` || !strings.Contains(e.Hint, "--name") {
			t.Errorf("put under a name that is none: %#v", err)
		}
		put, err := anna.Put(t.Context(), PutRequest{Path: grange.Path(dir), Name: "tree", Exclude: []grange.Path{"out\xe9"}}, nil)
		if err != nil || put.Files != 3 {
			t.Fatalf("put %+v, %v", put, err)
		}
		for _, c := range []struct {
			path grange.Path
			want string
		}{
			{"", `"?" "\xff" "link\xe9"->"sub\xfe/\xc3" "sub\xfe"`}, {"sub\xfe", `"\xc3"`}, {"sub\xfe/\xc3", `"\xc3"`}, {"link\xe9", `"link\xe9"->"sub\xfe/\xc3"`},
		} {
			listed(t, anna, c.path, c.want)
		}
		for _, wrong := range []string{"sub", "sub\ufffd", "sub\xff", "sub\xfe/", "\xfe/..", "/"} {
			if _, err := anna.List(t.Context(), grange.Ref{Name: "tree", Path: wrong}, nil); err == nil {
				t.Errorf("ls %q: %v", wrong, err)
			}
		}
		getBackBytes(t, anna)
	})
}

// listed lists one directory, as a stream and as one value.
func listed(t *testing.T, h *home, path grange.Path, want string) {
	t.Helper()
	show := func(entries []Entry) string {
		var names []string
		for _, e := range entries {
			name := strconv.Quote(string(e.Name))
			if e.Target != "" {
				name += "->" + strconv.Quote(string(e.Target))
			}
			names = append(names, name)
		}
		slices.Sort(names)
		return strings.Join(names, " ")
	}
	var streamed []Entry
	out, err := h.List(t.Context(), grange.Ref{Name: "tree", Path: string(path)}, func(e Entry) error {
		streamed = append(streamed, e)
		return nil
	})
	if got := show(streamed); err != nil || got != want || out.Path != path {
		t.Errorf("ls %q: %s, %+v, %v; want %s", path, got, out, err, want)
	}
	var one Listing
	err = h.get(t.Context(), "ls", url.Values{"name": {"tree"}, "path": {string(path)}}, &one)
	if got := show(one.Entries); err != nil || got != want || one.Path != path {
		t.Errorf("ls %q as one value: %s, %+v, %v; want %s", path, got, one, err, want)
	}
}

// getBackBytes restores all of a tree, a part and one file, to paths that are not text.
func getBackBytes(t *testing.T, h *home) {
	t.Helper()
	back := filepath.Join(t.TempDir(), "back\xff")
	for path, want := range map[string]map[string]string{
		"":             {"\xff": "one", "sub\xfe/\xc3": "two", "?": "four", "sub\xfe/out\xe9": ""},
		"sub\xfe":      {"\xc3": "two"},
		"sub\xfe/\xc3": {"": "two"},
	} {
		dest := grange.Path(back + strings.ReplaceAll(path, "/", "-"))
		out, err := h.Get(t.Context(), GetRequest{Name: "tree", Path: grange.Path(path), Dest: dest}, nil)
		if err != nil || out.Dest != dest {
			t.Fatalf("get %q: %+v, %v", path, out, err)
		}
		for name, text := range want {
			got, err := os.ReadFile(filepath.Join(string(dest), name))
			if string(got) != text || (err == nil) != (text != "") {
				t.Errorf("get %q: %q is %q, %v", path, name, got, err)
			}
		}
	}
	if target, err := os.Readlink(filepath.Join(back, "link\xe9")); err != nil || target != "sub\xfe/\xc3" {
		t.Errorf("the link leads to %q, %v", target, err)
	}
	for name, in := range map[string]GetRequest{"a name": {Name: "tree\xff", Dest: "/x"}, "a path": {Name: "tree", Path: "sub\xff", Dest: "/x"}} {
		want := map[string]string{"a name": CodeInvalid, "a path": CodeNotFound}[name]
		if _, err := h.Get(t.Context(), in, nil); ErrorOf(err).Code != want {
			t.Errorf("%s that there is not: %v", name, err)
		}
	}
	if _, err := h.Check(t.Context(), CheckRequest{Name: "tree\xff"}, nil); ErrorOf(err).Code != CodeInvalid {
		t.Errorf("check of a name that is not text: %v", err)
	}
	if _, err := h.Status(t.Context(), "tree\xff"); ErrorOf(err).Code != CodeInvalid {
		t.Errorf("status of a name that is not text: %v", err)
	}
}
