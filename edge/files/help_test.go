package files

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/pure/manifest"
)

// tree makes files from lines: "d name [mode]", "f name [mode] [contents]", "l name target".
func tree(t *testing.T, lines ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	must(t, os.Mkdir(dir, 0o755))
	grow(t, dir, lines...)
	return dir
}

func grow(t *testing.T, dir string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		part := append(strings.SplitN(line, " ", 4), "", "")
		at := filepath.Join(dir, part[1])
		mode := os.FileMode(0o644)
		if part[0] == "d" {
			mode = 0o755
		}
		if part[0] != "l" && part[2] != "" {
			var bits uint32
			_, err := fmt.Sscanf(part[2], "%o", &bits)
			must(t, err)
			mode = os.FileMode(bits & 0o777)
			if bits&0o1000 != 0 {
				mode |= os.ModeSticky
			}
			if bits&0o4000 != 0 {
				mode |= os.ModeSetuid
			}
			if bits&0o2000 != 0 {
				mode |= os.ModeSetgid
			}
		}
		switch part[0] {
		case "d":
			must(t, os.MkdirAll(at, 0o755))
			must(t, os.Chmod(at, mode))
		case "f":
			must(t, os.MkdirAll(filepath.Dir(at), 0o755))
			must(t, os.WriteFile(at, []byte(part[3]), 0o600))
			must(t, os.Chmod(at, mode))
		case "l":
			must(t, os.MkdirAll(filepath.Dir(at), 0o755))
			must(t, os.Symlink(part[2], at))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// paths lists what a source yields, directories with a '/' at their end, and
// what it skipped.
func paths(t *testing.T, dir string, o SourceOptions) (got, skipped []string) {
	t.Helper()
	o.Skip = func(p Problem) { skipped = append(skipped, string(p.Path)) }
	s, err := NewSource(dir, o)
	must(t, err)
	for item, err := range s.Items(context.Background()) {
		must(t, err)
		path := string(item.Path)
		if item.Entry.Kind == manifest.KindDir {
			path += "/"
		}
		if (item.Open != nil) != (item.Entry.Kind == manifest.KindFile) {
			t.Errorf("%q: a %s whose Open is set: %v", path, item.Entry.Kind, item.Open != nil)
		}
		got = append(got, path)
	}
	return got, skipped
}

func wantPaths(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// restore copies what a source yields into a sink, and returns what either skipped.
func restore(t *testing.T, from, to string, o SourceOptions) []Problem {
	t.Helper()
	var problems []Problem
	o.Skip = func(p Problem) { problems = append(problems, p) }
	source, err := NewSource(from, o)
	must(t, err)
	sink, err := NewSink(to, SinkOptions{Single: source.Single(), Skip: o.Skip})
	must(t, err)
	for item, err := range source.Items(context.Background()) {
		must(t, err)
		switch item.Entry.Kind {
		case manifest.KindDir:
			must(t, sink.Dir(item.Path, item.Entry))
		case manifest.KindLink:
			must(t, sink.Link(item.Path, item.Entry))
		case manifest.KindFile:
			f, err := item.Open()
			if err != nil {
				o.Skip(Problem{item.Path, err})
				continue
			}
			part, err := sink.File(item.Path, f.Entry())
			must(t, err)
			_, err = io.Copy(part, f)
			must(t, err)
			must(t, part.Commit())
			must(t, f.Close())
		}
	}
	must(t, sink.Finish(context.Background()))
	return problems
}

// differences lists how two trees differ.
func differences(t *testing.T, a, b string) []string {
	t.Helper()
	var got []string
	for d, err := range Compare(context.Background(), a, b) {
		must(t, err)
		got = append(got, d.String())
	}
	return got
}

func wantEqual(t *testing.T, a, b string) {
	t.Helper()
	for _, d := range differences(t, a, b) {
		t.Error(d)
	}
}

func setMtime(t *testing.T, path string, sec, nsec int64) {
	t.Helper()
	must(t, os.Chtimes(path, time.Time{}, time.Unix(sec, nsec)))
}

// goSource returns the folder with the source of Go's own packages.
func goSource(tb testing.TB) string {
	tb.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	src := filepath.Join(strings.TrimSpace(string(out)), "src")
	if _, statErr := os.Stat(src); err != nil || statErr != nil {
		tb.Skip("no Go source here")
	}
	return src
}
