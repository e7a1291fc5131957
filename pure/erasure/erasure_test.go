package erasure

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// coded returns k+m pieces with their parity.
func coded(t testing.TB, s Shape, size int) (*Coder, [][]byte) {
	t.Helper()
	c, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	pieces := make([][]byte, s.Total())
	for i := range pieces {
		pieces[i] = golden.Stream(fmt.Sprint("piece ", i), size)
	}
	data := clone(pieces)
	if err := c.Parity(pieces); err != nil {
		t.Fatal(err)
	}
	for i := range s.K {
		if !bytes.Equal(pieces[i], data[i]) {
			t.Fatalf("%v: data piece %d was changed", s, i)
		}
	}
	return c, pieces
}

func clone(pieces [][]byte) [][]byte {
	out := make([][]byte, len(pieces))
	for i := range pieces {
		out[i] = bytes.Clone(pieces[i])
	}
	return out
}

func equal(a, b [][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return len(a) == len(b)
}

func TestShapeValid(t *testing.T) {
	for s, ok := range map[Shape]bool{
		{1, 0}: true, {1, 1}: true, {10, 10}: true, {10, 0}: true, {3, 10}: true,
		{0, 0}: false, {0, 1}: false, {-1, 2}: false, {11, 1}: false, {1, 11}: false, {1, -1}: false, {1 << 30, 1}: false,
	} {
		err := s.Valid()
		if _, newErr := New(s); (err == nil) != ok || (newErr == nil) != ok {
			t.Errorf("%v: %v, %v", s, err, newErr)
		}
		if !ok && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%v: %v", s, err)
		}
	}
}

// Any k of k+m give all: every set of pieces of every small shape is tried.
func TestAnyKRebuild(t *testing.T) {
	for k := 1; k <= 4; k++ {
		for m := 0; m <= 4; m++ {
			c, whole := coded(t, Shape{k, m}, 37)
			for mask := range uint(1) << (k + m) {
				checkRebuild(t, c, whole, mask)
			}
		}
	}
}

// Of 10+10, every set of ten pieces is tried in long runs, every 97th in short.
func TestAnyTenOfTwentyRebuild(t *testing.T) {
	c, whole := coded(t, Shape{10, 10}, 8)
	step := uint(1)
	if testing.Short() {
		step = 97
	}
	tried := uint(0)
	for mask := range uint(1) << 20 {
		if bits.OnesCount(mask) != 10 {
			continue
		}
		if tried%step == 0 {
			checkRebuild(t, c, whole, mask)
		}
		tried++
	}
	if tried != 184_756 {
		t.Errorf("%d sets", tried)
	}
}

// checkRebuild keeps the pieces whose bit is set and rebuilds the others.
func checkRebuild(t *testing.T, c *Coder, whole [][]byte, mask uint) {
	t.Helper()
	pieces := make([][]byte, len(whole))
	for i := range whole {
		if mask>>i&1 == 1 {
			pieces[i] = whole[i]
		}
	}
	err := c.Rebuild(pieces, nil)
	if enough := bits.OnesCount(mask) >= c.shape.K; enough != (err == nil) {
		t.Fatalf("%v, kept %b: %v", c.shape, mask, err)
	}
	if err == nil && !equal(pieces, whole) {
		t.Fatalf("%v, kept %b: rebuilt to other bytes", c.shape, mask)
	}
}

func TestSizes(t *testing.T) {
	for _, size := range []int{1, 2, 31, 32, 33, 63, 64, 65, 1000, 4096, 65537, PieceSizeMax} {
		c, whole := coded(t, Shape{10, 10}, size)
		pieces := clone(whole)
		for _, i := range []int{0, 3, 4, 5, 9, 10, 12, 14, 18, 19} {
			pieces[i] = nil
		}
		if err := c.Rebuild(pieces, nil); err != nil || !equal(pieces, whole) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

func TestRebuildMakesWhatIsWanted(t *testing.T) {
	c, whole := coded(t, Shape{3, 3}, 100)
	for mask := range uint(1) << 6 {
		pieces := clone(whole)
		pieces[1], pieces[2], pieces[5] = nil, nil, nil
		want := make([]bool, 6)
		for i := range want {
			want[i] = mask>>i&1 == 1
		}
		if err := c.Rebuild(pieces, want); err != nil {
			t.Fatalf("want %b: %v", mask, err)
		}
		for i := range pieces {
			if missing := i == 1 || i == 2 || i == 5; missing && !want[i] {
				if pieces[i] != nil {
					t.Errorf("want %b: piece %d was made", mask, i)
				}
			} else if !bytes.Equal(pieces[i], whole[i]) {
				t.Errorf("want %b: piece %d is wrong", mask, i)
			}
		}
	}
}

func TestRebuildWithTooFew(t *testing.T) {
	c, whole := coded(t, Shape{3, 3}, 100)
	pieces := [][]byte{nil, whole[1], nil, nil, whole[4], nil}
	if err := c.Rebuild(pieces, nil); err == nil || pieces[0] != nil {
		t.Errorf("two of three needed: %v", err)
	}
	if err := c.Rebuild(pieces, []bool{true, false, false, false, false, false}); err == nil {
		t.Error("one wanted of too few: no error")
	}
	if err := c.Rebuild(pieces, []bool{false, true, false, false, true, false}); err != nil {
		t.Errorf("all that is wanted is there: %v", err)
	}
}

func TestRebuildUsesTheRoomGiven(t *testing.T) {
	c, whole := coded(t, Shape{2, 2}, 100)
	room := bytes.Repeat([]byte{0xee}, 101)
	pieces := clone(whole)
	pieces[0] = room[:0]
	if err := c.Rebuild(pieces, nil); err != nil || &pieces[0][0] != &room[0] || !bytes.Equal(room[:100], whole[0]) || room[100] != 0xee {
		t.Errorf("not rebuilt in the room given: %v", err)
	}
}

func TestBadInputIsRefused(t *testing.T) {
	c, whole := coded(t, Shape{2, 2}, 100)
	big := make([]byte, PieceSizeMax+1)
	for name, pieces := range map[string][][]byte{
		"none":          nil,
		"too few":       whole[:3],
		"too many":      append(clone(whole), whole[0]),
		"all missing":   make([][]byte, 4),
		"short parity":  {whole[0], whole[1], whole[2], whole[3][:99]},
		"long data":     {append(bytes.Clone(whole[0]), 0), whole[1], whole[2], whole[3]},
		"over the size": {big, big, big, big},
	} {
		if err := c.Parity(pieces); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("parity, %s: %v", name, err)
		}
		if err := c.Rebuild(pieces, nil); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("rebuild, %s: %v", name, err)
		}
	}
	if err := c.Parity([][]byte{whole[0], nil, whole[2], whole[3]}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("parity of a missing piece: %v", err)
	}
	if err := c.Parity([][]byte{whole[0], whole[1], whole[2], nil}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("parity without room: %v", err)
	}
	if err := c.Rebuild(clone(whole), []bool{true}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("too few wishes: %v", err)
	}
}

