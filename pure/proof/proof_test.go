package proof

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"

	"lukechampine.com/blake3/bao"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

func mustProve(t testing.TB, data []byte, block uint64) []byte {
	t.Helper()
	slice, err := Prove(data, block)
	if err != nil {
		t.Fatal(err)
	}
	return slice
}

// Two libraries hash here: zeebo's makes the scores, this one's checks slices.
func TestRootIsTheScore(t *testing.T) {
	for _, size := range []int{0, 1, 63, 64, 1023, 1024, 1025, 2048, 2049, 3072, 16 << 10, 16<<10 + 1, 64 << 10, 100_000, 1<<20 - 1, 1 << 20} {
		data := golden.Stream("data", size)
		for _, outboard := range []bool{false, true} {
			if _, root := bao.EncodeBuf(data, group, outboard); core.Score(root) != core.ScoreOf(data) {
				t.Errorf("%d bytes: the Bao root %x is not the score", size, root)
			}
		}
	}
}

func TestBlocks(t *testing.T) {
	for size, want := range map[int64]uint64{
		math.MinInt64: 0, -1: 0, 0: 0, 1: 1, 1023: 1, 1024: 1, 1025: 2, 2048: 2, 1<<20 - 1: 1024, 1 << 20: 1024, 1<<20 + 1: 1025, math.MaxInt64: 1 << 53,
	} {
		if got := Blocks(size); got != want {
			t.Errorf("Blocks(%d) = %d, want %d", size, got, want)
		}
	}
}

func TestEveryBlockIsProven(t *testing.T) {
	for _, size := range []int{1, 1023, 1024, 1025, 2048, 3000, 5 * 1024, 7*1024 + 1, 8 * 1024, 33*1024 - 5, 1<<20 - 1, 1 << 20} {
		data := golden.Stream("data", size)
		score := core.ScoreOf(data)
		step := uint64(1)
		if size > 64<<10 {
			step = 93
		}
		blocks := Blocks(int64(size))
		for block := uint64(0); block < blocks; block += step {
			slice := mustProve(t, data, block)
			if want := sliceSize(int64(size), block); len(slice) != want || cap(slice) > 4096 {
				t.Fatalf("block %d of %d: %d bytes, want %d", block, size, len(slice), want)
			}
			if shown := data[block*BlockSize : min(len(data), int(block+1)*BlockSize)]; !bytes.HasSuffix(slice, shown) {
				t.Fatalf("block %d of %d: the slice does not end with the block", block, size)
			}
			if err := Verify(score, int64(size), block, slice); err != nil {
				t.Fatal(err)
			}
		}
		last := blocks - 1
		if err := Verify(score, int64(size), last, mustProve(t, data, last)); err != nil {
			t.Fatal(err)
		}
	}
}

// The slice is what Bao's combined encoding gives, less the header, so another
// implementation can use any Bao library.
func TestSliceIsOfTheCombinedEncoding(t *testing.T) {
	for _, size := range []int{1, 1024, 1025, 70_000, 1 << 20} {
		data := golden.Stream("data", size)
		combined, _ := bao.EncodeBuf(data, 0, false)
		for _, block := range []uint64{0, Blocks(int64(size)) / 2, Blocks(int64(size)) - 1} {
			offset := block * BlockSize
			var want bytes.Buffer
			if err := bao.ExtractSlice(&want, bytes.NewReader(combined), nil, 0, offset, min(BlockSize, uint64(size)-offset)); err != nil {
				t.Fatal(err)
			}
			if got := mustProve(t, data, block); !bytes.Equal(got, want.Bytes()[8:]) {
				t.Errorf("block %d of %d: another slice", block, size)
			}
			if header := binary.LittleEndian.Uint64(want.Bytes()); header != uint64(size) {
				t.Errorf("the header that is left out says %d, want %d", header, size)
			}
		}
	}
}

func TestSliceOfAMebibyteIsSmall(t *testing.T) {
	if n := len(mustProve(t, golden.Stream("data", 1<<20), 700)); n != 1024+10*64 {
		t.Errorf("slice of %d bytes", n)
	}
}

func TestNoSuchBlock(t *testing.T) {
	data := golden.Stream("data", 2500)
	for _, block := range []uint64{3, 4, 1 << 53, 1 << 54, math.MaxUint64} {
		if slice, err := Prove(data, block); slice != nil || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("prove block %d: %d bytes, %v", block, len(slice), err)
		}
		if err := Verify(core.ScoreOf(data), 2500, block, mustProve(t, data, 2)); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("verify block %d: %v", block, err)
		}
	}
}

