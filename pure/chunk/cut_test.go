package chunk

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// cutAll returns copies of the chunks of a stream, and checks what holds of any.
func cutAll(t testing.TB, c *Cutter, r io.Reader) [][]byte {
	t.Helper()
	c.Reset(r)
	var out [][]byte
	for {
		chunk, err := c.Next()
		if err == io.EOF {
			if len(chunk) != 0 {
				t.Fatalf("%d bytes together with io.EOF", len(chunk))
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(chunk) == 0 || len(chunk) > SizeMax {
			t.Fatalf("chunk %d of %d bytes", len(out), len(chunk))
		}
		out = append(out, bytes.Clone(chunk))
	}
	for i, chunk := range out {
		if len(chunk) < SizeMin && i != len(out)-1 {
			t.Fatalf("chunk %d of %d is %d bytes short", i, len(out), len(chunk))
		}
	}
	if _, err := c.Next(); err != io.EOF {
		t.Fatalf("after the end: %v", err)
	}
	return out
}

func newCutter(t testing.TB, key string) *Cutter {
	t.Helper()
	c, err := NewCutter(keyOf(key))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func lengths(chunks [][]byte) []int {
	out := make([]int, len(chunks))
	for i, c := range chunks {
		out[i] = len(c)
	}
	return out
}

func TestCutJoins(t *testing.T) {
	c := newCutter(t, "key")
	for _, size := range []int{0, 1, SizeMin - 1, SizeMin, SizeMin + 1, SizeMean, SizeMax - 1, SizeMax, SizeMax + 1, 5 << 20} {
		data := golden.Stream("data", size)
		if got := bytes.Join(cutAll(t, c, bytes.NewReader(data)), nil); !bytes.Equal(got, data) {
			t.Errorf("%d bytes join to %d others", size, len(got))
		}
	}
}

func TestCutOfNothing(t *testing.T) {
	c := newCutter(t, "key")
	if chunk, err := c.Next(); err != io.EOF || chunk != nil {
		t.Errorf("before Reset: %d bytes, %v", len(chunk), err)
	}
	if got := cutAll(t, c, bytes.NewReader(nil)); len(got) != 0 {
		t.Errorf("%d chunks of an empty stream", len(got))
	}
}

// Bytes without any content to cut at end at the limit.
func TestCutOfZeros(t *testing.T) {
	got := lengths(cutAll(t, newCutter(t, "key"), bytes.NewReader(make([]byte, 3*SizeMax+5))))
	if want := []int{SizeMax, SizeMax, SizeMax, 5}; !slices.Equal(got, want) {
		t.Errorf("zeros are cut to %d, want %d", got, want)
	}
}

func TestCutsDoNotDependOnReads(t *testing.T) {
	data := golden.Stream("data", 6<<20)
	c := newCutter(t, "key")
	want := lengths(cutAll(t, c, bytes.NewReader(data)))
	if len(want) < 10 {
		t.Fatalf("only %d chunks", len(want))
	}
	for name, r := range map[string]io.Reader{
		"a byte a read":         iotest.OneByteReader(bytes.NewReader(data)),
		"half of what is asked": iotest.HalfReader(bytes.NewReader(data)),
		"EOF with the last":     iotest.DataErrReader(bytes.NewReader(data)),
		"rising reads":          &risingReader{data: data},
		"EOF after half reads":  iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(data))),
	} {
		if got := lengths(cutAll(t, c, r)); !slices.Equal(got, want) {
			t.Errorf("%s: cut to %d, want %d", name, got, want)
		}
	}
	if got := lengths(cutAll(t, newCutter(t, "key"), bytes.NewReader(data))); !slices.Equal(got, want) {
		t.Errorf("another cutter with the same key cuts to %d, want %d", got, want)
	}
}

// risingReader gives nothing, then 1 byte, 2, 3, …
type risingReader struct {
	data []byte
	next int
}

func (r *risingReader) Read(p []byte) (int, error) {
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.data[:min(r.next, len(r.data))])
	r.data = r.data[n:]
	r.next++
	return n, nil
}

