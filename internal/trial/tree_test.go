//go:build unix

package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/grange-grid/grange/edge/files"
)

// noise is bytes that do not shrink.
func noise(rng *rand.Rand, n int) []byte {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rng.Uint32())
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b) // it never fails
	return b
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	ok(t, os.MkdirAll(filepath.Dir(name), 0o755))
	ok(t, os.WriteFile(name, data, 0o644))
}

// plant makes a small tree of all that is stored.
func plant(t *testing.T, rng *rand.Rand, dir string) {
	t.Helper()
	write(t, filepath.Join(dir, "letters", "empty"), nil)
	write(t, filepath.Join(dir, "letters", "to bo"), bytes.Repeat([]byte("Dear Bo, "), 2000))
	for i := range 4 {
		write(t, filepath.Join(dir, "photos", fmt.Sprintf("%d.jpg", i)), noise(rng, 100_000+rng.IntN(300_000)))
	}
	ok(t, os.MkdirAll(filepath.Join(dir, "letters", "none yet"), 0o700))
	ok(t, os.Symlink("to bo", filepath.Join(dir, "letters", "latest")))
	ok(t, os.Chmod(filepath.Join(dir, "photos", "0.jpg"), 0o600))
	old := time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)
	ok(t, os.Chtimes(filepath.Join(dir, "photos"), old, old))
}

// grow makes a tree of the files of another and some new ones.
func grow(t *testing.T, rng *rand.Rand, from, to string) {
	t.Helper()
	ok(t, filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		if rng.IntN(8) == 0 {
			return nil
		}
		return os.Link(path, filepath.Join(to, rel))
	}))
	for range 3 {
		write(t, filepath.Join(to, "new", fmt.Sprintf("%x", rng.Uint32())), noise(rng, 1+rng.IntN(400_000)))
	}
}

// same fails unless two trees are equal.
func same(t *testing.T, a, b string) {
	t.Helper()
	told := 0
	for d, err := range files.Compare(context.Background(), a, b) {
		ok(t, err)
		if told++; told <= 5 {
			t.Errorf("%s and %s: %v", a, b, d)
		}
	}
	if told > 0 {
		t.FailNow()
	}
}

// restores fails unless a version comes back as a tree is. It leaves nothing behind.
func (h *house) restores(what, like string, more ...string) {
	h.t.Helper()
	back := filepath.Join(filepath.Dir(h.dir), "back of "+h.name)
	h.must(0, append([]string{"get", what, back}, more...)...)
	same(h.t, like, back)
	forget(h.t, back)
}

func forget(t *testing.T, dir string) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	}))
	ok(t, os.RemoveAll(dir))
}

// These are what commands say with --json.
type version struct {
	Name                       string
	Number                     int
	Files, Bytes, Stored, Same int64
	Worth                      struct {
		Readable                             bool
		Survives, Households, Pieces, Wanted int
		Text                                 string
		At                                   map[string]int64
	}
	Problems, Special []struct{ Path, Error string }
	Refused           map[string]string
}

type checked struct {
	Findings []struct {
		Partner                          string
		OK, Missing, Corrupt, Away, Gone int
	}
	Segments, Pieces, Unheld int
	Mended                   *struct {
		Segments, Whole, Unreadable, Pieces int
		Refused                             map[string]string
	}
}

type pact struct {
	Partner, Name, ID        string
	Gives, Given, Has, Keeps int64
}

// put stores a tree and returns the version.
func (h *house) put(code int, args ...string) version {
	h.t.Helper()
	var out []version
	h.value(&out, code, append([]string{"put"}, args...)...)
	if len(out) != 1 {
		h.t.Fatalf("put made %d versions", len(out))
	}
	return out[0]
}

func (r result) version(t *testing.T) version {
	t.Helper()
	var out []version
	if err := json.Unmarshal(r.out, &out); err != nil || len(out) != 1 {
		t.Fatalf("%v: %d versions\n%v", err, len(out), r)
	}
	return out[0]
}

// healthy fails unless every holder proves every piece.
func (h *house) healthy() {
	h.t.Helper()
	var c checked
	h.value(&c, 0, "check")
	for _, f := range c.Findings {
		if f.Missing+f.Corrupt+f.Away+f.Gone > 0 || f.OK == 0 {
			h.t.Fatalf("%s: %+v", h.name, f)
		}
	}
	if c.Unheld > 0 || c.Segments == 0 {
		h.t.Fatalf("%s: %+v", h.name, c)
	}
}

func (h *house) pacts() []pact {
	h.t.Helper()
	var out []pact
	h.value(&out, 0, "pacts")
	return out
}

// pactWith is the one pact that a household has with another.
func (h *house) pactWith(name string) pact {
	h.t.Helper()
	all := h.pacts()
	found := slices.DeleteFunc(slices.Clone(all), func(p pact) bool { return p.Name != name })
	if len(found) != 1 {
		h.t.Fatalf("%s has %d pacts with %s: %+v", h.name, len(found), name, all)
	}
	return found[0]
}

// agree fails unless two households have the same pact, and each keeps at least
// what the other counts on. It may be more: a lease whose answer was lost in a crash, or
// what was mended elsewhere while its holder was away, is kept until it lapses.
func agree(a, b *house) {
	a.t.Helper()
	pa, pb := a.pactWith(b.name), b.pactWith(a.name)
	if pa.ID != pb.ID || pa.Gives != pb.Given || pa.Given != pb.Gives {
		a.t.Fatalf("%s has %+v\n%s has %+v", a.name, pa, b.name, pb)
	}
	if pa.Has > pb.Keeps || pb.Has > pa.Keeps {
		a.t.Errorf("%s has %+v\n%s has %+v", a.name, pa, b.name, pb)
	}
	if over := pb.Keeps - pa.Has; over > 0 {
		a.t.Logf("%s keeps %d bytes that %s counts on no more", b.name, over, a.name)
	}
}

// agreeExactly is agree where nothing may be left over.
func agreeExactly(a, b *house) {
	a.t.Helper()
	agree(a, b)
	pa, pb := a.pactWith(b.name), b.pactWith(a.name)
	if pa.Has != pb.Keeps || pb.Has != pa.Keeps {
		a.t.Errorf("%s has %+v\n%s has %+v", a.name, pa, b.name, pb)
	}
}
