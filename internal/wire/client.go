package wire

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// Limits of a Client.
const (
	// ConnsMax is how many connections one peer has from here, at work or waiting for the next
	// request; more requests wait. It is below RequestsOtherMax, so that a machine which is no
	// partner yet is not refused for its own haste.
	ConnsMax = 6
	// clientIdleTime is below the server's, so that a request seldom meets a connection that is being closed.
	clientIdleTime = 90 * time.Second
	// headTime is how long a peer may think after it has a whole request.
	headTime = 2 * time.Minute
	// bufferSize of each connection's reads and writes, in bytes.
	bufferSize = 64 << 10
	// errorSizeMax is the limit of an error's body: evidence is a whole charter.
	errorSizeMax = 1 << 20
)

// Client calls other agents. All methods may be called at once.
//
// Each error is of one of core's kinds: ErrUnreachable where no connection could be
// made or kept, or the peer stalled, stopped in the middle or sent less than it said;
// ErrInvalid where its answer breaks the protocol; ErrTooLarge where the answer is over
// the limit; the context's where that ended; and for what the peer answered, a *Error,
// or a *core.Denial when it refused.
type Client struct {
	peers     core.Peers
	clock     core.Clock
	addrs     func(core.DID) []string
	transport *http.Transport

	closed atomic.Bool
}

// NewClient returns a client that dials over peers at the addresses that addrs knows.
func NewClient(peers core.Peers, clock core.Clock, addrs func(core.DID) []string) *Client {
	c := &Client{peers: peers, clock: clock, addrs: addrs}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	c.transport = &http.Transport{
		DialContext:            c.dial,
		Protocols:              &protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    ConnsMax,
		MaxConnsPerHost:        ConnsMax,
		IdleConnTimeout:        clientIdleTime,
		MaxResponseHeaderBytes: HeaderSizeMax,
		WriteBufferSize:        bufferSize,
		ReadBufferSize:         bufferSize,
	}
	return c
}

// Call sends a message and reads the answer into out; path is below Prefix. A nil in sends
// no body, a nil out reads none of the answer's meaning. The answer's limit is AnswerSizeMax.
func (c *Client) Call(ctx context.Context, to core.DID, method, path string, in, out any) error {
	return c.CallLimit(ctx, to, method, path, in, out, AnswerSizeMax)
}

// CallLimit is Call with another limit of the answer, in bytes.
func (c *Client) CallLimit(ctx context.Context, to core.DID, method, path string, in, out any, limit int64) error {
	m := message{to: to, method: method, path: path, kind: TypeCBOR, limit: limit}
	if in != nil {
		body, err := codec.Marshal(in)
		if err != nil {
			return m.wrap(err)
		}
		m.body = body
	}
	data, kind, err := c.exchange(ctx, m, nil)
	if err != nil {
		return m.wrap(err)
	}
	if out == nil {
		return nil
	}
	if kind != TypeCBOR {
		return m.wrap(fmt.Errorf("%w: the answer is %.64q, not %s", core.ErrInvalid, kind, TypeCBOR))
	}
	return m.wrap(codec.UnmarshalMessage(data, out, len(data)))
}

// Send puts raw bytes. It does not keep body.
func (c *Client) Send(ctx context.Context, to core.DID, path string, body []byte) error {
	m := message{to: to, method: http.MethodPut, path: path, kind: TypeBytes, body: body, limit: AnswerSizeMax}
	_, _, err := c.exchange(ctx, m, nil)
	return m.wrap(err)
}

// Fetch gets raw bytes, at most limit of them, and returns them in buf[:0] or in a larger slice.
func (c *Client) Fetch(ctx context.Context, to core.DID, path string, buf []byte, limit int64) ([]byte, error) {
	m := message{to: to, method: http.MethodGet, path: path, limit: limit}
	data, _, err := c.exchange(ctx, m, buf)
	return data, m.wrap(err)
}

// Fresh drops every path to a peer, and calls under way with it: the next call goes over a
// new connection. One that takes a dropped connection from the pool has sent nothing
// when it notices, and net/http dials then.
func (c *Client) Fresh(_ context.Context, to core.DID) { c.peers.Reset(to) }

// Close ends the connections that wait, and refuses calls from now on.
func (c *Client) Close() {
	c.closed.Store(true)
	c.transport.CloseIdleConnections()
}

// message is one request.
type message struct {
	to                 core.DID
	method, path, kind string
	body               []byte
	limit              int64 // of the answer
}

// wrap says what was attempted.
func (m message) wrap(err error) error {
	if err == nil {
		return nil
	}
	route, _, _ := strings.Cut(m.path, "?")
	return fmt.Errorf("%s %s at %s: %w", m.method, route, m.to.Short(), err)
}

var (
	errStalled = fmt.Errorf("%w: the answer made no progress", core.ErrUnreachable)
	errSilent  = fmt.Errorf("%w: no answer within %v", core.ErrUnreachable, headTime)
	errClosed  = fmt.Errorf("%w: this client is closed", core.ErrUnreachable)
)

// exchange sends m and returns the answer's bytes in buf[:0], and their kind.
func (c *Client) exchange(ctx context.Context, m message, buf []byte) (data []byte, kind string, err error) {
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var p phase
	inner = httptrace.WithClientTrace(inner, p.trace(c.clock, cancel))
	src := &source{b: m.body}
	defer src.detach()
	req, err := c.request(inner, m, src)
	if err != nil {
		return nil, "", err
	}
	resp, err := c.transport.RoundTrip(req)
	p.end()
	if err != nil {
		return nil, "", fault(ctx, err, p.began.Load())
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.Header.Get("Content-Encoding") != "" {
		return nil, "", fmt.Errorf("%w: the answer has a content coding", core.ErrInvalid)
	}
	kind = mediaType(resp.Header.Get("Content-Type"))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, "", c.refusal(ctx, resp, kind, cancel)
	}
	data, err = c.read(ctx, resp, buf, m.limit, cancel)
	return data, kind, err
}

