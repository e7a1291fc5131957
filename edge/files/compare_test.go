//go:build unix

package files

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/grange-grid/grange/core"
)

func TestCompare(t *testing.T) {
	big := strings.Repeat("0123456789", 20_000)
	base := []string{"f a/x 644 one", "f a!", "l l to", "d e", "f big 644 " + big, "f .grangeignore 644 *", "f c/CACHEDIR.TAG 644 " + tagSignature, "f c/x 644 y", "f s 4755 s"}
	for name, c := range map[string]struct {
		do   func(b string) error
		want []string
	}{
		"equal":           {func(string) error { return nil }, nil},
		"only in a":       {func(b string) error { return os.RemoveAll(b + "/a") }, []string{`"a": only in a`, `"a/x": only in a`}},
		"only in b":       {func(b string) error { return os.Mkdir(b+"/z", 0o755) }, []string{`"z": only in b`}},
		"between":         {func(b string) error { return os.WriteFile(b+"/a/w", nil, 0o644) }, []string{`"a/w": only in b`}},
		"mode of a file":  {func(b string) error { return os.Chmod(b+"/a/x", 0o600) }, []string{`"a/x": mode -rw-r--r-- in a, -rw------- in b`}},
		"sticky bit":      {func(b string) error { return os.Chmod(b+"/e", 0o755|os.ModeSticky) }, []string{`"e": mode -rwxr-xr-x in a, trwxr-xr-x in b`}},
		"set-user-id":     {func(b string) error { return os.Chmod(b+"/s", 0o755) }, nil},
		"mode of root":    {func(b string) error { return os.Chmod(b, 0o700) }, []string{`"": mode -rwxr-xr-x in a, -rwx------ in b`}},
		"size":            {func(b string) error { return os.WriteFile(b+"/a/x", []byte("three"), 0) }, []string{`"a/x": 3 bytes in a, 5 in b`}},
		"kind":            {func(b string) error { return errors.Join(os.Remove(b+"/e"), os.WriteFile(b+"/e", nil, 0o600)) }, []string{`"e": dir in a, file in b`}},
		"target":          {func(b string) error { return errors.Join(os.Remove(b+"/l"), os.Symlink("two", b+"/l")) }, []string{`"l": target "to" in a, "two" in b`}},
		"ignored file":    {func(b string) error { return os.WriteFile(b+"/a!", []byte("!"), 0) }, []string{`"a!": 0 bytes in a, 1 in b`}},
		"in a cache":      {func(b string) error { return os.WriteFile(b+"/c/x", []byte("z"), 0) }, []string{`"c/x": contents differ within bytes 0 to 1`}},
		"a FIFO":          {func(b string) error { return syscall.Mkfifo(b+"/p", 0o600) }, []string{`"p": in b: a FIFO, not a file, directory or symlink: invalid`}},
		"one byte of big": {func(b string) error { return os.WriteFile(b+"/big", []byte(big[:150_000]+"X"+big[150_001:]), 0) }, []string{`"big": contents differ within bytes 131072 to 196608`}},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tree(t, base...), tree(t, base...)
			must(t, c.do(b))
			for _, dir := range []string{a, b} {
				must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
					if err == nil && d.Type()&os.ModeSymlink == 0 {
						setMtime(t, path, 1000, 1)
					}
					return err
				}))
			}
			if got := differences(t, a, b); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			setMtime(t, filepath.Join(b, "a!"), 1000, 2)
			if got, want := differences(t, a, b), `"a!": time 1000.000000001 in a, 1000.000000002 in b`; !slices.Contains(got, want) {
				t.Errorf("got %q, want %q among it", got, want)
			}
		})
	}
}

func TestCompareSingle(t *testing.T) {
	dir := tree(t, "f one 644 x", "f two 644 y", "d dir")
	setMtime(t, dir+"/one", 1, 1)
	setMtime(t, dir+"/two", 1, 1)
	wantEqual(t, dir+"/one", dir+"/one")
	if got := differences(t, dir+"/one", dir+"/two"); !slices.Equal(got, []string{`"": contents differ within bytes 0 to 1`}) {
		t.Errorf("%q", got)
	}
	if got := differences(t, dir+"/one", dir+"/dir"); len(got) == 0 {
		t.Error("a file is equal to a directory")
	}
}

func TestCompareEnds(t *testing.T) {
	a, b := tree(t, "f x", "f y"), tree(t)
	n := 0
	for range Compare(t.Context(), a, b) {
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d after a break", n)
	}
	for _, err := range Compare(t.Context(), a, b+"/gone") {
		if !errors.Is(err, core.ErrNotExist) {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var last error
	for _, err := range Compare(ctx, a, a) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("%v", last)
	}
}
