package chunk

import (
	"bytes"
	"slices"
	"testing"

	"github.com/grange-grid/grange/internal/golden"
)

type vectors struct {
	About string       `json:"about"`
	Cuts  []cutVector  `json:"cuts"`
	Packs []packVector `json:"packs"`
	Padme [][2]int     `json:"padme"`
}

// cutVector cuts golden.Stream(Stream, Size).
type cutVector struct {
	Key     golden.Hex `json:"key"`
	Stream  string     `json:"stream"`
	Size    int        `json:"size"`
	Lengths []int      `json:"lengths"`
}

type packVector struct {
	Plain  golden.Hex `json:"plain"`
	Packed golden.Hex `json:"packed"`
}

func makeVectors(t *testing.T) vectors {
	t.Helper()
	v := vectors{About: "A cut's input is the first size bytes of BLAKE3(stream || u64 0) || BLAKE3(stream || u64 1) || ..., " +
		"big-endian. A packing by method 1 may differ, but must unpack to plain."}
	for _, name := range []string{"one household", "another"} {
		key := keyOf(name)
		for _, size := range []int{100_000, 4 << 20} {
			got := lengths(cutAll(t, newCutter(t, name), bytes.NewReader(golden.Stream("stream", size))))
			v.Cuts = append(v.Cuts, cutVector{key[:], "stream", size, got})
		}
	}
	p := NewPacker()
	for _, plain := range [][]byte{nil, []byte("g"), []byte("grain"), golden.Stream("noise", 100), prose(400), make([]byte, 1<<10)} {
		v.Packs = append(v.Packs, packVector{plain, p.Pack(nil, plain)})
	}
	for _, n := range []int{0, 1, 5, 9, 17, 100, 129, 1000, 4097, headerSize + SizeMean, headerSize + SizeMax, 10<<20 - 1} {
		v.Padme = append(v.Padme, [2]int{n, Padme(n)})
	}
	return v
}

func TestVectors(t *testing.T) {
	v := golden.Kept(t, "chunk", makeVectors)
	if len(v.Cuts) < 4 || len(v.Packs) < 6 || len(v.Padme) < 12 {
		t.Fatalf("vectors are missing: %d %d %d", len(v.Cuts), len(v.Packs), len(v.Padme))
	}
	for i, c := range v.Cuts {
		cutter, err := NewCutter([32]byte(c.Key))
		if err != nil {
			t.Fatal(err)
		}
		if got := lengths(cutAll(t, cutter, bytes.NewReader(golden.Stream(c.Stream, c.Size)))); !slices.Equal(got, c.Lengths) {
			t.Errorf("cut %d: %d, want %d", i, got, c.Lengths)
		}
	}
	p := NewPacker()
	for i, c := range v.Packs {
		if got, err := p.Unpack(nil, c.Packed, len(c.Plain)); err != nil || !bytes.Equal(got, c.Plain) {
			t.Errorf("pack %d unpacks to %x, %v", i, got, err)
		}
		got := p.Pack(nil, c.Plain)
		if got[0] != c.Packed[0] {
			t.Errorf("pack %d: method %d, want %d", i, got[0], c.Packed[0])
		}
		// Another zstd may make another frame of the same bytes, which is no fault.
		if got[0] == methodPlain && !bytes.Equal(got, c.Packed) {
			t.Errorf("pack %d: %x", i, got)
		}
	}
	for _, c := range v.Padme {
		if got := Padme(c[0]); got != c[1] {
			t.Errorf("Padme(%d) = %d, want %d", c[0], got, c[1])
		}
	}
}
