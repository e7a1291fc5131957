//go:build unix

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"grange": main})
}

// TestScripts runs testdata/script/*.txtar. Besides testscript's own commands they have:
//
//	agent NAME [FLAG...]     start grange run on the directory NAME, on loopback, and wait until
//	                         it is ready; $NAME_addr is its address, then and the next time
//	halt NAME                end it as Ctrl-C does: it must exit with 0
//	kill9 NAME               end it as a power cut does
//	freeze NAME, thaw NAME   stop it in its tracks, and let it go on
//	start NAME REGEXP COMMAND...  start a command, and wait until what it writes matches
//	ctrlc NAME CODE          interrupt that command: it must exit with CODE; its output is NAME.out
//	ends NAME CODE           wait for that command
//	says NAME REGEXP         wait until what it has written matches
//	exits CODE COMMAND...    run a command that must exit with CODE
//	until REGEXP COMMAND...  run a command again and again until what it writes to stdout matches
//	save VAR                 keep the last stdout, trimmed, in $VAR
//	save VAR NAME REGEXP     keep what matches of what that command has written, or for - of the last stdout
//	garble VAR               change one character in the middle of $VAR
//	random FILE SIZE         a file of so many bytes that cannot be compressed
//	posts FILE N [back]      a file of N posts, a JSON object a line, of which each 50th has the tag #cats; or the last first
//
// $DOCS is the folder with the documentation.
//
// The race detector makes ten minutes of one: with -short, as beside it, there are only those in which most goes on at once.
func TestScripts(t *testing.T) {
	const dir = "testdata/script"
	files, err := filepath.Glob(filepath.Join(dir, "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		files = nil
		for _, name := range []string{"carry", "club", "club_loop", "contract", "exits", "first_hour", "ledger", "machine", "recover", "table_share", "ticket", "trouble", "watch"} {
			files = append(files, filepath.Join(dir, name+".txtar"))
		}
	}
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("no condition %q", cond)
		},
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("USER", "anna")
			e.Setenv("DOCS", docs)
			e.Setenv("LC_ALL", "C.UTF-8")
			e.Values[jobsKey{}] = &jobs{all: map[string]*job{}}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"agent":  plainly(agentCmd, 1),
			"halt":   plainly(haltCmd, 1),
			"kill9":  plainly(signalCmd(syscall.SIGKILL, true), 1),
			"freeze": plainly(signalCmd(syscall.SIGSTOP, false), 1),
			"thaw":   plainly(signalCmd(syscall.SIGCONT, false), 1),
			"start":  plainly(startCmd, 3),
			"ctrlc":  plainly(ctrlcCmd, 2),
			"ends":   plainly(endsCmd, 2),
			"says":   plainly(saysCmd, 2),
			"exits":  plainly(exitsCmd, 2),
			"until":  plainly(untilCmd, 2),
			"save":   plainly(saveCmd, 1),
			"garble": plainly(garbleCmd, 1),
			"random": plainly(randomCmd, 2),
			"posts":  plainly(postsCmd, 2),
		},
	})
}

// plainly makes a command of one that takes at least so many arguments, and no '!'.
func plainly(f func(*testscript.TestScript, []string), least int) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) < least {
			ts.Fatalf("at least %d arguments, and no '!'", least)
		}
		f(ts, args)
	}
}

type jobsKey struct{}

// jobs are the processes of one script that run beside it.
type jobs struct{ all map[string]*job }

// job is a process, and what it has written.
type job struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // valid once done

	mu  sync.Mutex
	out bytes.Buffer
	// want is matched against out as it grows; seen is closed when it does.
	want *regexp.Regexp
	seen chan struct{}
}

func (j *job) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.out.Write(b)
	if j.want != nil && j.want.Match(j.out.Bytes()) {
		close(j.seen)
		j.want = nil
	}
	return len(b), nil
}

func (j *job) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.out.String()
}

// begin starts a process and waits until what it writes matches.
func begin(ts *testscript.TestScript, name, until string, command ...string) *job {
	all := ts.Value(jobsKey{}).(*jobs).all
	if j := all[name]; j != nil {
		select {
		case <-j.done:
		default:
			ts.Fatalf("%s runs already", name)
		}
	}
	path, err := exec.LookPath(command[0])
	ts.Check(err)
	want, err := regexp.Compile("(?m)" + until)
	ts.Check(err)
	j := &job{cmd: exec.Command(path, command[1:]...), done: make(chan struct{}), want: want, seen: make(chan struct{})}
	j.cmd.Dir, j.cmd.Stdout, j.cmd.Stderr = ts.MkAbs("."), j, j
	for _, v := range []string{"PATH", "HOME", "USER", "TMPDIR", "GRANGE_DIR", "LC_ALL"} {
		j.cmd.Env = append(j.cmd.Env, v+"="+ts.Getenv(v))
	}
	seen := j.seen
	ts.Check(j.cmd.Start())
	all[name] = j
	go func() {
		defer close(j.done)
		j.err = j.cmd.Wait()
	}()
	ts.Defer(func() {
		_ = j.cmd.Process.Kill() // it may have ended
		<-j.done
		ts.Logf("[%s]\n%s", name, j.text())
	})
	select {
	case <-seen:
	case <-j.done:
		ts.Fatalf("%s has ended with %v before it wrote %s:\n%s", name, j.err, until, j.text())
	}
	return j
}