func (c *Client) request(ctx context.Context, m message, src *source) (*http.Request, error) {
	if c.closed.Load() {
		return nil, errClosed
	}
	target, err := url.Parse("http://" + hex.EncodeToString(m.to[:]) + Prefix + m.path)
	if err != nil {
		return nil, fmt.Errorf("%w: path: %w", core.ErrInvalid, err)
	}
	req := (&http.Request{
		Method: m.method, URL: target, Host: m.to.String(), Header: make(http.Header, 3),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(m.body)),
	}).WithContext(ctx)
	req.Header["User-Agent"] = nil
	if m.body != nil {
		req.Header.Set("Content-Type", m.kind)
		req.Body = &sourceReader{src: src}
		req.GetBody = func() (io.ReadCloser, error) { return &sourceReader{src: src}, nil }
	}
	if len(m.body) == 0 {
		req.Body, req.GetBody = http.NoBody, nil
	}
	return req, nil
}

// dial opens a connection to the peer that request put into the host's name.
func (c *Client) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	name, _, _ := strings.Cut(addr, ":") // net/http adds a port
	var to core.DID
	if n, err := hex.Decode(to[:], []byte(name)); err != nil || n != len(to) {
		return nil, fmt.Errorf("dial %.80q: %w", addr, core.ErrInvalid)
	}
	conn, err := c.peers.Dial(ctx, to, c.addrs(to))
	if err != nil {
		return nil, err
	}
	if conn.Peer() != to {
		_ = conn.Close()
		return nil, fmt.Errorf("%w: the connection is to another key", core.ErrUnreachable)
	}
	return newConn(conn, c.clock), nil
}

// read reads an answer's body.
func (c *Client) read(ctx context.Context, resp *http.Response, buf []byte, limit int64, cancel context.CancelCauseFunc) ([]byte, error) {
	if resp.ContentLength > limit {
		return nil, fmt.Errorf("%w: the answer has %d bytes, its limit is %d", core.ErrTooLarge, resp.ContentLength, limit)
	}
	buf = buf[:0]
	if n := resp.ContentLength; n > int64(cap(buf)) {
		buf = make([]byte, 0, n)
	}
	r := &answerReader{r: io.LimitReader(resp.Body, limit+1)}
	r.watch.clock, r.watch.cut = c.clock, func() { cancel(errStalled) }
	defer r.watch.stop()
	data, err := readAll(r, buf)
	switch {
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("%w: the answer is over its limit of %d bytes", core.ErrTooLarge, limit)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%w: the answer stopped after %d bytes", core.ErrUnreachable, len(data))
	case err != nil:
		return nil, fault(ctx, err, false)
	}
	return data, nil
}

// refusal reads an answer that is not 2xx.
func (c *Client) refusal(ctx context.Context, resp *http.Response, kind string, cancel context.CancelCauseFunc) error {
	if kind != TypeCBOR {
		return fmt.Errorf("%w: answer %d of %.64q", core.ErrInvalid, resp.StatusCode, kind)
	}
	body, err := c.read(ctx, resp, nil, errorSizeMax, cancel)
	if err != nil {
		return err
	}
	return received(resp.StatusCode, resp.Header.Get("Retry-After"), body)
}

// fault gives an error of the transport its kind; answering says that bytes of an answer had come.
func fault(ctx context.Context, err error, answering bool) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, core.ErrUnreachable) || errors.Is(err, core.ErrInvalid):
		return err
	}
	var broken net.Error
	if answering && !errors.As(err, &broken) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("%w: the answer is not HTTP: %w", core.ErrInvalid, err)
	}
	return fmt.Errorf("%w: %w", core.ErrUnreachable, err)
}

// phase watches how far a request has come, and gives up on a peer that has it all and
// sends no head of an answer.
type phase struct {
	began atomic.Bool

	mu    sync.Mutex
	timer core.Timer
	ended bool
}

func (p *phase) trace(clock core.Clock, cancel context.CancelCauseFunc) *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.timer == nil && !p.ended {
				p.timer = clock.AfterFunc(headTime, func() { cancel(errSilent) })
			}
		},
		GotFirstResponseByte: func() { p.began.Store(true) },
	}
}

func (p *phase) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
}

type answerReader struct {
	r     io.Reader
	watch watch
}

func (a *answerReader) Read(p []byte) (int, error) {
	a.watch.begin()
	n, err := a.r.Read(p)
	if a.watch.end() {
		return n, errStalled
	}
	return n, err
}

// source is a request's body. net/http may still read it when a call has returned, and the
// bytes are the caller's again by then.
type source struct {
	mu sync.Mutex
	b  []byte
}

func (s *source) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = nil
}

type sourceReader struct {
	src *source
	off int
}

func (r *sourceReader) Read(p []byte) (int, error) {
	r.src.mu.Lock()
	defer r.src.mu.Unlock()
	if r.off >= len(r.src.b) {
		return 0, io.EOF
	}
	n := copy(p, r.src.b[r.off:])
	r.off += n
	return n, nil
}

func (r *sourceReader) Close() error { return nil }
