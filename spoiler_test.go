package grange_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
)

// spoiler stands between an agent and the network: what it is told to spoil it answers
// badly, with the agent's own key; the rest the agent answers.
type spoiler struct {
	mu    sync.Mutex
	route string // method and the beginning of the path below /grange/v1
	how   spoil
	hits  int
}

// spoil answers one request on a connection, which is closed afterwards. honest has what
// the agent answers.
type spoil func(c net.Conn, r *http.Request, honest func() *http.Response)

// spoiled makes a machine hostile when its spoiler says so. It must not run yet.
func (m *machine) spoiled() *spoiler {
	s := &spoiler{}
	m.wrap = s.wrap
	return s
}

// set says what is spoiled from now on; a nil how is nothing. It returns how often
// anything was since the last call.
func (s *spoiler) set(route string, how spoil) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	hits := s.hits
	s.route, s.how, s.hits = route, how, 0
	return hits
}

func (s *spoiler) match(r *http.Request) spoil {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.how == nil || !strings.HasPrefix(r.Method+" "+strings.TrimPrefix(r.URL.Path, wire.Prefix), s.route) {
		return nil
	}
	s.hits++
	return s.how
}

// spoiledPeers hands the agent connections of its own, which the spoiler answers from.
type spoiledPeers struct {
	core.Peers
	accepts chan core.Conn
	done    chan struct{}
}

func (p *spoiledPeers) Accept() (core.Conn, error) {
	select {
	case c := <-p.accepts:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

type pipeConn struct {
	net.Conn
	peer core.DID
}

func (c pipeConn) Peer() core.DID { return c.peer }

func (s *spoiler) wrap(inner core.Peers) core.Peers {
	p := &spoiledPeers{Peers: inner, accepts: make(chan core.Conn), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		for {
			c, err := inner.Accept()
			if err != nil {
				return
			}
			near, far := net.Pipe()
			go s.serve(c, near)
			p.accepts <- pipeConn{far, c.Peer()}
		}
	}()
	return p
}

// serve passes requests on to the agent, until one is to be spoiled.
func (s *spoiler) serve(c core.Conn, agent net.Conn) {
	defer func() { _, _ = c.Close(), agent.Close() }()
	in, out := bufio.NewReader(c), bufio.NewReader(agent)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		honest := func() *http.Response {
			go func() { _ = r.Write(agent) }() // an answer may come before all of it is read
			resp, err := http.ReadResponse(out, r)
			if err != nil {
				return &http.Response{StatusCode: http.StatusBadGateway, ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody, Close: true}
			}
			return resp
		}
		if how := s.match(r); how != nil {
			how(c, r, honest)
			return
		}
		resp := honest()
		if resp.Write(c) != nil || resp.Close {
			return
		}
	}
}

// spoils are the ways in which a partner misbehaves.
var spoils = map[string]spoil{
	"lies": func(c net.Conn, _ *http.Request, honest func() *http.Response) {
		resp, body := read(honest())
		for i := range body { // all of it: no bit is true
			body[i] ^= 0x55
		}
		rewrite(c, resp, body)
	},
	"lies in one bit": func(c net.Conn, _ *http.Request, honest func() *http.Response) {
		resp, body := read(honest())
		if n := len(body); n > 0 {
			body[n-1-n/8] ^= 4
		} else {
			body = []byte{0}
		}
		rewrite(c, resp, body)
	},
	"says too much": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		begin(c, 200, wire.TypeCBOR, 1<<40)
		forever(c, "\x58")
	},
	"never ends": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		begin(c, 200, wire.TypeBytes, -1)
		forever(c, "8000\r\n"+strings.Repeat("\xa1", 0x8000)+"\r\n")
	},
	"sends half": func(c net.Conn, _ *http.Request, honest func() *http.Response) {
		resp, body := read(honest())
		begin(c, resp.StatusCode, resp.Header.Get("Content-Type"), int64(max(2, len(body))))
		_, _ = c.Write(body[:len(body)/2])
	},
	"stops at once": func(net.Conn, *http.Request, func() *http.Response) {},
	"stops in a head": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-")
	},
	"stalls": func(c net.Conn, _ *http.Request, honest func() *http.Response) {
		resp, body := read(honest())
		begin(c, resp.StatusCode, resp.Header.Get("Content-Type"), int64(len(body)+10))
		_, _ = c.Write(body)
		wait(c)
	},
	"is silent": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		wait(c)
	},
	"takes nothing": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		_, _ = io.ReadFull(r.Body, make([]byte, 8))
		wait(c)
	},
	"speaks another version": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		fail(c, http.StatusNotFound, wire.Error{Code: wire.CodeVersion, Message: "version v1 is not spoken here; v2 is"})
	},
	"speaks no HTTP": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		_, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
	},
	"answers garbage": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		var garbage []byte
		for i := range 32 {
			sum := sha256.Sum256([]byte{byte(i)})
			garbage = append(garbage, sum[:]...)
		}
		reply(c, 200, wire.TypeCBOR, garbage)
	},
	"answers huge CBOR": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		reply(c, 200, wire.TypeCBOR, append([]byte{0x9a, 0x00, 0x0f, 0xff, 0xf0}, make([]byte, 0xffff0)...))
	},
	"answers deep CBOR": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		reply(c, 200, wire.TypeCBOR, append(bytes.Repeat([]byte{0x81}, 1<<18), 0))
	},
	"answers nothing": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		reply(c, 200, wire.TypeCBOR, nil)
	},
	"answers an empty map": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		reply(c, 200, wire.TypeCBOR, []byte{0xa0})
	},
	"acknowledges and keeps nothing": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		reply(c, 201, "", nil)
	},
	"redirects": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		_, _ = io.WriteString(c, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
	},
	"says that it has rotted": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		fail(c, http.StatusGone, wire.Error{Code: wire.CodeCorrupt, Message: "the bytes have rotted"})
	},
	"refuses": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		fail(c, http.StatusForbidden, wire.Error{Code: wire.CodeRefused, Message: "not today\x1b[31m", Counter: &core.Counter{Amount: -1}})
	},
	"is busy for ever": func(c net.Conn, r *http.Request, _ func() *http.Response) {
		drain(r)
		fail(c, http.StatusServiceUnavailable, wire.Error{Code: wire.CodeBusy, Message: "busy"})
	},
}

