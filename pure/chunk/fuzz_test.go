package chunk

import (
	"bytes"
	"errors"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// Whatever is unpacked has the length asked for, or is ErrCorrupt, and what is
// packed of it unpacks to the same.
func FuzzUnpack(f *testing.F) {
	p := NewPacker()
	for _, plain := range [][]byte{nil, []byte("grain"), prose(500), make([]byte, 3000), golden.Stream("noise", 40)} {
		f.Add(p.Pack(nil, plain), len(plain))
	}
	f.Add(frame(1, bomb(f, 128<<10, 1)), 128<<10)
	f.Add(frame(1, bomb(f, 1<<30, 100)), 1<<20)
	f.Add(frame(1, mixedBomb(f)), 128<<10)
	f.Add(frame(1, streamed(f, prose(300))), 300)
	f.Fuzz(func(t *testing.T, packed []byte, size int) {
		got, err := p.Unpack(nil, packed, size)
		if err != nil {
			if got != nil || !errors.Is(err, core.ErrCorrupt) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			return
		}
		if len(got) != size || cap(got) > size+64 {
			t.Fatalf("asked for %d bytes, got %d with room for %d", size, len(got), cap(got))
		}
		again, err := p.Unpack(nil, p.Pack(nil, got), size)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("packed again: %v", err)
		}
	})
}

// Cutting and packing lose nothing, whatever the bytes and the key.
func FuzzCut(f *testing.F) {
	p := NewPacker()
	f.Add([]byte("key"), []byte(nil), uint8(0))
	f.Add([]byte("key"), []byte("grain"), uint8(1))
	f.Add([]byte(""), golden.Stream("data", 1000), uint8(255))
	f.Fuzz(func(t *testing.T, key, data []byte, times uint8) {
		c, err := NewCutter(core.ScoreOf(key))
		if err != nil {
			t.Fatal(err)
		}
		data = bytes.Repeat(data, int(times)*16)
		data = data[:min(len(data), 3*SizeMax/2)]
		at := 0
		for _, chunk := range cutAll(t, c, bytes.NewReader(data)) {
			got, err := p.Unpack(nil, p.Pack(nil, chunk), len(chunk))
			if err != nil || !bytes.HasPrefix(data[at:], got) {
				t.Fatalf("at %d: %v", at, err)
			}
			at += len(got)
		}
		if at != len(data) {
			t.Fatalf("%d of %d bytes", at, len(data))
		}
	})
}
