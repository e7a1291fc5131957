package manifest

import (
	"bytes"
	"errors"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/page"
)

func TestPaths(t *testing.T) {
	for _, path := range []string{
		"", "a", "a/b", ".a", "..a", "a..", "...", "a/.../b", "\xff\xfe/\x80", "a\\..\\b", "C:", " ", "\n", "-rf",
		strings.Repeat("x", 4096), strings.Repeat("a/", 2047) + "a",
	} {
		key, err := Key([]byte(path))
		if err != nil {
			t.Errorf("%.80q: %v", path, err)
			continue
		}
		if back, part, err := Path(key); err != nil || string(back) != path || part != 0 {
			t.Errorf("%.80q: back %.80q, part %d, %v", path, back, part, err)
		}
	}
	for _, path := range []string{
		"/", "/a", "a/", "a//b", ".", "..", "./a", "../a", "a/.", "a/..", "a/./b", "a/../b", "a\x00b", "\x00", "a\x00",
		strings.Repeat("x", 4097), strings.Repeat("a/", 2048) + "a",
	} {
		if _, err := Key([]byte(path)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%.80q: %v", path, err)
		}
		if _, err := PartKey([]byte(path), 1); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("part of %.80q: %v", path, err)
		}
	}
	for _, key := range []string{
		"\x00", "a\x00", "\x00a", "..", "a\x00..", "a\x00..\x00b", ".\x00a",
		"a/b", "..\x2f..", "a\x00b/../../c", "/etc",
		"a\x00\x00", "a\x00\x00\x00\x00\x01", "a\x00\x00\x00\x00\x00\x00", "a\x00\x00\x00\x00\x00\x01\x00", "a\x00\x00b\x00cd\x00",
		"\x00\x00\x00\x00\x00\x01", "a\x00\x00\x00\x00\x00\x01\x00b", "..\x00\x00\x00\x00\x00\x01",
		strings.Repeat("x", 4097), strings.Repeat("x", 4097) + "\x00\x00\x00\x00\x00\x01",
	} {
		if path, part, err := Path([]byte(key)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("key %.80q: path %.80q, part %d, %v", key, path, part, err)
		}
	}
	if _, err := PartKey([]byte("a"), 0); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("part 0: %v", err)
	}
	if _, err := PartKey(nil, 1); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("part of the root: %v", err)
	}
}

func TestKeysAndPathsAreOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, '.', '/', 'a', 0xff}), 0, 12).Draw(t, "raw")
		if key, err := Key(raw); err == nil {
			if path, part, err := Path(key); err != nil || part != 0 || !bytes.Equal(path, raw) {
				t.Fatalf("path %q: key %q, back %q part %d, %v", raw, key, path, part, err)
			}
		}
		path, part, err := Path(raw)
		if err != nil {
			return
		}
		key, err := Key(path)
		if part > 0 {
			key, err = PartKey(path, part)
		}
		if err != nil || !bytes.Equal(key, raw) {
			t.Fatalf("key %q: path %q part %d, back %q, %v", raw, path, part, key, err)
		}
	})
}

// A tree is written in the tests as one line a record: a path, and the entry's kind;
// "path+n" is the n-th record that follows a file.
type line struct {
	path  string
	part  uint32
	value interface{ Marshal() ([]byte, error) }
}

func recordsOf(t testing.TB, lines ...line) []page.Record {
	t.Helper()
	var out []page.Record
	for _, l := range lines {
		key, err := Key([]byte(l.path))
		if l.part > 0 {
			key, err = PartKey([]byte(l.path), l.part)
		}
		if err != nil {
			t.Fatal(err)
		}
		value, err := l.value.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, page.Record{Key: key, Value: value})
	}
	return out
}

