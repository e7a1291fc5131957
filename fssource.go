package grange

import (
	"context"
	"io/fs"
	"iter"

	"github.com/grange-grid/grange/edge/files"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/service/vault"
)

// fsSource is an fs.FS as the vault sees it. What cannot be read is told to skip,
// and left out.
type fsSource struct {
	fsys fs.FS
	skip func(path string, err error)
}

// Single is false: an fs.FS has a directory at its root.
func (s fsSource) Single() bool { return false }

// Count adds up what Items will yield.
func (s fsSource) Count(ctx context.Context) (files, bytes int64, err error) {
	quiet := fsSource{s.fsys, func(string, error) {}}
	for item, err := range quiet.Items(ctx) {
		if err != nil {
			return files, bytes, err
		}
		if item.Open != nil {
			files++
			bytes += int64(item.Entry.Size)
		}
	}
	return files, bytes, nil
}

// Items walks the tree; fs.WalkDir sorts each directory by name, which gives the
// order of the manifest's keys.
func (s fsSource) Items(ctx context.Context) iter.Seq2[vault.Item, error] {
	return func(yield func(vault.Item, error) bool) {
		err := fs.WalkDir(s.fsys, ".", func(name string, d fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				s.skip(name, err)
				if name == "." {
					return err
				}
				return nil
			}
			item, err := s.item(name, d)
			if err != nil {
				s.skip(name, err)
				return nil
			}
			if !yield(item, nil) {
				return fs.SkipAll
			}
			return nil
		})
		if err != nil {
			yield(vault.Item{}, err)
		}
	}
}

func (s fsSource) item(name string, d fs.DirEntry) (vault.Item, error) {
	info, err := d.Info()
	if err != nil {
		return vault.Item{}, err
	}
	item := vault.Item{Entry: manifest.Entry{
		Kind: manifest.KindFile, Mode: uint64(info.Mode().Perm()), Mtime: info.ModTime().Unix(), Nsec: uint64(info.ModTime().Nanosecond()),
	}}
	if info.ModTime().IsZero() { // as embed.FS has it
		item.Entry.Mtime = 0
	}
	if name != "." {
		item.Path = []byte(name)
	}
	switch {
	case info.IsDir():
		item.Entry.Kind = manifest.KindDir
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := fs.ReadLink(s.fsys, name)
		if err != nil {
			return item, err
		}
		item.Entry.Kind, item.Entry.Target = manifest.KindLink, []byte(target)
	case info.Mode().IsRegular():
		item.Entry.Size = uint64(info.Size())
		item.Open = func() (vault.File, error) { return openFS(s.fsys, name, item.Entry) }
	default:
		return item, files.ErrSpecial
	}
	return item, nil
}

// fsFile is a file of an fs.FS that is being read.
type fsFile struct {
	fs.File
	entry manifest.Entry
}

func openFS(fsys fs.FS, name string, e manifest.Entry) (vault.File, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	return &fsFile{f, e}, nil
}

func (f *fsFile) Entry() manifest.Entry { return f.entry }

// Stamp is none: an fs.FS says too little of a file to know that it has not changed.
func (f *fsFile) Stamp() vault.Stamp { return vault.Stamp{} }

// Changed compares what Stat says now with what was said of the file before.
func (f *fsFile) Changed() (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	same := uint64(info.Size()) == f.entry.Size &&
		(info.ModTime().IsZero() || info.ModTime().Unix() == f.entry.Mtime && uint64(info.ModTime().Nanosecond()) == f.entry.Nsec)
	return !same, nil
}
