package grange_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grange-grid/grange"
)

func TestKeepOnAnotherDisk(t *testing.T) {
	w := newWorld(t)
	anna, bo := w.found("anna"), w.found("bo")
	other := filepath.Join(t.TempDir(), "other disk")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := bo.KeepOn(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	bo.stop()
	bo.open()
	bo.run()
	anna.run()
	if err := bo.KeepOn(t.Context(), t.TempDir()); !errors.Is(err, grange.ErrLocked) {
		t.Errorf("another disk while the agent runs: %v", err)
	}
	w.befriend(anna, bo)
	dir := smallTree(t)
	if _, err := anna.PutPath(t.Context(), "tree", dir, nil); err != nil {
		t.Fatal(err)
	}
	packs, err := filepath.Glob(filepath.Join(other, "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Errorf("packs on the other disk: %v, %v", packs, err)
	}

	// The disk is not mounted: away, not lost.
	if err := os.Rename(other, other+" unmounted"); err != nil {
		t.Fatal(err)
	}
	check, err := anna.Check(t.Context(), "", nil)
	if !errors.Is(err, grange.ErrPartly) || check.Findings[0].Away != check.Pieces/2 || check.Findings[0].Missing != 0 {
		t.Errorf("with the disk away: %+v, %v", check.Findings, err)
	}
	if err := os.Rename(other+" unmounted", other); err != nil {
		t.Fatal(err)
	}
	if check, err = anna.Check(t.Context(), "", nil); err != nil {
		t.Errorf("with the disk back: %+v, %v", check.Findings, err)
	}
	bo.stop()
	bo.open()
	if err := bo.KeepOn(t.Context(), t.TempDir()); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another disk when pieces are kept: %v", err)
	}
}

func TestSettingsErrorsNameThePlace(t *testing.T) {
	w := newWorld(t)
	anna := w.found("anna")
	anna.stop()
	for text, want := range map[string]string{
		"[pieces]\non = 7\n":                                           `line 2: "7" is not an absolute path`,
		"[pieces]\n\nin = \"/x\"\n":                                    `line 3: unknown setting "pieces.in"`,
		"[pieces]\non = \"relative\"\n":                                `line 2: "relative" is not an absolute path`,
		strings.Repeat("# long\n", 1e4):                                "at most",
		"[pieces\non = \"/elsewhere\"\n":                               "line 2",
		"[limits]\ndown = 0\nup = 9_999\n":                             `line 3: "9999" is no limit`,
		"[limits]\nup = -1\n":                                          `line 2: "-1" is no limit`,
		"[limits]\nup = \"much\"\n":                                    `line 2: "much" is no limit`,
		"[limits]\nreserve = 1.5\n":                                    `line 2: "1.5`,
		"[limits]\nreserve = -5\n":                                     `line 2: "-5" is no number of bytes`,
		"[limits]\nquiet = \"at night\"\n":                             `line 2: "at night" are no hours`,
		"[limits]\nquiet = \"22:30-24:00\"\n":                          `line 2: "22:30-24:00" are no hours`,
		"[limits]\nquiet = \"07:00-07:00\"\n":                          `line 2: "07:00-07:00" are no hours`,
		"[limits]\non_battery = \"yes\"\n":                             "line 2",
		"[resources]\neven = \"m\"\n":                                  `line 2: "even" means something else already`,
		"[resources]\n\"sweet peas\" = \"kg\"\n":                       `line 2: "sweet peas" is no resource's name; one is of a-z, 0-9, -, . and _`,
		"[resources]\npeas = \"a\\u001b\"\n":                           "is no unit",
		"[resources]\npeas = \"kg of the best pea\"":                   "is no unit",
		"# one\n[alarms]\ncommand = [\"a\"]\n":                         "line 3",
		"[limits]\nup = 20_000\n\n[limit]\ndown = 1\n":                 `line 4: unknown setting "limit"`,
		"[alarms]\ncommand = \"in = 3\"\n[limits]\n\"in\" = 3\n":       `line 4: unknown setting "limits.in"`,
		"[invite]\nwant = \"9GB\"\ngive = \"ten\"\n":                   `line 3: "ten" is no size`,
		"[invite]\ngive = \"potatoes=5\"\n":                            `line 2: "potatoes" is not given here`,
		"[invite]\ngive = \"1x\"\n":                                    `line 2: a ratio is of what is wanted`,
		"[invite]\nwant = \"20%\"\n":                                   `line 2: a part is of what this machine gives`,
		"limits.in = 3\n":                                              `line 1: unknown setting "limits.in"`,
		"colour = \"in\"\n[limits]\nup = 20_000\n":                     `line 1: unknown setting "colour"`,
		"[limits]\nquiet = \"22:30-07:00\"\nquiet = \"22:30-07:01\"\n": "line 3",
	} {
		if err := os.WriteFile(filepath.Join(anna.dir, "config.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := grange.Open(t.Context(), w.config(anna.dir))
		if !errors.Is(err, grange.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	file := filepath.Join(anna.dir, "config.toml")
	must(t, os.Remove(file))
	must(t, os.Symlink(os.DevNull, file)) // as a FIFO, or /dev/zero
	if _, err := grange.Open(t.Context(), w.config(anna.dir)); !errors.Is(err, grange.ErrInvalid) || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("settings that are no file: %v", err)
	}
	must(t, os.Remove(file))
	anna.open()
}

// What offer --on writes leaves the rest as it was.
func TestSettingsAreKept(t *testing.T) {
	w := newWorld(t)
	anna := w.found("anna")
	const text = "[limits]\nup = 20000\nquiet = \"22:30-07:00\"\non_battery = true\non_metered = true\nreserve = 9000000000000000\n\n[alarms]\ncommand = \"echo \\\"$GRANGE_ALARM\\\"\"\n\n[invite]\ngive = \"20%,200GB work=5\"\n"
	anna.configure(text)
	other := t.TempDir()
	must(t, anna.KeepOn(t.Context(), other))
	raw, err := os.ReadFile(filepath.Join(anna.dir, "config.toml"))
	must(t, err)
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); !strings.Contains(string(raw), line) {
			t.Errorf("%q is missing in\n%s", line, raw)
		}
	}
	anna.stop()
	anna.open()
	if got, err := anna.Reserve(); err != nil || got != 9e15 {
		t.Errorf("reserve %d, %v", got, err)
	}
}
