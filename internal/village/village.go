// Package village runs households as people have them: the real program, each with a
// directory, a process and a loopback address of its own. The demo and the benchmark are
// told with it. It starts processes and does not come near the rest of the program.
package village

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"
)

// startMax is how long an agent may take to be ready.
const startMax = 30 * time.Second

// ExitInterrupted is the program's exit code when it is interrupted.
const ExitInterrupted = 130

// Village is some households in one folder.
type Village struct {
	Bin, Root string
	homes     []*Home
}

// New makes an empty village in a new folder below parent ("": where the system has its
// temporary files) for the program bin.
func New(bin, parent, pattern string) (*Village, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp(parent, pattern)
	return &Village{Bin: bin, Root: root}, err
}

// Stop kills all agents.
func (v *Village) Stop() {
	for _, h := range v.homes {
		h.Kill()
	}
}

// Remove deletes the village's folder, also what was restored read-only.
func (v *Village) Remove() error {
	err := filepath.WalkDir(v.Root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
	return errors.Join(err, os.RemoveAll(v.Root))
}

// Home is one household.
type Home struct {
	Name string
	// Dir is the machine's directory, Phrase the file with the household's words, Addr where it listens.
	Dir, Phrase, Addr string

	village *Village
	run     *exec.Cmd
	log     *os.File
}

// Found makes a household.
func (v *Village) Found(ctx context.Context, name string) (*Home, error) {
	h := &Home{Name: name, Dir: filepath.Join(v.Root, name), Phrase: filepath.Join(v.Root, name+".words"), village: v}
	v.homes = append(v.homes, h)
	return h, h.JSON(ctx, nil, "init", "--name", name, "--phrase-file", h.Phrase)
}

// Befriend makes friend a partner of h; each gives the other so much.
func (h *Home) Befriend(ctx context.Context, friend *Home, amount string) error {
	var inv struct{ Code string }
	if err := h.JSON(ctx, &inv, "invite", "--give", amount, "--want", amount); err != nil {
		return err
	}
	return friend.JSON(ctx, nil, "accept", "--yes", inv.Code)
}

// command is one call of the program on this household's directory.
func (h *Home) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.village.Bin, append([]string{"--dir", h.Dir}, args...)...)
	cmd.Env = append(os.Environ(), "GRANGE_DIR=", "NO_COLOR=1")
	return cmd
}

// JSON runs a command and decodes the one value that it prints, also of a command that
// failed. On a terminal its progress is drawn.
func (h *Home) JSON(ctx context.Context, v any, args ...string) error {
	cmd := h.command(ctx, append(args, "--json")...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if term.IsTerminal(int(os.Stderr.Fd())) {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			follow(r, &complaint)
		}()
		cmd.Stderr = w
		defer func() {
			w.Close()
			<-done
			r.Close()
		}()
	}
	if err := cmd.Run(); err != nil {
		if v != nil && out.Len() > 0 {
			_ = json.Unmarshal(out.Bytes(), v) // what a command that did a part of it says
		}
		return fmt.Errorf("%s: grange %s: %w\n%s", h.Name, strings.Join(args, " "), err, lastLines(complaint.String()))
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(out.Bytes(), v); err != nil {
		return fmt.Errorf("%s: grange %s: %w", h.Name, args[0], err)
	}
	return nil
}

// follow draws the program's progress as it comes, on one line.
func follow(r *os.File, rest *bytes.Buffer) {
	drawn := false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var p struct {
			Progress *struct {
				Stage     string
				Bytes, Of int64
			}
		}
		if json.Unmarshal(lines.Bytes(), &p) != nil || p.Progress == nil {
			rest.Write(append(lines.Bytes(), '\n'))
			continue
		}
		drawn = true
		if of := p.Progress.Of; of > 0 {
			const width = 30
			full := int(min(width, p.Progress.Bytes*width/of))
			fmt.Fprintf(os.Stderr, "\r\033[K          [%s%s] %3d%%  %s", strings.Repeat("#", full), strings.Repeat("-", width-full),
				min(100, p.Progress.Bytes*100/of), p.Progress.Stage)
		} else {
			fmt.Fprintf(os.Stderr, "\r\033[K          %s", p.Progress.Stage)
		}
	}
	if drawn {
		fmt.Fprint(os.Stderr, "\r\033[K")
	}
}

// Start runs the agent and waits until it is ready.
func (h *Home) Start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(h.village.Root, h.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := h.command(context.WithoutCancel(ctx), "run", "--listen", "/ip4/127.0.0.1/tcp/0", "--no-mdns")
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return errors.Join(err, log.Close())
	}
	h.run, h.log = cmd, log
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if addr, ok := strings.CutPrefix(lines.Text(), "ready "); ok && len(ready) == 0 {
				ready <- addr
			}
		}
	}()
	select {
	case addr, ok := <-ready:
		if !ok {
			raw, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s's agent ended before it was ready:\n%s", h.Name, lastLines(string(raw)))
		}
		h.Addr = addr
		return nil
	case <-time.After(startMax):
		return fmt.Errorf("%s's agent was not ready after %v", h.Name, startMax)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// PID is the agent's process; 0 when it does not run.
func (h *Home) PID() int {
	if h.run == nil {
		return 0
	}
	return h.run.Process.Pid
}

// Kill ends the agent as a power cut would.
func (h *Home) Kill() {
	if h.run == nil {
		return
	}
	_ = h.run.Process.Kill()
	_ = h.run.Wait() // it was killed: its status says nothing
	_ = h.log.Close()
	h.run = nil
}

// lastLines is the end of what a program complained.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