// The package says that it cannot tell a rotten piece: callers rely on scores.
func TestARottenPieceIsNotNoticed(t *testing.T) {
	c, whole := coded(t, Shape{2, 1}, 100)
	pieces := clone(whole)
	pieces[1][7] ^= 1
	pieces[0] = nil
	if err := c.Rebuild(pieces, nil); err != nil || bytes.Equal(pieces[0], whole[0]) {
		t.Errorf("rebuilt from a rotten piece: %v", err)
	}
}

func TestParityIgnoresOldBytes(t *testing.T) {
	c, whole := coded(t, Shape{3, 2}, 100)
	pieces := clone(whole)
	clear(pieces[3])
	copy(pieces[4], golden.Stream("dirt", 100))
	if err := c.Parity(pieces); err != nil || !equal(pieces, whole) {
		t.Errorf("other parity over other bytes: %v", err)
	}
}

func TestCoderIsSafeAtOnce(t *testing.T) {
	c, whole := coded(t, Shape{10, 10}, 10_000)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			pieces := clone(whole)
			for j := range 10 {
				pieces[(i+2*j)%20] = nil
			}
			if err := c.Rebuild(pieces, nil); err != nil || !equal(pieces, whole) {
				t.Errorf("%d: %v", i, err)
			}
			clear(pieces[12])
			if err := c.Parity(pieces); err != nil || !equal(pieces, whole) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	group.Wait()
}

// Rebuild meets pieces of strangers' lengths: it must refuse or be right.
func FuzzRebuild(f *testing.F) {
	f.Add([]byte("grain and barley"), uint8(3), uint8(2), uint32(0b10110))
	f.Add([]byte{0}, uint8(1), uint8(0), uint32(1))
	f.Add(golden.Stream("long", 2000), uint8(10), uint8(10), uint32(0b1010101010_1010101010))
	f.Fuzz(func(t *testing.T, data []byte, k, m uint8, mask uint32) {
		s := Shape{int(k), int(m)}
		c, err := New(s)
		if (err == nil) != (s.Valid() == nil) {
			t.Fatal(err)
		}
		if err != nil || len(data) < s.K || len(data) > 1<<16 {
			return
		}
		size := len(data) / s.K
		whole := make([][]byte, s.Total())
		for i := range whole {
			whole[i] = make([]byte, size)
			if i < s.K {
				copy(whole[i], data[i*size:])
			}
		}
		if err := c.Parity(whole); err != nil {
			t.Fatal(err)
		}
		if kept := mask & (1<<s.Total() - 1); kept != 0 {
			checkRebuild(t, c, whole, uint(kept))
		}
		ragged := clone(whole)
		ragged[0] = ragged[0][:size-1]
		if err := c.Rebuild(ragged, nil); size > 1 && s.Total() > 1 && !errors.Is(err, core.ErrInvalid) {
			t.Fatalf("ragged pieces: %v", err)
		}
	})
}

func BenchmarkParity(b *testing.B) {
	c, pieces := coded(b, Shape{10, 10}, PieceSizeMax)
	b.SetBytes(10 * PieceSizeMax)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Parity(pieces); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRebuild(b *testing.B) {
	for _, lost := range []int{1, 10} {
		b.Run(fmt.Sprint(lost), func(b *testing.B) {
			c, pieces := coded(b, Shape{10, 10}, PieceSizeMax)
			b.SetBytes(10 * PieceSizeMax)
			b.ReportAllocs()
			for b.Loop() {
				for i := range lost {
					pieces[i] = pieces[i][:0]
				}
				if err := c.Rebuild(pieces, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(Shape{10, 10}); err != nil {
			b.Fatal(err)
		}
	}
}
