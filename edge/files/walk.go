package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

const (
	ignoreName    = ".grangeignore"
	ignoreSizeMax = 1 << 20 // bytes of one ignore file
	tagName       = "CACHEDIR.TAG"
	// tagSignature begins a valid tag. Source: https://bford.info/cachedir/.
	tagSignature = "Signature: 8a477f597d28d172789f06886806bc55"
)

// errStop ends a walk whose caller wants no more.
var errStop = errors.New("stopped")

// walk is one pass over a Source.
type walk struct {
	ctx     context.Context
	source  *Source
	exclude []rule
	skip    func(Problem)
	yield   func(Item, error) bool
}

// problem reports a path that is left out.
func (w *walk) problem(path string, err error) {
	if w.skip != nil {
		w.skip(Problem{Path: []byte(path), Err: err})
	}
}

// single yields one file below a root that holds nothing of the directory in
// which the file happens to lie, so that storing it again gives the same.
func (w *walk) single(parent *os.Root) error {
	base := filepath.Base(w.source.path)
	info, err := parent.Lstat(base)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errSwapped
	}
	file := entryOf(info, "")
	root := manifest.Entry{Kind: manifest.KindDir, Mode: 0o755, Mtime: file.Mtime, Nsec: file.Nsec}
	if w.yield(Item{Entry: root}, nil) {
		w.yield(Item{Path: []byte(w.source.name), Entry: file, Open: opener(parent, base, info), Stamp: stampOf(info)}, nil)
	}
	return nil
}

// dir yields what is in a directory; path is "" or ends in '/'.
func (w *walk) dir(d *os.Root, path string, up *rules) error {
	names, err := readNames(d)
	if err != nil {
		w.problem(trimSlash(path), err)
	}
	slices.Sort(names)
	here := up
	if !w.source.plain {
		here = w.rules(d, path, names, up)
		// The root was asked for by name: a tag in it leaves nothing out.
		if path != "" && isCache(d, names) {
			names = []string{tagName}
		}
	}
	for _, name := range names {
		if err := w.entry(d, path, name, here); err != nil {
			return err
		}
	}
	return nil
}

// rules adds the directory's own ignore file. One that cannot be read leaves
// nothing out: rather too much is stored than too little.
func (w *walk) rules(d *os.Root, path string, names []string, up *rules) *rules {
	if _, found := slices.BinarySearch(names, ignoreName); !found {
		return up
	}
	text, err := readStart(d, ignoreName, ignoreSizeMax+1)
	if err == nil && len(text) > ignoreSizeMax {
		err = fmt.Errorf("ignore file of over %d bytes: %w", ignoreSizeMax, core.ErrTooLarge)
	}
	if err != nil {
		w.problem(path+ignoreName, fmt.Errorf("apply ignore file: %w", err))
		return up
	}
	return &rules{up: up, base: len(path), list: parseIgnore(text)}
}

// entry yields one name of a directory and, if it is a directory, what is in it.
func (w *walk) entry(d *os.Root, parent, name string, here *rules) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	path := parent + name
	info, err := d.Lstat(name)
	if err != nil {
		if !w.ignored(path, false, here) {
			w.problem(path, err)
		}
		return nil
	}
	if w.ignored(path, info.IsDir(), here) {
		return nil
	}
	if _, err := manifest.Key([]byte(path)); err != nil {
		w.problem(path, err)
		return nil
	}
	item := Item{Path: []byte(path)}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		item.Open = opener(d, name, info)
		item.Entry, item.Stamp = entryOf(info, ""), stampOf(info)
	case mode.IsDir():
		return w.subdir(d, path, name, info, here)
	case mode&fs.ModeSymlink != 0:
		target, err := d.Readlink(name)
		if err != nil {
			w.problem(path, err)
			return nil
		}
		item.Entry = entryOf(info, target)
	default:
		w.problem(path, unsupported(mode))
		return nil
	}
	if !w.yield(item, nil) {
		return errStop
	}
	return nil
}

func (w *walk) ignored(path string, isDir bool, here *rules) bool {
	if ignore, decided := decide(w.exclude, path, isDir); decided {
		return ignore
	}
	return here.ignores(path, isDir)
}

// subdir yields a directory, then what is in it.
func (w *walk) subdir(d *os.Root, path, name string, info fs.FileInfo, here *rules) error {
	if !w.yield(Item{Path: []byte(path), Entry: entryOf(info, "")}, nil) {
		return errStop
	}
	if w.source.opts.OneFileSystem && device(info) != device(w.source.info) {
		return nil
	}
	same := func(other fs.FileInfo) bool { return os.SameFile(info, other) }
	if slices.ContainsFunc(w.source.avoid, same) {
		return nil
	}
	sub, err := openDir(d, name, info)
	if err != nil {
		w.problem(path, err)
		return nil
	}
	defer sub.Close()
	return w.dir(sub, path+"/", here)
}

// openDir opens the very directory that was listed.
func openDir(d *os.Root, name string, listed fs.FileInfo) (*os.Root, error) {
	// The dot makes it open a directory or nothing: opening a FIFO put there
	// meanwhile would wait for its writer for ever.
	sub, err := d.OpenRoot(name + "/.")
	if err != nil {
		return nil, err
	}
	info, err := sub.Stat(".")
	if err == nil && !os.SameFile(info, listed) {
		err = errSwapped
	}
	if err != nil {
		sub.Close()
		return nil, err
	}
	return sub, nil
}

// readNames lists a directory, as far as it can be read.
func readNames(d *os.Root) ([]string, error) {
	f, err := d.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// isCache tells whether a directory has a valid tag of the Cache Directory
// Tagging Specification.
func isCache(d *os.Root, names []string) bool {
	if _, found := slices.BinarySearch(names, tagName); !found {
		return false
	}
	start, err := readStart(d, tagName, len(tagSignature))
	return err == nil && string(start) == tagSignature
}

// readStart reads the first bytes of a regular file, at most sizeMax.
func readStart(d *os.Root, name string, sizeMax int) ([]byte, error) {
	info, err := d.Lstat(name)
	if err != nil {
		return nil, err
	}
	f, err := openFile(d, name, info)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, int64(sizeMax)))
}

func trimSlash(path string) string {
	if path == "" {
		return path
	}
	return path[:len(path)-1]
}
