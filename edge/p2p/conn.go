package p2p

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/grange-grid/grange/core"
)

// stream is a libp2p stream as a net.Conn.
type stream struct {
	network.Stream
	// hello is for the dialling side only.
	hello *hello
	peer  core.DID
	local addr
	far   addr
	// closed is called when the stream is.
	closed func()
}

type addr string

func (a addr) Network() string { return "libp2p" }
func (a addr) String() string  { return string(a) }

func newStream(s network.Stream, closed func()) (*stream, error) {
	c := s.Conn()
	did, err := didOf(c.RemotePeer())
	if err != nil {
		return nil, err
	}
	return &stream{
		Stream: s, peer: did, closed: closed,
		local: addr(c.LocalMultiaddr().String()), far: addr(c.RemoteMultiaddr().String()),
	}, nil
}

func (s *stream) Peer() core.DID       { return s.peer }
func (s *stream) LocalAddr() net.Addr  { return s.local }
func (s *stream) RemoteAddr() net.Addr { return s.far }

func (s *stream) Read(b []byte) (int, error) {
	if s.hello != nil {
		if err := s.hello.hear(s.Stream); err != nil {
			return 0, timedOut(err)
		}
	}
	n, err := s.Stream.Read(b)
	return n, timedOut(err)
}

func (s *stream) Write(b []byte) (int, error) {
	if s.hello != nil {
		if n, done, err := s.hello.say(s.Stream, b); done || err != nil {
			return n, timedOut(err)
		}
	}
	n, err := s.Stream.Write(b)
	return n, timedOut(err)
}

// CloseWrite ends what this side writes; it can read on.
func (s *stream) CloseWrite() error {
	if s.hello != nil {
		if _, _, err := s.hello.say(s.Stream, nil); err != nil {
			return err
		}
	}
	return s.Stream.CloseWrite()
}

// Close ends both directions. What was written still arrives.
func (s *stream) Close() error {
	err := s.Stream.Close()
	s.closed()
	return err
}

// timeoutError is a deadline's error as package net has it. It must be a net.Error
// itself, not wrap one: net/http asks by type assertion, and takes anything
// else for the loss of the connection.
type timeoutError struct{ error }

func (timeoutError) Timeout() bool        { return true }
func (timeoutError) Temporary() bool      { return true }
func (timeoutError) Is(target error) bool { return target == os.ErrDeadlineExceeded }
func (e timeoutError) Unwrap() error      { return e.error }

// timedOut makes a deadline's error that of package net, whichever muxer it comes from.
func timedOut(err error) error {
	var n net.Error
	if errors.As(err, &n) && n.Timeout() {
		return timeoutError{err}
	}
	return err
}

var _ net.Error = timeoutError{}

var _ core.Conn = (*stream)(nil)

// helloText is what both sides of multistream-select say where they agree at once: the name of
// that protocol and of ours, each with its length. Source: https://github.com/multiformats/multistream-select.
const helloText = "\x13/multistream/1.0.0\n" + "\x0f" + Protocol + "\n"

// helloJoinMax is how many bytes are sent along with the hello, at most.
const helloJoinMax = 4 << 10

// hello names the protocol of a stream that was dialled. It goes out with the first bytes, so
// that naming costs no round trip, and what comes back is compared when something is
// read. A deadline in the middle loses nothing.
type hello struct {
	sending sync.Mutex
	said    bool

	hearing sync.Mutex
	heard   int  // bytes of helloText
	other   bool // it was something else
}

// say sends the hello unless it was sent, and b with it if b is short; done tells
// that b was.
func (h *hello) say(s io.Writer, b []byte) (n int, done bool, err error) {
	h.sending.Lock()
	defer h.sending.Unlock()
	if h.said {
		return 0, false, nil
	}
	h.said = true
	if len(b) > helloJoinMax {
		_, err = io.WriteString(s, helloText)
		return 0, false, err
	}
	n, err = s.Write(append([]byte(helloText), b...))
	return max(n-len(helloText), 0), true, err
}

// hear reads the peer's hello, once the own one is sent.
func (h *hello) hear(s io.ReadWriter) error {
	if _, _, err := h.say(s, nil); err != nil {
		return err
	}
	h.hearing.Lock()
	defer h.hearing.Unlock()
	for h.heard < len(helloText) {
		var buf [len(helloText)]byte
		var n int
		var err error
		if !h.other {
			n, err = s.Read(buf[:len(helloText)-h.heard])
		}
		if h.other = h.other || string(buf[:n]) != helloText[h.heard:h.heard+n]; h.other {
			return fmt.Errorf("%w: the peer does not speak %s", core.ErrVersion, Protocol)
		}
		if h.heard += n; err != nil {
			return err
		}
	}
	return nil
}
