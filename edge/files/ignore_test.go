package files

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ignoreCases: the ignore files of a tree, by directory, and what they leave
// out. A path that ends in '/' is a directory.
var ignoreCases = []struct {
	name  string
	files map[string]string
	out   []string
	in    []string
}{
	{
		"names anywhere",
		map[string]string{"": "*.o\nbuild\n"},
		[]string{"x.o", "d/y.o", "build", "d/build/", "build/deep/x"},
		[]string{"x.c", "d/builds", ".o.c"},
	},
	{
		"comments, blank lines and escapes",
		map[string]string{"": "# no\n\n   \n\\#yes\n\\!bang\nspace\\ \ntrim   \nend\\\n"},
		[]string{"#yes", "!bang", "space ", "trim"},
		[]string{"# no", "no", "space", "trim   ", "end", "end\\"},
	},
	{"CRLF and BOM", map[string]string{"": "\xef\xbb\xbfone\r\ntwo\r\n"}, []string{"one", "two"}, []string{"one\r"}},
	{"CR alone stays", map[string]string{"": "x\r \r\n"}, []string{"x\r"}, []string{"x"}},
	{"no newline at the end", map[string]string{"": "one\ntwo"}, []string{"one", "two"}, nil},
	{"anchored", map[string]string{"": "/top\na/b\n"}, []string{"top", "a/b", "a/b/c"}, []string{"d/top", "d/a/b"}},
	{"directories only", map[string]string{"": "out/\n/a/b/\n"}, []string{"out/", "d/out/", "out/x", "a/b/"}, []string{"d/e/out", "d/a/b/"}},
	{"the last line wins", map[string]string{"": "*.log\n!keep.log\n/d/keep.log\n"}, []string{"a.log", "d/keep.log"}, []string{"keep.log", "e/keep.log"}},
	{"nothing comes back below a directory that is out", map[string]string{"": "d/\n!d/keep\n"}, []string{"d/keep", "d/"}, nil},
	{"the nearest file wins", map[string]string{"": "*.x\n", "d": "!*.x\n/y\n", "d/e": "*.x\n"}, []string{"a.x", "d/e/a.x", "d/y"}, []string{"d/a.x", "y", "d/e/y"}},
	{"gap before", map[string]string{"": "**/n\n**/p/q\n"}, []string{"n", "d/n", "d/e/n", "p/q", "d/p/q"}, []string{"nn", "p/d/q"}},
	{"gap behind", map[string]string{"": "a/**\n"}, []string{"a/x", "a/x/y"}, []string{"a/", "b/a/x"}},
	{"gap between", map[string]string{"": "a/**/b\n"}, []string{"a/b", "a/x/b", "a/x/y/b"}, []string{"a/x/bb", "b", "x/a/b"}},
	{"gap alone", map[string]string{"d": "**\n", "e": "/**\n", "f": "**/\n"}, []string{"d/x", "e/x", "f/x/"}, []string{"d/", "e/", "f/", "f/y"}},
	{"stars that are no gap", map[string]string{"": "/x**y/z\n**.t\n"}, []string{"xay/z", "xy/z", "d/u.t"}, []string{"xa/ay/z"}},
	{"three stars", map[string]string{"": "a/***/b\n"}, []string{"a/b", "a/x/y/b"}, nil},
	{"a star stays in its directory", map[string]string{"": "a/*/c\n/*.t\n"}, []string{"a/b/c", "x.t"}, []string{"a/c", "a/b/b/c", "d/x.t"}},
	{"question mark is one byte", map[string]string{"": "a?c\n"}, []string{"abc", "a?c", "a\xffc"}, []string{"ac", "aéc", "abbc"}},
	{
		"sets",
		map[string]string{"": "[a-c]1\n[!a-c]2\n[]x]3\n[a\\]]4\n[[:digit:][:upper:]]5\n[a-]6\n[^z]7\n"},
		[]string{"a1", "c1", "d2", "]3", "x3", "]4", "a4", "75", "Z5", "-6", "a6", "y7"},
		[]string{"d1", "b2", "y3", "\\4", "z5", "b6", "z7"},
	},
	{"broken sets match nothing", map[string]string{"": "[ab\n[[:nope:]]\nx[\n"}, nil, []string{"[ab", "a", "n", "x["}},
	{"no set has a slash", map[string]string{"": "a[/]b\nc[!/]d\n"}, []string{"cxd"}, []string{"a/b", "a[/]b", "c/d", "e/cxd"}},
	{"case counts", map[string]string{"": "Read*\n"}, []string{"ReadMe"}, []string{"readme"}},
	{"what cannot match", map[string]string{"": "/\n!\n//x\nd//e\n"}, nil, []string{"x", "d/e", "!"}},
	{"bytes", map[string]string{"": "\xff*\n"}, []string{"\xffx"}, []string{"x"}},
}

// ignoredInWalk asks for each directory on the way, as a walk does.
func ignoredInWalk(files map[string]string, path string) bool {
	isDir := strings.HasSuffix(path, "/")
	parts := strings.Split(strings.TrimSuffix(path, "/"), "/")
	var here *rules
	for i := range parts {
		dir := strings.Join(parts[:i], "/")
		if text, ok := files[dir]; ok {
			base := len(dir)
			if base > 0 {
				base++
			}
			here = &rules{up: here, base: base, list: parseIgnore([]byte(text))}
		}
		if here.ignores(strings.Join(parts[:i+1], "/"), i < len(parts)-1 || isDir) {
			return true
		}
	}
	return false
}

