// Package hook runs a command that a person has chosen, when something has happened.
//
// The command is the person's own, and goes to the shell; what has happened may come
// from anybody, and reaches the command as environment variables alone, so that no text
// can be taken for a command. It does not start a command twice, nor wait for
// one longer than it is told to.
package hook

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	outSizeMax = 2 << 10 // bytes of what a command says, for the log
	// grace is how long whatever the command has left behind may keep its output open.
	grace = time.Second
)

// Run runs a command by sh -c with variables, each NAME=value, added to the environment of
// this process. It is killed when ctx ends. The error has what it said.
func Run(ctx context.Context, command string, env ...string) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Env = os.Environ()
	for _, v := range env {
		cmd.Env = append(cmd.Env, strings.ReplaceAll(v, "\x00", "?"))
	}
	said := &head{}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = said, said, grace
	alone(cmd)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %q: %w: %s", command, err, strings.Join(strings.Fields(said.String()), " "))
	}
	return nil
}

// head keeps the beginning of what is written.
type head struct{ strings.Builder }

func (h *head) Write(b []byte) (int, error) {
	h.Builder.Write(b[:min(len(b), outSizeMax-h.Len())])
	return len(b), nil
}