// A Bao slice of an empty piece holds nothing that the root is compared with.
func TestNothingIsNotProven(t *testing.T) {
	if _, err := Prove(nil, 0); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("prove: %v", err)
	}
	for _, size := range []int64{0, -1, math.MinInt64} {
		for _, slice := range [][]byte{nil, {}, make([]byte, 1024)} {
			if err := Verify(core.ScoreOf(nil), size, 0, slice); !errors.Is(err, core.ErrInvalid) {
				t.Errorf("size %d: %v", size, err)
			}
		}
	}
}

func TestFlippedBits(t *testing.T) {
	for _, c := range []struct {
		size  int
		block uint64
	}{{1, 0}, {1000, 0}, {1025, 1}, {5000, 2}, {1 << 20, 700}} {
		data := golden.Stream("data", c.size)
		score, slice := core.ScoreOf(data), mustProve(t, data, c.block)
		for i := range slice {
			for bit := range 8 {
				slice[i] ^= 1 << bit
				if err := Verify(score, int64(c.size), c.block, slice); !errors.Is(err, core.ErrCorrupt) {
					t.Fatalf("block %d of %d, byte %d bit %d: %v", c.block, c.size, i, bit, err)
				}
				slice[i] ^= 1 << bit
			}
		}
		if err := Verify(score, int64(c.size), c.block, slice); err != nil {
			t.Fatalf("unharmed again: %v", err)
		}
	}
}

func TestCutAndLengthenedSlices(t *testing.T) {
	data := golden.Stream("data", 20_000)
	score, slice := core.ScoreOf(data), mustProve(t, data, 11)
	for n := range slice {
		if err := Verify(score, 20_000, 11, slice[:n]); !errors.Is(err, core.ErrCorrupt) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
	var header [8]byte
	binary.LittleEndian.PutUint64(header[:], 20_000)
	for name, bad := range map[string][]byte{
		"a byte behind":      append(bytes.Clone(slice), 0),
		"a byte before":      append([]byte{0}, slice...),
		"with its header":    append(header[:], slice...),
		"another one behind": append(bytes.Clone(slice), mustProve(t, data, 12)...),
		"64 bytes behind":    append(bytes.Clone(slice), make([]byte, 64)...),
		"1 MiB behind":       append(bytes.Clone(slice), make([]byte, 1<<20)...),
	} {
		if err := Verify(score, 20_000, 11, bad); !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The block that was asked for is bound by the path and by its number in the
// hash. Only where two neighbours are equal are their slices, byte for byte, one:
// then either shows both.
func TestSliceOfAnotherBlock(t *testing.T) {
	const blocks = 40
	for name, c := range map[string]struct {
		data []byte
		pass int
	}{"noise": {golden.Stream("data", blocks*1024), blocks}, "equal blocks": {make([]byte, blocks*1024), 2 * blocks}} {
		score, pass := core.ScoreOf(c.data), 0
		for asked := range uint64(blocks) {
			right := mustProve(t, c.data, asked)
			for sent := range uint64(blocks) {
				slice := mustProve(t, c.data, sent)
				err := Verify(score, int64(len(c.data)), asked, slice)
				if err == nil {
					pass++
				}
				if same := bytes.Equal(slice, right); same != (err == nil) || err != nil && !errors.Is(err, core.ErrCorrupt) {
					t.Fatalf("%s: asked %d, sent %d: %v", name, asked, sent, err)
				}
			}
		}
		if pass != c.pass {
			t.Errorf("%s: %d of %d pass, want %d", name, pass, blocks*blocks, c.pass)
		}
	}
}

func TestSliceOfAnotherPiece(t *testing.T) {
	a, b := golden.Stream("a", 5000), golden.Stream("b", 5000)
	if err := Verify(core.ScoreOf(a), 5000, 1, mustProve(t, b, 1)); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("another piece: %v", err)
	}
	if err := Verify(core.Score{}, 5000, 1, mustProve(t, a, 1)); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("no score: %v", err)
	}
	// All but the asked block are the same.
	b = bytes.Clone(a)
	b[1500] ^= 1
	if err := Verify(core.ScoreOf(a), 5000, 1, mustProve(t, b, 1)); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("a rotten block: %v", err)
	}
	// All but another block are the same: the path still shows it.
	if err := Verify(core.ScoreOf(a), 5000, 0, mustProve(t, b, 0)); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("another block has rotted: %v", err)
	}
}

