package files

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// SinkOptions says what is restored. The zero value restores a directory.
type SinkOptions struct {
	// Single says that one file is restored, under the destination's own name:
	// whatever name the manifest gives it is not used.
	Single bool
	// ID tells what is restored from all else. Where it is set, a restore that was cut off is gone on
	// with by another to the same place with the same ID.
	ID core.Score
	// Skip, if set, is told of each thing that was restored but for its mode or
	// time, and of each symlink that Finish could not make. Files that are
	// committed at once call it at once.
	Skip func(Problem)
}

// Sink makes a restored file or tree. Dir, Link and File may be called at once,
// Finish and Abort only when those have returned and no Part is in use. A
// directory must be declared before what is in it. Errors of the three:
//
//   - core.ErrInvalid: the entry could not come from an honest tree (its path is
//     malformed, declared twice, or lies under no declared directory);
//   - fs.ErrExist: something that this path was not declared to be stands there,
//     as when two names differ in case alone on a disk that takes no notice of
//     case; it is left as it is, and the restore can go on;
//   - core.ErrFull where there is no room;
//   - what the filesystem says (a name too long for it).
//
// What lies under a directory that could not be made gets that directory's error.
type Sink struct {
	root   *os.Root
	hold   *os.File // the root, locked; nil of a single file, which its Part locks
	dest   string
	made   bool // dest is ours to remove
	single bool
	id     core.Score // of SinkOptions, or random
	goesOn bool       // another restore may go on with this one
	skip   func(Problem)
	// resumed says that an earlier restore of the same was cut off.
	resumed bool

	naming sync.Mutex // see Part.rename; held across I/O on purpose

	mu     sync.Mutex
	ended  bool
	faulty bool // something is missing that another restore could bring
	dirs   map[string]dirState
	links  map[string]string // path to target
	parts  map[string]*Part  // files that are being written
	taken  bool              // the file of a single restore was declared
}

// dirState is what is known of a declared directory.
type dirState struct {
	entry manifest.Entry
	lost  error // why it could not be made
	known bool  // its entry was declared: only the root can lack one
}

// NewSink prepares a destination: a directory that does not exist, is empty, or has what an
// unfinished restore with the same ID has left; for a single file, a name that does not exist. What is above it must exist.
// Errors: fs.ErrExist; core.ErrBusy while another restores to there.
func NewSink(dest string, o SinkOptions) (*Sink, error) {
	abs, err := filepath.Abs(dest)
	if err != nil {
		return nil, fmt.Errorf("restore to %s: %w", dest, err)
	}
	s := &Sink{
		dest: abs, single: o.Single, skip: o.Skip, id: o.ID, goesOn: !o.ID.IsZero(),
		dirs:  map[string]dirState{"": {}},
		links: map[string]string{},
		parts: map[string]*Part{},
	}
	if !s.goesOn {
		_, _ = rand.Read(s.id[:]) // it does not fail
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("restore to %s: %w", dest, full(err))
	}
	return s, nil
}

func (s *Sink) open() (err error) {
	if s.single {
		if _, err := os.Lstat(s.dest); err == nil {
			return fmt.Errorf("a file or directory is there already: %w", fs.ErrExist)
		}
		if s.root, err = os.OpenRoot(filepath.Dir(s.dest)); err == nil && s.goesOn {
			_, none := s.root.Lstat(s.partName(""))
			s.resumed = none == nil
		}
		return err
	}
	if err := os.Mkdir(s.dest, 0o700); err == nil {
		s.made = true
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := os.Stat(s.dest)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("not a directory: %w", fs.ErrExist)
	}
	if err == nil {
		s.root, err = os.OpenRoot(s.dest)
	}
	if err != nil {
		return err
	}
	var names []string
	if s.hold, err = held(s.root); err == nil {
		names, err = readNames(s.root)
	}
	if err == nil {
		err = s.begin(names)
	}
	if err != nil {
		s.close()
	}
	return err
}

