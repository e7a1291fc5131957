//go:build unix

package trial

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// recordBegins is the magic of a record in a pack (docs/SPEC.md).
var recordBegins = []byte{0x89, 'g', 'r', 'b'}

// stretch is where something lies in a file.
type stretch struct{ from, to int }

// pieceIn chooses a piece in a holder's one pack: a record that is too long to be anything else.
func (h *house) pieceIn(rng *rand.Rand) (pack string, where stretch) {
	h.t.Helper()
	pack = filepath.Join(h.dir, "pieces", "001.pack")
	raw, err := os.ReadFile(pack)
	ok(h.t, err)
	var pieces []stretch
	for at := bytes.Index(raw, recordBegins); at >= 0; {
		end := len(raw)
		if next := bytes.Index(raw[at+1:], recordBegins); next >= 0 {
			end = at + 1 + next
		}
		if end-at > 30_000 && !h.damaged[at] { // else it is of no use any more
			pieces = append(pieces, stretch{at, end})
		}
		if at = end; at == len(raw) {
			break
		}
	}
	if len(pieces) < 3 {
		h.t.Fatalf("%d pieces are in %s's pack", len(pieces), h.name)
	}
	where = pieces[rng.IntN(len(pieces))]
	if h.damaged == nil {
		h.damaged = map[int]bool{}
	}
	h.damaged[where.from] = true
	return pack, where
}

// flip changes one bit in the middle of a piece.
func (h *house) flip(rng *rand.Rand) {
	h.t.Helper()
	pack, at := h.pieceIn(rng)
	f, err := os.OpenFile(pack, os.O_RDWR, 0)
	ok(h.t, err)
	defer f.Close()
	var b [1]byte
	where := int64(at.from + 1000 + rng.IntN(at.to-at.from-2000))
	_, err = f.ReadAt(b[:], where)
	ok(h.t, err)
	b[0] ^= 1 << rng.IntN(8)
	_, err = f.WriteAt(b[:], where)
	ok(h.t, err)
	h.t.Logf("flipped a bit of byte %d of %s's pack", where, h.name)
}

// cut ends the pack in the middle of a piece.
func (h *house) cut(rng *rand.Rand) {
	h.t.Helper()
	pack, at := h.pieceIn(rng)
	where := int64(at.from + 1000 + rng.IntN(at.to-at.from-2000))
	ok(h.t, os.Truncate(pack, where))
	h.t.Logf("cut %s's pack at byte %d", h.name, where)
}

func TestPieceRots(t *testing.T) {
	for _, tc := range []struct {
		name    string
		running bool
		damage  func(*house, *rand.Rand)
	}{
		{"flipped while it is stopped", false, (*house).flip},
		{"flipped while it runs", true, (*house).flip},
		{"cut while it is stopped", false, (*house).cut},
		{"cut while it runs", true, (*house).cut},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rng := dice(t)
			v := village(t, "anna", "bo", "cleo", "dan")
			anna, bo := v[0], v[1]
			tree := filepath.Join(filepath.Dir(anna.dir), "tree")
			plant(t, rng, tree)
			anna.put(0, tree, "--name", "tree")
			anna.healthy()
			for range 3 {
				if tc.running {
					tc.damage(bo, rng)
				} else {
					bo.kill()
					tc.damage(bo, rng)
					bo.start()
				}
				anna.restores("tree", tree) // it is not served, or not taken
				var c checked
				anna.value(&c, 5, "check")
				for _, f := range c.Findings {
					if bad := f.Missing + f.Corrupt; (f.Partner == "bo") != (bad > 0) || f.Away+f.Gone > 0 {
						t.Errorf("found: %+v", f)
					}
				}
				anna.restores("tree", tree)
				anna.value(&c, 0, "check", "--mend")
				if m := c.Mended; m == nil || m.Pieces == 0 || m.Whole != m.Segments {
					t.Errorf("mended: %+v", m)
				}
				anna.healthy()
				bo.alive()
			}
			// Bo's copy of the state is whole with the next version at the latest.
			anna.put(0, tree, "--name", "again")
			anna.kill()
			v[2].kill()
			back := newHouse(t, filepath.Dir(anna.dir), "back")
			back.must(0, "recover", "--phrase-file", anna.words, "--from", bo.addr)
			back.restores("tree", tree)
			back.restores("again", tree)
		})
	}
}

