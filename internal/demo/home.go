package main

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

// home is one household of the story.
type home struct {
	s      *story
	name   string
	dir    string
	phrase string
	addr   string
	run    *exec.Cmd
	log    *os.File
}

// startMax is how long an agent may take to be ready.
const startMax = 30 * time.Second

func (s *story) found(ctx context.Context, name string) (*home, error) {
	h := &home{s: s, name: name, dir: filepath.Join(s.root, name), phrase: filepath.Join(s.root, name+".words")}
	s.homes[name] = h
	return h, h.json(ctx, nil, "init", "--name", name, "--phrase-file", h.phrase)
}

// command is one call of the program on this household's directory.
func (h *home) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, h.s.bin, append([]string{"--dir", h.dir}, args...)...)
	cmd.Env = append(os.Environ(), "GRANGE_DIR=", "NO_COLOR=1")
	return cmd
}

// json runs a command and decodes the one value that it prints. Its progress
// bar, if this is a terminal, is the program's own.
func (h *home) json(ctx context.Context, v any, args ...string) error {
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
		return fmt.Errorf("%s: grange %s: %w\n%s", h.name, strings.Join(args, " "), err, lastLines(complaint.String()))
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(out.Bytes(), v); err != nil {
		return fmt.Errorf("%s: grange %s: %w", h.name, args[0], err)
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

// start runs the agent and waits until it is ready.
func (h *home) start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(h.s.root, h.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
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
			return fmt.Errorf("%s's agent ended before it was ready:\n%s", h.name, lastLines(string(raw)))
		}
		h.addr = addr
		return nil
	case <-time.After(startMax):
		return fmt.Errorf("%s's agent was not ready after %v", h.name, startMax)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kill ends the agent as a power cut would.
func (h *home) kill() {
	if h.run == nil {
		return
	}
	_ = h.run.Process.Kill()
	_ = h.run.Wait() // it was killed: its status says nothing
	_ = h.log.Close()
	h.run = nil
}

func (s *story) stopAll() {
	for _, h := range s.homes {
		h.kill()
	}
}

// goSource is where Go's own source tree is.
func goSource(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find Go's source tree: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "src"), nil
}

// makeWritable lets everything below root be removed, also what was restored
// read-only.
func makeWritable(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return err
	})
}

func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f kB", float64(n)/1e3)
}

// lastLines is the end of what a program complained.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}
