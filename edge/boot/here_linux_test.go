package boot

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grange-grid/grange/core"
)

func TestHere(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Here(); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("without systemd: %v", err)
	}
	tool := filepath.Join(os.Getenv("PATH"), "systemctl")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\necho no \"$@\"\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	m, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	if file := m.File("x"); filepath.Base(file) != "x.service" {
		t.Errorf("the file is %s", file)
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/bin:/usr/bin")
	if err := m.run(t.Context(), "systemctl", "daemon-reload"); err == nil || !strings.Contains(err.Error(), "no daemon-reload") {
		t.Errorf("a command that fails: %v", err)
	}
}
