package page

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// forge encodes a page as it is given, however wrong.
func forge(t tester, level uint, items ...item) []byte {
	t.Helper()
	data, err := codec.Marshal(body{V: codec.Version, Level: level, Items: items})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func entry(key, value string) item { return item{Key: []byte(key), Value: []byte(value)} }

// named loads pages by the names that the test gave them.
func named(pages map[string][]byte) Load {
	return func(ref []byte) ([]byte, error) {
		if p, ok := pages[string(ref)]; ok {
			return p, nil
		}
		return nil, core.ErrNotExist
	}
}

// drain walks to the end, and checks that what comes before an error is in order.
func drain(t tester, tree Tree, load Load, prefix, from []byte) (records uint64, err error) {
	t.Helper()
	var last []byte
	for r, err := range Walk(tree, load, prefix, from) {
		if err != nil {
			return records, err
		}
		if records > 0 && bytes.Compare(last, r.Key) >= 0 {
			t.Fatal("records that do not rise")
		}
		if !bytes.HasPrefix(r.Key, prefix) || bytes.Compare(r.Key, from) < 0 {
			t.Fatal("a record that was not asked for")
		}
		last = r.Key
		records++
	}
	return records, nil
}

func TestHostileTreesAreRefused(t *testing.T) {
	leaf := func(items ...item) []byte { return forge(t, 0, items...) }
	ab, cd := leaf(entry("a", "1"), entry("b", "2")), leaf(entry("c", "3"), entry("d", "4"))
	top := forge(t, 1, entry("a", "ab"), entry("c", "cd"))
	heavy := make([]item, 0, 7000)
	for i := range uint16(7000) {
		heavy = append(heavy, item{Key: binary.BigEndian.AppendUint16(nil, i), Value: []byte{}})
	}
	v2 := bytes.Replace(ab, []byte{'v', 1}, []byte{'v', 2}, 1)
	for _, c := range []struct {
		name  string
		level uint
		count uint64
		pages map[string][]byte
		want  error
	}{
		{"the honest tree", 1, 4, map[string][]byte{"root": top, "ab": ab, "cd": cd}, nil},
		{"a count that is too low", 1, 3, map[string][]byte{"root": top, "ab": ab, "cd": cd}, core.ErrCorrupt},
		{"a count that is too high", 1, 5, map[string][]byte{"root": top, "ab": ab, "cd": cd}, core.ErrCorrupt},
		{"a page that is not there", 1, 4, map[string][]byte{"root": top, "ab": ab}, core.ErrNotExist},
		{"keys that fall", 0, 2, map[string][]byte{"root": leaf(entry("b", ""), entry("a", ""))}, core.ErrCorrupt},
		{"equal keys", 0, 2, map[string][]byte{"root": leaf(entry("a", ""), entry("a", ""))}, core.ErrCorrupt},
		{"one page twice", 1, 4, map[string][]byte{"root": forge(t, 1, entry("a", "ab"), entry("c", "ab")), "ab": ab}, core.ErrCorrupt},
		{"pages in the wrong order", 1, 4, map[string][]byte{"root": forge(t, 1, entry("a", "cd"), entry("c", "ab")), "ab": ab, "cd": cd}, core.ErrCorrupt},
		{"a page that reaches into the next", 1, 4, map[string][]byte{"root": top, "ab": leaf(entry("a", ""), entry("c", "")), "cd": cd}, core.ErrCorrupt},
		{"a page that begins too early", 1, 4, map[string][]byte{"root": top, "ab": ab, "cd": leaf(entry("bb", ""), entry("c", ""))}, core.ErrCorrupt},
		{"a page that begins too late", 1, 4, map[string][]byte{"root": top, "ab": ab, "cd": leaf(entry("d", ""))}, core.ErrCorrupt},
		{"a page that is its own parent", 1, 4, map[string][]byte{"root": forge(t, 1, entry("a", "root"))}, core.ErrCorrupt},
		{"a level that does not fall", 2, 4, map[string][]byte{"root": forge(t, 2, entry("a", "x")), "x": forge(t, 2, entry("a", "ab")), "ab": ab}, core.ErrCorrupt},
		{"a level that falls by two", 2, 2, map[string][]byte{"root": forge(t, 2, entry("a", "ab")), "ab": ab}, core.ErrCorrupt},
		{"a leaf where the tree says level 1", 1, 2, map[string][]byte{"root": ab}, core.ErrCorrupt},
		{"no items", 0, 2, map[string][]byte{"root": leaf()}, core.ErrCorrupt},
		{"an empty reference", 1, 2, map[string][]byte{"root": forge(t, 1, entry("a", ""))}, core.ErrCorrupt},
		{"a long reference", 1, 2, map[string][]byte{"root": forge(t, 1, item{Key: []byte("a"), Value: make([]byte, RefSizeMax+1)})}, core.ErrCorrupt},
		{"a long key", 0, 1, map[string][]byte{"root": leaf(item{Key: make([]byte, KeySizeMax+1), Value: []byte{}})}, core.ErrCorrupt},
		{"a long record", 0, 1, map[string][]byte{"root": leaf(item{Key: []byte("a"), Value: make([]byte, RecordSizeMax)})}, core.ErrCorrupt},
		{"more than a page's fill", 0, 7000, map[string][]byte{"root": leaf(heavy...)}, core.ErrCorrupt},
		{"a page of a megabyte", 0, 2, map[string][]byte{"root": make([]byte, 1<<20)}, core.ErrCorrupt},
		{"nothing", 0, 2, map[string][]byte{"root": {}}, core.ErrCorrupt},
		{"a page cut short", 0, 2, map[string][]byte{"root": ab[:len(ab)-1]}, core.ErrCorrupt},
		{"a byte too many", 0, 2, map[string][]byte{"root": append(bytes.Clone(ab), 0)}, core.ErrCorrupt},
		{"a page of version 2", 0, 2, map[string][]byte{"root": v2}, core.ErrVersion},
	} {
		tree := Tree{V: codec.Version, Level: c.level, Count: c.count, Root: []byte("root")}
		_, err := drain(t, tree, named(c.pages), nil, nil)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if errors.Is(c.want, core.ErrVersion) && errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: a version to come is no corruption: %v", c.name, err)
		}
	}
}

