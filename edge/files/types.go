package files

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// Item is one entry of a tree.
type Item struct {
	// Path is relative to the root of the tree, of components joined by '/', in
	// the bytes that the filesystem gave; empty for the root itself. It is the
	// receiver's to keep.
	Path []byte
	// Entry says what stands there; it has no chunks.
	Entry manifest.Entry
	// Open opens a regular file, and is nil for everything else. It may be called
	// until the next Item is asked for; the File may be read for longer, and
	// elsewhere. Errors are what a Problem holds: the rest of the tree can go on.
	Open func() (File, error)
	// Stamp is a regular file's.
	Stamp Stamp
}

// File is a regular file that is being read. One caller at a time uses it.
type File interface {
	io.ReadCloser
	// Changed tells whether the file's size, modification or change time differs
	// from what it was at Open. Kernels move file times in ticks of a few
	// milliseconds: a write of the same length in the very tick of the Open
	// cannot be seen.
	Changed() (bool, error)
	// Entry describes the file as it was when it was opened.
	Entry() manifest.Entry
	// Stamp is the file's of the same moment.
	Stamp() Stamp
}

// Problem is something that was left out, while the rest went on.
type Problem struct {
	// Path is relative, as an Item's.
	Path []byte
	Err  error
}

// Error names the path, quoted, and what is the matter.
func (p Problem) Error() string { return fmt.Sprintf("%q: %v", p.Path, p.Err) }

// Unwrap returns the cause.
func (p Problem) Unwrap() error { return p.Err }

// stickyBit of a manifest's mode. The permissions are the nine bits below it;
// set-user-id and set-group-id are not among what is stored, since they would
// hand somebody else's rights to whoever wrote the bytes.
const stickyBit = 0o1000

// entryOf describes what a stat says; target is a symlink's.
func entryOf(info fs.FileInfo, target string) manifest.Entry {
	e := manifest.Entry{
		Kind:  manifest.KindFile,
		Mode:  uint64(info.Mode().Perm()),
		Mtime: info.ModTime().Unix(),
		Nsec:  uint64(info.ModTime().Nanosecond()),
	}
	if info.Mode()&fs.ModeSticky != 0 {
		e.Mode |= stickyBit
	}
	switch {
	case info.IsDir():
		e.Kind = manifest.KindDir
	case info.Mode()&fs.ModeSymlink != 0:
		e.Kind = manifest.KindLink
		e.Target = []byte(target)
	default:
		e.Size = uint64(info.Size())
	}
	return e
}

// fileMode is the mode that an entry is restored with.
func fileMode(e manifest.Entry) fs.FileMode {
	mode := fs.FileMode(e.Mode).Perm()
	if e.Kind == manifest.KindDir && e.Mode&stickyBit != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// ErrSpecial says that an entry is of a kind that is not stored; it is a core.ErrInvalid.
var ErrSpecial = fmt.Errorf("not a file, directory or symlink: %w", core.ErrInvalid)

// unsupported says why an entry of this type is not stored.
func unsupported(mode fs.FileMode) error {
	kind := "of an unknown kind"
	switch {
	case mode&fs.ModeSocket != 0:
		kind = "a socket"
	case mode&fs.ModeNamedPipe != 0:
		kind = "a FIFO"
	case mode&fs.ModeDevice != 0:
		kind = "a device"
	}
	return fmt.Errorf("%s, %w", kind, ErrSpecial)
}
