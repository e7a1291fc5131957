package chunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// frame makes packed bytes with whatever payload.
func frame(method byte, payload []byte) []byte {
	out := append([]byte{method}, binary.BigEndian.AppendUint32(nil, uint32(len(payload)))...)
	out = append(out, payload...)
	return append(out, make([]byte, Padme(len(out))-len(out))...)
}

func zstdOf(t testing.TB, plain []byte, options ...zstd.EOption) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	return e.EncodeAll(plain, nil)
}

// streamed makes a frame that does not say how long its content is.
func streamed(t testing.TB, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	e, err := zstd.NewWriter(&out, zstd.WithWindowSize(SizeMin))
	if err != nil {
		t.Fatal(err)
	}
	// Two writes and a flush: the encoder must not learn the whole length first.
	for _, part := range [][]byte{plain[:1], plain[1:]} {
		if _, err := e.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestUnpackRefuses(t *testing.T) {
	p := NewPacker()
	plain := prose(5000)
	good := zstdOf(t, plain, zstd.WithSingleSegment(true))
	half := zstdOf(t, plain[:2500], zstd.WithSingleSegment(true))
	other := zstdOf(t, plain[2500:], zstd.WithSingleSegment(true))
	skippable := []byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 'h', 'i'}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	if got, err := p.Unpack(nil, frame(1, good), 5000); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("the good one: %v", err)
	}
	longPadding := append(frame(1, good), make([]byte, 1<<10)...)
	dirtyPadding := frame(1, append(bytes.Clone(good), 0)[:len(good)])
	for len(dirtyPadding) == headerSize+len(good) { // there must be padding to soil
		t.Fatal("no padding")
	}
	dirtyPadding[len(dirtyPadding)-1] = 1
	unpadded := frame(1, good)[:headerSize+len(good)]
	lying := frame(1, good)
	binary.BigEndian.PutUint32(lying[1:], 1<<32-1)
	for name, bad := range map[string]struct {
		packed []byte
		size   int
	}{
		"nothing":                   {nil, 5000},
		"header cut":                {frame(1, good)[:4], 5000},
		"method 2":                  {frame(2, good), 5000},
		"method 255":                {frame(255, good), 5000},
		"zstd said to be plain":     {frame(0, good), 5000},
		"plain said to be zstd":     {frame(1, plain), 5000},
		"plain, another size":       {frame(0, plain), 4999},
		"size one less":             {frame(1, good), 4999},
		"size one more":             {frame(1, good), 5001},
		"size 0":                    {frame(1, good), 0},
		"size negative":             {frame(1, good), -1},
		"size over the limit":       {frame(1, good), SizeMax + 1},
		"two frames":                {frame(1, join(half, other)), 5000},
		"second frame":              {frame(1, join(good, zstdOf(t, nil, zstd.WithZeroFrames(true)))), 5000},
		"skippable behind":          {frame(1, join(good, skippable)), 5000},
		"skippable before":          {frame(1, join(skippable, good)), 5000},
		"skippable alone":           {frame(1, skippable), 5000},
		"bytes behind":              {frame(1, join(good, []byte{0})), 5000},
		"frame cut":                 {frame(1, good[:len(good)-1]), 5000},
		"empty frame":               {frame(1, nil), 5000},
		"no content size":           {frame(1, streamed(t, plain)), 5000},
		"window too large":          {frame(1, window(t, plain)), 5000},
		"dictionary":                {frame(1, zstdOf(t, plain, zstd.WithSingleSegment(true), zstd.WithEncoderDictRaw(7, plain[:1000]))), 5000},
		"hardly shorter than plain": {frame(1, zstdOf(t, golden.Stream("noise", 5000), zstd.WithSingleSegment(true))), 5000},
		"padding too long":          {longPadding, 5000},
		"padding not zero":          {dirtyPadding, 5000},
		"padding left out":          {unpadded, 5000},
		"length past the end":       {lying, 5000},
		"packed too long":           {make([]byte, PackedSizeMax+1), 5000},
	} {
		if got, err := p.Unpack(nil, bad.packed, bad.size); got != nil || !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// What the library would refuse too, or not, is refused before it decodes.
func TestCheckFrame(t *testing.T) {
	plain := prose(5000)
	good := zstdOf(t, plain, zstd.WithSingleSegment(true))
	for name, c := range map[string]struct {
		payload []byte
		ok      bool
	}{
		"with a checksum":    {good, true},
		"without":            {zstdOf(t, plain, zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false)), true},
		"with a window":      {zstdOf(t, plain, zstd.WithWindowSize(SizeMax)), true},
		"window of 8 MiB":    {window(t, plain), false},
		"dictionary":         {zstdOf(t, plain, zstd.WithSingleSegment(true), zstd.WithEncoderDictRaw(7, plain[:1000])), false},
		"no content size":    {streamed(t, plain), false},
		"skippable":          {[]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, false},
		"checksum cut":       {good[:len(good)-4], false},
		"last block cut":     {good[:len(good)-5], false},
		"header alone":       {good[:8], false},
		"another magic":      {append([]byte{0}, good[1:]...), false},
		"no last block":      {bomb(t, 5000, 0), false},
		"blocks hold more":   {bomb(t, 5000, 1), false},
		"reserved block":     {append(bomb(t, 5000, 0), 3<<1|1, 0, 0), true}, // the decoder's to refuse
		"an empty raw block": {append(bomb(t, 5000, 0), 1, 0, 0), true},      // and so is too little
	} {
		if err := checkFrame(c.payload, 5000); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if !c.ok {
			continue
		}
		got, err := NewPacker().Unpack(nil, frame(1, c.payload), 5000)
		if err == nil && !bytes.Equal(got, plain) || err != nil && !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: unpacked to %d bytes, %v", name, len(got), err)
		}
	}
}

