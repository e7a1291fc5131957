package grange_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/codec"
)

// raw is a machine of which nothing runs but what a test sends. It can be any: the simulated
// network asks for no key. Whoever ran under its DID is cut off.
type raw struct {
	w     *world
	name  string
	did   core.DID
	peers core.Peers
}

func (w *world) raw(name string, did core.DID) *raw {
	r := &raw{w: w, name: name, did: did, peers: w.net.JoinDialing(did)}
	w.t.Cleanup(func() { _ = r.peers.Close() })
	return r
}

// target is a machine that is asked.
type target struct {
	did   core.DID
	addrs []string
}

func (m *machine) target() target { return target{m.did, m.addrs()} }

func (r *raw) dial(to target) core.Conn {
	r.w.t.Helper()
	c, err := r.peers.Dial(r.w.t.Context(), to.did, to.addrs)
	if err != nil {
		r.w.t.Fatal(err)
	}
	return c
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	// Of an error.
	err wire.Error
}

// String is the status and the code: what SPEC §7 says of an answer.
func (a answer) String() string { return strings.TrimSpace(fmt.Sprint(a.status, " ", a.err.Code)) }

// message reads an answer's body.
func message[T any](t tester, a answer) T {
	t.Helper()
	var out T
	if a.status != http.StatusOK {
		t.Fatalf("answer %v: %s", a, a.err.Message)
	}
	if err := codec.UnmarshalMessage(a.body, &out, len(a.body)); err != nil {
		t.Fatal(err)
	}
	return out
}

// send writes text on a connection of its own, and returns the answer to it as a request of the method.
func (r *raw) send(to target, method, text string) answer {
	r.w.t.Helper()
	c := r.dial(to)
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, text) }() // the answer may come before all is written
	return r.read(c, method)
}

func (r *raw) read(c io.Reader, method string) answer {
	r.w.t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		r.w.t.Fatalf("%s reads an answer: %v", r.name, err)
	}
	out := answer{status: resp.StatusCode, header: resp.Header}
	if out.body, err = io.ReadAll(resp.Body); err != nil {
		r.w.t.Fatalf("%s reads an answer: %v", r.name, err)
	}
	if resp.StatusCode > 299 {
		_ = codec.UnmarshalMessage(out.body, &out.err, 1<<20) // net/http's own errors are no CBOR
	}
	return out
}

// do sends a request for a path below /grange/v1. A body of bytes goes raw, any other as CBOR.
func (r *raw) do(to target, method, path string, body any, edit ...func(*http.Request)) answer {
	r.w.t.Helper()
	data, plain := body.([]byte)
	kind := wire.TypeBytes
	if body != nil && !plain {
		kind = wire.TypeCBOR
		var err error
		if data, err = codec.Marshal(body); err != nil {
			r.w.t.Fatal(err)
		}
	}
	req, err := http.NewRequest(method, "http://grange"+wire.Prefix+path, bytes.NewReader(data))
	if err != nil {
		r.w.t.Fatal(err)
	}
	req.Host = to.did.String()
	if body != nil {
		req.Header.Set("Content-Type", kind)
	}
	for _, f := range edit {
		f(req)
	}
	var text strings.Builder
	if err := req.Write(&text); err != nil {
		r.w.t.Fatal(err)
	}
	return r.send(to, req.Method, text.String())
}
