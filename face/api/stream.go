package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/grange-grid/grange"
)

// work is something long: it tells its progress, and returns what came of it. A
// result may come with an error, and then says what was done.
type work func(progress func(grange.Progress)) (result any, err error)

// long answers with the outcome of work: as a stream with its progress if the
// request accepts that, or else as one value at its end.
func long(r *http.Request, do work) answer {
	return func(w http.ResponseWriter) {
		if !accepts(r) {
			result, err := do(nil)
			if err != nil {
				failure(result, err)(w)
				return
			}
			value(result, nil)(w)
			return
		}
		s := newStream(w)
		p := newPacer(s)
		result, err := do(p.tell)
		p.stop()
		s.send(line{Result: result, Error: ErrorOf(err)})
	}
}

// accepts tells whether a request wants a stream.
func accepts(r *http.Request) bool {
	for _, header := range r.Header.Values("Accept") {
		for kind := range strings.SplitSeq(header, ",") {
			kind, _, _ = strings.Cut(kind, ";")
			if strings.EqualFold(strings.TrimSpace(kind), typeStream) {
				return true
			}
		}
	}
	return false
}

// stream writes one JSON value a line, each at once.
type stream struct {
	w   http.ResponseWriter
	enc *json.Encoder
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", typeStream)
	w.WriteHeader(http.StatusOK)
	s := &stream{w, json.NewEncoder(w)}
	s.flush()
	return s
}

// send writes a line; its error says that the reader has gone.
func (s *stream) send(l line) error {
	if err := s.enc.Encode(l); err != nil {
		return err
	}
	return s.flush()
}

func (s *stream) flush() error {
	err := http.NewResponseController(s.w).Flush()
	if errors.Is(err, http.ErrNotSupported) {
		return nil // then every Write arrives by itself
	}
	return err
}

// pacer sends progress as fast as the reader takes it and drops what is in
// between, so that a reader that stands still does not hold up the work.
type pacer struct {
	stream *stream
	wake   chan struct{} // of capacity 1
	done   chan struct{}

	mu   sync.Mutex
	next *grange.Progress
}

func newPacer(s *stream) *pacer {
	p := &pacer{stream: s, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go p.pump()
	return p
}

func (p *pacer) tell(now grange.Progress) {
	p.mu.Lock()
	p.next = &now
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *pacer) pump() {
	defer close(p.done)
	for range p.wake {
		p.mu.Lock()
		now := p.next
		p.next = nil
		p.mu.Unlock()
		if now != nil {
			_ = p.stream.send(line{Progress: now}) // the request's context tells of who has gone
		}
	}
}

// stop sends what is left and ends the pump. Nothing may be told after it.
func (p *pacer) stop() {
	close(p.wake)
	<-p.done
}