// TestRottenPieceIsNotServed has one holder and no spare: what is rotten cannot be had,
// and is missed rather than made up.
func TestRottenPieceIsNotServed(t *testing.T) {
	rng := dice(t)
	v := village(t, "anna", "bo")
	anna, bo := v[0], v[1]
	root := filepath.Dir(anna.dir)
	tree := filepath.Join(root, "tree")
	plant(t, rng, tree)
	anna.put(0, tree, "--name", "tree")
	bo.flip(rng)
	back := filepath.Join(root, "back")
	r := anna.run("get", "tree", back)
	if r.code != 5 && r.code != 1 {
		t.Fatal(r)
	}
	missed := 0
	ok(t, filepath.WalkDir(tree, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(tree, path)
		if err != nil {
			return err
		}
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(back, rel))
		switch {
		case os.IsNotExist(err):
			missed++
		case err != nil:
			return err
		case !bytes.Equal(want, got):
			t.Errorf("%s came back with other bytes", rel)
		}
		return nil
	}))
	if missed == 0 {
		t.Error("everything came back: nothing was rotten")
	}
	bo.alive()
	// Put again it is sent again, and whole.
	anna.must(5, "check", "--mend")
	anna.put(0, tree, "--name", "tree")
	anna.restores("tree", tree)
}

// TestHolderLearnsNothing looks through all that lies on a holder's disk.
func TestHolderLearnsNothing(t *testing.T) {
	rng := dice(t)
	v := village(t, "anna", "bo")
	anna, bo := v[0], v[1]
	tree := filepath.Join(filepath.Dir(anna.dir), "Tagebuch")
	plant(t, rng, tree)
	loud := noise(rng, 200_000)
	write(t, filepath.Join(tree, "Geheimnis", "Liebesbrief.txt"), bytes.Repeat([]byte("Niemand darf das lesen. "), 5000))
	write(t, filepath.Join(tree, "Geheimnis", "Tonband.raw"), loud)
	ok(t, os.Symlink("Wohin-es-geht", filepath.Join(tree, "Verweis")))
	anna.put(0, tree, "--name", "Familienarchiv")
	anna.put(0, tree, "--name", "Zweitarchiv")
	bo.stop() // so that what was in its memory lies on its disk
	secret := map[string][]byte{
		"text": []byte("Niemand darf"), "bytes": loud[5000:5016], "later bytes": loud[150_000:150_016],
		"a file's name": []byte("Liebesbrief"), "another's": []byte("Tonband"), "a directory's name": []byte("Geheimnis"),
		"a version's name": []byte("Familienarchiv"), "another version's": []byte("Zweitarchiv"),
		"the tree's name": []byte("Tagebuch"), "a link": []byte("Verweis"), "a link's target": []byte("Wohin-es-geht"),
	}
	if found := look(t, bo.dir, secret); len(found) > 0 {
		t.Errorf("on bo's disk: %v", found)
	}
	// That the looking works: what a partner does know is found, and so is what
	// the owner has on its own disk.
	if len(look(t, bo.dir, map[string][]byte{"name": []byte("anna")})) == 0 {
		t.Error("not even the partner's name is found on bo's disk")
	}
	anna.stop()
	if len(look(t, anna.dir, secret)) == 0 {
		t.Error("nothing is found on the owner's own disk")
	}
}

// look returns in which files what was found.
func look(t *testing.T, dir string, secret map[string][]byte) (found []string) {
	t.Helper()
	files := 0
	ok(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		files++
		raw, err := os.ReadFile(path)
		for what, bytesOf := range secret {
			if bytes.Contains(raw, bytesOf) || bytes.Contains([]byte(path), bytesOf) {
				found = append(found, what+" in "+filepath.Base(path))
			}
		}
		return err
	}))
	if files < 4 {
		t.Errorf("%d files in %s", files, dir)
	}
	return found
}
