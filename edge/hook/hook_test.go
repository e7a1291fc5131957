//go:build unix

package hook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTextIsNoCommand(t *testing.T) {
	dir := t.TempDir()
	text := "$(touch " + dir + "/bad) `touch " + dir + "/bad` '; touch " + dir + "/bad; \" \n line\x00two"
	if err := Run(t.Context(), `printf %s "$WHAT" > "`+dir+`/out"; echo much`, "WHAT="+text); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "out"))
	if err != nil || string(got) != strings.ReplaceAll(text, "\x00", "?") {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "bad")); err == nil {
		t.Error("text was run")
	}
}

func TestACommandThatFails(t *testing.T) {
	err := Run(t.Context(), "echo no way; exit 3")
	if err == nil || !strings.Contains(err.Error(), "exit status 3: no way") {
		t.Errorf("%v", err)
	}
	if err := Run(t.Context(), "yes | head -c 1000000; exit 1"); err == nil || len(err.Error()) > 2*outSizeMax {
		t.Errorf("much output: %d bytes", len(err.Error()))
	}
}

// A command that does not end is killed, with what it has started.
func TestACommandThatHangs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := Run(t.Context(), `mkfifo "`+fifo+`"`); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, `sleep 1000 & echo started > "`+fifo+`"; wait`) }()
	if got, err := os.ReadFile(fifo); err != nil || string(got) != "started\n" { // it has begun
		t.Fatalf("%q, %v", got, err)
	}
	cancel()
	if err := <-ended; err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
