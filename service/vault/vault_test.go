package vault

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

func TestPutAndRestore(t *testing.T) {
	for _, households := range []int{1, 2, 4} {
		f := newFixture(t, households)
		want := someTree()
		out := f.put(want)
		files, size := 0, 0
		for name, b := range want {
			if !strings.HasSuffix(name, "/") && !strings.Contains(name, " -> ") {
				files, size = files+1, size+len(b)
			}
		}
		if int(out.Version.Files) != files || int(out.Version.Bytes) != size || out.Version.Stored != uint64(f.m.sent) {
			t.Errorf("%d households: %d files of %d bytes, %d stored; want %d of %d, %d", households,
				out.Version.Files, out.Version.Bytes, out.Version.Stored, files, size, f.m.sent)
		}
		survives := map[int]int{1: 0, 2: 1, 4: 2}[households]
		if out.Worth.Survives != survives || !out.Worth.Readable || out.Placed != out.Wanted {
			t.Errorf("%d households: worth %+v, %d of %d pieces", households, out.Worth, out.Placed, out.Wanted)
		}
		f.sameTree(want)
	}
}

func TestRestoreSurvivesHalfOfTheHouseholds(t *testing.T) {
	f := newFixture(t, 4)
	want := someTree()
	f.put(want)
	for i := range 4 {
		for j := range i {
			f.m.homes[did(i)].away, f.m.homes[did(j)].away = true, true
			f.open()
			f.sameTree(want)
			f.m.homes[did(i)].away, f.m.homes[did(j)].away = false, false
		}
	}
	for i := range 3 {
		f.m.homes[did(i)].away = true
	}
	if _, _, err := f.get(""); err == nil {
		t.Error("restored from one household of four: the test is wrong about the code")
	}
}

