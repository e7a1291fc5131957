package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// tree is a Source in memory: paths that end in '/' are directories, those with
// " -> " symlinks.
type tree map[string][]byte

func (tr tree) Single() bool { return false }

func (tr tree) Count(context.Context) (files, size int64, err error) {
	for _, b := range tr {
		files++
		size += int64(len(b))
	}
	return files, size, nil
}

func (tr tree) Items(context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if !yield(Item{Entry: manifest.Entry{Kind: manifest.KindDir, Mode: 0o755}}, nil) {
			return
		}
		names := slices.SortedFunc(maps.Keys(tr), func(a, b string) int {
			return strings.Compare(strings.ReplaceAll(strings.TrimSuffix(a, "/"), "/", "\x00"), strings.ReplaceAll(strings.TrimSuffix(b, "/"), "/", "\x00"))
		})
		for _, name := range names {
			e := manifest.Entry{Kind: manifest.KindFile, Mode: 0o644, Mtime: 1_700_000_000, Nsec: 5}
			item := Item{Path: []byte(name)}
			if path, target, ok := strings.Cut(name, " -> "); ok {
				e.Kind, e.Target, item.Path = manifest.KindLink, []byte(target), []byte(path)
			} else if dir, ok := strings.CutSuffix(name, "/"); ok {
				e.Kind, item.Path = manifest.KindDir, []byte(dir)
			} else {
				e.Size = uint64(len(tr[name]))
				item.Open = func() (File, error) {
					if tr[name] == nil {
						return nil, errors.New("permission denied")
					}
					return &memFile{Reader: bytes.NewReader(tr[name]), e: e}, nil
				}
			}
			item.Entry = e
			if !yield(item, nil) {
				return
			}
		}
	}
}

type memFile struct {
	io.Reader
	e       manifest.Entry
	changed func() bool
	stamp   Stamp
}

func (f *memFile) Close() error          { return nil }
func (f *memFile) Entry() manifest.Entry { return f.e }
func (f *memFile) Stamp() Stamp          { return f.stamp }
func (f *memFile) Changed() (bool, error) {
	return f.changed != nil && f.changed(), nil
}

// shelf is a Sink in memory, of the same form as a tree.
type shelf struct {
	got   tree
	fails string // a path that cannot be written
	full  bool   // because there is no room
	left  tree   // what was there before
	shut  int    // how many of those were looked at and closed
}

func (s *shelf) Dir(path []byte, _ manifest.Entry) error {
	if len(path) > 0 {
		s.got[string(path)+"/"] = nil
	}
	return nil
}

func (s *shelf) Link(path []byte, e manifest.Entry) error {
	s.got[string(path)+" -> "+string(e.Target)] = nil
	return nil
}

func (s *shelf) File(path []byte, _ manifest.Entry) (SinkFile, error) {
	if string(path) == s.fails {
		if s.full {
			return nil, core.ErrFull
		}
		return nil, errors.New("cannot write")
	}
	return &shelfFile{s: s, path: string(path), b: []byte{}}, nil
}

func (s *shelf) Found(path []byte, _ manifest.Entry) io.ReadCloser {
	b, there := s.left[string(path)]
	if !there {
		return nil
	}
	return leftFile{bytes.NewReader(b), s}
}

type leftFile struct {
	*bytes.Reader
	s *shelf
}

func (f leftFile) Close() error { f.s.shut++; return nil }

type shelfFile struct {
	s    *shelf
	path string
	b    []byte
}

func (f *shelfFile) Write(b []byte) (int, error) { f.b = append(f.b, b...); return len(b), nil }
func (f *shelfFile) Pass(n uint64) error {
	f.b = append(f.b, f.s.left[f.path][len(f.b):][:n]...)
	return nil
}

func (f *shelfFile) Commit() error { f.s.got[f.path] = f.b; return nil }
func (f *shelfFile) Abort()        {}

// noise returns n bytes that do not compress, the same for one seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// someTree has small and large files, of every kind that matters.
func someTree() tree {
	tr := tree{
		"empty": {}, "dir/": nil, "dir/empty/": nil, "dir/link -> ../elsewhere": nil, "dir/one": []byte("one"),
		"dir.txt": []byte("sorts behind dir/"), "big": noise(1, 45<<20), "text": bytes.Repeat([]byte("all the same "), 1<<18),
		"\xff\xfe not utf-8": []byte("x"), "twin": noise(2, 3<<20), "twin2": noise(2, 3<<20),
	}
	for i := range 300 {
		tr[fmt.Sprintf("many/%03d/file %d", i%20, i)] = noise(uint64(i), 100+i*37)
	}
	tr["many/"] = nil
	for i := range 20 {
		tr[fmt.Sprintf("many/%03d/", i)] = nil
	}
	return tr
}

// changing is a tree of one file that is another each time that it is read.
type changing struct {
	name string
	read func() (text string, changed bool)
}

func (c changing) Single() bool                                         { return false }
func (c changing) Count(context.Context) (files, size int64, err error) { return 1, 1, nil }

func (c changing) Items(ctx context.Context) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		root := Item{Entry: manifest.Entry{Kind: manifest.KindDir, Mode: 0o755}}
		file := Item{Path: []byte(c.name), Entry: manifest.Entry{Kind: manifest.KindFile, Mode: 0o644}}
		file.Open = func() (File, error) {
			text, changed := c.read()
			e := file.Entry
			e.Size = uint64(len(text))
			return &memFile{Reader: strings.NewReader(text), e: e, changed: func() bool { return changed }}, nil
		}
		_ = yield(root, nil) && yield(file, nil)
	}
}