// A wrong size is noticed wherever it changes the path or the block. Among sizes
// with as many blocks it changes only the last one, as the package says.
func TestWrongSize(t *testing.T) {
	const size = 10*1024 + 500
	data := golden.Stream("data", size)
	score := core.ScoreOf(data)
	for _, claimed := range []int64{
		1, 500, 1024, 1025, 1524, 2048, 4096, 4097, 8192, 8193, 9 * 1024, 10 * 1024, 10*1024 + 1, size - 1, size + 1, 11 * 1024,
		11*1024 + 1, 12 * 1024, 16 * 1024, 16*1024 + 1, 1 << 20, 1 << 40, math.MaxInt64,
	} {
		for block := range Blocks(size) {
			slice := mustProve(t, data, block)
			err := Verify(score, claimed, block, slice)
			switch {
			case block >= Blocks(claimed):
				if !errors.Is(err, core.ErrInvalid) {
					t.Errorf("size %d, block %d: %v", claimed, block, err)
				}
			case Blocks(claimed) == Blocks(size) && block < Blocks(size)-1:
				if err != nil {
					t.Errorf("size %d, block %d has the same path: %v", claimed, block, err)
				}
			case samePath(size, claimed, block):
				if err != nil {
					t.Errorf("size %d, block %d has the same path: %v", claimed, block, err)
				}
			case !errors.Is(err, core.ErrCorrupt):
				t.Errorf("size %d, block %d: %v", claimed, block, err)
			}
		}
	}
}

// samePath tells whether a block has as many nodes above it, on the same sides,
// in pieces of both sizes.
func samePath(a, b int64, block uint64) bool {
	path := func(size int64) string {
		_, length := span(size, block)
		out, block := fmt.Sprint(length), block
		for blocks := Blocks(size); blocks > 1; {
			left := uint64(1)
			for left*2 < blocks {
				left *= 2
			}
			if block < left {
				blocks, out = left, out+"l"
			} else {
				blocks, block, out = blocks-left, block-left, out+"r"
			}
		}
		return out
	}
	return path(a) == path(b)
}

// The prover must not choose the length: a slice made for a tree of another
// shape over the same hashes must not pass.
func TestInnerNodesAreNotBlocks(t *testing.T) {
	data := golden.Stream("data", 2048)
	slice := mustProve(t, data, 0) // left hash ‖ right hash ‖ block 0
	// 64 bytes that hash to the root as a parent node, shown as the content.
	if err := Verify(core.ScoreOf(data), 64, 0, slice[:64]); !errors.Is(err, core.ErrCorrupt) {
		t.Errorf("a parent node passed as a block: %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	const size = 5000
	data := golden.Stream("data", size)
	score := core.ScoreOf(data)
	for block := range Blocks(size) {
		f.Add(int64(size), block, mustProve(f, data, block))
	}
	f.Add(int64(0), uint64(0), []byte(nil))
	f.Add(int64(math.MaxInt64), uint64(1)<<53-1, make([]byte, 4096))
	f.Add(int64(4096), uint64(0), mustProve(f, data, 0)[64:])
	f.Fuzz(func(t *testing.T, claimed int64, block uint64, slice []byte) {
		err := Verify(score, claimed, block, slice)
		if err == nil {
			// Only true bytes of this piece pass, under any claim.
			offset, length := span(claimed, block)
			if offset+length > size || !bytes.HasSuffix(slice, data[offset:offset+length]) {
				t.Fatalf("size %d block %d: %x passed", claimed, block, slice)
			}
			return
		}
		if !errors.Is(err, core.ErrCorrupt) && !errors.Is(err, core.ErrInvalid) {
			t.Fatal(err)
		}
		if claimed == size && block < Blocks(size) && bytes.Equal(slice, mustProve(t, data, block)) {
			t.Fatalf("block %d: the true slice was refused: %v", block, err)
		}
	})
}

func BenchmarkProve(b *testing.B) {
	data := golden.Stream("data", 1<<20)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Prove(data, 700); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	data := golden.Stream("data", 1<<20)
	score := core.ScoreOf(data)
	slice, err := Prove(data, 700)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(slice)), "B/slice")
	b.ReportAllocs()
	for b.Loop() {
		if err := Verify(score, 1<<20, 700, slice); err != nil {
			b.Fatal(err)
		}
	}
}