func TestSameTreeAgainStoresNothing(t *testing.T) {
	f := newFixture(t, 3)
	f.put(someTree())
	before := f.m.sent
	f.open()
	out := f.put(someTree())
	if f.m.sent != before {
		t.Errorf("the second put sent %d bytes", f.m.sent-before)
	}
	if out.Version.Seq != 2 {
		t.Errorf("version %d, want 2", out.Version.Seq)
	}
	// After a recovery the books are empty but for the state; what is taken over is not sent again.
	f.forgetAllButState()
	f.home.secret = [32]byte{2}
	if err := f.v.TakeOver(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	f.put(someTree())
	if sent := f.m.sent - before; sent*100 > before {
		t.Errorf("after a recovery the same tree sent %d bytes of %d", sent, before)
	}
}

// forgetAllButState leaves in the books what a recovery brings back.
func (f *fixture) forgetAllButState() {
	f.t.Helper()
	var gone []core.Change
	for c, err := range f.books.Scan([]byte("v/"), nil) {
		if err != nil {
			f.t.Fatal(err)
		}
		gone = append(gone, core.Change{Key: c.Key})
	}
	if err := f.books.Apply(gone...); err != nil {
		f.t.Fatal(err)
	}
	f.open()
}

func TestHoldersSeeNeitherNamesNorContents(t *testing.T) {
	f := newFixture(t, 2)
	secret := []byte("a sentence that stands in a file and nowhere else")
	f.put(tree{"a very private name": bytes.Repeat(secret, 100), "other": secret})
	f.m.each(func(_ *fakeHome, piece core.Score, data []byte) {
		if bytes.Contains(data, secret[:16]) || bytes.Contains(data, []byte("private")) {
			t.Errorf("piece %s shows plaintext", piece.Short())
		}
	})
}

func TestRottenPieceIsMadeAgain(t *testing.T) {
	f := newFixture(t, 4)
	want := someTree()
	f.put(want)
	rotten, lost := 0, 0
	f.m.each(func(h *fakeHome, piece core.Score, data []byte) {
		switch {
		case rotten < 3:
			data[len(data)/2] ^= 1
			rotten++
		case lost < 3:
			delete(h.pieces, piece)
			lost++
		}
	})
	f.sameTree(want)
	checked, err := f.v.Check(t.Context(), CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r := checked.Holders[did(0)]; r.Corrupt != 3 || r.Missing != 3 || !errors.Is(checked.Bad(), core.ErrPartly) {
		t.Errorf("found %+v, want 3 corrupt and 3 missing", r)
	}
	checked, err = f.v.Check(t.Context(), CheckOptions{Mend: true})
	if err != nil {
		t.Fatal(err)
	}
	if checked.Mended.Pieces != 6 || checked.Bad() != nil || checked.Worth.Survives != 2 {
		t.Errorf("mended %+v, worth %+v", checked.Mended, checked.Worth)
	}
	checked, err = f.v.Check(t.Context(), CheckOptions{})
	if err != nil || checked.Bad() != nil {
		t.Errorf("after mending: %v, %v", err, checked.Bad())
	}
}

func TestMendCountsAnAwayHolderOnlyWhenTold(t *testing.T) {
	f := newFixture(t, 4)
	want := someTree()
	f.put(want)
	f.m.homes[did(0)].away, f.m.homes[did(1)].away = true, true
	before := f.m.sent
	for _, mend := range []bool{false, true} { // what is away counts the same in both
		checked, err := f.v.Check(t.Context(), CheckOptions{Mend: mend})
		if err != nil {
			t.Fatal(err)
		}
		if checked.Away != checked.Segments*10 || checked.Unheld != 0 || checked.Worth.Survives != 0 || !errors.Is(checked.Bad(), core.ErrPartly) {
			t.Errorf("mending %t: %+v", mend, checked)
		}
		if vital := checked.Worth.Vital; len(vital) != 2 || !vital[did(2)] || !vital[did(3)] {
			t.Errorf("mending %t: vital are %v", mend, vital)
		}
	}
	if f.m.sent != before {
		t.Errorf("mending without being told sent %d bytes", f.m.sent-before)
	}
	checked, err := f.v.Check(t.Context(), CheckOptions{Mend: true, Now: true})
	if err != nil {
		t.Fatal(err)
	}
	if checked.Mended.Whole != checked.Segments || checked.Worth.Survives != 1 || checked.Worth.Households != 2 || checked.Bad() != nil {
		t.Errorf("mended %+v, worth %+v", checked.Mended, checked.Worth)
	}
	f.m.homes[did(2)].away = true // either of the two survivors is enough
	f.open()
	f.sameTree(want)
}

func TestSecondPartnerBringsParity(t *testing.T) {
	f := newFixture(t, 1)
	want := someTree()
	out := f.put(want)
	if out.Worth.Survives != 0 || out.Worth.Pieces != out.Worth.Segments*10 {
		t.Errorf("one household: %+v", out.Worth)
	}
	f.m.homes[did(1)] = &fakeHome{pieces: map[core.Score][]byte{}, room: -1}
	if out = f.put(want); out.Worth.Survives != 1 || out.Placed != out.Wanted {
		t.Errorf("two households: %+v", out.Worth)
	}
	f.m.homes[did(0)].away = true
	f.open()
	f.sameTree(want)
}

func TestPutWithoutRoom(t *testing.T) {
	f := newFixture(t, 2)
	f.m.homes[did(0)].room, f.m.homes[did(1)].room = 0, 5<<20
	want := tree{"big": noise(1, 30<<20)}
	_, err := f.v.Put(t.Context(), "docs", want, PutOptions{})
	incomplete, ok := errors.AsType[*Incomplete](err)
	if !ok || !errors.Is(err, core.ErrPartly) || !errors.Is(err, core.ErrRefused) {
		t.Fatalf("put without room: %v", err)
	}
	if len(incomplete.Refused) != 2 {
		t.Errorf("refusals %v", incomplete.Refused)
	}
	if _, err := f.v.Find("docs", 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a version that cannot be read is there: %v", err)
	}
	f.m.homes[did(0)].room, f.m.homes[did(1)].room = -1, -1
	f.put(want)
	f.sameTree(want)
}

func TestPutGoesOnWhenAHolderDies(t *testing.T) {
	f := newFixture(t, 3)
	f.m.homes[did(1)].dieAt = 7
	want := someTree()
	out, err := f.v.Put(t.Context(), "docs", want, PutOptions{})
	if err != nil && !errors.Is(err, core.ErrPartly) {
		t.Fatal(err)
	}
	if out == nil || !out.Worth.Readable {
		t.Fatalf("put came to %+v, %v", out, err)
	}
	f.sameTree(want)
}

func TestUnreadableFileIsAProblemAndTheRestIsStored(t *testing.T) {
	f := newFixture(t, 2)
	out, err := f.v.Put(t.Context(), "docs", tree{"a": []byte("a"), "b": nil, "c": []byte("c")}, PutOptions{})
	if !errors.Is(err, core.ErrPartly) || out == nil || len(out.Problems) != 1 || string(out.Problems[0].Path) != "b" {
		t.Fatalf("put: %+v, %v", out, err)
	}
	f.sameTree(tree{"a": []byte("a"), "c": []byte("c")})
}

func TestRestoreGoesOnBehindAFileThatCannotBeWritten(t *testing.T) {
	f := newFixture(t, 2)
	f.put(tree{"a": noise(1, 3<<20), "b": noise(2, 3<<20), "c": []byte("c")})
	version, _ := f.v.Find("docs", 0)
	s := &shelf{got: tree{}, fails: "b"}
	out, err := f.v.Restore(t.Context(), version, RestoreOptions{}, func(bool, core.Score) (Sink, error) { return s, nil })
	if !errors.Is(err, core.ErrPartly) || len(out.Problems) != 1 || string(out.Problems[0].Path) != "b" {
		t.Fatalf("restore: %+v, %v", out, err)
	}
	if diff := diffTrees(tree{"a": noise(1, 3<<20), "c": []byte("c")}, s.got); diff != "" {
		t.Error(diff)
	}
}

func TestRestoreToAFullDiskEnds(t *testing.T) {
	f := newFixture(t, 2)
	f.put(tree{"a": noise(1, 3<<20), "b": noise(2, 3<<20), "c": []byte("c")})
	version, _ := f.v.Find("docs", 0)
	s := &shelf{got: tree{}, fails: "b", full: true}
	out, err := f.v.Restore(t.Context(), version, RestoreOptions{}, func(bool, core.Score) (Sink, error) { return s, nil })
	if !errors.Is(err, core.ErrFull) || out.Files != 1 {
		t.Fatalf("restore: %+v, %v", out, err)
	}
	if diff := diffTrees(tree{"a": noise(1, 3<<20)}, s.got); diff != "" {
		t.Error(diff)
	}
}

func TestRestorePart(t *testing.T) {
	f := newFixture(t, 2)
	f.put(tree{"d/": nil, "d/x": []byte("x"), "d/e/": nil, "d/e/y": noise(9, 50<<20), "d.txt": []byte("no"), "z": []byte("z")})
	got, _, err := f.get("d")
	if diff := diffTrees(tree{"x": []byte("x"), "e/": nil, "e/y": noise(9, 50<<20)}, got); err != nil || diff != "" {
		t.Errorf("d: %s, %v", diff, err)
	}
	got, _, err = f.get("d/e/y")
	if diff := diffTrees(tree{"y": noise(9, 50<<20)}, got); err != nil || diff != "" {
		t.Errorf("d/e/y: %s, %v", diff, err)
	}
	if _, _, err := f.get("d/nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a path that is not there: %v", err)
	}
}

func TestFS(t *testing.T) {
	f := newFixture(t, 2)
	want := someTree()
	delete(want, "\xff\xfe not utf-8")
	delete(want, "big") // fstest reads byte by byte
	f.put(want)
	version, _ := f.v.Find("docs", 0)
	fsys := f.v.FS(t.Context(), version)
	if err := fstest.TestFS(fsys, "text", "dir/one", "dir.txt", "many/003/file 23"); err != nil {
		t.Error(err)
	}
}

func TestReadPartOfABigFile(t *testing.T) {
	f := newFixture(t, 2)
	want := someTree()
	f.put(want)
	version, _ := f.v.Find("docs", 0)
	big, err := f.v.FS(t.Context(), version).Open("big")
	if err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 1<<20)
	if _, err := big.(io.ReaderAt).ReadAt(part, 41<<20+7); err != nil || !bytes.Equal(part, want["big"][41<<20+7:][:1<<20]) {
		t.Errorf("a part of a big file: %v", err)
	}
}