func find(ts *testscript.TestScript, name string) *job {
	j := ts.Value(jobsKey{}).(*jobs).all[name]
	if j == nil {
		ts.Fatalf("nothing was started as %s", name)
	}
	return j
}

// end waits for a process, and checks its exit code.
func (j *job) end(ts *testscript.TestScript, name string, code int) {
	<-j.done
	if got := j.cmd.ProcessState.ExitCode(); got != code {
		ts.Fatalf("%s has exited with %d, not %d:\n%s", name, got, code, j.text())
	}
	ts.Check(os.WriteFile(ts.MkAbs(name+".out"), []byte(j.text()), 0o600))
}

func agentCmd(ts *testscript.TestScript, args []string) {
	name, addrVar, listen := args[0], filepath.Base(args[0])+"_addr", "/ip4/127.0.0.1/tcp/0"
	if before, _, ok := strings.Cut(ts.Getenv(addrVar), "/p2p/"); ok {
		listen = before
	}
	j := begin(ts, name, `^ready /\S+`, append([]string{
		"grange", "run", "--dir", name, "--listen", listen, "--no-mdns", "--log-level", "debug",
	}, args[1:]...)...)
	ready := regexp.MustCompile(`(?m)^ready (/\S+)$`).FindStringSubmatch(j.text())
	if ready == nil {
		ts.Fatalf("%s is ready nowhere:\n%s", name, j.text())
	}
	ts.Setenv(addrVar, ready[1])
}

func haltCmd(ts *testscript.TestScript, args []string) {
	ctrlcCmd(ts, []string{args[0], "0"})
}

func ctrlcCmd(ts *testscript.TestScript, args []string) {
	j := find(ts, args[0])
	ts.Check(j.cmd.Process.Signal(os.Interrupt))
	endsCmd(ts, args)
}

func endsCmd(ts *testscript.TestScript, args []string) {
	code, err := strconv.Atoi(args[1])
	ts.Check(err)
	find(ts, args[0]).end(ts, args[0], code)
}

// saysMax is how long a script waits for what should come at once, until it says what came instead.
const saysMax = time.Minute

func saysCmd(ts *testscript.TestScript, args []string) {
	j := find(ts, args[0])
	want, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	seen := make(chan struct{})
	j.mu.Lock()
	j.want, j.seen = want, seen
	j.mu.Unlock()
	_, _ = j.Write(nil) // it may be there already
	select {
	case <-seen:
	case <-j.done:
		ts.Fatalf("%s has ended with %v before it wrote %s:\n%s", args[0], j.err, args[1], j.text())
	case <-time.After(saysMax):
		ts.Fatalf("%s has not written %s:\n%s", args[0], args[1], j.text())
	}
}

func signalCmd(s syscall.Signal, ends bool) func(*testscript.TestScript, []string) {
	return func(ts *testscript.TestScript, args []string) {
		j := find(ts, args[0])
		ts.Check(j.cmd.Process.Signal(s))
		if ends {
			<-j.done
		}
	}
}

func startCmd(ts *testscript.TestScript, args []string) { begin(ts, args[0], args[1], args[2:]...) }

func exitsCmd(ts *testscript.TestScript, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		got = failed.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// untilTries bounds how often until runs its command.
const untilTries = 500

func untilCmd(ts *testscript.TestScript, args []string) {
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for range untilTries {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if want.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("%d times it did not match %s", untilTries, args[0])
}

func saveCmd(ts *testscript.TestScript, args []string) {
	if len(args) < 3 {
		ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
		return
	}
	re, err := regexp.Compile("(?m)" + args[2])
	ts.Check(err)
	var text string
	if args[1] == "-" {
		text = ts.ReadFile("stdout")
	} else {
		text = find(ts, args[1]).text()
	}
	found := re.FindString(text)
	if found == "" {
		ts.Fatalf("nothing that %s has written matches %s", args[1], args[2])
	}
	ts.Setenv(args[0], found)
}

// garbleCmd changes one character of a variable or, where there is none of that name, of a file.
func garbleCmd(ts *testscript.TestScript, args []string) {
	text := []byte(ts.Getenv(args[0]))
	file := len(text) == 0
	if file {
		text = []byte(ts.ReadFile(args[0]))
	}
	at := len(text) / 2
	text[at] = map[bool]byte{true: 'B', false: 'A'}[text[at] == 'A']
	if file {
		ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
		return
	}
	ts.Setenv(args[0], string(text))
}

func randomCmd(ts *testscript.TestScript, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	data := make([]byte, n)
	x := uint64(n) // xorshift: the same file each time, and another for each name
	for _, c := range args[0] {
		x = x*31 + uint64(c)
	}
	for i := range data {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		data[i] = byte(x)
	}
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o755))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

func postsCmd(ts *testscript.TestScript, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	lines := make([]string, n)
	for i := range lines {
		at := i
		if len(args) > 2 {
			at = n - 1 - i
		}
		lines[i] = post(at)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(lines, "")), 0o600))
}

// post is the i-th of the posts with which tables are tried.
func post(i int) string {
	tag := [...]string{"#dogs", "#birds", "#fish"}[i%3]
	if i%50 == 0 {
		tag = "#cats"
	}
	text := strings.Repeat(fmt.Sprintf("What happened on day %d. ", i), 16)
	return fmt.Sprintf(`{"id":"post-%06d","time":%d,"tags":[%q,"#day%d"],"text":%q}`+"\n", i, 1_700_000_000+60*i, tag, i%7, text)
}
