//go:build unix

package trial

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Bounds of what a process may take. They end a test that hangs, and no test counts on them.
const (
	startMax   = time.Minute
	stopMax    = 30 * time.Second
	commandMax = 2 * time.Minute
)

// house is one household of one machine, with a process of its own while it runs.
type house struct {
	t     *testing.T
	name  string
	dir   string
	words string // the file with its 24 words
	port  int
	addr  string   // while it runs
	wrap  []string // a command that the agent is run by
	cred  *syscall.Credential

	damaged map[int]bool // where records of its pack were damaged

	agent *exec.Cmd
	ended chan struct{} // closed when the agent has ended
	log   string
}

// newHouse is a household that has not been founded.
func newHouse(t *testing.T, root, name string) *house {
	t.Helper()
	h := &house{t: t, name: name, dir: filepath.Join(root, name), words: filepath.Join(root, name+".words"), log: filepath.Join(root, name+".log"), port: freePort(t)}
	t.Cleanup(func() {
		h.kill()
		if t.Failed() {
			t.Logf("%s's log ends:\n%s", h.name, tail(h.log, 12))
		}
	})
	return h
}

// found makes a household that gives plenty.
func found(t *testing.T, root, name string) *house {
	t.Helper()
	h := newHouse(t, root, name)
	h.must(0, "init", "--name", name, "--phrase-file", h.words)
	return h
}

// village makes households that run, the first of them a partner of all others.
func village(t *testing.T, names ...string) []*house {
	t.Helper()
	root := room(t)
	var all []*house
	for _, name := range names {
		h := found(t, root, name)
		h.start()
		all = append(all, h)
	}
	for _, h := range all[1:] {
		befriend(all[0], h)
	}
	return all
}

// befriend makes two households partners.
func befriend(a, b *house) { b.must(0, "accept", "--yes", a.invite("--give", "1GB", "--want", "1GB")) }

func (h *house) invite(terms ...string) string {
	h.t.Helper()
	var inv struct{ Code string }
	h.value(&inv, 0, append([]string{"invite"}, terms...)...)
	return inv.Code
}

// room is a directory that is removed at the end, whatever was restored into it.
func room(t *testing.T) string {
	t.Helper()
	root, err := os.MkdirTemp("", "trial-") // short: a socket's path has a limit
	ok(t, err)
	ok(t, os.Chmod(root, 0o755))
	t.Cleanup(func() {
		_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				err = os.Chmod(path, 0o700)
			}
			return err
		})
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	return root
}

// freePort finds a port that a machine can keep over restarts, as real ones do: an
// invitation names it. It lies below those that kernels give to dialling sockets, so
// that nobody takes it meanwhile.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			ok(t, l.Close())
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func (h *house) command(ctx context.Context, args ...string) *exec.Cmd {
	line := slices.Concat(h.wrap, []string{grangeBin}, args)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(os.Environ(), "GRANGE_DIR="+h.dir, "NO_COLOR=1", "GOCOVERDIR=")
	if h.cred != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.cred}
		cmd.Dir = "/"
	}
	return cmd
}

// result is what a command came to.
type result struct {
	line  string
	code  int // -1: it was killed
	out   []byte
	errs  string // stderr, without progress
	lines int    // of progress
}

func (r result) String() string {
	return fmt.Sprintf("%s: exit %d\n%s%s", r.line, r.code, r.out, r.errs)
}

// call is a command under way.
type call struct {
	h      *house
	cmd    *exec.Cmd
	cancel context.CancelFunc
	lines  chan struct{} // one for each line of progress, and closed at the end
	done   chan result
	result *result
}

// launch begins a command.
func (h *house) launch(args ...string) *call {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), commandMax)
	cmd := h.command(ctx, append([]string{"--json"}, args...)...)
	var out bytes.Buffer
	cmd.Stdout = &out
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	ok(h.t, err)
	c := &call{h: h, cmd: cmd, cancel: cancel, lines: make(chan struct{}, 1<<16), done: make(chan result, 1)}
	go func() {
		r := result{line: h.name + ": grange " + strings.Join(args, " ")}
		var rest strings.Builder
		for lines := bufio.NewScanner(errs); lines.Scan(); {
			if !strings.HasPrefix(lines.Text(), `{"progress"`) {
				rest.WriteString(lines.Text() + "\n")
				continue
			}
			r.lines++
			select {
			case c.lines <- struct{}{}:
			default: // nobody counts so far
			}
		}
		close(c.lines)
		err := cmd.Wait()
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
			rest.WriteString(err.Error())
		}
		r.code, r.out, r.errs = cmd.ProcessState.ExitCode(), out.Bytes(), rest.String()
		c.done <- r
	}()
	return c
}