func TestFileThatChangesWhileItIsRead(t *testing.T) {
	for _, still := range []int{2, 3, 9} {
		f := newFixture(t, 2)
		reads := 0
		src := changing{name: "log", read: func() (string, bool) {
			reads++
			return strings.Repeat("x", reads), reads < still
		}}
		out, err := f.v.Put(t.Context(), "docs", src, PutOptions{})
		if still <= readTries {
			if err != nil || len(out.Problems) != 0 {
				t.Errorf("still at read %d: %v, %v", still, err, out)
			}
		} else if !errors.Is(err, core.ErrPartly) || !errors.Is(out.Problems[0].Err, errChanged) {
			t.Errorf("never still: %v, %v", err, out)
		}
		f.sameTree(tree{"log": []byte(strings.Repeat("x", min(still, readTries)))})
	}
}

func TestVersionsAreSortedNewestFirst(t *testing.T) {
	f := newFixture(t, 2)
	for i := range 3 {
		f.put(tree{"n": noise(uint64(i), 10)})
	}
	versions, err := f.v.Versions("docs")
	if err != nil || len(versions) != 3 || versions[0].Seq != 3 || versions[2].Seq != 1 {
		t.Fatalf("%v, %v", versions, err)
	}
	if v, err := f.v.Find("docs", 2); err != nil || v.Seq != 2 {
		t.Errorf("version 2: %v, %v", v, err)
	}
	if _, err := f.v.Find("docs", 7); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("version 7: %v", err)
	}
	key := manifest.VersionKey("docs", did(99), 3)
	tomb, err := manifest.Tombstone{V: 1, Time: 5}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.books.Apply(core.Change{Key: stateKey(append([]byte("x/"), key[2:]...)), Value: tomb}); err != nil {
		t.Fatal(err)
	}
	if v, err := f.v.Find("docs", 0); err != nil || v.Seq != 2 {
		t.Errorf("with a tombstone the newest is %v, %v", v.Seq, err)
	}
}
