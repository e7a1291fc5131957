package wire_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/sim"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
)

// against starts a peer that does with each connection what it likes, and a client of it.
func against(t *testing.T, serve func(c core.Conn, head string)) (*wire.Client, *sim.Network) {
	t.Helper()
	n := sim.NewNetwork(1)
	peer, own := n.Join(self), n.Join(partner)
	go func() {
		for {
			c, err := peer.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				r := bufio.NewReader(c)
				for {
					var head strings.Builder
					for !strings.HasSuffix(head.String(), "\r\n\r\n") {
						b, err := r.ReadByte()
						if err != nil {
							return
						}
						head.WriteByte(b)
					}
					serve(c, head.String())
				}
			}()
		}
	}()
	client := wire.NewClient(own, machine{}, func(core.DID) []string { return peer.Addrs() })
	t.Cleanup(func() {
		client.Close()
		_, _ = peer.Close(), own.Close()
	})
	return client, n
}

func cborOf(t testing.TB, v any) string {
	t.Helper()
	b, err := codec.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// reply is a raw answer.
func reply(status int, kind, body string, extra ...string) string {
	lines := append([]string{
		fmt.Sprintf("HTTP/1.1 %d %s", status, http.StatusText(status)),
		"Content-Type: " + kind, fmt.Sprintf("Content-Length: %d", len(body)),
	}, extra...)
	return strings.Join(append(lines, "", ""), "\r\n") + body
}

func TestARequestSaysNoMoreThanItMust(t *testing.T) {
	heads := make(chan string, 3)
	c, _ := against(t, func(conn core.Conn, head string) {
		heads <- head
		// The client closes: a connection closed from here with a body unread would be reset.
		_, _ = io.WriteString(conn, reply(200, wire.TypeCBOR, "\xa0", "Connection: close"))
	})
	if err := c.Call(t.Context(), self, "GET", "/heads?after=x%2Fy", nil, &words{}); err != nil {
		t.Error(err)
	}
	if err := c.Call(t.Context(), self, "POST", "/ask", struct{}{}, nil); err != nil {
		t.Error(err)
	}
	if err := c.Send(t.Context(), self, "/pieces/a", []byte("abc")); err != nil {
		t.Error(err)
	}
	host := "Host: " + self.String() + "\r\n"
	for _, want := range []string{
		"GET /grange/v1/heads?after=x%2Fy HTTP/1.1\r\n" + host + "\r\n",
		"POST /grange/v1/ask HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Type: application/cbor\r\n\r\n",
		"PUT /grange/v1/pieces/a HTTP/1.1\r\n" + host + "Content-Length: 3\r\nContent-Type: application/octet-stream\r\n\r\n",
	} {
		if got := <-heads; got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
}

func TestHostileAnswers(t *testing.T) {
	e := func(code string) string { return cborOf(t, wire.Error{Code: code, Message: "words"}) }
	good := cborOf(t, words{Text: "hello"})
	for name, c := range map[string]struct {
		answer string
		kind   error
		text   string
	}{
		"garbage":               {"hello there\r\n\r\n", core.ErrInvalid, "not HTTP"},
		"a banner":              {"220 smtp ready\r\n", core.ErrInvalid, "not HTTP"},
		"nothing":               {"", core.ErrUnreachable, ""},
		"half a head":           {"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n", core.ErrUnreachable, "EOF"},
		"a huge head":           {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20), core.ErrInvalid, "headers exceeded"},
		"endless early answers": {strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 10_000), core.ErrInvalid, ""},
		"half a body":           {reply(200, wire.TypeCBOR, good)[:len(reply(200, wire.TypeCBOR, good))-1], core.ErrUnreachable, fmt.Sprintf("stopped after %d bytes", len(good)-1)},
		"half a chunk":          {"HTTP/1.1 200 OK\r\nContent-Type: application/cbor\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nab", core.ErrUnreachable, "stopped after 2 bytes"},
		"a bad chunk":           {"HTTP/1.1 200 OK\r\nContent-Type: application/cbor\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab", core.ErrUnreachable, "invalid byte in chunk length"},
		"declared too much":     {reply(200, wire.TypeCBOR, strings.Repeat("x", 1001)), core.ErrTooLarge, "1001 bytes, its limit is 1000"},
		"too much":              {"HTTP/1.1 200 OK\r\nContent-Type: application/cbor\r\nConnection: close\r\n\r\n" + strings.Repeat("x", 1001), core.ErrTooLarge, "limit of 1000"},
		"endless":               {"HTTP/1.1 200 OK\r\nContent-Type: application/cbor\r\nConnection: close\r\n\r\n" + strings.Repeat("x", 4<<20), core.ErrTooLarge, "limit of 1000"},
		"bad CBOR":              {reply(200, wire.TypeCBOR, "\xff"), core.ErrInvalid, "byte 0"},
		"wrong CBOR":            {reply(200, wire.TypeCBOR, "\x01"), core.ErrInvalid, ""},
		"empty":                 {reply(200, wire.TypeCBOR, ""), core.ErrInvalid, ""},
		"JSON":                  {reply(200, wire.TypeJSON, "{}"), core.ErrInvalid, `"application/json"`},
		"a page":                {reply(404, "text/html", "<h1>not found"), core.ErrInvalid, "answer 404"},
		"a redirect":            {reply(302, wire.TypeCBOR, "\xa0", "Location: http://127.0.0.1/"), core.ErrInvalid, "302 without a code"},
		"another protocol":      {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", core.ErrInvalid, "101"},
		"not modified":          {"HTTP/1.1 304 Not Modified\r\n\r\n", core.ErrInvalid, "304"},
		"a coding":              {reply(200, wire.TypeCBOR, good, "Content-Encoding: gzip"), core.ErrInvalid, "coding"},
		"no error":              {reply(500, wire.TypeCBOR, "\xa0"), core.ErrInvalid, "500 without a code"},
		"a broken error":        {reply(500, wire.TypeCBOR, "\xa1"), core.ErrInvalid, "500 without a readable error"},
		"a huge error":          {reply(500, wire.TypeCBOR, strings.Repeat("x", 1<<20+1)), core.ErrTooLarge, "1048577"},
		"a long code":           {reply(403, wire.TypeCBOR, e(strings.Repeat("x", 65))), core.ErrInvalid, "403 without a code"},
		"an unknown code, 404":  {reply(404, wire.TypeCBOR, e("piece.moved")), core.ErrNotExist, "piece.moved: words"},
		"an unknown code, 503":  {reply(503, wire.TypeCBOR, e("tired")), core.ErrBusy, "tired"},
		"an unknown code, 403":  {reply(403, wire.TypeCBOR, e("new")), core.ErrForbidden, "new"},
		"an unknown code, 418":  {reply(418, wire.TypeCBOR, e("teapot")), core.ErrInvalid, "teapot"},
		"another version":       {reply(404, wire.TypeCBOR, e(wire.CodeVersion)), core.ErrVersion, "words"},
		"a trick":               {reply(500, wire.TypeCBOR, cborOf(t, wire.Error{Code: "x\x1b[2J", Message: "a\x1b]0;b\x07\nc\u202e"})), nil, "x [2J: a ]0;b  c"},
	} {
		t.Run(name, func(t *testing.T) {
			client, _ := against(t, func(conn core.Conn, _ string) {
				_, _ = io.WriteString(conn, c.answer)
				_ = conn.Close()
			})
			var out words
			err := client.CallLimit(t.Context(), self, "GET", "/x", nil, &out, 1000)
			if err == nil || c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.text) || out.Text != "" {
				t.Errorf("%v, want %v: %q", err, c.kind, c.text)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "GET /x at "+self.Short()+": ") {
				t.Errorf("%q does not say what was attempted", err)
			}
		})
	}
}

