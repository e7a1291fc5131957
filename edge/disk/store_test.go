package disk

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
)

// made returns a new directory.
func made(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "home")
	if err := Create(dir, []byte("key")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func opened(t testing.TB, dir string, c Config) *Store {
	t.Helper()
	s, err := Open(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func closed(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, s *Store, blobs ...core.Blob) {
	t.Helper()
	for _, b := range blobs {
		if err := s.Blobs().Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
}

func remove(t testing.TB, s *Store, blobs ...core.Blob) {
	t.Helper()
	for _, b := range blobs {
		if err := s.Blobs().Delete(t.Context(), b.Score); err != nil {
			t.Fatal(err)
		}
	}
}

// some returns n blobs of size bytes, from seed on.
func some(seed, n, size int) []core.Blob {
	var blobs []core.Blob
	for i := range n {
		blobs = append(blobs, seamtest.RandomBlob(uint64(seed+i), size))
	}
	return blobs
}

// small makes packs that hold little, so that tests have many of them.
var small = Config{PackSizeMax: packSizeLeast}

func TestBlobsAreBlobs(t *testing.T) {
	for name, c := range map[string]Config{"default": {}, "small packs": small} {
		t.Run(name, func(t *testing.T) {
			seamtest.Blobs(t, func(t *testing.T) core.Blobs { return opened(t, made(t), c).Blobs() })
		})
	}
}

func TestBooksAreBooks(t *testing.T) {
	seamtest.Books(t, func(t *testing.T) core.Books { return opened(t, made(t), Config{}).Books() })
}

func TestEverythingIsThereAgain(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, small)
	if r := s.Recovery(); r != (Recovery{BooksNew: true}) {
		t.Errorf("a new directory: %+v", r)
	}
	blobs := some(1, 30, 9000)
	put(t, s, blobs...)
	remove(t, s, blobs[20:]...)
	if err := s.Books().Apply(core.Change{Key: []byte("blob/s"), Value: []byte("no key is reserved")}); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	s = opened(t, dir, small)
	seamtest.WantAll(t, s.Blobs(), blobs[:20]...)
	for _, b := range blobs[:20] {
		seamtest.WantBlob(t, s.Blobs(), b)
	}
	if got, err := s.Books().Get([]byte("blob/s")); err != nil || string(got) != "no key is reserved" {
		t.Errorf("the record: %q, %v", got, err)
	}
	if r := s.Recovery(); r != (Recovery{}) {
		t.Errorf("after a proper close there was something to mend: %+v", r)
	}
	put(t, s, blobs[20])
	seamtest.WantBlob(t, s.Blobs(), blobs[20])
}

func TestCreateMakesTheDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := Create(dir, []byte("the key")); err != nil {
		t.Fatal(err)
	}
	version, err := os.ReadFile(filepath.Join(dir, "VERSION"))
	if err != nil || string(version) != "grange 1\n" {
		t.Errorf("VERSION: %q, %v", version, err)
	}
	s := opened(t, dir, Config{})
	if key, err := s.ReadKey(); err != nil || string(key) != "the key" {
		t.Errorf("key: %q, %v", key, err)
	}
	if !filepath.IsAbs(s.Dir()) || filepath.Base(s.Dir()) != "b" {
		t.Errorf("dir: %s", s.Dir())
	}
	put(t, s, some(1, 1, 10)...)
	if runtime.GOOS == "windows" {
		return
	}
	for name, want := range map[string]fs.FileMode{
		".": 0o700, "books": 0o700, "pieces": 0o700, "staging": 0o700, "agent.key": 0o600, "VERSION": 0o600, "lock": 0o600, "pieces/001.pack": 0o600,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", name, info.Mode(), err, want)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	for name, prepare := range map[string]func(dir string) error{
		"a directory in use": func(dir string) error { return Create(dir, nil) },
		"a stranger's file":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "photo.jpg"), nil, 0o600) },
		"books":              func(dir string) error { return os.Mkdir(filepath.Join(dir, "books"), 0o700) },
		"packs without a version": func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "pieces"), 0o700), os.WriteFile(filepath.Join(dir, "pieces", "001.pack"), nil, 0o600))
		},
	} {
		dir := t.TempDir()
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		before := names(t, dir)
		if err := Create(dir, []byte("other")); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
		if after := names(t, dir); !slices.Equal(before, after) {
			t.Errorf("%s: %q became %q", name, before, after)
		}
	}
	if err := Create(filepath.Join(t.TempDir(), "d"), make([]byte, keySizeMax+1)); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("a huge key: %v", err)
	}
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// However far a Create came before the crash, the next one makes the directory.
func TestCreateBeginsAgain(t *testing.T) {
	whole := made(t)
	for _, left := range [][]string{{}, {"lock"}, {"pieces"}, {"pieces", "staging", "lock"}, {"pieces", "staging", "lock", "agent.key"}, {"config.toml"}} {
		dir := t.TempDir()
		for _, name := range left {
			info, err := os.Stat(filepath.Join(whole, name))
			if err == nil && info.IsDir() {
				err = os.Mkdir(filepath.Join(dir, name), 0o700)
			} else {
				err = os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Open(dir, Config{}); !errors.Is(err, core.ErrNotExist) {
			t.Errorf("open what holds %q: %v", left, err)
		}
		if err := Create(dir, []byte("new")); err != nil {
			t.Errorf("create where there is %q: %v", left, err)
			continue
		}
		s := opened(t, dir, Config{})
		if key, err := s.ReadKey(); err != nil || string(key) != "new" {
			t.Errorf("key: %q, %v", key, err)
		}
		closed(t, s)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := made(t)
	if _, err := Open(filepath.Join(dir, "nothing"), Config{}); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	for _, c := range []Config{{PackSizeMax: 100}, {PackSizeMax: -1}, {PiecesDir: dir}} {
		if _, err := Open(dir, c); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, text := range []string{"grange 2\n", "", "grange 1", strings.Repeat("x", 10000)} {
		if err := os.WriteFile(filepath.Join(dir, "VERSION"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(dir, Config{})
		if !errors.Is(err, core.ErrVersion) || text == "grange 2\n" && !strings.Contains(err.Error(), `"grange 2"`) || len(err.Error()) > 300 {
			t.Errorf("version %.20q: %v", text, err)
		}
	}
}

func TestOnlyOneOpens(t *testing.T) {
	dir := made(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var stores []*Store
	for range 4 {
		wg.Go(func() {
			s, err := Open(dir, Config{})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				stores = append(stores, s)
			} else if !errors.Is(err, core.ErrLocked) {
				t.Errorf("open: %v", err)
			}
		})
	}
	wg.Wait()
	if len(stores) != 1 {
		t.Fatalf("%d have it open", len(stores))
	}
	if _, err := Open(dir, Config{}); !errors.Is(err, core.ErrLocked) {
		t.Errorf("open once more: %v", err)
	}
	closed(t, stores[0])
	closed(t, opened(t, dir, Config{}))
}

func TestNothingAnswersAfterClose(t *testing.T) {
	s, blob := opened(t, made(t), Config{}), some(1, 1, 10)[0]
	put(t, s, blob)
	closed(t, s)
	_, getErr := s.Blobs().Get(t.Context(), blob.Score, nil)
	_, statErr := s.Blobs().Stat(t.Context(), blob.Score)
	_, recordErr := s.Books().Get([]byte("k"))
	_, freeErr := s.Free()
	_, tidyErr := s.Tidy(t.Context())
	var allErr, scanErr error
	for _, err := range s.Blobs().All(t.Context()) {
		allErr = err
	}
	for _, err := range s.Books().Scan(nil, nil) {
		scanErr = err
	}
	for i, err := range []error{
		s.Blobs().Put(t.Context(), blob), getErr, statErr, s.Blobs().Delete(t.Context(), blob.Score), allErr,
		recordErr, s.Books().Apply(), scanErr, freeErr, tidyErr, s.Close(),
	} {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestTheKeyIsWrittenOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	if err := Create(dir, nil); err != nil {
		t.Fatal(err)
	}
	s := opened(t, dir, Config{})
	if _, err := s.ReadKey(); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("no key yet: %v", err)
	}
	if err := s.WriteKey(make([]byte, keySizeMax+1)); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("a huge key: %v", err)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var written [][]byte
	for i := range 8 {
		wg.Go(func() {
			key := bytes.Repeat([]byte{byte(i)}, 100)
			err := s.WriteKey(key)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				written = append(written, key)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("write: %v", err)
			}
		})
	}
	wg.Wait()
	got, err := s.ReadKey()
	if err != nil || len(written) != 1 || !bytes.Equal(got, written[0]) {
		t.Errorf("%d were written; %v", len(written), err)
	}
	if left := names(t, filepath.Join(dir, "staging")); len(left) != 0 {
		t.Errorf("staging has %q", left)
	}
}

func TestOpenClearsItsOwnStaging(t *testing.T) {
	dir := made(t)
	for _, name := range []string{"disk-123", "another's"} {
		if err := os.WriteFile(filepath.Join(dir, "staging", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opened(t, dir, Config{})
	if left := names(t, filepath.Join(dir, "staging")); !slices.Equal(left, []string{"another's"}) {
		t.Errorf("staging has %q", left)
	}
}

func TestFreeIsWhatTheDiskSays(t *testing.T) {
	dir := made(t)
	s, err := open(dir, Config{}, world{files: &faultFiles{free: 123456789}, books: vfs.Default})
	if err != nil {
		t.Fatal(err)
	}
	if free, err := s.Free(); err != nil || free != 123456789 {
		t.Errorf("%d, %v", free, err)
	}
	closed(t, s)
	if free, err := opened(t, dir, Config{}).Free(); err != nil || free <= 0 {
		t.Errorf("%d, %v", free, err)
	}
}