func TestAFlippedBitNeverPassesForTheListAsItWas(t *testing.T) {
	s := newShelf()
	list := numbered(3)
	tree := build(t, s, list)
	for i := range 8 * len(s.pages[core.Score(tree.Root)]) {
		flipped := bytes.Clone(s.pages[core.Score(tree.Root)])
		flipped[i/8] ^= 1 << (i % 8)
		var got []Record
		var failed error
		for r, err := range Walk(tree, func([]byte) ([]byte, error) { return flipped, nil }, nil, nil) {
			if failed = err; err == nil {
				got = append(got, r)
			}
		}
		if failed == nil && same(got, list) {
			t.Fatalf("bit %d flipped, and nothing seen", i)
		}
	}
}

func TestTreesAreChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		tree Tree
		want error
	}{
		{"of version 0", Tree{}, core.ErrVersion},
		{"of version 2", Tree{V: 2}, core.ErrVersion},
		{"too high", Tree{V: 1, Level: LevelMax + 1, Count: 1, Root: []byte("r")}, core.ErrInvalid},
		{"of records without a root", Tree{V: 1, Count: 1}, core.ErrInvalid},
		{"of a root without records", Tree{V: 1, Root: []byte("r")}, core.ErrInvalid},
		{"of levels without records", Tree{V: 1, Level: 1}, core.ErrInvalid},
		{"of a long reference", Tree{V: 1, Count: 1, Root: make([]byte, RefSizeMax+1)}, core.ErrInvalid},
	} {
		load := func([]byte) ([]byte, error) { t.Errorf("%s: loaded", c.name); return nil, core.ErrNotExist }
		_, walked := drain(t, c.tree, load, nil, nil)
		_, got := Get(c.tree, load, nil)
		var listed error
		for _, err := range Refs(c.tree, load) {
			listed = err
		}
		for _, err := range []error{c.tree.Check(), walked, got, listed} {
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		if data, err := codec.Marshal(c.tree); err != nil {
			t.Fatal(err)
		} else if _, err := DecodeTree(data); err == nil {
			t.Errorf("%s: decoded", c.name)
		}
	}
}

