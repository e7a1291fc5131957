package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/core/seamtest"
)

func TestSeparateBooksAreBooks(t *testing.T) {
	seamtest.Books(t, func(t *testing.T) core.Books {
		b, err := opened(t, made(t), Config{}).Separate("accounts", true)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

func TestSeparateBooksAreNeverBegunAnew(t *testing.T) {
	dir := made(t)
	s := opened(t, dir, Config{})
	if _, err := s.Separate("accounts", false); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("before there are any: %v", err)
	}
	b, err := s.Separate("accounts", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Apply(core.Change{Key: []byte("k"), Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Books().Get([]byte("k")); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("it stands in the agent's books: %v", err)
	}
	again, err := s.Separate("accounts", false)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := again.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Errorf("%q, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get([]byte("k")); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := s.Separate("accounts", true); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}

	tables, err := filepath.Glob(filepath.Join(dir, "accounts", "*"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	for _, name := range tables {
		if err := os.WriteFile(name, []byte("rot"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = opened(t, dir, Config{})
	if _, err := s.Separate("accounts", true); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("rotten: %v", err)
	}
	if aside, err := filepath.Glob(filepath.Join(dir, "accounts.bad*")); err != nil || len(aside) > 0 {
		t.Errorf("moved aside: %v, %v", aside, err)
	}
}
