package wire_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

// bubble runs a test in which time is fake.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// since tells how long f takes.
func since(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func size(n int) string { return fmt.Sprintf("Content-Length: %d", n) }

// readBody is a handler that reads its body and answers its length.
func readBody(w http.ResponseWriter, r *http.Request) {
	b, err := wire.ReadBytes(r, nil)
	if err != nil {
		wire.WriteError(w, r, err)
		return
	}
	wire.WriteBytes(w, fmt.Appendf(nil, "%d", len(b)))
}

func TestSlowCallersAreClosed(t *testing.T) {
	route := wire.Route{Method: "PUT", Path: "/x", Who: wire.Partner, Limit: 1 << 20, Handler: http.HandlerFunc(readBody)}
	ignored := wire.Route{Method: "PUT", Path: "/ignored", Who: wire.Partner, Limit: 1 << 20, Handler: http.HandlerFunc(ok)}
	aborts := wire.Route{Method: "PUT", Path: "/abort", Who: wire.Partner, Limit: 1 << 20, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		panic(http.ErrAbortHandler)
	})}
	for name, c := range map[string]struct {
		from       core.DID
		raw        string
		from1, to1 time.Duration // when the connection is closed
		answer     string
	}{
		"half a header":            {partner, "PUT /grange/v1/x HTTP/1.1\r\nHo", 5 * time.Second, 5 * time.Second, "HTTP/1.1 400 "},
		"nothing":                  {partner, "", 5 * time.Second, 5 * time.Second, ""},
		"nothing more":             {partner, request("PUT /grange/v1/x", size(1)) + "x", 2 * time.Minute, 2 * time.Minute, "HTTP/1.1 200 "},
		"half a body":              {partner, request("PUT /grange/v1/x", size(1000)) + "x", 30 * time.Second, 45 * time.Second, ""},
		"half a chunk":             {partner, request("PUT /grange/v1/x", "Transfer-Encoding: chunked") + "100\r\nx", 30 * time.Second, 45 * time.Second, ""},
		"a refused body":           {stranger, request("PUT /grange/v1/x", size(1000)) + "x", 10 * time.Second, 10 * time.Second, "HTTP/1.1 403 "},
		"an ignored body":          {partner, request("PUT /grange/v1/ignored", size(1000)) + "x", 10 * time.Second, 10 * time.Second, "HTTP/1.1 200 "},
		"a body of no route":       {partner, request("PUT /grange/v1/y", size(1000)) + "x", 10 * time.Second, 10 * time.Second, "HTTP/1.1 404 "},
		"chunks without a route":   {partner, request("PUT /grange/v1/y", "Transfer-Encoding: chunked") + "100\r\nx", 10 * time.Second, 10 * time.Second, "HTTP/1.1 404 "},
		"a body that is too large": {partner, request("PUT /grange/v1/x", size(2<<20)) + "x", 0, time.Second, "HTTP/1.1 413 "},
		"an aborted body":          {partner, request("PUT /grange/v1/abort", size(1000)) + "x", 0, 0, ""},
		"it waits to be told":      {stranger, request("PUT /grange/v1/x", "Expect: 100-continue", size(1000)), 0, 0, "HTTP/1.1 403 "},
	} {
		bubble(t, name, func(t *testing.T) {
			conn := serve(t, route, ignored, aborts).dial(c.from)
			if _, err := io.WriteString(conn, c.raw); err != nil {
				t.Fatal(err)
			}
			var got string
			if d := since(func() { got = wantClosed(t, conn) }); d < c.from1 || d > c.to1 {
				t.Errorf("closed after %v, want between %v and %v", d, c.from1, c.to1)
			}
			if !strings.HasPrefix(got, c.answer) || c.answer == "" && got != "" {
				t.Errorf("answered %q, want %q", got, c.answer)
			}
		})
	}
}