func TestIgnore(t *testing.T) {
	for _, c := range ignoreCases {
		t.Run(c.name, func(t *testing.T) {
			for _, path := range c.out {
				if !ignoredInWalk(c.files, path) {
					t.Errorf("%q is stored", path)
				}
			}
			for _, path := range c.in {
				if ignoredInWalk(c.files, path) {
					t.Errorf("%q is left out", path)
				}
			}
			all := slices.Concat(c.out, c.in)
			want := gitIgnores(t, c.files, all)
			for i, path := range all {
				if got := i < len(c.out); got != want[i] {
					t.Errorf("%q: the table says out=%v, git says %v", path, got, want[i])
				}
			}
		})
	}
}

// TestIgnoreAsGit asks git about random patterns over a few names.
func TestIgnoreAsGit(t *testing.T) {
	random := rand.New(rand.NewPCG(4726, 1))
	pieces := []string{"a", "b", "c", "a", "b", "*", "**", "?", "/", "/", "[ab]", "[!a]", "[a-b", "\\b", "\\*", "[[:alpha:]]", "]", " ", "*", "**/", "/**"}
	// Git takes "a**/" for "a", a gap and "/", against its manual, by which these
	// are single stars.
	inWord := regexp.MustCompile(`([^/*])\*\*+`)
	var paths []string
	for _, a := range []string{"a", "b", "ab", "*", "a b"} {
		paths = append(paths, a+"/")
		for _, b := range []string{"a", "b", "cab"} {
			paths = append(paths, a+"/"+b+"/", a+"/"+b+"/a", a+"/"+b+"/abc", a+"/"+b+"/b/c", a+"/f"+b)
		}
	}
	rounds := 150
	if testing.Short() {
		rounds = 30
	}
	for range rounds {
		files := map[string]string{}
		for _, dir := range []string{"", "a", "b/b"} {
			var text strings.Builder
			for range 1 + random.IntN(4) {
				if random.IntN(4) == 0 {
					text.WriteByte('!')
				}
				var line string
				for range 1 + random.IntN(5) {
					line += pieces[random.IntN(len(pieces))]
				}
				text.WriteString(inWord.ReplaceAllString(line, "$1*") + "\n")
			}
			files[dir] = text.String()
		}
		want := gitIgnores(t, files, paths)
		for i, path := range paths {
			if got := ignoredInWalk(files, path); got != want[i] {
				t.Errorf("%q with %q: left out %v, git says %v", path, files, got, want[i])
			}
		}
		if t.Failed() { // one round is enough to read
			return
		}
	}
}

// gitIgnores asks git which paths of a tree its ignore files leave out.
func gitIgnores(t *testing.T, files map[string]string, paths []string) []bool {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("no git here to compare with")
	}
	dir := t.TempDir()
	run := func(stdin []byte, args ...string) []byte {
		cmd := exec.Command(git, append([]string{"-c", "core.ignorecase=false", "-c", "core.excludesfile=/dev/null"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_DIR="+filepath.Join(dir, ".git"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		cmd.Stdin = bytes.NewReader(stdin)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if exit := (*exec.ExitError)(nil); err != nil && (!asExit(err, &exit) || exit.ExitCode() != 1) {
			t.Fatalf("git %v: %v\n%s", args, err, &stderr)
		}
		return out
	}
	run(nil, "init", "-q", "--template=")
	var input []byte
	for _, path := range paths {
		at := filepath.Join(dir, filepath.Dir(strings.TrimSuffix(path, "/")))
		if strings.HasSuffix(path, "/") {
			at = filepath.Join(dir, path)
		}
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Skipf("this disk cannot hold %q: %v", path, err)
		}
		input = fmt.Appendf(input, "%s\x00", strings.TrimSuffix(path, "/")) // it looks what it is
	}
	for at, text := range files {
		at = filepath.Join(dir, at)
		if err := os.MkdirAll(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, ".gitignore"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := strings.Split(string(run(input, "check-ignore", "--no-index", "-z", "--stdin")), "\x00")
	var ignored []bool
	for _, path := range paths {
		ignored = append(ignored, slices.Contains(out, strings.TrimSuffix(path, "/")))
	}
	return ignored
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*exit = e
	return ok
}

func FuzzIgnore(f *testing.F) {
	for _, c := range ignoreCases {
		for _, text := range c.files {
			f.Add([]byte(text), "d/e/x.o")
		}
	}
	f.Add([]byte("a*a*a*a*a*a*a*a*b\n**/a/**/a/**/b\n"), strings.Repeat("a/", 40)+strings.Repeat("a", 200))
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		list := parseIgnore(text)
		ignore, decided := decide(list, path, true)
		if ignore && !decided {
			t.Fatal("left out by no line")
		}
		// A line that is put last decides wherever it matches.
		again, _ := decide(append(list, rule{segs: []string{"*"}}), path, false)
		if !again {
			t.Fatalf("%q is not matched by a star", path)
		}
	})
}
