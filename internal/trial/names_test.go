//go:build unix

package trial

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestNamesThatPlayTricks(t *testing.T) {
	v := village(t, "anna", "bo")
	anna, root := v[0], filepath.Dir(v[0].dir)
	tree := filepath.Join(root, "tree")
	names := []string{
		"...", "..a", "a..", ".. ", "..\\up", "-rf", " ", "a\nb", "tab\t", "quo\"te", "con", "x:y", "*", "~", "%2e%2e%2f", "\x1b[31mred",
		"ümlaut", "u\u0308mlaut", strings.Repeat("n", 255), "back\\slash", ".hidden",
	}
	if runtime.GOOS == "linux" { // others' filesystems have no such names
		names = append(names, "\xff\xfe not text", "half \xc3", "\xed\xa0\x80")
	}
	for i, name := range names {
		write(t, filepath.Join(tree, "files", name), fmt.Appendf(nil, "%d %q", i, name))
		write(t, filepath.Join(tree, "dirs", name, name), fmt.Appendf(nil, "%q", name))
		ok(t, os.MkdirAll(filepath.Join(tree, "empty", name), 0o755))
		ok(t, os.MkdirAll(filepath.Join(tree, "links"), 0o755))
		ok(t, os.Symlink("../files/"+name, filepath.Join(tree, "links", name)))
	}
	for name, target := range map[string]string{
		"absolute": "/etc/passwd", "up": "../../../../../../../../etc", "dangling": "not there", "self": "self", "root": "/", "dots": "..",
		"into": "../../outside",
	} {
		ok(t, os.Symlink(target, filepath.Join(tree, name)))
	}
	ok(t, os.MkdirAll(filepath.Join(root, "outside"), 0o755))
	write(t, filepath.Join(tree, "readonly", "inside"), []byte("x"))
	ok(t, os.Chmod(filepath.Join(tree, "readonly", "inside"), 0o400))
	ok(t, os.Chmod(filepath.Join(tree, "readonly"), 0o555))
	ok(t, os.MkdirAll(filepath.Join(tree, strings.Repeat("deep/", 100)), 0o755))
	write(t, filepath.Join(tree, strings.Repeat("deep/", 100), "bottom"), []byte("here"))
	write(t, filepath.Join(tree, "empty file"), nil)
	write(t, filepath.Join(tree, "one byte"), []byte{0})
	write(t, filepath.Join(tree, "zeros"), make([]byte, 3<<20))
	for name, at := range map[string]time.Time{
		"before": time.Date(1901, 12, 14, 0, 0, 0, 999999999, time.UTC), "epoch": time.Unix(0, 0), "later": time.Date(2200, 1, 1, 0, 0, 0, 1, time.UTC),
	} {
		write(t, filepath.Join(tree, name), []byte(name))
		ok(t, os.Chtimes(filepath.Join(tree, name), at, at))
	}
	ok(t, os.Mkdir(filepath.Join(tree, "sticky"), 0o755))
	ok(t, os.Chmod(filepath.Join(tree, "sticky"), 0o777|os.ModeSticky))

	anna.put(0, tree, "--name", "tree")
	anna.restores("tree", tree)
	if left, err := os.ReadDir(filepath.Join(root, "outside")); err != nil || len(left) > 0 {
		t.Errorf("outside the tree: %v %v", left, err)
	}
	// A part of it, and one file alone.
	back := filepath.Join(root, "part")
	anna.must(0, "get", "tree/readonly", back)
	same(t, filepath.Join(tree, "readonly"), back)
	forget(t, back)
	anna.put(0, filepath.Join(tree, "one byte"), "--name", "single")
	anna.restores("single", filepath.Join(tree, "one byte"))

	// What cannot be stored is named, and the rest is stored.
	ok(t, syscall.Mkfifo(filepath.Join(tree, "files", "fifo"), 0o600))
	l, err := net.Listen("unix", filepath.Join(root, "tree", "sock"))
	ok(t, err)
	defer l.Close()
	if got := anna.put(0, tree, "--name", "tree"); len(got.Problems) != 0 || len(got.Special) != 2 {
		t.Errorf("problems: %v, special: %v", got.Problems, got.Special)
	}
	ok(t, os.Remove(filepath.Join(tree, "files", "fifo")))
	ok(t, l.Close())
	anna.must(0, "get", "tree", back)
	for _, dir := range []string{tree, back} { // the removals have moved their times
		ok(t, os.Chtimes(dir, time.Unix(1, 0), time.Unix(1, 0)))
		ok(t, os.Chtimes(filepath.Join(dir, "files"), time.Unix(1, 0), time.Unix(1, 0)))
	}
	same(t, tree, back)
}

