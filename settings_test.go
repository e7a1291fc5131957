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
		"[pieces]\non = 7\n":             "config.toml",
		"[pieces]\nin = \"/x\"\n":        "pieces.in",
		"[pieces]\non = \"relative\"\n":  "relative",
		strings.Repeat("# long\n", 1e4):  "at most",
		"[pieces\non = \"/elsewhere\"\n": "line 2",
	} {
		if err := os.WriteFile(filepath.Join(anna.dir, "config.toml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := grange.Open(t.Context(), w.config(anna.dir))
		if !errors.Is(err, grange.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	if err := os.Remove(filepath.Join(anna.dir, "config.toml")); err != nil {
		t.Fatal(err)
	}
	anna.open()
}