func TestEveryCodeHasItsKind(t *testing.T) {
	var answer atomic.Value
	client, _ := against(t, func(conn core.Conn, _ string) { _, _ = io.WriteString(conn, answer.Load().(string)) })
	for code, kind := range map[string]error{
		wire.CodeInvalid: core.ErrInvalid, wire.CodeUnknown: core.ErrForbidden, wire.CodeRevoked: core.ErrRevoked, wire.CodeRefused: core.ErrRefused,
		wire.CodeNotFound: core.ErrNotExist, wire.CodeVersion: core.ErrVersion, wire.CodeInvitationUsed: core.ErrRefused,
		wire.CodeInvitationExpired: core.ErrRefused, wire.CodeHeadStale: core.ErrStale, wire.CodeHeadBase: core.ErrStale,
		wire.CodeCharterStale: core.ErrStale, wire.CodeTooLarge: core.ErrTooLarge, wire.CodeHostWrong: core.ErrInvalid,
		wire.CodeCorrupt: core.ErrCorrupt, wire.CodeBusy: core.ErrBusy, wire.CodeFull: core.ErrFull, wire.CodeAway: core.ErrAway,
		wire.CodeInternal: nil,
	} {
		sent := wire.Error{Code: code, Message: "why", Hint: "how", Counter: &core.Counter{Amount: 7, Seconds: 8}, Evidence: []byte("proof")}
		answer.Store(reply(400, wire.TypeCBOR, cborOf(t, sent), "Retry-After: 99999"))
		err := client.Call(t.Context(), self, "GET", "/x", nil, nil)
		for _, k := range []error{
			core.ErrInvalid, core.ErrForbidden, core.ErrRevoked, core.ErrRefused, core.ErrNotExist, core.ErrVersion, core.ErrStale,
			core.ErrTooLarge, core.ErrCorrupt, core.ErrBusy, core.ErrFull, core.ErrAway, core.ErrUnreachable,
		} {
			if errors.Is(err, k) != (k == kind) {
				t.Errorf("%s: %v is %v: %v", code, err, k, !errors.Is(err, k) == (k == kind))
			}
		}
		if code == wire.CodeRefused {
			if d, ok := errors.AsType[*core.Denial](err); !ok || d.Reason != "why" || *d.Counter != *sent.Counter || d.Retry != 3600 {
				t.Errorf("refused is %#v", err)
			}
			continue
		}
		e, ok := errors.AsType[*wire.Error](err)
		if !ok || e.Code != code || e.Message != "why" || e.Hint != "how" || *e.Counter != *sent.Counter || string(e.Evidence) != "proof" || e.RetrySeconds != 3600 {
			t.Errorf("%s: got %+v", code, e)
		}
	}
}

