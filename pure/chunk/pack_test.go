package chunk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

func TestPadme(t *testing.T) {
	for n, want := range map[int]int{
		-1: -1, 0: 0, 1: 1, 2: 2, 3: 3, 5: 5, 8: 8, 9: 10, 10: 10, 17: 18, 65: 72, 100: 104, 4096: 4096, 4097: 4352,
		headerSize + SizeMax: PackedSizeMax, 10 << 20: 10 << 20, 10<<20 + 1: 10<<20 + 1<<18,
	} {
		if got := Padme(n); got != want {
			t.Errorf("Padme(%d) = %d, want %d", n, got, want)
		}
	}
	last := 0
	for n := 2; n < 1<<18; n++ {
		got := Padme(n)
		if got < n || got < last || Padme(got) != got || (got-n)*100 > n*12 {
			t.Fatalf("Padme(%d) = %d after %d", n, got, last)
		}
		last = got
	}
}

func TestPackRoundTrip(t *testing.T) {
	p := NewPacker()
	for _, size := range []int{0, 1, 2, 31, 32, 255, 256, 257, 1000, 65791, 65792, SizeMin, 131072, SizeMean, SizeMax - 1, SizeMax} {
		for name, plain := range map[string][]byte{"noise": golden.Stream("noise", size), "prose": prose(size), "zeros": make([]byte, size)} {
			packed := p.Pack([]byte("before"), plain)
			if string(packed[:6]) != "before" {
				t.Fatalf("%s of %d: not appended", name, size)
			}
			packed = packed[6:]
			length := int(binary.BigEndian.Uint32(packed[1:]))
			if len(packed) != Padme(headerSize+length) || len(packed) > PackedSizeMax {
				t.Errorf("%s of %d: packed to %d, payload %d", name, size, len(packed), length)
			}
			if name == "noise" && (packed[0] != methodPlain || length != size) {
				t.Errorf("noise of %d is packed by method %d to %d", size, packed[0], length)
			}
			if name != "noise" && size >= 256 && (packed[0] != methodZstd || length > size/2) {
				t.Errorf("%s of %d is packed by method %d to %d", name, size, packed[0], length)
			}
			got, err := p.Unpack([]byte("ahead"), packed, size)
			if err != nil || string(got[:5]) != "ahead" || !bytes.Equal(got[5:], plain) {
				t.Fatalf("%s of %d: unpacked to %d, %v", name, size, len(got), err)
			}
		}
	}
}

func TestPackUsesZstdOnlyWhereItHelps(t *testing.T) {
	if got := payloadMax(3200); got != 3100 {
		t.Errorf("3,200 bytes may be %d", got)
	}
	if got := payloadMax(3201); got != 3100 {
		t.Errorf("3,201 bytes may be %d", got)
	}
	p := NewPacker()
	// So much of it is zeros that zstd saves about 4 %, or about 2 %.
	for zeros, method := range map[int]byte{4 << 10: methodZstd, 2 << 10: methodPlain} {
		plain := append(golden.Stream("noise", 100<<10-zeros), make([]byte, zeros)...)
		if packed := p.Pack(nil, plain); packed[0] != method {
			t.Errorf("%d zeros of %d: method %d, want %d", zeros, len(plain), packed[0], method)
		}
	}
}

func TestPackIsDeterministic(t *testing.T) {
	plain := prose(300 << 10)
	p := NewPacker()
	want := p.Pack(nil, plain)
	p.Pack(nil, golden.Stream("between", SizeMax))
	if !bytes.Equal(p.Pack(nil, plain), want) || !bytes.Equal(NewPacker().Pack(nil, plain), want) {
		t.Error("one plaintext has two packings")
	}
	dirty := bytes.Repeat([]byte{0xff}, 1<<20)
	if !bytes.Equal(p.Pack(dirty[:0], plain), want) {
		t.Error("old bytes of the buffer are in the packing")
	}
}

func TestPackRefusesTooMuch(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewPacker().Pack(nil, make([]byte, SizeMax+1))
}

func TestPackerIsSafeAtOnce(t *testing.T) {
	p := NewPacker()
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			plain := prose(50<<10 + i)
			packed := p.Pack(nil, plain)
			if got, err := p.Unpack(nil, packed, len(plain)); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	group.Wait()
}

func TestUnpackFindsWhatIsCutOrFlipped(t *testing.T) {
	p := NewPacker()
	plain := prose(3000)
	packed := p.Pack(nil, plain)
	for n := range packed {
		if got, err := p.Unpack(nil, packed[:n], len(plain)); !errors.Is(err, core.ErrCorrupt) {
			t.Fatalf("cut to %d: %d bytes, %v", n, len(got), err)
		}
	}
	// A flipped bit may decode to other bytes, which their score gives away; it
	// must never give another length, or another kind of error.
	for i := range packed {
		for bit := range 8 {
			bad := bytes.Clone(packed)
			bad[i] ^= 1 << bit
			got, err := p.Unpack(nil, bad, len(plain))
			if err == nil && len(got) != len(plain) || err != nil && (got != nil || !errors.Is(err, core.ErrCorrupt)) {
				t.Fatalf("byte %d bit %d: %d bytes, %v", i, bit, len(got), err)
			}
		}
	}
}

func TestUnpackStaysWithinTheRoomGiven(t *testing.T) {
	p := NewPacker()
	plain := prose(200 << 10)
	packed := p.Pack(nil, plain)
	room := bytes.Repeat([]byte{0xee}, 300<<10)
	got, err := p.Unpack(room[:10], packed, len(plain))
	if err != nil || &got[0] != &room[0] || !bytes.Equal(got[10:], plain) {
		t.Fatalf("not unpacked where there was room: %v", err)
	}
	for i := 10 + len(plain); i < len(room); i++ {
		if room[i] != 0xee {
			t.Fatalf("byte %d behind the plain bytes was overwritten", i)
		}
	}
}

// The pools inside the libraries allocate now and then; the bytes must not.
func TestPackAndUnpackAllocateLittle(t *testing.T) {
	const runs, allocMax = 50, 16 << 10
	p := NewPacker()
	for name, plain := range map[string][]byte{"prose": prose(SizeMean), "noise": golden.Stream("noise", SizeMean)} {
		packed := p.Pack(nil, plain)
		dst := make([]byte, 0, PackedSizeMax)
		for what, run := range map[string]func(){
			"pack": func() { p.Pack(dst, plain) },
			"unpack": func() {
				if _, err := p.Unpack(dst, packed, len(plain)); err != nil {
					t.Error(err)
				}
			},
		} {
			for range 4 * workersMax { // until each worker has its buffers
				run()
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range runs {
				run()
			}
			runtime.ReadMemStats(&after)
			if grown := (after.TotalAlloc - before.TotalAlloc) / runs; grown > allocMax {
				t.Errorf("%s of %s: %d bytes allocated", what, name, grown)
			}
		}
	}
}