// Dir makes a directory that only the caller may enter; Finish gives it the mode
// and time of e. The empty path is the root, which need not be declared.
func (s *Sink) Dir(path []byte, e manifest.Entry) error {
	if err := s.dir(string(path), e); err != nil {
		s.fault()
		return fmt.Errorf("make directory %q: %w", path, full(err))
	}
	return nil
}

func (s *Sink) dir(path string, e manifest.Entry) error {
	if path == "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.dirs[""].known {
			return errTwice
		}
		s.dirs[""] = dirState{entry: e, known: true}
		return s.live()
	}
	if err := s.declare(path, manifest.KindDir, func() { s.dirs[path] = dirState{entry: e, known: true, lost: errUnmade} }); err != nil {
		return err
	}
	err := s.root.Mkdir(path, 0o700)
	if s.resumed && errors.Is(err, fs.ErrExist) {
		err = enter(s.root, path)
	}
	s.mu.Lock()
	s.dirs[path] = dirState{entry: e, known: true, lost: err}
	s.mu.Unlock()
	return err
}

// Link records a symlink, of which Finish makes all: until then no name in the
// destination leads anywhere else.
func (s *Sink) Link(path []byte, e manifest.Entry) error {
	name := string(path)
	err := s.declare(name, manifest.KindLink, func() { s.links[name] = string(e.Target) })
	if err == nil {
		if _, there := s.root.Lstat(name); there == nil && !s.linked(name, string(e.Target)) {
			err = errTaken
		}
	}
	if err != nil {
		s.fault()
		return fmt.Errorf("make symlink %q: %w", path, err)
	}
	return nil
}

var (
	errTwice  = fmt.Errorf("declared twice: %w", core.ErrInvalid)
	errTaken  = fmt.Errorf("another entry has this name on this disk: %w", fs.ErrExist)
	errHeld   = fmt.Errorf("another restore is writing there: %w", core.ErrBusy)
	errUnmade = fmt.Errorf("its directory is not made yet: %w", core.ErrInvalid)
)

// declare checks that a path is well-formed, new, and in a directory that was
// made, and records it. This and os.Root are what keeps a forged manifest inside.
func (s *Sink) declare(path string, kind manifest.Kind, record func()) error {
	if path == "" {
		return fmt.Errorf("the root is a directory: %w", core.ErrInvalid)
	}
	if _, err := manifest.Key([]byte(path)); err != nil {
		return err
	}
	if !localPath(path) {
		return fmt.Errorf("this system cannot keep that name: %w", core.ErrInvalid)
	}
	parent, _ := splitPath(path)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.live(); err != nil {
		return err
	}
	up, found := s.dirs[parent]
	switch {
	case s.single && (kind != manifest.KindFile || s.taken || parent != ""):
		return fmt.Errorf("not the one file that was announced: %w", core.ErrInvalid)
	case !found:
		return fmt.Errorf("not in a declared directory: %w", core.ErrInvalid)
	}
	_, isDir := s.dirs[path]
	_, isLink := s.links[path]
	_, isPart := s.parts[path]
	if isDir || isLink || isPart {
		return errTwice
	}
	record()
	if up.lost != nil {
		// Recorded all the same: what is below must hear the same cause.
		if d, isDir := s.dirs[path]; isDir {
			d.lost = up.lost
			s.dirs[path] = d
		}
		delete(s.links, path)
		delete(s.parts, path)
		return up.lost
	}
	return nil
}

// fault notes that something is missing.
func (s *Sink) fault() {
	s.mu.Lock()
	s.faulty = true
	s.mu.Unlock()
}

// live returns an error once the sink has ended. The caller holds mu.
func (s *Sink) live() error {
	if s.ended {
		return fs.ErrClosed
	}
	return nil
}

