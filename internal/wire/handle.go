package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// The kinds of bodies.
const (
	TypeCBOR  = "application/cbor"
	TypeJSON  = "application/json"
	TypeBytes = "application/octet-stream"
)

// AnswerSizeMax is the limit of an answer where nothing else is said, in bytes.
const AnswerSizeMax = 1 << 20

// Handle makes a handler of a function from one message to another. The message is read as
// CBOR, or as JSON where Content-Type says so; an empty body is the zero In. The
// answer is CBOR, or JSON where Accept asks for it; an error is answered as
// WriteError does.
func Handle[In, Out any](f func(ctx context.Context, in In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		if err := ReadMessage(r, &in); err != nil {
			WriteError(w, r, err)
			return
		}
		out, err := f(r.Context(), in)
		if err != nil {
			WriteError(w, r, err)
			return
		}
		WriteMessage(w, r, out)
	})
}

// ReadMessage reads a request's body into v, a pointer; an empty one leaves it as it is.
// Errors are of the kinds ErrInvalid, ErrTooLarge and ErrUnreachable (it stalled or stopped).
func ReadMessage(r *http.Request, v any) error {
	data, err := ReadBytes(r, nil)
	if err != nil || len(data) == 0 {
		return err
	}
	switch kind := mediaType(r.Header.Get("Content-Type")); kind {
	case "", TypeCBOR:
		return codec.UnmarshalMessage(data, v, len(data))
	case TypeJSON:
		if jsonItems(data) > codec.ItemsMax(len(data)) {
			return fmt.Errorf("%w: JSON: too many items for its size", core.ErrInvalid)
		}
		if err := json.Unmarshal(data, v); err != nil {
			return fmt.Errorf("%w: JSON: %w", core.ErrInvalid, err)
		}
		return nil
	default:
		return fmt.Errorf("%w: bodies are %s or %s, not %.64q", core.ErrInvalid, TypeCBOR, TypeJSON, kind)
	}
}

// jsonItems returns how many values and names a JSON text may have at most: an item of two bytes can cost
// the decoder a Go value of hundreds.
func jsonItems(data []byte) int {
	n := 1
	for _, c := range data {
		switch c {
		case ',', ':', '[', '{':
			n++
		}
	}
	return n
}

// ReadBytes reads a request's body whole and returns it in buf[:0], or in a larger slice.
// Errors are those of ReadMessage.
func ReadBytes(r *http.Request, buf []byte) ([]byte, error) {
	buf = buf[:0]
	if b, ok := r.Body.(*body); ok && b.size > int64(cap(buf)) && b.size <= b.limit {
		buf = make([]byte, 0, b.size)
	}
	data, err := readAll(r.Body, buf)
	if err == nil || errors.Is(err, core.ErrUnreachable) || errors.Is(err, core.ErrTooLarge) {
		return data, err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return data, fmt.Errorf("%w: the body stopped after %d bytes", core.ErrUnreachable, len(data))
	}
	return data, fmt.Errorf("%w: read the body: %w", core.ErrUnreachable, err)
}

// readAll appends all of r to buf.
func readAll(r io.Reader, buf []byte) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			// The end is often known only by one more read: no growing for it.
			var one [1]byte
			n, err := r.Read(one[:])
			if buf = append(buf, one[:n]...); err != nil {
				return buf, notEOF(err)
			}
			continue
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		if buf = buf[:len(buf)+n]; err != nil {
			return buf, notEOF(err)
		}
	}
}

func notEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// WriteMessage answers 200 with v as CBOR, or as JSON where the request's Accept asks for it.
func WriteMessage(w http.ResponseWriter, r *http.Request, v any) {
	writeAnswer(w, r, http.StatusOK, v)
}

// WriteBytes answers 200 with raw bytes.
func WriteBytes(w http.ResponseWriter, b []byte) {
	writeBody(w, http.StatusOK, TypeBytes, b)
}

func writeAnswer(w http.ResponseWriter, r *http.Request, status int, v any) {
	marshal, kind := codec.Marshal, TypeCBOR
	if wantsJSON(r) {
		marshal, kind = json.Marshal, TypeJSON
	}
	data, err := marshal(v)
	if err != nil {
		logOf(r.Context()).Error("encode an answer", "path", r.URL.Path, "err", err)
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	writeBody(w, status, kind, data)
}

func writeBody(w http.ResponseWriter, status int, kind string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	_, _ = w.Write(data) // a caller that is gone is told nothing
}

func wantsJSON(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if mediaType(part) == TypeJSON {
			return true
		}
	}
	return false
}

// mediaType returns a header's kind without its parameters, in lower case.
func mediaType(header string) string {
	if header == "" {
		return ""
	}
	kind, _, err := mime.ParseMediaType(header)
	if err != nil {
		return strings.TrimSpace(header)
	}
	return kind
}