func TestKeyChangesTheCuts(t *testing.T) {
	data := golden.Stream("data", 16<<20)
	ends := func(key string) map[int]bool {
		out, at := map[int]bool{}, 0
		for _, n := range lengths(cutAll(t, newCutter(t, key), bytes.NewReader(data))) {
			at += n
			out[at] = true
		}
		return out
	}
	a, b, zero := ends("one household"), ends("another"), map[int]bool{}
	c, err := NewCutter([32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	for _, n := range lengths(cutAll(t, c, bytes.NewReader(data))) {
		at += n
		zero[at] = true
	}
	for name, pair := range map[string][2]map[int]bool{"two keys": {a, b}, "a key and none": {a, zero}} {
		shared := 0
		for end := range pair[0] {
			if pair[1][end] {
				shared++
			}
		}
		if shared != 1 { // the end of the stream
			t.Errorf("%s share %d cuts of %d and %d", name, shared, len(pair[0]), len(pair[1]))
		}
	}
}

// One flipped bit of the key is another key.
func TestEveryBitOfTheKeyCounts(t *testing.T) {
	data := golden.Stream("data", 2<<20)
	seen := map[int]int{}
	for i := range 32 {
		key := keyOf("key")
		key[i] ^= 1
		c, err := NewCutter(key)
		if err != nil {
			t.Fatal(err)
		}
		seen[lengths(cutAll(t, c, bytes.NewReader(data)))[0]] = i
	}
	if len(seen) < 31 { // two of 32 may meet by chance
		t.Errorf("32 keys have %d first cuts", len(seen))
	}
}

func TestAnEditChangesTheChunksAroundIt(t *testing.T) {
	data := golden.Stream("data", 12<<20)
	edits := map[string][]byte{
		"a byte at the front": append([]byte{'x'}, data...),
		"1,000 bytes in":      slices.Insert(bytes.Clone(data), 4<<20, golden.Stream("new", 1000)...),
		"1,000 bytes out":     slices.Delete(bytes.Clone(data), 8<<20, 8<<20+1000),
		"1 MiB at the end":    append(bytes.Clone(data), golden.Stream("new", 1<<20)...),
	}
	c := newCutter(t, "key")
	seen := map[core.Score]bool{}
	for _, chunk := range cutAll(t, c, bytes.NewReader(data)) {
		seen[core.ScoreOf(chunk)] = true
	}
	for name, edited := range edits {
		fresh := 0
		for _, chunk := range cutAll(t, c, bytes.NewReader(edited)) {
			if !seen[core.ScoreOf(chunk)] {
				fresh += len(chunk)
			}
		}
		if fresh == 0 || fresh > 3*SizeMax {
			t.Errorf("%s: %d new bytes", name, fresh)
		}
	}
}

func TestMeanSize(t *testing.T) {
	const size = 32 << 20
	n := len(cutAll(t, newCutter(t, "key"), bytes.NewReader(golden.Stream("data", size))))
	if mean := size / n; mean < SizeMean || mean > SizeMean*5/4 {
		t.Errorf("mean of %d chunks is %d KiB", n, mean>>10)
	}
}

func TestCutReportsTheReadersError(t *testing.T) {
	broken := errors.New("disk on fire")
	data := golden.Stream("data", 3<<20)
	c := newCutter(t, "key")
	c.Reset(io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)))
	total := 0
	for {
		chunk, err := c.Next()
		if err == nil {
			total += len(chunk)
			continue
		}
		if !errors.Is(err, broken) || chunk != nil {
			t.Fatalf("%d bytes, %v", len(chunk), err)
		}
		break
	}
	// A cut near the end could be another's once the rest is known.
	if total < len(data)-SizeMax || total >= len(data) {
		t.Errorf("%d of %d bytes came before the error", total, len(data))
	}
	if _, err := c.Next(); !errors.Is(err, broken) {
		t.Errorf("after the error: %v", err)
	}
	if got := bytes.Join(cutAll(t, c, bytes.NewReader(data)), nil); !bytes.Equal(got, data) {
		t.Error("an error reaches into the next stream")
	}
}

func TestNextDoesNotAllocate(t *testing.T) {
	data := golden.Stream("data", 8<<20)
	c := newCutter(t, "key")
	r := bytes.NewReader(data)
	if n := testing.AllocsPerRun(5, func() {
		r.Reset(data)
		c.Reset(r)
		for {
			if _, err := c.Next(); err != nil {
				return
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations a stream", n)
	}
}