// drips gives a byte each ten seconds: always progress, and never an end.
func drips(c net.Conn, r *http.Request, _ func() *http.Response) {
	drain(r)
	begin(c, 200, wire.TypeCBOR, 1<<20)
	for {
		if _, err := c.Write([]byte{0}); err != nil {
			return
		}
		if until(c) {
			return
		}
	}
}

func read(resp *http.Response) (*http.Response, []byte) {
	body, _ := io.ReadAll(resp.Body)
	return resp, body
}

func rewrite(c net.Conn, resp *http.Response, body []byte) {
	reply(c, resp.StatusCode, resp.Header.Get("Content-Type"), body)
}

func reply(c net.Conn, status int, kind string, body []byte) {
	begin(c, status, kind, int64(len(body)))
	_, _ = c.Write(body)
}

func fail(c net.Conn, status int, e wire.Error) {
	body, err := codec.Marshal(e)
	if err != nil {
		panic(err)
	}
	reply(c, status, wire.TypeCBOR, body)
}

// begin writes a head; a size below zero is of chunks.
func begin(c net.Conn, status int, kind string, size int64) {
	length := fmt.Sprintf("Content-Length: %d", size)
	if size < 0 {
		length = "Transfer-Encoding: chunked"
	}
	_, _ = fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\n%s\r\n\r\n", status, http.StatusText(status), kind, length)
}

func forever(c net.Conn, text string) {
	block := []byte(strings.Repeat(text, max(1, 4096/len(text))))
	for {
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}

// drain reads a request as an honest partner does.
func drain(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }

// wait ends when the other side has hung up.
func wait(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// until waits ten seconds; true if the other side hangs up meanwhile.
func until(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := c.Read(make([]byte, 1))
	timeout, ok := err.(net.Error)
	return !ok || !timeout.Timeout()
}
