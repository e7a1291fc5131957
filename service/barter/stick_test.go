package barter

import (
	"bytes"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/grange-grid/grange/core"
)

// stick is a disk that a person carries, in memory; by folder and name.
type stick struct {
	files map[string][]byte
	left  int   // bytes until it is full
	sync  error // of every Sync
}

func newStick() *stick { return &stick{files: map[string][]byte{}, left: 1 << 30} }

func (s *stick) Folders() ([]string, error) {
	var out []string
	for name := range s.files {
		out = append(out, name[:strings.Index(name, "/")])
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (s *stick) Files(folder string) ([]fs.FileInfo, error) {
	var out []fs.FileInfo
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if strings.HasPrefix(name, folder+"/") {
			info, err := fstest.MapFS{name: {Data: s.files[name]}}.Stat(name)
			if err != nil {
				return nil, err
			}
			out = append(out, info)
		}
	}
	return out, nil
}

func (s *stick) Open(folder, name string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.files[folder+"/"+name])), nil
}

func (s *stick) Create(folder, name string) (CarriedFile, error) {
	if _, ok := s.files[folder+"/"+name]; ok {
		return nil, fs.ErrExist
	}
	s.files[folder+"/"+name] = nil
	return &stickFile{s, folder + "/" + name}, nil
}

type stickFile struct {
	s    *stick
	name string
}

func (f *stickFile) Write(b []byte) (int, error) {
	n := min(len(b), f.s.left)
	f.s.left -= n
	f.s.files[f.name] = append(f.s.files[f.name], b[:n]...)
	if n < len(b) {
		return n, core.ErrFull
	}
	return n, nil
}

func (f *stickFile) Truncate(size int64) error {
	f.s.left += len(f.s.files[f.name]) - int(size)
	f.s.files[f.name] = f.s.files[f.name][:size]
	return nil
}

func (f *stickFile) Sync() error  { return f.s.sync }
func (f *stickFile) Close() error { return nil }

// fileOf is the name of a home's first file for another.
func (s *stick) fileOf(t *testing.T, holder *home) string {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		if strings.HasPrefix(name, carriedName(holder.agent())+"/") {
			return name
		}
	}
	t.Fatal("there is nothing for it")
	return ""
}
