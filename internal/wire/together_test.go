package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
)

func TestFetchUsesTheBuffer(t *testing.T) {
	client, _ := against(t, func(conn core.Conn, _ string) { _, _ = io.WriteString(conn, reply(200, wire.TypeBytes, "12345")) })
	buf := make([]byte, 3, 5)
	got, err := client.Fetch(t.Context(), self, "/x", buf, 5)
	if err != nil || string(got) != "12345" || &got[0] != &buf[0] {
		t.Errorf("%q, %v; in the buffer: %v", got, err, &got[0] == &buf[0])
	}
	if got, err = client.Fetch(t.Context(), self, "/x", buf[:0:4], 5); err != nil || string(got) != "12345" {
		t.Errorf("with too small a buffer: %q, %v", got, err)
	}
	if got, err = client.Fetch(t.Context(), self, "/x", buf, 4); !errors.Is(err, core.ErrTooLarge) {
		t.Errorf("over the limit: %q, %v", got, err)
	}
}

// The answer comes while the body is on its way, and the caller's bytes are the caller's again.
func TestARefusalInTheMiddleOfABodyIsHeard(t *testing.T) {
	w := serve(t,
		wire.Route{Method: "PUT", Path: "/pieces/{score}", Who: wire.Partner, Limit: 1 << 20, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			wire.WriteError(w, r, &core.Denial{Reason: "over " + r.PathValue("score")})
		})})
	for _, from := range []core.DID{partner, stranger} {
		client := w.client(from)
		body := make([]byte, 1<<20)
		for i := range 20 {
			err := client.Send(t.Context(), self, "/pieces/a", body)
			if from == partner && (!errors.Is(err, core.ErrRefused) || !strings.Contains(err.Error(), "over a")) || from == stranger && !errors.Is(err, core.ErrForbidden) {
				t.Fatalf("%d: %v", i, err)
			}
			clear(body)
		}
	}
}

// A peer answers before it has read the body. What it reads later is not what the caller has put
// into the same slice since.
func TestTheBodyIsTheCallersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		returned, rest := make(chan struct{}), make(chan []byte, 1)
		client, _ := against(t, func(conn core.Conn, _ string) {
			_, _ = io.WriteString(conn, reply(200, wire.TypeBytes, ""))
			<-returned
			got, _ := io.ReadAll(conn)
			rest <- got
		})
		body := make([]byte, 1<<20)
		if err := client.Send(t.Context(), self, "/x", body); err != nil {
			t.Fatal(err)
		}
		for i := range body {
			body[i] = 0xff
		}
		close(returned)
		if got := <-rest; bytes.Contains(got, []byte{0xff}) {
			t.Error("bytes of after the call were sent")
		}
	})
}

func TestConnectionsAreReusedAndFreshOnesAreFresh(t *testing.T) {
	var conns atomic.Int32
	seen := make(map[core.Conn]bool)
	var mu sync.Mutex
	client, _ := against(t, func(c core.Conn, _ string) {
		mu.Lock()
		if !seen[c] {
			seen[c] = true
			conns.Add(1)
		}
		mu.Unlock()
		_, _ = io.WriteString(c, reply(200, wire.TypeCBOR, "\xa0"))
	})
	call := func() {
		t.Helper()
		if err := client.Call(t.Context(), self, "GET", "/x", nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		call()
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for 10 calls", n)
	}
	for i := range int32(200) { // whether or not the pool has noticed yet
		client.Fresh(t.Context(), self)
		if err := client.Call(t.Context(), self, "POST", "/x", nil, nil); err != nil {
			t.Fatalf("after Fresh: %v", err)
		}
		if n := conns.Load(); n != 2+i {
			t.Fatalf("%d connections after Fresh, want %d", n, 2+i)
		}
	}
	client.Close()
	if err := client.Call(t.Context(), self, "GET", "/x", nil, nil); !errors.Is(err, core.ErrUnreachable) {
		t.Errorf("after Close: %v", err)
	}
}

func TestClientAndServerTogether(t *testing.T) {
	pieces := make(map[string][]byte)
	var mu sync.Mutex
	w := serve(t,
		wire.Route{Method: "POST", Path: "/who", Who: wire.Partner, Limit: 1 << 10, Handler: wire.Handle(who)},
		wire.Route{Method: "PUT", Path: "/pieces/{score}", Who: wire.Partner, Limit: 1 << 20, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := wire.ReadBytes(r, nil)
			if err != nil {
				wire.WriteError(w, r, err)
				return
			}
			mu.Lock()
			pieces[r.PathValue("score")] = b
			mu.Unlock()
			w.WriteHeader(http.StatusCreated)
		})},
		wire.Route{Method: "GET", Path: "/pieces/{score}", Who: wire.Partner, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			b, ok := pieces[r.PathValue("score")]
			mu.Unlock()
			if !ok {
				wire.WriteError(w, r, core.ErrNotExist)
				return
			}
			wire.WriteBytes(w, b)
		})},
	)
	client := w.client(partner)
	var out words
	if err := client.Call(t.Context(), self, "POST", "/who", words{Text: "hi"}, &out); err != nil || out.Text != "hi from 2 of 99 as 2" {
		t.Errorf("%+v, %v", out, err)
	}
	var wg sync.WaitGroup
	for i := range 40 { // more than there may be connections
		wg.Go(func() {
			path := fmt.Sprintf("/pieces/%d", i)
			piece := bytes.Repeat([]byte{byte(i)}, 1<<20)
			if err := client.Send(t.Context(), self, path, piece); err != nil {
				t.Error(err)
				return
			}
			if got, err := client.Fetch(t.Context(), self, path, nil, 1<<20); err != nil || !bytes.Equal(got, piece) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if _, err := client.Fetch(t.Context(), self, "/pieces/none", nil, 1<<20); !errors.Is(err, core.ErrNotExist) {
		t.Errorf("%v, want ErrNotExist", err)
	}
	w.net.StopAfter(self, partner, 500<<10)
	if got, err := client.Fetch(t.Context(), self, "/pieces/1", nil, 1<<20); !errors.Is(err, core.ErrUnreachable) || !strings.Contains(err.Error(), "GET /pieces/1") {
		t.Errorf("a path that breaks in the middle: %d bytes, %v", len(got), err)
	}
}
