package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
)

// where returns the pack's file, and where the record and its data begin.
func where(t testing.TB, s *Store, b core.Blob) (name string, record, data int64) {
	t.Helper()
	e, err := s.blobs.index.find(b.Score)
	if err != nil {
		t.Fatal(err)
	}
	return s.blobs.path(e.Pack), int64(e.Offset), int64(e.Offset) + int64(e.head)
}

// flip changes one bit of a file.
func flip(t testing.TB, name string, at int64) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x10
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// without returns blobs but those at the given places.
func without(blobs []core.Blob, at ...int) []core.Blob {
	var rest []core.Blob
	for i, b := range blobs {
		if !slices.Contains(at, i) {
			rest = append(rest, b)
		}
	}
	return rest
}

func TestRotIsFoundAndReplaced(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, Config{})
	blobs := some(1, 3, 5000)
	put(t, s, blobs...)
	name, _, data := where(t, s, blobs[1])
	flip(t, name, data+4999)
	if _, err := s.Blobs().Get(t.Context(), blobs[1].Score, nil); !errors.Is(err, core.ErrCorrupt) {
		t.Fatalf("get what has rotted: %v", err)
	}
	seamtest.WantBlob(t, s.Blobs(), blobs[0])
	blobs[1].Note = []byte("the new note")
	put(t, s, blobs[1])
	seamtest.WantBlob(t, s.Blobs(), blobs[1])
	closed(t, s)
	if err := os.RemoveAll(filepath.Join(dir, "books")); err != nil {
		t.Fatal(err)
	}
	s = opened(t, dir, Config{})
	seamtest.WantAll(t, s.Blobs(), blobs...)
	seamtest.WantBlob(t, s.Blobs(), blobs[1])
}

func TestAMissingPackIsFound(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, small)
	blobs := some(1, 12, 20000)
	put(t, s, blobs...)
	name, _, _ := where(t, s, blobs[0])
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Blobs().Get(t.Context(), blobs[0].Score, nil); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("get from a pack that somebody removed: %v", err)
	}
	put(t, s, blobs[0])
	seamtest.WantBlob(t, s.Blobs(), blobs[0])
	check(t, os.Remove(s.blobs.path(s.blobs.current.number))) // the one that is appended to
	fresh := some(100, 1, 10)
	put(t, s, fresh...)
	name2 := s.blobs.path(s.blobs.current.number - 1)
	var kept []core.Blob
	for _, b := range blobs {
		if n, _, _ := where(t, s, b); n != name && n != name2 {
			kept = append(kept, b)
		}
	}
	if len(kept) == 0 {
		t.Fatal("the test removes every pack")
	}
	closed(t, s)
	s = opened(t, dir, small)
	seamtest.WantAll(t, s.Blobs(), append(kept, fresh...)...)
}

