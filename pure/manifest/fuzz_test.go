package manifest

import (
	"bytes"
	"errors"
	"iter"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/page"
)

// fuzzDecoder checks that what is read is such as may be written, and is written as it came.
func fuzzDecoder[T checker](f *testing.F, read func([]byte) (T, error), seeds ...T) {
	for _, v := range seeds {
		data, err := marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := read(data)
		if err != nil {
			if !errors.Is(err, core.ErrInvalid) && !errors.Is(err, core.ErrVersion) && !errors.Is(err, core.ErrTooLarge) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if again, err := marshal(v); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("read, and not written again: %v", err)
		}
	})
}

func FuzzParseRef(f *testing.F) { fuzzDecoder(f, ParseRef, aRef(9), aPageRef()) }

func FuzzDecodeSegment(f *testing.F) { fuzzDecoder(f, DecodeSegment, aSegment()) }

func FuzzDecodeEntry(f *testing.F) { fuzzDecoder(f, DecodeEntry, aFile(1, 2), aDir(), aLink()) }

func FuzzDecodeMore(f *testing.F) { fuzzDecoder(f, DecodeMore, More{Chunks: aFile(1, 2).Chunks}) }

func FuzzDecodeVersion(f *testing.F) { fuzzDecoder(f, DecodeVersion, aVersion(f)) }

func FuzzDecodeTombstone(f *testing.F) {
	fuzzDecoder(f, DecodeTombstone, Tombstone{V: 1, Time: 9, Undone: true})
}

func FuzzPath(f *testing.F) {
	for _, key := range []string{"", "a\x00b", "a\x00\x00\x00\x00\x00\x01", "a\x00..\x00b", "a/b"} {
		f.Add([]byte(key))
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		path, part, err := Path(key)
		if err != nil {
			return
		}
		for component := range bytes.SplitSeq(path, []byte{'/'}) {
			if c := string(component); len(path) > 0 && (c == "" || c == "." || c == "..") {
				t.Fatalf("path %q has a component %q", path, c)
			}
		}
		again, err := Key(path)
		if part > 0 {
			again, err = PartKey(path, part)
		}
		if err != nil || !bytes.Equal(again, key) || bytes.IndexByte(path, 0) >= 0 || len(path) > PathSizeMax {
			t.Fatalf("key %q: path %q part %d, %v", key, path, part, err)
		}
	})
}

func FuzzParseVersionKey(f *testing.F) {
	f.Add(VersionKey("n", core.DID(scoreOf("agent")), 1))
	f.Add(TombstoneKey("name", core.DID(scoreOf("agent")), 1<<40))
	f.Fuzz(func(t *testing.T, key []byte) {
		name, agent, seq, err := ParseVersionKey(key)
		if err != nil {
			return
		}
		if !bytes.Equal(key, VersionKey(name, agent, seq)) && !bytes.Equal(key, TombstoneKey(name, agent, seq)) {
			t.Fatalf("key %q is %q %v %d", key, name, agent, seq)
		}
	})
}

// FuzzRows joins records that are right in themselves in every order: a program's
// bytes choose path, kind, part and size.
func FuzzRows(f *testing.F) {
	f.Add([]byte{0, 1, 0, 6, 1, 0, 7, 0, 0})
	f.Add([]byte{0, 1, 0, 1, 3, 0, 1, 4, 1, 1, 5, 2})
	first, second, third := long()
	values := recordsOf(f,
		line{"x", 0, aFile(1)}, line{"x", 0, aDir()}, line{"x", 0, aLink()},
		line{"x", 0, first}, line{"x", 1, second}, line{"x", 2, third},
	)
	paths := []string{"", "a", "b", "ab", "a!", "c", "a/b", "a/b/c", "b/a", "b/a/a"}
	f.Fuzz(func(t *testing.T, program []byte) {
		var records []page.Record
		for ; len(program) >= 3 && len(records) < 40; program = program[3:] {
			path := []byte(paths[int(program[0])%len(paths)])
			key, err := Key(path)
			if part := uint32(program[2] % 4); part > 0 && len(path) > 0 {
				key, err = PartKey(path, part)
			}
			if err != nil {
				t.Fatal(err)
			}
			records = append(records, page.Record{Key: key, Value: values[int(program[1])%len(values)].Value})
		}
		checkRows(t, asWalk(records))
	})
}

// checkRows says again, by other means, what Rows promises.
func checkRows(t *testing.T, records iter.Seq2[page.Record, error]) {
	kinds, left, begun := map[string]Kind{}, uint64(0), false
	base := ""
	for row, err := range Rows(records) {
		if err != nil {
			return
		}
		path := string(row.Path)
		if row.Part == 0 {
			if left != 0 {
				t.Fatalf("%q begins where %d bytes of a file are missing", path, left)
			}
			if !begun {
				base, begun = path, true
			}
			for dir := path; dir != ""; {
				dir = dir[:max(0, bytes.LastIndexByte([]byte(dir), '/'))]
				if kind, seen := kinds[dir]; (seen && kind != KindDir) || (!seen && base == "" && path != "") {
					t.Fatalf("%q stands in %q, which is %q", path, dir, kind)
				}
			}
			if _, twice := kinds[path]; twice {
				t.Fatalf("%q twice", path)
			}
			kinds[path], left = row.Entry.Kind, row.Entry.Size
		}
		for _, c := range row.Chunks {
			left -= c.Size
		}
	}
	if left != 0 {
		t.Fatalf("%d bytes of the last file are missing", left)
	}
}