func TestSlowIsNotGone(t *testing.T) {
	bubble(t, "a byte each 29 seconds", func(t *testing.T) {
		conn := serve(t, wire.Route{Method: "PUT", Path: "/x", Who: wire.Partner, Limit: 1 << 20, Handler: http.HandlerFunc(readBody)}).dial(partner)
		_, _ = io.WriteString(conn, request("PUT /grange/v1/x", size(100)))
		for range 100 {
			time.Sleep(29 * time.Second)
			if _, err := io.WriteString(conn, "x"); err != nil {
				t.Fatal(err)
			}
		}
		if resp, body := exchange(t, conn, ""); resp.StatusCode != 200 || string(body) != "100" {
			t.Errorf("answer %d %q", resp.StatusCode, body)
		}
	})
	bubble(t, "a handler that works for a day", func(t *testing.T) {
		var gone error
		conn := serve(t, wire.Route{Method: "PUT", Path: "/x", Who: wire.Partner, Limit: 1, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = wire.ReadBytes(r, nil)
			time.Sleep(24 * time.Hour)
			gone = r.Context().Err()
			wire.WriteBytes(w, []byte("done"))
		})}).dial(partner)
		for range 2 { // the connection is as good as new after it
			if resp, body := exchange(t, conn, request("PUT /grange/v1/x", size(1))+"x"); string(body) != "done" || gone != nil {
				t.Errorf("answer %d %q, %v", resp.StatusCode, body, gone)
			}
		}
	})
	bubble(t, "an answer that is read slowly", func(t *testing.T) {
		conn := serve(t, wire.Route{Method: "GET", Path: "/x", Who: wire.Partner, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			wire.WriteBytes(w, make([]byte, 4<<20))
		})}).dial(partner)
		_, _ = io.WriteString(conn, request("GET /grange/v1/x"))
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 4 << 20 / (32 << 10) {
			time.Sleep(25 * time.Second)
			if _, err := io.CopyN(io.Discard, resp.Body, 32<<10); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestAnAnswerThatNobodyReadsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		conn := serve(t, wire.Route{Method: "GET", Path: "/x", Who: wire.Partner, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 1<<20))
			}
			ended <- err
		})}).dial(partner)
		_, _ = io.WriteString(conn, request("GET /grange/v1/x"))
		var err error
		if d := since(func() { err = <-ended }); d < 30*time.Second || d > 90*time.Second || !errors.Is(err, core.ErrUnreachable) {
			t.Errorf("it ended after %v: %v", d, err)
		}
	})
}

func TestACallerThatGoesEndsTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error)
		conn := serve(t, wire.Route{Method: "PUT", Path: "/x", Who: wire.Partner, Limit: 1, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = wire.ReadBytes(r, nil)
			<-r.Context().Done()
			ended <- r.Context().Err()
		})}).dial(partner)
		_, _ = io.WriteString(conn, request("PUT /grange/v1/x", size(1))+"x")
		synctest.Wait()
		_ = conn.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestRequestsOfOneMachineAreLimited(t *testing.T) {
	for from, most := range map[core.DID]int{partner: wire.RequestsPartnerMax, admitted: wire.RequestsOtherMax, stranger: wire.RequestsOtherMax} {
		begun, release := make(chan struct{}), make(chan struct{})
		w := serve(t, wire.Route{Method: "GET", Path: "/x", Who: wire.Stranger, Handler: stop(begun, release)})
		var wg sync.WaitGroup
		for range most {
			c := w.dial(from)
			wg.Go(func() { exchange(t, c, request("GET /grange/v1/x")) })
			<-begun
		}
		c := w.dial(from)
		resp, body := exchange(t, c, request("GET /grange/v1/x"))
		wantError(t, resp, body, 503, "busy", fmt.Sprintf("%d requests", most))
		if resp.Header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After %q", resp.Header.Get("Retry-After"))
		}
		other := w.dial(core.DID{50})
		wg.Go(func() { exchange(t, other, request("GET /grange/v1/x")) })
		<-begun
		close(release)
		wg.Wait()
		go func() { <-begun }()
		if resp, body := exchange(t, c, request("GET /grange/v1/x")); resp.StatusCode != 200 {
			t.Errorf("after they ended: %d %q", resp.StatusCode, body)
		}
	}
}

