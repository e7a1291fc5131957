package wire_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
)

// The agents of the tests. What each is to self, the gate says.
var (
	self     = core.DID{1}
	partner  = core.DID{2}
	admitted = core.DID{3}
	stranger = core.DID{4}
	revoked  = core.DID{5}
	broken   = core.DID{6}
	grid     = core.DID{99}
	// many and guests begin the DIDs of machines of one more household, and of bearers of its tickets.
	many, guests = byte(7), byte(8)
	crowd        = core.DID{98}
)

// machine is the real clock, which is fake in a synctest bubble.
type machine struct{}

func (machine) Now() time.Time { return time.Now() }

func (machine) Sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (machine) AfterFunc(d time.Duration, f func()) core.Timer { return time.AfterFunc(d, f) }

type gate struct{}

func (gate) Classify(_ context.Context, agent core.DID) (wire.Caller, error) {
	switch agent {
	case partner:
		return wire.Caller{Agent: agent, Grid: grid, Class: wire.Partner}, nil
	case admitted:
		return wire.Caller{Agent: agent, Grid: grid, Class: wire.Admitted}, nil
	case revoked:
		return wire.Caller{}, &wire.Error{Code: wire.CodeRevoked, Message: "charter 7 does not list you", Evidence: []byte("charter 7")}
	case broken:
		return wire.Caller{}, io.ErrNoProgress
	}
	switch agent[0] {
	case many:
		return wire.Caller{Agent: agent, Grid: crowd, Class: wire.Partner}, nil
	case guests:
		return wire.Caller{Agent: agent, Grid: crowd, Class: wire.Bearer}, nil
	}
	return wire.Caller{Agent: agent}, nil
}

// world is a server on a network in memory.
type world struct {
	t   *testing.T
	net *sim.Network
	log *bytes.Buffer // read it when the server has ended
	// end stops the server and waits for it.
	end func()
	// agents are those that call.
	agents map[core.DID]core.Peers
}

func (w *world) join(did core.DID) core.Peers {
	if w.agents[did] == nil {
		w.agents[did] = w.net.Join(did)
	}
	return w.agents[did]
}

// serve starts a server of routes as the agent self.
func serve(t *testing.T, routes ...wire.Route) *world {
	t.Helper()
	w := &world{t: t, net: sim.NewNetwork(1), log: new(bytes.Buffer), agents: make(map[core.DID]core.Peers)}
	peers := w.net.Join(self)
	srv := wire.NewServer(self, gate{}, routes, machine{}, slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	ended := make(chan struct{})
	go func() {
		_ = srv.Serve(wire.Listen(peers, machine{}))
		close(ended)
	}()
	w.end = func() {
		_ = peers.Close()
		<-ended
		_ = srv.Shutdown(context.Background()) // waits for the handlers
	}
	t.Cleanup(w.end)
	return w
}

// dial opens a connection to the server as an agent.
func (w *world) dial(from core.DID) core.Conn {
	w.t.Helper()
	c, err := w.join(from).Dial(w.t.Context(), self, []string{"/memory/1"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c
}

// client returns a client that calls as an agent.
func (w *world) client(from core.DID) *wire.Client {
	c := wire.NewClient(w.join(from), machine{}, func(core.DID) []string { return []string{"/memory/1"} })
	w.t.Cleanup(c.Close)
	return c
}

// request is a whole request without a body, and without the lines that extra gives.
func request(line string, extra ...string) string {
	return line + " HTTP/1.1\r\nHost: " + self.String() + "\r\n" + strings.Join(append(extra, "", ""), "\r\n")
}

// exchange sends raw bytes and reads one answer.
func exchange(t *testing.T, c core.Conn, raw string) (*http.Response, []byte) {
	t.Helper()
	go func() { _, _ = io.WriteString(c, raw) }() // the server may answer before it has all
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.60q: %v", raw, err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%.60q: %v", raw, err)
	}
	return resp, body
}

// wantError checks that an answer is an error of SPEC §7.
func wantError(t *testing.T, resp *http.Response, body []byte, status int, code, message string) wire.Error {
	t.Helper()
	var e wire.Error
	if err := codec.UnmarshalMessage(body, &e, len(body)); err != nil {
		t.Fatalf("answer %d %.80q: %v", resp.StatusCode, body, err)
	}
	if resp.StatusCode != status || e.Code != code || !strings.Contains(e.Message, message) || resp.Header.Get("Content-Type") != wire.TypeCBOR {
		t.Errorf("answer %d %s %q (%s), want %d %s %q", resp.StatusCode, e.Code, e.Message, resp.Header.Get("Content-Type"), status, code, message)
	}
	return e
}

// wantClosed reads until the server closes, and tells what came before that.
func wantClosed(t *testing.T, c net.Conn) string {
	t.Helper()
	got, _ := io.ReadAll(c)
	return string(got)
}

// stop makes a handler that waits until release is closed; begun tells of each that does.
func stop(begun chan<- struct{}, release <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-release
		wire.WriteMessage(w, r, struct{}{})
	})
}

type words struct {
	Text  string     `json:"text"`
	Bytes []byte     `json:"bytes,omitempty"`
	Score core.Score `json:"score"`
}
