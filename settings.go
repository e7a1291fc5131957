package grange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"github.com/grange-grid/grange/edge/disk"
)

// settings is config.toml: what a person may also change by hand, while no agent runs.
type settings struct {
	Pieces piecesSettings `toml:"pieces"`
}

// piecesSettings say where partners' pieces lie, if not in the directory.
type piecesSettings struct {
	// On is a directory on another disk, Owner the machine that its marker names.
	On    string `toml:"on,omitempty"`
	Owner string `toml:"owner,omitempty"`
}

// settingsSizeMax bounds what is read of config.toml, in bytes.
const settingsSizeMax = 64 << 10

// settingsFile is where config.toml is: in the directory if that was named, else
// in grange of XDG_CONFIG_HOME, or of ~/.config.
func settingsFile(dir string, named bool) (string, error) {
	const name = "config.toml"
	if named || os.Getenv("GRANGE_DIR") != "" {
		return filepath.Join(dir, name), nil
	}
	if config := os.Getenv("XDG_CONFIG_HOME"); filepath.IsAbs(config) {
		return filepath.Join(config, "grange", name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the directory for settings: %w", err)
	}
	return filepath.Join(home, ".config", "grange", name), nil
}

// readSettings reads config.toml; one that is not there is empty.
func readSettings(file string) (settings, error) {
	var s settings
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	if len(raw) > settingsSizeMax {
		return s, fmt.Errorf("%s: %d bytes, at most %d: %w", file, len(raw), settingsSizeMax, ErrInvalid)
	}
	meta, err := toml.Decode(string(raw), &s)
	if err != nil {
		return s, fmt.Errorf("%s: %w: %w", file, err, ErrInvalid)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return s, fmt.Errorf("%s: unknown setting %q: %w", file, unknown[0].String(), ErrInvalid)
	}
	if s.Pieces.On != "" && !filepath.IsAbs(s.Pieces.On) {
		return s, fmt.Errorf("%s: pieces.on %q is not an absolute path: %w", file, s.Pieces.On, ErrInvalid)
	}
	return s, nil
}

// write replaces config.toml in one step.
func (s settings) write(file string) error {
	var text bytes.Buffer
	text.WriteString("# Read when an agent starts.\n")
	if err := toml.NewEncoder(&text).Encode(s); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".config-*.toml")
	if err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	_, err = f.Write(text.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return fmt.Errorf("write settings: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// openStore opens a directory with its settings.
func openStore(c Config) (*disk.Store, error) {
	s, err := readSettings(c.settings)
	if err != nil {
		return nil, err
	}
	return disk.Open(c.Dir, disk.Config{PiecesDir: s.Pieces.On, Owner: s.Pieces.Owner})
}

// KeepOn has partners' pieces kept in dir, on another disk, from the next Open
// on. It leaves a marker there, so that a disk that is not mounted is taken for away
// and not for lost. Errors: fs.ErrExist if pieces are kept already, or dir is another
// agent's; ErrLocked while the agent runs, because it has the packs open.
func (a *Agent) KeepOn(ctx context.Context, dir string) error {
	if len(a.network.Addrs()) > 0 {
		return fmt.Errorf("keep pieces on %s: %w; stop it first", dir, ErrLocked)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("keep pieces on %s: %w", dir, err)
	}
	if !utf8.ValidString(abs) {
		return fmt.Errorf("keep pieces on %q: a path in settings is UTF-8: %w", abs, ErrInvalid)
	}
	s, err := readSettings(a.c.settings)
	if err != nil || s.Pieces.On == abs {
		return err
	}
	for _, err := range a.store.Blobs().All(ctx) {
		if err != nil {
			return fmt.Errorf("look whether pieces are kept already: %w", err)
		}
		return fmt.Errorf("keep pieces on %s: pieces are kept in %s already: %w", dir, a.c.Dir, fs.ErrExist)
	}
	s.Pieces = piecesSettings{On: abs, Owner: a.key.DID().String()}
	if err := disk.MarkPieces(abs, s.Pieces.Owner); err != nil {
		return err
	}
	return s.write(a.c.settings)
}
