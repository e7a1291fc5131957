package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// Part is a regular file that is being restored, under a name of its own until
// it is whole. It ends with Commit or Abort. One caller at a time uses it.
type Part struct {
	sink  *Sink
	path  string
	name  string // its last name, in dir
	temp  string // what it is called until then
	entry manifest.Entry
	dir   *os.Root
	file  *os.File
	wrote uint64
	old   bool // an earlier restore has begun it
	whole bool // it stands under its name already: there is no file
	ended bool
}

// File begins a file of e.Size bytes, and holds its directory open until it ends.
func (s *Sink) File(path []byte, e manifest.Entry) (*Part, error) {
	p := &Part{sink: s, path: string(path), entry: e}
	err := s.declare(p.path, manifest.KindFile, func() {
		s.parts[p.path] = p
		s.taken = true
	})
	if err == nil {
		if err = p.open(); err != nil {
			s.forget(p.path)
		}
	}
	if err != nil {
		s.fault()
		return nil, fmt.Errorf("restore file %q: %w", path, full(err))
	}
	return p, nil
}

// forget takes a file off the list of those that are being written.
func (s *Sink) forget(path string) {
	s.mu.Lock()
	delete(s.parts, path)
	s.mu.Unlock()
}

func (p *Part) open() (err error) {
	if p.dir, p.name, err = p.sink.dirOf(p.path); err != nil {
		return err
	}
	info, err := p.dir.Lstat(p.name)
	switch {
	case err == nil && p.sink.resumed && isWhole(info, p.entry):
		p.whole = true
	case err == nil:
		err = errTaken
	case errors.Is(err, fs.ErrNotExist):
		err = p.openPart()
	}
	if err != nil {
		p.dir.Close()
	}
	return err
}

// Write appends to the file. More than the file's size is refused: core.ErrCorrupt.
func (p *Part) Write(b []byte) (int, error) {
	if uint64(len(b)) > p.entry.Size-p.wrote {
		return 0, fmt.Errorf("restore file %q: more than its %d bytes: %w", p.path, p.entry.Size, core.ErrCorrupt)
	}
	if p.whole {
		return 0, fmt.Errorf("restore file %q: %w", p.path, errTaken)
	}
	n, err := p.file.WriteAt(b, int64(p.wrote))
	p.wrote += uint64(n)
	if err != nil {
		return n, fmt.Errorf("restore file %q: %w", p.path, full(err))
	}
	return n, nil
}

// Commit gives the file its mode, time and name. After an error nothing is left
// of it. Errors: core.ErrCorrupt if bytes are missing, fs.ErrExist if the name
// has been taken meanwhile.
func (p *Part) Commit() error {
	if p.ended {
		return fmt.Errorf("restore file %q: %w", p.path, fs.ErrClosed)
	}
	err := p.commit()
	if err != nil {
		return errors.Join(fmt.Errorf("restore file %q: %w", p.path, full(err)), p.abort())
	}
	p.ended = true
	p.sink.forget(p.path)
	return p.dir.Close()
}

func (p *Part) commit() error {
	if p.wrote != p.entry.Size {
		return fmt.Errorf("%d bytes of %d: %w", p.wrote, p.entry.Size, core.ErrCorrupt)
	}
	if p.whole {
		if err := p.dir.Chmod(p.name, fileMode(p.entry)); err != nil {
			p.sink.problem(p.path, fmt.Errorf("set mode: %w", err))
		}
		return nil
	}
	if p.old {
		if err := p.file.Truncate(int64(p.entry.Size)); err != nil {
			return err
		}
	}
	if err := p.file.Chmod(fileMode(p.entry)); err != nil {
		p.sink.problem(p.path, fmt.Errorf("set mode: %w", err))
	}
	if err := p.file.Close(); err != nil {
		return err
	}
	if err := setTime(p.dir, p.temp, p.entry); err != nil {
		p.sink.problem(p.path, err)
	}
	return p.rename()
}

// rename moves the file into place. Looking and renaming are one step under a
// mutex, because two names of a tree can be one on a disk that takes no notice
// of case, and a rename overwrites.
func (p *Part) rename() error {
	p.sink.naming.Lock()
	defer p.sink.naming.Unlock()
	if _, err := p.dir.Lstat(p.name); err == nil {
		return errTaken
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return p.dir.Rename(p.temp, p.name)
}

// Abort leaves nothing of the file, or where the restore can be gone on with, what has been written.
// After Commit or Abort it does nothing.
func (p *Part) Abort() error {
	if p.ended {
		return nil
	}
	return p.abort()
}

func (p *Part) abort() error {
	p.ended = true
	p.sink.forget(p.path)
	p.sink.fault()
	defer p.dir.Close()
	if p.whole {
		return nil
	}
	_ = p.file.Close() // Commit may have closed it
	if p.sink.goesOn && (p.old || p.wrote > 0) {
		return nil
	}
	if err := p.dir.Remove(p.temp); err != nil {
		return fmt.Errorf("remove unfinished file %q: %w", p.path, err)
	}
	return nil
}
