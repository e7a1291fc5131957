package api

import (
	"context"
	"io"
	"net/http"
	"sync"
)

// inProcess carries requests to a handler of this process, and streams the
// answers back.
type inProcess struct {
	handler http.Handler
	running sync.WaitGroup
}

// RoundTrip runs the handler in a goroutine that ends with the request.
func (t *inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	body, out := io.Pipe()
	w := &pipeWriter{header: http.Header{}, out: out, started: make(chan struct{})}
	in := req.Clone(ctx)
	in.RequestURI = req.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	t.running.Go(func() {
		defer cancel()
		t.handler.ServeHTTP(w, in)
		w.WriteHeader(http.StatusOK)
		_ = out.Close()
		_ = in.Body.Close()
	})
	select {
	case <-w.started:
	case <-ctx.Done():
		_ = body.CloseWithError(ctx.Err()) // so that the handler does not wait for a reader
		return nil, ctx.Err()
	}
	return &http.Response{
		Status: http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: &pipeBody{body, cancel}, ContentLength: -1, Request: req,
	}, nil
}

// pipeWriter is the handler's end. What is written arrives at once, so it has no Flush.
type pipeWriter struct {
	header  http.Header
	out     *io.PipeWriter
	once    sync.Once
	started chan struct{}

	// Set before started is closed.
	status int
	sent   http.Header
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.started)
	})
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.out.Write(b)
}

// pipeBody is the caller's end. Closing it before its end stops the handler.
type pipeBody struct {
	*io.PipeReader
	cancel context.CancelFunc
}

func (b *pipeBody) Close() error {
	b.cancel()
	return b.PipeReader.Close()
}
