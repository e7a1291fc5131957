package erasure

import (
	"bytes"
	"testing"

	"github.com/grange-grid/grange/internal/golden"
)

// vector is a segment of a shape: the first k pieces are its data.
type vector struct {
	K      int          `json:"k"`
	M      int          `json:"m"`
	Pieces []golden.Hex `json:"pieces"`
}

func makeVectors(t *testing.T) []vector {
	t.Helper()
	var out []vector
	for _, s := range []Shape{{1, 1}, {1, 10}, {2, 1}, {3, 2}, {10, 1}, {10, 5}, {10, 10}} {
		_, pieces := coded(t, s, 24)
		v := vector{K: s.K, M: s.M}
		for _, p := range pieces {
			v.Pieces = append(v.Pieces, p)
		}
		out = append(out, v)
	}
	return out
}

// The matrix is the library's, and is stored for years: an upgrade that changed
// it would make parity that does not fit the data.
func TestVectors(t *testing.T) {
	vs := golden.File(t, "erasure", makeVectors)
	if len(vs) < 7 {
		t.Fatalf("only %d vectors", len(vs))
	}
	for _, v := range vs {
		want := make([][]byte, len(v.Pieces))
		for i, p := range v.Pieces {
			want[i] = p
		}
		c, err := New(Shape{v.K, v.M})
		if err != nil {
			t.Fatal(err)
		}
		pieces := clone(want)
		for _, p := range pieces[v.K:] {
			clear(p)
		}
		if err := c.Parity(pieces); err != nil || !equal(pieces, want) {
			t.Errorf("%d+%d: other parity, %v", v.K, v.M, err)
		}
		for i := range min(v.K, v.M) {
			pieces[i] = nil
		}
		if err := c.Rebuild(pieces, nil); err != nil || !equal(pieces, want) {
			t.Errorf("%d+%d: rebuilt to other data, %v", v.K, v.M, err)
		}
		if v.M > 0 && v.K > 1 && bytes.Equal(pieces[v.K], pieces[0]) {
			t.Errorf("%d+%d: parity equals data", v.K, v.M)
		}
	}
}