// window makes a frame that says its size and asks for a window of 8 MiB.
func window(t testing.TB, plain []byte) []byte {
	t.Helper()
	small := zstdOf(t, plain, zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	var header zstd.Header
	blocks, err := header.DecodeAndStrip(small)
	if err != nil {
		t.Fatal(err)
	}
	header.SingleSegment, header.WindowSize = false, 8<<20
	out, err := header.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, blocks...)
}

// bomb is a frame that says it holds said bytes and repeats zeros to n × 128 KiB.
func bomb(t testing.TB, said uint64, n int) []byte {
	t.Helper()
	header := zstd.Header{SingleSegment: true, HasFCS: true, FrameContentSize: said}
	out, err := header.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		block := uint32(128<<10)<<3 | 1<<1 // RLE
		if i == n-1 {
			block |= 1
		}
		out = append(out, byte(block), byte(block>>8), byte(block>>16), 0)
	}
	return out
}

// mixedBomb is a frame with a compressed block of 64 KiB of zeros in front of
// one that repeats a zero for 128 KiB, which says that it holds 128 KiB in all.
func mixedBomb(t testing.TB) []byte {
	t.Helper()
	var header zstd.Header
	first, err := header.DecodeAndStrip(zstdOf(t, bytes.Repeat([]byte("grain"), 64<<10/5), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false)))
	if err != nil {
		t.Fatal(err)
	}
	if first[0]&7 != 2<<1|1 {
		t.Fatal("not one last compressed block")
	}
	first[0] &^= 1 // no longer the last
	whole := bomb(t, 128<<10, 1)
	at := len(whole) - 4
	return bytes.Join([][]byte{whole[:at], first, whole[at:]}, nil)
}

func TestUnpackDoesNotAllocateForABomb(t *testing.T) {
	p := NewPacker()
	for range 2 * workersMax { // each of its decoders makes its own buffers once
		if got, err := p.Unpack(nil, frame(1, bomb(t, SizeMax, 8)), SizeMax); err != nil || len(got) != SizeMax {
			t.Fatalf("a frame of the same make that does not lie: %d bytes, %v", len(got), err)
		}
	}
	const size, slack = 128 << 10, 16 << 10
	for name, c := range map[string]struct {
		payload  []byte
		allocMax uint64
	}{
		"says 1 GiB":              {bomb(t, 1<<30, 8192), slack},
		"says 2⁶³":                {bomb(t, 1<<63, 8), slack},
		"says the size, has more": {bomb(t, size, 8192), size + slack},
		"says too little":         {bomb(t, size-1, 1), size + slack},
		"has too little":          {bomb(t, size, 0), size + slack},
		"one block too many":      {mixedBomb(t), 4 * size},
	} {
		packed := frame(1, c.payload)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := p.Unpack(nil, packed, size)
		runtime.ReadMemStats(&after)
		if got != nil || !errors.Is(err, core.ErrCorrupt) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > c.allocMax {
			t.Errorf("%s: allocated %d bytes", name, grown)
		}
	}
}