// A household says itself which machines are its own: they do not each have the part of one.
func TestWhatAHouseholdHasInHandIsLimited(t *testing.T) {
	const body = 8 << 20
	begun, release := make(chan struct{}), make(chan struct{})
	w := serve(t, wire.Route{Method: "PUT", Path: "/x", Who: wire.Stranger, Limit: body, Handler: stop(begun, release)})
	empty := request("PUT /grange/v1/x")
	whole := request("PUT /grange/v1/x", size(body)) + strings.Repeat("x", body)
	var wg sync.WaitGroup
	begin := func(from core.DID, raw string) {
		c := w.dial(from)
		wg.Go(func() { exchange(t, c, raw) })
		<-begun
	}
	for i := range byte(wire.InboundHouseholdMax / body) {
		begin(core.DID{many, i}, whole)
	}
	resp, answer := exchange(t, w.dial(core.DID{many, 9}), request("PUT /grange/v1/x", size(1))+"x")
	wantError(t, resp, answer, 503, "busy", "from this household")
	for i := range wire.RequestsHouseholdMax - wire.InboundHouseholdMax/body {
		begin(core.DID{many, byte(i % 8)}, empty)
	}
	resp, answer = exchange(t, w.dial(core.DID{many, 9}), empty)
	wantError(t, resp, answer, 503, "busy", fmt.Sprintf("%d requests of this household", wire.RequestsHouseholdMax))
	for _, other := range []core.DID{partner, stranger, {guests}} {
		begin(other, whole)
	}
	close(release)
	wg.Wait()
	go func() { <-begun }()
	if resp, answer := exchange(t, w.dial(core.DID{many, 9}), whole); resp.StatusCode != 200 {
		t.Errorf("after they ended: %d %q", resp.StatusCode, answer)
	}
}

// Bodies count from the moment their handler may run: by what they declare, or by the route's limit.
func TestBodiesInHandAreLimited(t *testing.T) {
	const limit = 9 << 20
	begun, release := make(chan struct{}), make(chan struct{})
	w := serve(t, wire.Route{Method: "PUT", Path: "/x", Who: wire.Stranger, Limit: limit, Handler: stop(begun, release)})
	whole := request("PUT /grange/v1/x", size(limit)) + strings.Repeat("x", limit)
	small := request("PUT /grange/v1/x", size(7<<20)) + strings.Repeat("x", 7<<20)
	unknown := request("PUT /grange/v1/x", "Transfer-Encoding: chunked") + "0\r\n\r\n"
	var wg sync.WaitGroup
	begin := func(from core.DID, raw string) {
		c := w.dial(from)
		wg.Go(func() {
			if resp, body := exchange(t, c, raw); resp.StatusCode != 200 {
				t.Errorf("answer %d %q", resp.StatusCode, body)
			}
		})
		<-begun
	}
	refused := func(from core.DID, raw, why string) {
		t.Helper()
		resp, body := exchange(t, w.dial(from), raw)
		wantError(t, resp, body, 503, "busy", why)
	}
	begin(core.DID{10}, whole)
	refused(core.DID{10}, whole, "from this machine")
	refused(core.DID{10}, unknown, "from this machine")
	begin(core.DID{10}, small) // 16 MiB
	begin(core.DID{10}, request("PUT /grange/v1/x"))
	refused(core.DID{10}, request("PUT /grange/v1/x", size(1))+"x", "from this machine")
	for i := range byte(3) { // 48 MiB more
		begin(core.DID{20 + i}, unknown)
		begin(core.DID{20 + i}, small)
	}
	refused(core.DID{30}, request("PUT /grange/v1/x", size(1))+"x", "from all machines")
	close(release)
	wg.Wait()
	go func() { <-begun }()
	if resp, body := exchange(t, w.dial(core.DID{10}), whole); resp.StatusCode != 200 {
		t.Errorf("after they ended: %d %q", resp.StatusCode, body)
	}
}

// TestJSONIsHeldToTheItemsOfCBOR sends many things of three bytes each.
func TestJSONIsHeldToTheItemsOfCBOR(t *testing.T) {
	for n, want := range map[int]error{1000: nil, 80_000: core.ErrInvalid} {
		text := `{"things":[` + strings.Repeat(`{},`, n) + `{}]}`
		r := httptest.NewRequest("POST", "/", strings.NewReader(text))
		r.Header.Set("Content-Type", wire.TypeJSON)
		var in struct {
			Things []struct {
				Name string `json:"name"`
			} `json:"things"`
		}
		if err := wire.ReadMessage(r, &in); !errors.Is(err, want) {
			t.Errorf("%d things: %v, want %v", n, err, want)
		}
	}
}