func asWalk(records []page.Record) iter.Seq2[page.Record, error] {
	return func(yield func(page.Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func rowsOf(records []page.Record) (got []Row, err error) {
	for row, err := range Rows(asWalk(records)) {
		if err != nil {
			return got, err
		}
		got = append(got, row)
	}
	return got, nil
}

// long is a file of 300 chunks in three records.
func long() (first Entry, second, third More) {
	first = aFile(bytesOf(ChunksPerRecord)...)
	first.Size = 300
	second = More{Chunks: slices.Clone(first.Chunks)}
	third = More{Chunks: slices.Clone(first.Chunks[:300-2*ChunksPerRecord])}
	return first, second, third
}

func TestRowsOfWholeTrees(t *testing.T) {
	first, second, third := long()
	records := recordsOf(t,
		line{"", 0, aDir()},
		line{"a", 0, aDir()},
		line{"a/b", 0, aDir()},
		line{"a/b/c", 0, aFile(5)},
		line{"a/b/empty", 0, aFile()},
		line{"a/x", 0, aLink()},
		line{"a!", 0, first}, line{"a!", 1, second}, line{"a!", 2, third},
		line{"b", 0, aFile(1)},
		line{"d", 0, aDir()},
		line{"d\x01", 0, aDir()},
		line{"d\x01/e", 0, aFile(2)},
	)
	if !slices.IsSortedFunc(records, func(a, b page.Record) int { return bytes.Compare(a.Key, b.Key) }) {
		t.Fatal("the test's records do not rise")
	}
	got, err := rowsOf(records)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(records) {
		t.Fatalf("%d rows of %d records", len(got), len(records))
	}
	if r := got[8]; string(r.Path) != "a!" || r.Part != 2 || r.Offset != 256 || len(r.Chunks) != 44 || r.Entry.Size != 300 {
		t.Errorf("the last record of a file: %q part %d at %d, %d chunks, of %d bytes", r.Path, r.Part, r.Offset, len(r.Chunks), r.Entry.Size)
	}
	if r := got[3]; string(r.Path) != "a/b/c" || r.Entry.Size != 5 || len(r.Chunks) != 1 {
		t.Errorf("a file: %q, %d bytes", r.Path, r.Entry.Size)
	}
	for from := range records { // every walk that begins at an entry
		if got[from].Part == 0 {
			if _, err := rowsOf(records[from:]); err != nil {
				t.Errorf("from %q: %v", records[from].Key, err)
			}
		} else if _, err := rowsOf(records[from:]); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("from inside a file: %v", err)
		}
	}
}

func TestRowsRefuseWhatDoesNotFit(t *testing.T) {
	root := line{"", 0, aDir()}
	first, second, third := long()
	shortSecond := More{Chunks: second.Chunks[:100]}
	sized := func(size uint64) Entry { return change(first, func(e *Entry) { e.Size = size }) }
	for name, lines := range map[string][]line{
		"a root that is a file":          {{"", 0, aFile(1)}},
		"a root that is a link":          {{"", 0, aLink()}},
		"a file in no directory":         {root, {"a/b", 0, aFile(1)}},
		"a file below a file":            {root, {"a", 0, aFile(1)}, {"a/b", 0, aFile(1)}},
		"a file below a link":            {root, {"a", 0, aLink()}, {"a/b", 0, aFile(1)}},
		"a file two below":               {root, {"a", 0, aDir()}, {"a/b/c", 0, aFile(1)}},
		"a file below a former link":     {root, {"a", 0, aDir()}, {"a/l", 0, aLink()}, {"a/l/c", 0, aFile(1)}},
		"in a directory of like name":    {root, {"a", 0, aDir()}, {"ab/c", 0, aFile(1)}},
		"one path twice":                 {root, {"a", 0, aFile(1)}, {"a", 0, aFile(1)}},
		"a path that falls":              {root, {"b", 0, aFile(1)}, {"a", 0, aFile(1)}},
		"the root twice":                 {root, root},
		"a part of nothing":              {root, {"a", 1, second}},
		"a part alone":                   {{"a", 1, second}},
		"a part of another":              {root, {"a", 0, first}, {"b", 1, second}},
		"parts of another":               {root, {"a", 0, first}, {"b", 1, second}, {"b", 2, third}},
		"a part left out":                {root, {"a", 0, first}, {"a", 2, second}, {"a", 3, third}},
		"a part twice":                   {root, {"a", 0, first}, {"a", 1, second}, {"a", 1, second}},
		"a part of a directory":          {root, {"a", 0, aDir()}, {"a", 1, second}},
		"a part after a short one":       {root, {"a", 0, sized(356)}, {"a", 1, shortSecond}, {"a", 2, second}},
		"a part of a file that is whole": {root, {"a", 0, aFile(1)}, {"a", 1, second}},
		"a part missing at the end":      {root, {"a", 0, first}, {"a", 1, second}},
		"a part missing, and a next":     {root, {"a", 0, first}, {"a", 1, second}, {"b", 0, aFile(1)}},
		"a sum too small":                {root, {"a", 0, sized(301)}, {"a", 1, second}, {"a", 2, third}},
		"a sum too large":                {root, {"a", 0, sized(299)}, {"a", 1, second}, {"a", 2, third}},
		"a size beyond all":              {root, {"a", 0, sized(math.MaxInt64)}, {"a", 1, second}, {"a", 2, third}},
	} {
		got, err := rowsOf(recordsOf(t, lines...))
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		for _, row := range got {
			if sum, err := sumOf(row.Chunks); err != nil || row.Offset+sum > row.Entry.Size {
				t.Errorf("%s: a row with more bytes than its file came through", name)
			}
		}
	}
	good := recordsOf(t, root, line{"a", 0, aFile(1)})
	for name, bad := range map[string]page.Record{
		"a key that climbs":    {Key: []byte("a\x00..\x00b"), Value: good[1].Value},
		"a key with a slash":   {Key: []byte("a/../b"), Value: good[1].Value},
		"a value of no format": {Key: []byte("b"), Value: []byte("entry")},
	} {
		if _, err := rowsOf([]page.Record{good[0], bad}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	gone := func(yield func(page.Record, error) bool) { yield(page.Record{}, core.ErrAway) }
	for _, err := range Rows(gone) {
		if !errors.Is(err, core.ErrAway) {
			t.Errorf("records that do not load: %v", err)
		}
	}
}
