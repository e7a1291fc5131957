package files

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// An unfinished restore has an empty file in its root whose name says what is being restored, and
// its unfinished files have names made of that and their paths. No tree can have such a name of its own in
// it, because what is restored depends on all names.
const (
	markPrefix = ".grange-"
	markSuffix = ".get"
	partSuffix = ".part"
)

func (s *Sink) mark() string { return markPrefix + hex.EncodeToString(s.id[:16]) + markSuffix }

// partName is what a file is called until it is whole.
func (s *Sink) partName(path string) string {
	if s.single { // whose name in the manifest is not used
		path = filepath.Base(s.dest)
	}
	score := core.ScoreOf(append(s.id[:], path...))
	return markPrefix + hex.EncodeToString(score[:16]) + partSuffix
}

// begin prepares a directory of which names are in it already.
func (s *Sink) begin(names []string) error {
	isMark := func(name string) bool {
		return strings.HasPrefix(name, markPrefix) && strings.HasSuffix(name, markSuffix)
	}
	switch {
	case s.goesOn && slices.Contains(names, s.mark()):
		s.resumed = true
		return enter(s.root, ".")
	case slices.ContainsFunc(names, isMark):
		return fmt.Errorf("an unfinished restore of something else is there: %w", fs.ErrExist)
	case len(names) > 0:
		return fmt.Errorf("the directory is not empty: %w", fs.ErrExist)
	case !s.goesOn:
		return nil
	}
	f, err := s.root.OpenFile(s.mark(), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// held opens and locks a directory: two that go on with one restore would rename each other's files away.
func held(d *os.Root) (*os.File, error) {
	f, err := d.Open(".")
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (s *Sink) close() error {
	if s.hold != nil {
		s.hold.Close() // it was not written to
	}
	return s.root.Close()
}

// enter makes a directory that is there one that the caller may enter and write in, until
// it is given its mode again. Errors: fs.ErrExist if it is none.
func enter(root *os.Root, name string) error {
	info, err := root.Lstat(name)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return errTaken
	case info.Mode().Perm()&0o700 == 0o700:
		return nil
	}
	return root.Chmod(name, 0o700)
}

// linked tells whether an earlier restore has made a symlink.
func (s *Sink) linked(path, target string) bool {
	if !s.resumed {
		return false
	}
	is, err := s.root.Readlink(path)
	return err == nil && is == target
}

// isWhole tells whether a file of that name is what an earlier restore has left of an entry, by all but its bytes.
func isWhole(info fs.FileInfo, e manifest.Entry) bool {
	return info.Mode().IsRegular() && info.Size() >= 0 && uint64(info.Size()) == e.Size &&
		info.ModTime().Equal(time.Unix(e.Mtime, int64(e.Nsec)))
}

// Found opens what an earlier restore to the same place has left of a file: all of it, or its
// beginning. It is nil if there is nothing. Whether the bytes are the right ones is for the caller to check, who says so by
// Part.Pass.
func (s *Sink) Found(path []byte, e manifest.Entry) io.ReadCloser {
	if !s.resumed || !localPath(string(path)) {
		return nil
	}
	if key, err := manifest.Key(path); err != nil || len(key) == 0 {
		return nil
	}
	f, err := s.found(string(path), e)
	if err != nil {
		return nil // File will say so
	}
	return f
}

func (s *Sink) found(path string, e manifest.Entry) (io.ReadCloser, error) {
	d, name, err := s.dirOf(path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	info, err := d.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		name = s.partName(path)
		info, err = d.Lstat(name)
	} else if err == nil && !isWhole(info, e) {
		err = errTaken
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o400 == 0 { // Commit sets it again
		if err := d.Chmod(name, info.Mode().Perm()|0o400); err != nil {
			return nil, err
		}
	}
	return openFile(d, name, info)
}

// dirOf opens the directory of a file and returns the file's name in it.
func (s *Sink) dirOf(path string) (d *os.Root, name string, err error) {
	parent, name := splitPath(path)
	if s.single {
		name = filepath.Base(s.dest)
	}
	// The dot makes it open a directory or nothing, as in openDir.
	d, err = s.root.OpenRoot(filepath.Join(".", parent) + "/.")
	return d, name, err
}

// leave ends a restore that can be gone on with: it takes the mark away if there is nothing else.
func (s *Sink) leave() error {
	names, err := readNames(s.root)
	if err != nil || len(names) != 1 || names[0] != s.mark() {
		return err
	}
	return s.root.Remove(s.mark())
}

// openPart opens the unfinished file, one that an earlier restore has left if there is one.
func (p *Part) openPart() (err error) {
	p.temp = p.sink.partName(p.path)
	info, err := p.dir.Lstat(p.temp)
	if errors.Is(err, fs.ErrNotExist) {
		if p.file, err = p.dir.OpenFile(p.temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		return p.lockPart()
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errTaken
	}
	if info.Mode().Perm() != 0o600 {
		if err := p.dir.Chmod(p.temp, 0o600); err != nil {
			return err
		}
	}
	f, err := p.dir.OpenFile(p.temp, os.O_WRONLY|nonblock, 0)
	if err != nil {
		return err
	}
	if opened, err := f.Stat(); err != nil || !os.SameFile(info, opened) {
		return errors.Join(errTaken, err, f.Close())
	}
	p.file, p.old = f, true
	return p.lockPart()
}

// lockPart locks the unfinished file, where no directory is locked.
func (p *Part) lockPart() error {
	if !p.sink.single {
		return nil
	}
	err := lock(p.file)
	if err != nil {
		p.file.Close() // the other one's
	}
	return err
}

// Pass says that the next n bytes of the file, as Found gave them, are right. Errors:
// core.ErrCorrupt if the file has not as many.
func (p *Part) Pass(n uint64) error {
	if n > p.entry.Size-p.wrote {
		return fmt.Errorf("restore file %q: more than its %d bytes: %w", p.path, p.entry.Size, core.ErrCorrupt)
	}
	p.wrote += n
	return nil
}
