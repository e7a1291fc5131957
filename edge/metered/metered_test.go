//go:build unix

package metered

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNetwork(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if Network(t.Context()) {
		t.Error("metered, where nobody can be asked")
	}
	for says, want := range map[string]bool{
		"echo 'u 0'": false, "echo 'u 1'": true, "echo 'u 2'": false, "echo 'u 3'": true, "echo 'u 4'": false,
		"echo 'u 11'": false, "echo": false, "echo 'u 1'; exit 1": false, "exit 1": false,
		// What is asked for is the one property of the one manager.
		`[ "$*" = "--system get-property org.freedesktop.NetworkManager /org/freedesktop/NetworkManager org.freedesktop.NetworkManager Metered" ] && echo 'u 1'`: true,
	} {
		if err := os.WriteFile(filepath.Join(dir, "busctl"), []byte("#!/bin/sh\n"+says+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		if got := Network(t.Context()); got != want {
			t.Errorf("%s: %v, want %v", says, got, want)
		}
	}
}