// Whatever becomes of the books, the packs have it all.
func TestLostBooksAreMadeAgain(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, books string){
		"deleted": func(t *testing.T, books string) { check(t, os.RemoveAll(books)) },
		"emptied": func(t *testing.T, books string) { check(t, os.RemoveAll(books)); check(t, os.Mkdir(books, 0o700)) },
		"a file": func(t *testing.T, books string) {
			check(t, os.RemoveAll(books))
			check(t, os.WriteFile(books, nil, 0o600))
		},
		"manifest": func(t *testing.T, books string) { garble(t, books, "MANIFEST") },
		"no manifest": func(t *testing.T, books string) {
			for _, n := range names(t, books) {
				if strings.HasPrefix(n, "MANIFEST") {
					check(t, os.Remove(filepath.Join(books, n)))
				}
			}
		},
		"tables": func(t *testing.T, books string) { garble(t, books, ".sst") },
		"no tables": func(t *testing.T, books string) {
			for _, n := range names(t, books) {
				if strings.HasSuffix(n, ".sst") {
					check(t, os.Remove(filepath.Join(books, n)))
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := made(t)
			s := opened(t, dir, small)
			blobs := some(1, 20, 9000)
			put(t, s, blobs...)
			remove(t, s, blobs[3], blobs[4])
			check(t, s.table.db.Flush())
			put(t, s, seamtest.RandomBlob(4, 9000))
			blobs = without(blobs, 4)
			blobs[3] = seamtest.RandomBlob(4, 9000)
			closed(t, s)
			spoil(t, filepath.Join(dir, "books"))
			s = opened(t, dir, small)
			r := s.Recovery()
			if !r.BooksNew || r.Indexed != 23 || r.Damaged != 0 || r.Cut != 0 {
				t.Errorf("%+v", r)
			}
			if aside := name != "deleted" && name != "emptied"; aside != (r.BooksAside == filepath.Join(dir, "books.bad-1")) {
				t.Errorf("went aside to %q", r.BooksAside)
			}
			seamtest.WantAll(t, s.Blobs(), blobs...)
			for _, b := range blobs {
				seamtest.WantBlob(t, s.Blobs(), b)
			}
			closed(t, s)
			seamtest.WantAll(t, opened(t, dir, small).Blobs(), blobs...)
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func garble(t *testing.T, dir, like string) {
	t.Helper()
	done := 0
	for _, n := range names(t, dir) {
		if strings.Contains(n, like) && !strings.HasPrefix(n, "marker") {
			info, err := os.Stat(filepath.Join(dir, n))
			check(t, err)
			check(t, os.WriteFile(filepath.Join(dir, n), bytes.Repeat([]byte("no table "), int(info.Size()/9)+1), 0o600))
			done++
		}
	}
	if done == 0 {
		t.Fatalf("no %s among %q", like, names(t, dir))
	}
}

func TestUnreadableBooksAreNeverOverwritten(t *testing.T) {
	dir := made(t)
	for n := 1; n <= 3; n++ {
		s := opened(t, dir, Config{})
		check(t, s.Books().Apply(core.Change{Key: []byte("k"), Value: []byte("v")}))
		closed(t, s)
		garble(t, filepath.Join(dir, "books"), "MANIFEST")
	}
	opened(t, dir, Config{})
	var bad []string
	for _, n := range names(t, dir) {
		if strings.HasPrefix(n, "books.bad") {
			bad = append(bad, n)
		}
	}
	if want := []string{"books.bad-1", "books.bad-2", "books.bad-3"}; !slices.Equal(bad, want) {
		t.Errorf("%q, want %q", bad, want)
	}
}

func TestBooksThatCannotBeReadNowStay(t *testing.T) {
	for _, err := range []error{syscall.EACCES, syscall.EIO, syscall.ENOSPC, syscall.EMFILE, syscall.EAGAIN, core.ErrVersion} {
		if unreadable(&os.PathError{Op: "open", Err: err}) {
			t.Errorf("%v moves the books aside", err)
		}
	}
	dir := made(t)
	s := opened(t, dir, Config{})
	if _, err := tryTable(vfs.Default, filepath.Join(dir, "books"), nil); err == nil || unreadable(err) {
		t.Errorf("books that are open: %v", err)
	}
	closed(t, s)
	marker := ""
	for _, n := range names(t, filepath.Join(dir, "books")) {
		if strings.HasPrefix(n, "marker.format-version") {
			marker = n
		}
	}
	newer := marker[:strings.LastIndex(marker, ".")] + ".999"
	check(t, os.Rename(filepath.Join(dir, "books", marker), filepath.Join(dir, "books", newer)))
	if _, err := Open(dir, Config{}); !errors.Is(err, core.ErrVersion) {
		t.Errorf("books of a newer pebble: %v", err)
	}
}

// A torn tail is cut off, wherever it is torn; what was whole before it stays.
func TestATornTailIsCutOff(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, Config{})
	blobs := some(1, 3, 3000)
	put(t, s, blobs...)
	name, record, data := where(t, s, blobs[2])
	closed(t, s)
	whole, err := os.ReadFile(name)
	check(t, err)
	for _, books := range []bool{true, false} {
		for _, size := range []int64{record + 1, record + 3, record + frameSize, data - 1, data, data + 1, int64(len(whole)) - 1} {
			for _, hole := range []bool{false, true} {
				torn := bytes.Clone(whole[:size])
				if hole { // the length came to the disk, the bytes did not
					torn = append(torn, make([]byte, int64(len(whole))-size)...)
				}
				check(t, os.WriteFile(name, torn, 0o600))
				if !books {
					check(t, os.RemoveAll(filepath.Join(dir, "books")))
				}
				s := opened(t, dir, Config{})
				// With the books, the third is known; its data is what has to be seen to.
				if hole && books && size >= record {
					if _, err := s.Blobs().Get(t.Context(), blobs[2].Score, nil); !errors.Is(err, core.ErrCorrupt) {
						t.Fatalf("hole at %d: %v", size, err)
					}
				} else {
					seamtest.WantAll(t, s.Blobs(), blobs[:2]...)
					if r := s.Recovery(); r.Cut != int64(len(torn))-record || r.Indexed != 2 {
						t.Errorf("cut at %d of %d: %+v", size, record, r)
					}
				}
				put(t, s, blobs[2])
				seamtest.WantAll(t, s.Blobs(), blobs...)
				seamtest.WantBlob(t, s.Blobs(), blobs[2])
				closed(t, s)
				check(t, os.WriteFile(name, whole, 0o600))
				check(t, os.RemoveAll(filepath.Join(dir, "books")))
				closed(t, opened(t, dir, Config{}))
			}
		}
	}
}

// One damaged header hides one record, not those behind it.
func TestADamagedHeaderHidesOneRecord(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, Config{})
	blobs := some(1, 5, 3000)
	put(t, s, blobs...)
	name, record, data := where(t, s, blobs[2])
	closed(t, s)
	for _, at := range []int64{record, record + 4, record + 5, record + 6, record + 10, data - 1} {
		flip(t, name, at)
		check(t, os.RemoveAll(filepath.Join(dir, "books")))
		s := opened(t, dir, Config{})
		seamtest.WantAll(t, s.Blobs(), without(blobs, 2)...)
		if r := s.Recovery(); r.Damaged != 1 || r.Cut != 0 {
			t.Errorf("flipped at %d: %+v", at-record, r)
		}
		closed(t, s)
		flip(t, name, at)
	}
}

// Packs that were brought back, exchanged or lost make the index anew.
func TestPacksOfAnotherTime(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, small)
	blobs := some(1, 12, 20000)
	put(t, s, blobs[:6]...)
	closed(t, s)
	pieces := filepath.Join(dir, "pieces")
	then := t.TempDir()
	check(t, os.CopyFS(filepath.Join(then, "pieces"), os.DirFS(pieces)))
	s = opened(t, dir, small)
	put(t, s, blobs[6:]...)
	closed(t, s)
	check(t, os.RemoveAll(pieces))
	check(t, os.CopyFS(pieces, os.DirFS(filepath.Join(then, "pieces"))))
	s = opened(t, dir, small)
	seamtest.WantAll(t, s.Blobs(), blobs[:6]...)
	put(t, s, blobs...)
	seamtest.WantAll(t, s.Blobs(), blobs...)
	closed(t, s)

	// Packs of another directory under the same names.
	other := made(t)
	s = opened(t, other, small)
	theirs := some(100, 20, 20000)
	put(t, s, theirs...)
	closed(t, s)
	check(t, os.RemoveAll(pieces))
	check(t, os.CopyFS(pieces, os.DirFS(filepath.Join(other, "pieces"))))
	s = opened(t, dir, small)
	seamtest.WantAll(t, s.Blobs(), theirs...)
	for _, b := range theirs {
		seamtest.WantBlob(t, s.Blobs(), b)
	}
	closed(t, s)
	check(t, os.RemoveAll(pieces))
	s = opened(t, dir, small)
	seamtest.WantAll(t, s.Blobs())
	put(t, s, blobs[0])
	seamtest.WantAll(t, s.Blobs(), blobs[0])
}

// A sector that the disk refuses to read does not keep the directory from being opened.
func TestABadSectorHidesWhatIsInIt(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, Config{})
	blobs := some(1, 40, 3000)
	put(t, s, blobs...)
	_, bad, _ := where(t, s, blobs[20])
	var rest []core.Blob
	for _, b := range blobs {
		_, record, data := where(t, s, b)
		from, to := bad/sectorSize*sectorSize, (bad/sectorSize+1)*sectorSize
		if data+3000 <= from || record >= to {
			rest = append(rest, b)
		}
	}
	closed(t, s)
	check(t, os.RemoveAll(filepath.Join(dir, "books")))
	s, err := open(dir, Config{}, world{files: badSector{at: bad / sectorSize * sectorSize}, books: vfs.Default})
	check(t, err)
	if len(rest) < 36 {
		t.Fatalf("only %d blobs are out of its reach", len(rest))
	}
	for _, b := range rest {
		seamtest.WantBlob(t, s.Blobs(), b)
	}
	closed(t, s)
}

type badSector struct {
	osFiles
	at int64
}

func (f badSector) Open(name string, flag int) (file, error) {
	inner, err := f.osFiles.Open(name, flag)
	return badFile{inner, f.at}, err
}

type badFile struct {
	file
	at int64
}

func (f badFile) ReadAt(b []byte, at int64) (int, error) {
	if at < f.at+sectorSize && at+int64(len(b)) > f.at {
		return 0, syscall.EIO
	}
	return f.file.ReadAt(b, at)
}
