//go:build unix

package trial

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is who has no rights.
const nobody = 65534

// lodge is a directory in which a household without rights may do as it likes.
func lodge(t *testing.T) (root string, cred *syscall.Credential) {
	t.Helper()
	root = room(t)
	if os.Getuid() != 0 {
		return root, nil // whoever runs this has none already
	}
	ok(t, os.Chown(root, nobody, nobody))
	return root, &syscall.Credential{Uid: nobody, Gid: nobody}
}

func TestNoPermission(t *testing.T) {
	rng := dice(t)
	root, cred := lodge(t)
	bo := found(t, room(t), "bo")
	bo.start()
	anna := newHouse(t, root, "anna")
	anna.cred = cred
	anna.must(0, "init", "--name", "anna", "--phrase-file", anna.words)
	anna.start()
	befriend(anna, bo)

	tree := filepath.Join(root, "tree")
	plant(t, rng, tree)
	if cred != nil {
		ok(t, filepath.WalkDir(tree, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, nobody, nobody)
		}))
	}
	at := time.Unix(1_000_000_000, 0)
	write(t, filepath.Join(tree, "secret"), []byte("not for you"))
	write(t, filepath.Join(tree, "vault", "gold"), []byte("not for you"))
	ok(t, os.Chmod(filepath.Join(tree, "secret"), 0))
	ok(t, os.Chmod(filepath.Join(tree, "vault"), 0))
	ok(t, os.Chtimes(tree, at, at))
	got := anna.put(5, tree, "--name", "tree")
	var named []string
	for _, p := range got.Problems {
		named = append(named, p.Path)
		if !strings.Contains(p.Error, "permission") {
			t.Errorf("%s: %s", p.Path, p.Error)
		}
	}
	if all := strings.Join(named, " "); len(named) != 2 || !strings.Contains(all, "secret") || !strings.Contains(all, "vault") {
		t.Errorf("problems: %v", named)
	}
	ok(t, os.Chmod(filepath.Join(tree, "secret"), 0o600))
	ok(t, os.Chmod(filepath.Join(tree, "vault"), 0o700))
	back := filepath.Join(root, "back")
	anna.must(0, "get", "tree", back)
	// All the rest is there: a directory that could not be read may stand there empty.
	ok(t, os.RemoveAll(filepath.Join(tree, "vault")))
	ok(t, os.RemoveAll(filepath.Join(back, "vault")))
	ok(t, os.Remove(filepath.Join(tree, "secret")))
	if _, err := os.Lstat(filepath.Join(back, "secret")); !os.IsNotExist(err) {
		t.Errorf("a file that could not be read is there: %v", err)
	}
	ok(t, os.Chtimes(tree, at, at))
	ok(t, os.Chtimes(back, at, at))
	same(t, tree, back)

	t.Run("read-only destination", func(t *testing.T) {
		shelf := filepath.Join(root, "shelf")
		ok(t, os.Mkdir(shelf, 0o555))
		r := anna.must(1, "get", "tree", filepath.Join(shelf, "new"))
		if e := anna.complaint(r); !strings.Contains(e.Message, "permission") {
			t.Errorf("%+v", e)
		}
		r = anna.must(1, "get", "tree", shelf) // it is there, and takes nothing
		if e := anna.complaint(r); !strings.Contains(e.Message, "permission") {
			t.Errorf("%+v", e)
		}
		if left, err := os.ReadDir(shelf); err != nil || len(left) > 0 {
			t.Errorf("%v %v", left, err)
		}
		anna.alive()
	})
	t.Run("a directory that is not ours", func(t *testing.T) {
		theirs := filepath.Join(root, "theirs")
		bo.must(0, "--dir", theirs, "init", "--name", "theirs", "--phrase-file", theirs+".words")
		ok(t, os.Chmod(theirs, 0))
		guest := newHouse(t, root, "guest")
		guest.dir, guest.cred = theirs, cred
		for _, args := range [][]string{
			{"status"},
			{"run", "--no-mdns"},
			{"init", "--name", "x", "--phrase-file", guest.words},
			{"put", tree},
			{"recover", "--phrase-file", anna.words, "--from", bo.addr},
		} {
			r := guest.must(1, args...)
			if e := guest.complaint(r); !strings.Contains(e.Message, "permission") {
				t.Errorf("%s: %+v", args[0], e)
			}
		}
		if _, err := os.Lstat(guest.words); !os.IsNotExist(err) {
			t.Errorf("words that open nothing were left: %v", err)
		}
		ok(t, os.Chmod(theirs, 0o700))
		if os.Getuid() == 0 { // and one in which all can look around
			ok(t, os.Chmod(theirs, 0o755))
			r := guest.run("status")
			if r.code != 1 || strings.Contains(r.errs, "panic") {
				t.Errorf("%v", r)
			}
		}
	})
}