// Finish makes the symlinks, then gives the directories their modes and times,
// children first. What it could not do it tells Skip. Files that were neither
// committed nor aborted make it an error, and then it does what Abort does.
func (s *Sink) Finish(ctx context.Context) error {
	s.mu.Lock()
	open := len(s.parts)
	err := s.live()
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("finish restore: %w", err)
	}
	if open > 0 {
		err = fmt.Errorf("%d files are still being written: %w", open, core.ErrPartly)
		return errors.Join(fmt.Errorf("finish restore: %w", err), s.Abort())
	}
	if err := s.finish(ctx); err != nil {
		return errors.Join(fmt.Errorf("finish restore: %w", err), s.Abort())
	}
	return s.end()
}

func (s *Sink) finish(ctx context.Context) error {
	for _, path := range slices.Sorted(maps.Keys(s.links)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if s.linked(path, s.links[path]) {
			continue
		}
		if err := s.root.Symlink(s.links[path], path); err != nil {
			s.problem(path, fmt.Errorf("make symlink: %w", err))
		}
	}
	for _, path := range s.deepestFirst() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if path == "" && s.goesOn && !s.single && !s.faulty {
			if err := s.root.Remove(s.mark()); err != nil { // before the root is given its time
				return err
			}
		}
		if d := s.dirs[path]; d.known && d.lost == nil && !s.single {
			s.finishDir(path, d.entry)
		}
	}
	return nil
}

// deepestFirst lists the directories so that each comes before the one it is in.
func (s *Sink) deepestFirst() []string {
	paths := slices.Sorted(maps.Keys(s.dirs))
	slices.Reverse(paths)
	return paths
}

func (s *Sink) finishDir(path string, e manifest.Entry) {
	name := path
	if name == "" {
		name = "."
	}
	if err := setTime(s.root, name, e); err != nil {
		s.problem(path, err)
	}
	if err := s.root.Chmod(name, fileMode(e)); err != nil {
		s.problem(path, fmt.Errorf("set mode: %w", err))
	}
}

// setTime sets a modification time, of which the kernel's calls take the years
// 1678 to 2261 only.
func setTime(d *os.Root, name string, e manifest.Entry) error {
	mtime := time.Unix(e.Mtime, int64(e.Nsec))
	if e.Mtime < mtimeMin || e.Mtime > mtimeMax || e.Nsec >= 1e9 {
		return fmt.Errorf("set time: %d seconds from 1970 is out of range: %w", e.Mtime, core.ErrInvalid)
	}
	if err := d.Chtimes(name, time.Time{}, mtime); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// The seconds that 64 bits of nanoseconds reach, less one at either end.
const (
	mtimeMax = 1<<63/1_000_000_000 - 1
	mtimeMin = -mtimeMax
)

// Abort ends the restore. It removes the files that are being written, unless the restore
// can be gone on with, the directories that hold nothing, and the destination if it was made and is empty;
// what was committed stays. After Finish or Abort it does nothing.
func (s *Sink) Abort() error {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil
	}
	s.ended = true
	parts := slices.Collect(maps.Values(s.parts))
	s.mu.Unlock()
	var errs []error
	for _, p := range parts {
		errs = append(errs, p.Abort())
	}
	for _, path := range s.deepestFirst() {
		if d := s.dirs[path]; path != "" && d.lost == nil {
			_ = s.root.Remove(path) // one that holds something stays
		}
	}
	if s.goesOn && !s.single {
		errs = append(errs, s.leave())
	}
	errs = append(errs, s.close())
	if s.made {
		_ = os.Remove(s.dest)
	}
	return errors.Join(errs...)
}

// end closes a restore that was finished.
func (s *Sink) end() error {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	return s.close()
}

func (s *Sink) problem(path string, err error) {
	if s.skip != nil {
		s.skip(Problem{Path: []byte(path), Err: err})
	}
}

// localPath tells whether a path means the same on this system as in a manifest.
func localPath(path string) bool {
	return filepath.IsLocal(path) && (filepath.Separator == '/' || !strings.ContainsAny(path, `\:`))
}

// splitPath returns a path's directory, "" for the root, and its last name.
func splitPath(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}
