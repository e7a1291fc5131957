package api

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grange-grid/grange"
)

func TestLocalStreams(t *testing.T) {
	step := make(chan struct{})
	c := Local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := newStream(w)
		<-step // the reader has the header by now
		_ = s.send(line{Progress: &grange.Progress{Stage: "one"}})
		<-step
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != `{"path":"/a"}` {
			t.Errorf("body %q, %v", body, err)
		}
		_ = s.send(line{Result: grange.PutResult{Same: 5}, Error: &Error{Code: CodePartly, Message: "some"}})
	}))
	defer c.Close()
	go func() { step <- struct{}{} }()
	out, err := c.Put(t.Context(), PutRequest{Path: "/a"}, func(p grange.Progress) {
		if p.Stage != "one" {
			t.Errorf("progress %+v", p)
		}
		step <- struct{}{} // only now the handler goes on: progress arrives as it is sent
	})
	if !errors.Is(err, grange.ErrPartly) || out.Same != 5 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestLocalEnds(t *testing.T) {
	began, ended := make(chan struct{}), false
	c := Local(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		ended = true
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := c.Status(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	c.Close()
	if !ended {
		t.Error("Close has returned before the handler")
	}
}

func TestAnswersThatBreakOff(t *testing.T) {
	for _, body := range []string{"", `{"progress":{"stage":"x"}}`, `{"resu`, `{"result":"text"}`} {
		c := Local(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		_, err := c.Put(t.Context(), PutRequest{Path: "/a"}, nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeGone {
			t.Errorf("the answer %q: %v", body, err)
		}
		c.Close()
	}
	c := Local(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	defer c.Close()
	if _, err := c.Pacts(t.Context()); ErrorOf(err).Code != CodeGone {
		t.Errorf("an answer without an error: %v", err)
	}
}

// stuck is a reader that takes one line and no more until it is told to.
type stuck struct {
	header http.Header
	first  chan struct{}
	goOn   chan struct{}
	lines  []string
}

func (s *stuck) Header() http.Header { return s.header }
func (s *stuck) WriteHeader(int)     {}
func (s *stuck) Write(b []byte) (int, error) {
	if s.lines = append(s.lines, string(b)); len(s.lines) == 1 {
		close(s.first)
		<-s.goOn
	}
	return len(b), nil
}

func TestSlowReaderDoesNotHoldUpTheWork(t *testing.T) {
	w := &stuck{header: http.Header{}, first: make(chan struct{}), goOn: make(chan struct{})}
	p := newPacer(newStream(w))
	p.tell(grange.Progress{Stage: "first"})
	<-w.first
	for range 1000 {
		p.tell(grange.Progress{Stage: "middle"})
	}
	p.tell(grange.Progress{Stage: "last"})
	close(w.goOn)
	p.stop()
	if len(w.lines) != 2 || !strings.Contains(w.lines[0], "first") || !strings.Contains(w.lines[1], "last") {
		t.Errorf("lines %q", w.lines)
	}
}

// serve answers on the socket of a directory until the test ends, or it is stopped.
func serve(t *testing.T, dir string) (stop func()) {
	t.Helper()
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: Handler(nil)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l)
	}()
	stop = func() { _ = server.Close(); <-ended }
	t.Cleanup(stop)
	return stop
}

// asks tells whether somebody answers on a directory.
func asks(t *testing.T, dir string) error {
	t.Helper()
	c, err := Dial(t.Context(), dir)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Terms(t.Context(), "?"); ErrorOf(err).Code != CodeInvalid {
		t.Errorf("the agent says %v", err)
	}
	return nil
}

func TestSocket(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp") // the test's own directories have long names
	short, err := os.MkdirTemp("/tmp", "g")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	long := filepath.Join(short, strings.Repeat("a long name ", 12))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{short, long} {
		if err := asks(t, dir); !errors.Is(err, grange.ErrNotHere) {
			t.Fatalf("%s: nobody is here, and %v", dir, err)
		}
		stop := serve(t, dir)
		if err := asks(t, dir); err != nil {
			t.Fatal(err)
		}
		at, err := SocketPath(dir)
		if err != nil || len(at) > socketPathMax {
			t.Fatalf("the socket is at %s: %v", at, err)
		}
		if (dir == long) != (filepath.Dir(at) != dir) {
			t.Errorf("the socket of %s is at %s", dir, at)
		}
		for name, want := range map[string]fs.FileMode{at: 0o600, dir: 0o700, filepath.Dir(at): 0o700} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
				t.Errorf("mode of %s: %v, %v", name, info.Mode(), err)
			}
		}
		stop()
		for _, name := range []string{at, filepath.Join(dir, socketName)} {
			if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left: %v", name, err)
			}
		}
	}
}

func TestSocketOfTheDead(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp")
	short, err := os.MkdirTemp("/tmp", "g")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	for _, dir := range []string{short, filepath.Join(short, strings.Repeat("long", 30))} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l, err := Listen(dir)
		if err != nil {
			t.Fatal(err)
		}
		// A process that is killed closes its sockets and removes nothing.
		l.(*socket).Listener.(interface{ SetUnlinkOnClose(bool) }).SetUnlinkOnClose(false)
		if err := l.(*socket).Listener.Close(); err != nil {
			t.Fatal(err)
		}
		if err := asks(t, dir); !errors.Is(err, grange.ErrNotHere) {
			t.Errorf("a dead one's socket: %v", err)
		}
		serve(t, dir)
		if err := asks(t, dir); err != nil {
			t.Error(err)
		}
	}
	other := filepath.Join(short, "other")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, socketName), []byte("a diary"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(other); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file in the socket's place: %v", err)
	}
}

func TestSocketInADirectoryOfOthers(t *testing.T) {
	dir, open := t.TempDir(), t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(open, "s"), filepath.Join(dir, socketName)); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(t.Context(), dir); err == nil || errors.Is(err, grange.ErrNotHere) || !strings.Contains(err.Error(), "belongs to this user") {
		t.Errorf("a socket where others may put one: %v", err)
	}
}
