package grange

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"github.com/grange-grid/grange/edge/disk"
)

// settings is config.toml: what a person may also change by hand. It is read when an agent starts.
type settings struct {
	Pieces piecesSettings `toml:"pieces,omitempty"`
	Limits limitSettings  `toml:"limits,omitempty"`
	Alarms alarmSettings  `toml:"alarms,omitempty"`
	Invite inviteSettings `toml:"invite,omitempty"`
	// Resources has the unit of each that this household gives beside those that everybody knows.
	Resources map[string]unitName `toml:"resources,omitempty"`
	// Offer is what this machine gives of each resource but storage in 30 days that it runs.
	Offer offers `toml:"offer,omitempty"`
}

// piecesSettings say where partners' pieces lie, if not in the directory.
type piecesSettings struct {
	// On is a directory on another disk, Owner the machine that its marker names.
	On    absolutePath `toml:"on,omitempty"`
	Owner string       `toml:"owner,omitempty"`
}

// limitSettings bound what the agent takes of its machine.
type limitSettings struct {
	// Up and Down are bytes a second over the network, of everything; 0 is no limit.
	Up   rate `toml:"up,omitempty"`
	Down rate `toml:"down,omitempty"`
	// Quiet are hours of the day in which nothing is stored by itself.
	Quiet hours `toml:"quiet,omitempty"`
	// OnBattery says that it is stored by itself also while the machine runs on its battery.
	OnBattery bool `toml:"on_battery,omitempty"`
	// OnMetered says that it is also over a network that is paid for by the byte.
	OnMetered bool `toml:"on_metered,omitempty"`
	// Reserve is bytes of the disk that partners never get, if that is more than a
	// twentieth of it and 1 GiB.
	Reserve amount `toml:"reserve,omitempty"`
}

// alarmSettings say who is told when a person has to look.
type alarmSettings struct {
	// Command goes to sh -c, with what has happened in its environment.
	Command string `toml:"command,omitempty"`
}

// inviteSettings are what invitations offer that do not say it.
type inviteSettings struct {
	Give Amounts `toml:"give,omitempty"`
	Want Amounts `toml:"want,omitempty"`
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
	info, err := os.Stat(file)
	if err == nil && !info.Mode().IsRegular() { // a FIFO, or a device, would be read for ever
		return s, fmt.Errorf("%s is not a file: %w", file, ErrInvalid)
	}
	if err == nil && info.Size() > settingsSizeMax {
		return s, fmt.Errorf("%s: %d bytes, at most %d: %w", file, info.Size(), settingsSizeMax, ErrInvalid)
	}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read settings: %w", err)
	}
	meta, err := toml.Decode(string(raw), &s)
	if wrong, ok := errors.AsType[toml.ParseError](err); ok {
		return s, fmt.Errorf("%s, line %d: %s: %w", file, wrong.Position.Line, cmp.Or(wrong.Message, wrong.Error()), ErrInvalid)
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w: %w", file, err, ErrInvalid)
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 && unknown[0].String() == "limits.policy" {
		return s, fmt.Errorf("%s, line %d: who is answered how is said in the file policy beside it by now (grange policy edit): %w", file, lineOf(string(raw), unknown[0]), ErrInvalid)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Resources)) {
		if err := checkResource(name); err != nil {
			return s, fmt.Errorf("%s, line %d: %w: %w", file, lineOf(string(raw), toml.Key{"resources", name}), err, ErrInvalid)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Offer)) {
		if err := checkOffer(name, s.Resources); err != nil {
			return s, fmt.Errorf("%s, line %d: %w: %w", file, lineOf(string(raw), toml.Key{"offer", name}), err, ErrInvalid)
		}
	}
	for name, amounts := range map[string]Amounts{"give": s.Invite.Give, "want": s.Invite.Want} {
		if err := amounts.check(policyTable(s.Resources).Resources, name == "give"); err != nil {
			return s, fmt.Errorf("%s, line %d: %w: %w", file, lineOf(string(raw), toml.Key{"invite", name}), err, ErrInvalid)
		}
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return s, fmt.Errorf("%s, line %d: unknown setting %q: %w", file, lineOf(string(raw), unknown[0]), unknown[0].String(), ErrInvalid)
	}
	return s, nil
}

// lineOf returns the line in which a key stands: the first that begins with the key's last
// part under a heading of what goes before it, or that heading itself.
func lineOf(text string, key toml.Key) int {
	table, last := strings.Join(key[:len(key)-1], "."), key[len(key)-1]
	here, number := "", 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if heading, ok := strings.CutPrefix(line, "["); ok {
			here, _, _ = strings.Cut(strings.TrimPrefix(heading, "["), "]")
			if here = strings.TrimSpace(here); here == key.String() {
				return number
			}
		}
		name, _, ok := strings.Cut(line, "=")
		if name = strings.Trim(name, " \t\"'"); ok && (here == table && name == last || here == "" && name == key.String()) {
			return number
		}
	}
	return number
}

// write replaces config.toml in one step.
func (s settings) write(file string) error {
	var text bytes.Buffer
	text.WriteString("# Read when an agent starts.\n")
	if err := toml.NewEncoder(&text).Encode(s); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	if err := replaceFile(file, text.Bytes()); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
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
	if err != nil || string(s.Pieces.On) == abs {
		return err
	}
	for _, err := range a.store.Blobs().All(ctx) {
		if err != nil {
			return fmt.Errorf("look whether pieces are kept already: %w", err)
		}
		return fmt.Errorf("keep pieces on %s: pieces are kept in %s already: %w", dir, a.c.Dir, fs.ErrExist)
	}
	s.Pieces = piecesSettings{On: absolutePath(abs), Owner: a.key.DID().String()}
	if err := disk.MarkPieces(abs, s.Pieces.Owner); err != nil {
		return err
	}
	return s.write(a.c.settings)
}
