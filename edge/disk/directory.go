package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/grange-grid/grange/core"
)

// Names in the directory.
const (
	versionName = "VERSION"
	lockName    = "lock"
	keyName     = "agent.key"
	configName  = "config.toml"
	booksDir    = "books"
	piecesDir   = "pieces"
	stagingDir  = "staging"
	markerName  = "grange-pieces"

	stagingPrefix = "disk-" // of the files in staging that this package makes
)

// Version is the text of the file VERSION: the layout of the directory.
const Version = "grange 1\n"

const (
	keySizeMax  = 64 << 10
	textSizeMax = 4 << 10
)

// Create makes dir (mode 0700, with its parents) into a directory of an agent whose
// agent.key holds key; an empty key is left for WriteKey. VERSION is written last: until then Open
// answers core.ErrNotExist, and the next Create begins again. A directory that
// has a VERSION, or anything that Create does not make (config.toml is
// welcome), is refused with fs.ErrExist. Errors: fs.ErrExist, core.ErrLocked.
func Create(dir string, key []byte) error {
	if err := create(dir, key); err != nil {
		return fmt.Errorf("create directory %s: %w", dir, err)
	}
	return nil
}

func create(dir string, key []byte) error {
	if len(key) > keySizeMax {
		return fmt.Errorf("key of %d bytes: %w", len(key), core.ErrTooLarge)
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return err
	}
	// Before the lock is made, so that a stranger's directory stays as it is.
	if err := vacant(dir); err != nil {
		return err
	}
	lock, err := takeLock(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := vacant(dir); err != nil { // another Create may have been faster
		return err
	}
	for _, sub := range []string{piecesDir, stagingDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), dirMode); err != nil {
			return err
		}
	}
	if err := clearStaging(dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, keyName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(key) > 0 {
		if err := writeWhole(dir, keyName, key); err != nil {
			return err
		}
	}
	if err := writeWhole(dir, versionName, []byte(Version)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// Vacant makes dir if there is none, and tells whether Create could use it. Errors: fs.ErrExist.
func Vacant(dir string) error {
	err := os.MkdirAll(dir, dirMode)
	if err == nil {
		err = vacant(dir)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == dir {
		err = e.Err // the message names it
	}
	if err != nil {
		return fmt.Errorf("create directory %s: %w", dir, err)
	}
	return nil
}

// vacant refuses a directory that anything else than an unfinished Create has left.
func vacant(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.Name() {
		case lockName, keyName, configName, stagingDir:
		case versionName:
			return fmt.Errorf("it belongs to an agent already: %w", fs.ErrExist)
		case piecesDir:
			// An agent that lost its VERSION has packs, and must not lose its key as well.
			inner, err := os.ReadDir(filepath.Join(dir, piecesDir))
			if err != nil {
				return err
			}
			if len(inner) > 0 {
				return fmt.Errorf("there are pieces in it, but no VERSION: %w", fs.ErrExist)
			}
		default:
			return fmt.Errorf("it is not empty, %q is in it: %w", e.Name(), fs.ErrExist)
		}
	}
	return nil
}

// checkVersion answers core.ErrNotExist where no agent's directory is, and
// core.ErrVersion where its version is not spoken here.
func checkVersion(dir string) error {
	got, err := readSmall(filepath.Join(dir, versionName), textSizeMax)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fmt.Errorf("no agent's directory: %w", core.ErrNotExist)
	}
	if err != nil {
		return err
	}
	if string(got) != Version {
		return fmt.Errorf("%w of the directory: %.40q, want %q", core.ErrVersion, strings.TrimSpace(string(got)), strings.TrimSpace(Version))
	}
	return nil
}

// takeLock returns the locked file; closing it gives the lock back.
func takeLock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// clearStaging removes what a crash left of this package's own files.
func clearStaging(dir string) error {
	entries, err := os.ReadDir(filepath.Join(dir, stagingDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stagingPrefix) {
			if err := os.Remove(filepath.Join(dir, stagingDir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadKey returns the contents of agent.key. Errors: core.ErrNotExist.
func (s *Store) ReadKey() ([]byte, error) {
	key, err := readSmall(filepath.Join(s.dir, keyName), keySizeMax+1)
	if err == nil && len(key) > keySizeMax {
		err = core.ErrTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("read agent key: %w", err)
	}
	return key, nil
}

// WriteKey makes agent.key, mode 0600; after any crash it is there whole or not at
// all. There must be none: fs.ErrExist.
func (s *Store) WriteKey(key []byte) error {
	s.keyMu.Lock()
	defer s.keyMu.Unlock() // two writers would both find that there is none
	if len(key) > keySizeMax {
		return fmt.Errorf("write agent key: %w: %d bytes", core.ErrTooLarge, len(key))
	}
	_, err := os.Lstat(filepath.Join(s.dir, keyName))
	if err == nil {
		err = fs.ErrExist
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = writeWhole(s.dir, keyName, key)
	}
	if err != nil {
		return fmt.Errorf("write agent key: %w", err)
	}
	return nil
}

// markerText is what the marker of a disk with pieces says.
func markerText(owner string) []byte {
	return fmt.Appendf(nil, "grange pieces 1\n%s\n", owner)
}

// MarkPieces makes dir, which must be there, into one that Config.PiecesDir may
// name: it writes the marker grange-pieces for owner, unless it is there already.
// The marker of another owner is refused with fs.ErrExist.
func MarkPieces(dir, owner string) error {
	name := filepath.Join(dir, markerName)
	want := markerText(owner)
	if len(want) > textSizeMax || strings.Contains(owner, "\n") || owner == "" {
		return fmt.Errorf("mark %s: %w: an owner is one line of text", dir, core.ErrInvalid)
	}
	got, err := readSmall(name, textSizeMax)
	switch {
	case err == nil && bytes.Equal(got, want):
		return nil
	case err == nil && len(got) > 0 && !bytes.HasPrefix(want, got): // what a crash left is begun again
		return fmt.Errorf("mark %s: %w: it keeps the pieces of %q", dir, fs.ErrExist, ownerOf(got))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("mark %s: %w", dir, err)
	}
	if err := writeSynced(name, want); err != nil {
		return fmt.Errorf("mark %s: %w", dir, err)
	}
	return nil
}

func writeSynced(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

func ownerOf(marker []byte) string {
	lines := strings.Split(string(marker), "\n")
	return fmt.Sprintf("%.100s", lines[min(1, len(lines)-1)])
}