// wait returns what the command came to.
func (c *call) wait() result {
	if c.result == nil {
		r := <-c.done
		c.cancel()
		c.result = &r
	}
	return *c.result
}

// ended tells whether the command has ended.
func (c *call) ended() bool {
	if c.result != nil {
		return true
	}
	select {
	case r := <-c.done:
		c.result = &r
		c.cancel()
		return true
	default:
		return false
	}
}

func (h *house) run(args ...string) result {
	h.t.Helper()
	return h.launch(args...).wait()
}

// must runs a command that has to end with code.
func (h *house) must(code int, args ...string) result {
	h.t.Helper()
	r := h.run(args...)
	if r.code != code {
		h.t.Fatalf("want exit %d\n%v", code, r)
	}
	return r
}

// value runs a command that has to end with code, and decodes what it prints.
func (h *house) value(v any, code int, args ...string) {
	h.t.Helper()
	r := h.must(code, args...)
	if err := json.Unmarshal(r.out, v); err != nil {
		h.t.Fatalf("%v\n%v", err, r)
	}
}

// complaint is the one error that a command wrote.
func (h *house) complaint(r result) (e struct{ Code, Message, Hint string }) {
	h.t.Helper()
	var line struct{ Error json.RawMessage }
	for text := range strings.Lines(r.errs) {
		if json.Unmarshal([]byte(text), &line) == nil && line.Error != nil {
			ok(h.t, json.Unmarshal(line.Error, &e))
			return e
		}
	}
	h.t.Fatalf("no error is told\n%v", r)
	return e
}

// start runs the agent and waits until it is ready.
func (h *house) start() {
	h.t.Helper()
	if err := h.tryStart(); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) tryStart() error {
	log, err := os.OpenFile(h.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := h.command(context.Background(), "run", "--listen", fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", h.port), "--no-mdns")
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	h.agent, h.ended = cmd, ended
	ready := make(chan string, 1)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if addr, is := strings.CutPrefix(lines.Text(), "ready "); is && len(ready) == 0 {
				ready <- addr
			}
		}
		_ = cmd.Wait() // how it ended is in its ProcessState
		close(ended)
	}()
	select {
	case h.addr = <-ready:
		return nil
	case <-ended:
		return fmt.Errorf("%s's agent ended before it was ready:\n%s", h.name, tail(h.log, 5))
	case <-time.After(startMax):
		return fmt.Errorf("%s's agent was not ready after %v", h.name, startMax)
	}
}

// kill ends the agent as a power cut would; if it does not run, nothing happens.
func (h *house) kill() {
	if h.agent == nil {
		return
	}
	_ = h.agent.Process.Kill() // it may have ended
	<-h.ended
	h.agent = nil
}

// stop ends the agent as a service manager would.
func (h *house) stop() {
	h.t.Helper()
	ok(h.t, h.agent.Process.Signal(syscall.SIGTERM))
	if code := h.awaitEnd(); code != 0 && code != 130 {
		h.t.Fatalf("%s's agent ended with %d when it was told to stop\n%s", h.name, code, tail(h.log, 5))
	}
}

// awaitEnd waits until the agent has ended by itself, and returns its exit code.
func (h *house) awaitEnd() int {
	h.t.Helper()
	select {
	case <-h.ended:
	case <-time.After(stopMax):
		h.t.Fatalf("%s's agent runs on\n%s", h.name, tail(h.log, 10))
	}
	code := h.agent.ProcessState.ExitCode()
	h.agent = nil
	return code
}

// alive fails unless the agent that was started still runs.
func (h *house) alive() {
	h.t.Helper()
	select {
	case <-h.ended:
		h.t.Fatalf("%s's agent has ended with %d\n%s", h.name, h.agent.ProcessState.ExitCode(), tail(h.log, 20))
	default:
	}
}

// tail is how a file ends.
func tail(name string, n int) string {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