func TestPeersThatStall(t *testing.T) {
	fetch := func(ctx context.Context, c *wire.Client) error {
		_, err := c.Fetch(ctx, self, "/x", nil, 1<<20)
		return err
	}
	send := func(ctx context.Context, c *wire.Client) error { return c.Send(ctx, self, "/x", make([]byte, 1<<20)) }
	for name, c := range map[string]struct {
		says     string
		call     func(context.Context, *wire.Client) error
		from, to time.Duration
		text     string
	}{
		"before the answer":         {"", fetch, 2 * time.Minute, 2 * time.Minute, "no answer within 2m0s"},
		"in the middle of a head":   {"HTTP/1.1 200 OK\r\nContent-Le", fetch, 2 * time.Minute, 2 * time.Minute, "no answer within 2m0s"},
		"in the middle of a body":   {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", fetch, 30 * time.Second, 45 * time.Second, "no progress"},
		"in the middle of an error": {"HTTP/1.1 500 X\r\nContent-Type: application/cbor\r\nContent-Length: 9\r\n\r\nab", fetch, 30 * time.Second, 45 * time.Second, "no progress"},
		"while we send":             {"", send, 30 * time.Second, 90 * time.Second, "took no byte"},
	} {
		bubble(t, name, func(t *testing.T) {
			stop := make(chan struct{})
			defer close(stop)
			client, _ := against(t, func(conn core.Conn, _ string) {
				_, _ = io.WriteString(conn, c.says)
				<-stop
			})
			var err error
			if d := since(func() { err = c.call(t.Context(), client) }); d < c.from || d > c.to {
				t.Errorf("it ended after %v, want between %v and %v", d, c.from, c.to)
			}
			if !errors.Is(err, core.ErrUnreachable) || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want ErrUnreachable: %q", err, c.text)
			}
		})
	}
}

func TestASlowPeerIsHeardOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pieces = 50
		client, _ := against(t, func(conn core.Conn, _ string) {
			time.Sleep(119 * time.Second)
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", pieces)
			for range pieces {
				time.Sleep(29 * time.Second)
				_, _ = io.WriteString(conn, "x")
			}
		})
		got, err := client.Fetch(t.Context(), self, "/x", nil, pieces)
		if err != nil || string(got) != strings.Repeat("x", pieces) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

func TestContextsEndCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		defer close(stop)
		client, n := against(t, func(core.Conn, string) { <-stop })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := client.Call(ctx, self, "GET", "/x", nil, nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, core.ErrUnreachable) {
			t.Errorf("%v, want the context's error", err)
		}
		n.Down(self)
		if err := client.Call(t.Context(), self, "GET", "/x", nil, nil); !errors.Is(err, core.ErrUnreachable) {
			t.Errorf("%v, want ErrUnreachable", err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(404, []byte(cborOf(f, wire.Error{Code: wire.CodeNotFound, Message: "not here"})))
	f.Add(403, []byte(cborOf(f, wire.Error{Code: wire.CodeRefused, Message: "no", Counter: &core.Counter{Amount: 1}})))
	f.Add(200, []byte(cborOf(f, words{Text: "hello"})))
	f.Add(500, []byte("\xa1"))
	f.Add(503, []byte{})
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := wire.Received(status, "5", body)
		var d *core.Denial
		var e *wire.Error
		switch {
		case err == nil:
			t.Fatal("no error")
		case errors.As(err, &d):
			if !errors.Is(err, core.ErrRefused) || len(d.Reason) > 512 {
				t.Fatalf("denial %q", d.Reason)
			}
		case errors.As(err, &e):
			if e.Code == "" || len(e.Code) > 64 || len(e.Message) > 512 || len(e.Hint) > 512 || strings.ContainsAny(err.Error(), "\x1b\n\r\x00\u202e") {
				t.Fatalf("error %q", err)
			}
		case !errors.Is(err, core.ErrInvalid) && !errors.Is(err, core.ErrTooLarge):
			t.Fatalf("%v is of no kind", err)
		}
	})
}