// endless makes up pages for ever: whatever is asked for, each holds fifty items
// that lie within the page above. A key has one byte for each level.
func endless(t tester, loads *int) Load {
	return func(ref []byte) ([]byte, error) {
		*loads++
		level, key := ref[0], ref[1:]
		items := make([]item, 50)
		for i := range items {
			k := bytes.Clone(key)
			k[LevelMax-level] = byte(i)
			items[i] = item{Key: k, Value: append([]byte{level - 1}, k...)}
		}
		return forge(t, uint(level), items...), nil
	}
}

func TestAnEndlessTreeIsLeftAtItsCount(t *testing.T) {
	const count = 1000 // the tree could go on to 50⁹
	tree := Tree{V: codec.Version, Level: LevelMax, Count: count, Root: append([]byte{LevelMax}, make([]byte, LevelMax+1)...)}
	loads := 0
	n, err := drain(t, tree, endless(t, &loads), nil, nil)
	if !errors.Is(err, core.ErrCorrupt) || n != count {
		t.Errorf("%d records, then %v", n, err)
	}
	if loads > count/50+2+LevelMax {
		t.Errorf("%d pages loaded", loads)
	}
	refs, loads := 0, 0
	for _, err = range Refs(tree, endless(t, &loads)) {
		refs++
	}
	if !errors.Is(err, core.ErrCorrupt) || refs > count+loads+1 || loads > count/50+2+LevelMax {
		t.Errorf("%d references out of %d pages, then %v", refs, loads, err)
	}
}

func FuzzDecodePage(f *testing.F) {
	s := newShelf()
	tree := build(f, s, numbered(600))
	for ref := range Refs(tree, s.load) {
		f.Add(s.pages[core.Score(ref)], uint8(0))
	}
	f.Add(s.pages[core.Score(tree.Root)], uint8(tree.Level))
	f.Add(forge(f, 0, entry("", "")), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, level uint8) {
		items, err := decode(data, uint(level), bounds{root: true})
		if err != nil {
			if !errors.Is(err, core.ErrCorrupt) && !errors.Is(err, core.ErrVersion) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		if !bytes.Equal(forge(t, uint(level), items...), data) {
			t.Fatal("another encoding of the same page was taken")
		}
	})
}

// FuzzWalk feeds the walk one page after another, whatever it asks for.
func FuzzWalk(f *testing.F) {
	var pages []byte
	for _, p := range [][]byte{
		forge(f, 1, entry("a", "ab"), entry("c", "cd")),
		forge(f, 0, entry("a", "1"), entry("b", "2")),
		forge(f, 0, entry("c", "3"), entry("d", "4")),
	} {
		pages = append(binary.BigEndian.AppendUint16(pages, uint16(len(p))), p...)
	}
	f.Add(pages, uint8(1), uint8(4), []byte{}, []byte{})
	f.Add(pages, uint8(1), uint8(4), []byte("c"), []byte("cc"))
	f.Fuzz(func(t *testing.T, pages []byte, level, count uint8, prefix, from []byte) {
		rest := pages
		load := func([]byte) ([]byte, error) {
			if len(rest) < 2 {
				rest = pages // and so it never runs dry
			}
			if len(rest) < 2 {
				return nil, core.ErrNotExist
			}
			n := min(int(binary.BigEndian.Uint16(rest)), len(rest)-2)
			page := rest[2 : 2+n]
			rest = rest[2+n:]
			return page, nil
		}
		hostile := Tree{V: codec.Version, Level: uint(level), Count: uint64(count), Root: []byte("root")}
		n, err := drain(t, hostile, load, prefix, from)
		if n > uint64(count) {
			t.Fatalf("%d records of %d", n, count)
		}
		if whole := len(prefix) == 0 && len(from) == 0; err == nil && whole && n != uint64(count) {
			t.Fatalf("%d records of %d, and no error", n, count)
		}
		_, _ = Get(hostile, load, from)
		refs := 0
		for range Refs(hostile, load) {
			refs++
		}
		if most := (LevelMax + 1) * (int(count) + 1); refs > most {
			t.Fatalf("%d pages in a tree of %d records", refs, count)
		}
	})
}

func FuzzDecodeTree(f *testing.F) {
	for _, tree := range []Tree{{V: 1}, {V: 1, Level: 2, Count: 70_000, Root: []byte("ref")}} {
		data, err := codec.Marshal(tree)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := DecodeTree(data)
		if err != nil {
			return
		}
		again, err := codec.Marshal(tree)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("another encoding of the same tree was taken: %v", err)
		}
	})
}