// TestFileIsRewrittenInItsSecond changes nothing that a listing shows.
func TestFileIsRewrittenInItsSecond(t *testing.T) {
	v := village(t, "anna", "bo")
	anna, root := v[0], filepath.Dir(v[0].dir)
	tree, at := filepath.Join(root, "tree"), time.Unix(1_700_000_000, 5)
	name := filepath.Join(tree, "ledger")
	for i := range 3 {
		write(t, name, bytes.Repeat(fmt.Appendf(nil, "entry %d\n", i), 20_000))
		ok(t, os.Chtimes(name, at, at))
		anna.put(0, tree, "--name", "tree")
		anna.restores("tree", tree)
	}
}

// TestFileChangesWhileItIsRead puts a file that somebody else writes all the time.
func TestFileChangesWhileItIsRead(t *testing.T) {
	const size = 8 << 20
	a, b := bytes.Repeat([]byte("A"), size), bytes.Repeat([]byte("B"), size)
	v := village(t, "anna", "bo")
	anna, root := v[0], filepath.Dir(v[0].dir)
	tree := filepath.Join(root, "tree")
	swapped, grown := filepath.Join(tree, "swapped"), filepath.Join(tree, "grown")
	write(t, swapped, a)
	write(t, grown, nil)
	write(t, filepath.Join(tree, "quiet"), []byte("quiet"))
	at := time.Unix(1_700_000_000, 0)

	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		stopped <- func() error {
			f, err := os.OpenFile(swapped, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			g, err := os.OpenFile(grown, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer g.Close()
			for i, size := 0, int64(0); ; i++ {
				select {
				case <-stop:
					return nil
				default:
				}
				if _, err := f.WriteAt([][]byte{b, a}[i%2], 0); err != nil {
					return err
				}
				if err := os.Chtimes(swapped, at, at); err != nil { // a liar
					return err
				}
				line := fmt.Appendf(nil, "%015d\n", i)
				if _, err := g.WriteAt(line, size); err != nil {
					return err
				}
				size += int64(len(line))
			}
		}()
	}()
	blamed := 0
	for i := range 5 {
		r := anna.run("put", tree, "--name", "tree")
		if r.code != 0 && r.code != 5 {
			t.Fatal(r)
		}
		at := r.version(t)
		suspect := map[string]bool{}
		for _, p := range at.Problems {
			suspect[p.Path] = true
		}
		if (r.code == 5) != (len(suspect) > 0) {
			t.Errorf("problems %v\n%v", suspect, r)
		}
		back := filepath.Join(root, fmt.Sprintf("back%d", i))
		anna.must(0, "get", "tree", back)
		if suspect["swapped"] {
			blamed++
		} else if got, err := os.ReadFile(filepath.Join(back, "swapped")); err != nil || !bytes.Equal(got, a) && !bytes.Equal(got, b) {
			t.Errorf("%d: a file was stored as it never was, and nobody said so (%v)", i, err)
		}
		got, err := os.ReadFile(filepath.Join(back, "grown"))
		for n := 0; err == nil && n+16 <= len(got); n += 16 {
			if want := fmt.Sprintf("%015d\n", n/16); string(got[n:n+16]) != want {
				t.Fatalf("%d: the file that grows has %q at %d", i, got[n:n+16], n)
			}
		}
		if err != nil {
			t.Error(err)
		}
		forget(t, back)
	}
	close(stop)
	ok(t, <-stopped)
	if blamed == 0 {
		t.Log("the file held still each time")
	}
	anna.put(0, tree, "--name", "tree")
	anna.restores("tree", tree)
}
