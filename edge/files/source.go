package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// SourceOptions says what of a tree to leave out. The zero value leaves out
// only what the tree's own .grangeignore and CACHEDIR.TAG files name.
type SourceOptions struct {
	// Exclude holds patterns in the syntax of gitignore(5), relative to the root;
	// they stand above every .grangeignore.
	Exclude []string
	// OneFileSystem stores a directory on which another filesystem is mounted as
	// an empty one. Windows does not tell; there it has no effect.
	OneFileSystem bool
	// Avoid names directories that are stored as empty ones under whatever path
	// they are met, as the agent's own must be: it grows by what is stored.
	// One that does not exist is passed over.
	Avoid []string
	// Skip, if set, is told of each entry that could not be stored.
	Skip func(Problem)
}

// Source is a file or a directory to be stored. All methods may be called at once.
type Source struct {
	path  string // absolute, with no symlink in it
	name  string // the base of the path that was asked for
	info  fs.FileInfo
	opts  SourceOptions
	avoid []fs.FileInfo
	plain bool // every entry, whatever ignore files and tags say
}

// NewSource looks at a path, which may be a symlink to what is meant.
// Errors: ErrNotExist, ErrInvalid if it is neither a file nor a directory, or a pattern
// of Exclude can match nothing.
func NewSource(path string, o SourceOptions) (*Source, error) {
	for _, pattern := range o.Exclude {
		if r, ok := parseRule(pattern); ok && slices.ContainsFunc(r.segs, broken) {
			return nil, fmt.Errorf("pattern %q: a '[' without its ']', or a '\\' at its end: %w", pattern, core.ErrInvalid)
		}
	}
	asked, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	real, err := filepath.EvalSymlinks(asked)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	info, err := os.Stat(real)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, cause(err))
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %w", path, unsupported(info.Mode()))
	}
	s := &Source{path: real, name: filepath.Base(asked), info: info, opts: o}
	for _, dir := range o.Avoid {
		info, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", dir, err)
		}
		s.avoid = append(s.avoid, info)
	}
	return s, nil
}

// cause returns what is the matter with a path, without the path and the system's name
// for what was tried: the caller names what was asked for.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// Single tells whether the source is one file.
func (s *Source) Single() bool { return !s.info.IsDir() }

// Name returns a name for what is stored: the last part of the path, which need not be
// fit for a version; "root" for the root of a filesystem.
func (s *Source) Name() string {
	if s.name == string(filepath.Separator) {
		return "root"
	}
	return s.name
}

// Count walks the tree by stat alone, and returns how many regular files there
// are and the sum of their sizes in bytes. It tells Skip nothing.
func (s *Source) Count(ctx context.Context) (files, bytes int64, err error) {
	for item, err := range s.items(ctx, nil) {
		if err != nil {
			return files, bytes, err
		}
		if item.Entry.Kind == manifest.KindFile {
			files++
			bytes += int64(item.Entry.Size)
		}
	}
	return files, bytes, nil
}

// Items yields the tree in the order of manifest keys (component by component,
// in byte order), the root first, a directory before what is in it. Memory is
// bounded by the names of the directories on the way to the item. An error is
// the last thing yielded: ctx has ended, or the root is not what NewSource saw.
// Of a single file it yields a root made up for it, and the file by its name.
func (s *Source) Items(ctx context.Context) iter.Seq2[Item, error] {
	return s.items(ctx, s.opts.Skip)
}

func (s *Source) items(ctx context.Context, skip func(Problem)) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		if err := s.walk(ctx, skip, yield); err != nil && !errors.Is(err, errStop) {
			yield(Item{}, fmt.Errorf("read %s: %w", s.path, err))
		}
	}
}

func (s *Source) walk(ctx context.Context, skip func(Problem), yield func(Item, error) bool) error {
	dir := s.path
	if s.Single() {
		dir = filepath.Dir(dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	w := &walk{ctx: ctx, source: s, skip: skip, yield: yield}
	if s.Single() {
		return w.single(root)
	}
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(info, s.info) {
		return errSwapped
	}
	for _, pattern := range s.opts.Exclude {
		if r, ok := parseRule(pattern); ok {
			w.exclude = append(w.exclude, r)
		}
	}
	if !yield(Item{Entry: entryOf(info, "")}, nil) {
		return nil
	}
	return w.dir(root, "", nil)
}

// errSwapped says that a path no longer names what was listed under it.
var errSwapped = fmt.Errorf("replaced by something else while it was read: %w", core.ErrStale)
