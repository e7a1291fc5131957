package wire

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/grange-grid/grange/core"
)

// Limits of what is read of a body that nobody wants, so that the connection can be
// used again and the caller reads the answer rather than a broken pipe.
const (
	drainSizeMin = 256 << 10
	drainTime    = 10 * time.Second
)

// body is a request's body: limited, and cut when it makes no progress.
type body struct {
	io.ReadCloser
	clock core.Clock
	watch watch
	cut   func()
	// size is what the head declared, -1 when it did not.
	size int64
	// got is how much was read of it.
	got int64
	// limit is the route's; left is what may still be read.
	limit, left int64
	// continues: the caller waits to be told to send it.
	continues bool
	ended     bool
	stalled   bool
}

func newBody(w http.ResponseWriter, r *http.Request, clock core.Clock) *body {
	control := http.NewResponseController(w)
	b := &body{ReadCloser: r.Body, clock: clock, size: r.ContentLength, continues: r.Header.Get("Expect") != ""}
	b.cut = func() { _ = control.SetReadDeadline(longAgo) }
	b.watch.clock, b.watch.cut = clock, b.cut
	b.ended = r.ContentLength == 0
	return b
}

// allow sets the limit.
func (b *body) allow(limit int64) error {
	b.limit, b.left = limit, limit
	if b.size > limit || b.size != 0 && limit == 0 {
		return tooLarge(limit)
	}
	return nil
}

func tooLarge(limit int64) error {
	return &Error{Code: CodeTooLarge, Message: fmt.Sprintf("the body is over its limit of %d bytes", limit)}
}

// Read reads within the limit.
func (b *body) Read(p []byte) (int, error) {
	if b.ended {
		return 0, io.EOF
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1] // one more tells the end from too much
	}
	n, err := b.read(p)
	if int64(n) > b.left {
		n, b.left = int(b.left), 0
		return n, tooLarge(b.limit)
	}
	b.left -= int64(n)
	return n, err
}

func (b *body) read(p []byte) (int, error) {
	b.watch.begin()
	n, err := b.ReadCloser.Read(p)
	b.got += int64(n)
	if b.watch.end() {
		b.stalled = true
		return n, fmt.Errorf("%w: the body made no progress", core.ErrUnreachable)
	}
	if err == io.EOF {
		b.ended = true
	}
	return n, err
}

// Close leaves closing to net/http: it would read on without any limit of time.
func (b *body) Close() error { return nil }

// drain reads what is left of the body, within limits; what is then not at its end is
// not read by net/http either. It tells whether the connection can be used again.
func (b *body) drain() bool {
	most := max(b.limit, drainSizeMin)
	if b.ended || b.size-b.got > most {
		return b.ended // net/http reads nothing of a declared rest that is this large, and closes
	}
	if !b.continues && !b.stalled {
		timer := b.clock.AfterFunc(drainTime, b.cut)
		buf := make([]byte, 16<<10)
		for n := 0; most >= 0 && !b.ended; most -= int64(n) {
			var err error
			if n, err = b.read(buf); err != nil {
				break
			}
		}
		if !timer.Stop() {
			b.ended = false // the deadline may stand: the connection is done for
		}
	}
	b.abort()
	return b.ended
}

// abort keeps net/http from reading on when it closes.
func (b *body) abort() {
	if !b.ended {
		b.cut()
	}
}
