package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"github.com/grange-grid/grange/core"
)

// PackedSizeMax is the length of the longest packed chunk, in bytes: that of
// SizeMax bytes that do not compress, Padme(headerSize + SizeMax).
const PackedSizeMax = SizeMax + 32<<10

// headerSize is method u8 ‖ length u32.
const headerSize = 5

// The methods of packing.
const (
	methodPlain = 0 // the payload is the bytes
	methodZstd  = 1 // the payload is one zstd frame
)

// gainMin says which part of the plain bytes compression must save to be used:
// one in 32. Below that the reader's time is worth more.
const gainMin = 32

// workersMax bounds how many chunks are packed, and how many unpacked, at once;
// more callers wait. It bounds memory: about 5 MiB for each. Four keep up with
// any disk or line that a household has.
const workersMax = 4

// Packer packs and unpacks chunks. Its methods may be called at once.
type Packer struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
}

// NewPacker returns a packer. One is enough for a process. It starts nothing
// and needs no closing.
func NewPacker() *Packer {
	workers := min(workersMax, runtime.GOMAXPROCS(0))
	encoder, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(workers),
		zstd.WithWindowSize(SizeMax),
		zstd.WithSingleSegment(true),
		zstd.WithEncoderCRC(false)) // scores check every byte
	if err != nil {
		panic(err) // constants outside the library's limits
	}
	decoder, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(workers),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(SizeMax),
		zstd.WithDecoderMaxWindow(SizeMax),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // as above
	}
	return &Packer{encoder: encoder, decoder: decoder}
}

// Pack appends plain, at most SizeMax bytes of it, to dst in packed form:
// method ‖ length ‖ payload ‖ zeros, Padme long and never over PackedSizeMax. The
// room in dst behind its length must not overlap plain. Another version of this
// program may pack the same bytes differently; both unpack to the same.
// It panics if plain is longer than SizeMax, which is a fault of the caller.
func (p *Packer) Pack(dst, plain []byte) []byte {
	if len(plain) > SizeMax {
		panic(fmt.Sprintf("pack %d bytes, at most %d", len(plain), SizeMax))
	}
	start := len(dst)
	dst = append(dst, make([]byte, headerSize)...)
	method := byte(methodZstd)
	dst = p.encoder.EncodeAll(plain, dst)
	if len(dst)-start-headerSize > payloadMax(len(plain)) || len(plain) == 0 {
		method = methodPlain
		dst = append(dst[:start+headerSize], plain...)
	}
	length := len(dst) - start - headerSize
	dst[start] = method
	binary.BigEndian.PutUint32(dst[start+1:], uint32(length))
	return append(dst, make([]byte, Padme(headerSize+length)-headerSize-length)...)
}

// payloadMax is the longest zstd payload that is used for size bytes.
func payloadMax(size int) int { return size - (size+gainMin-1)/gainMin }

// Unpack appends to dst the bytes that were packed, of which there must be
// exactly size, at most SizeMax. It allocates size bytes, and none where dst has
// that room; a frame that lies about what it holds is stopped at the first block
// (128 KiB at most) past size. What an error leaves in the room means nothing.
// The room must not overlap packed. Errors: core.ErrCorrupt.
func (p *Packer) Unpack(dst, packed []byte, size int) ([]byte, error) {
	if size < 0 || size > SizeMax {
		return nil, fmt.Errorf("unpack to %d bytes, at most %d: %w", size, SizeMax, core.ErrCorrupt)
	}
	method, payload, err := split(packed)
	if err != nil {
		return nil, fmt.Errorf("unpack %d bytes: %w: %w", len(packed), err, core.ErrCorrupt)
	}
	switch method {
	case methodPlain:
		if len(payload) != size {
			return nil, fmt.Errorf("unpack: %d plain bytes, want %d: %w", len(payload), size, core.ErrCorrupt)
		}
		return append(grow(dst, size), payload...), nil
	case methodZstd:
		if err := checkFrame(payload, size); err != nil {
			return nil, fmt.Errorf("unpack: %w: %w", err, core.ErrCorrupt)
		}
		dst = grow(dst, size)
		// The capacity is the decoder's limit, whatever the blocks hold.
		out, err := p.decoder.DecodeAll(payload, dst[len(dst):len(dst):len(dst)+size])
		if err != nil {
			return nil, fmt.Errorf("unpack: %w: %w", err, core.ErrCorrupt)
		}
		if len(out) != size {
			return nil, fmt.Errorf("unpack: %d bytes, want %d: %w", len(out), size, core.ErrCorrupt)
		}
		return append(dst, out...), nil // they are in place already
	}
	return nil, fmt.Errorf("unpack: method %d is not known: %w", method, core.ErrCorrupt)
}

// grow returns dst with room for n bytes more, and no more than that if it had
// to be made: append would round up.
func grow(dst []byte, n int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	return append(make([]byte, 0, len(dst)+n), dst...)
}

// split takes packed bytes apart and checks that the padding is zero and
// shortest.
func split(packed []byte) (method byte, payload []byte, err error) {
	if len(packed) < headerSize || len(packed) > PackedSizeMax {
		return 0, nil, errors.New("length outside the limits")
	}
	length := int64(binary.BigEndian.Uint32(packed[1:]))
	rest := packed[headerSize:]
	if length > int64(len(rest)) {
		return 0, nil, errors.New("payload cut short")
	}
	payload, padding := rest[:length], rest[length:]
	if len(packed) != Padme(headerSize+len(payload)) {
		return 0, nil, errors.New("padding not the shortest")
	}
	for _, b := range padding {
		if b != 0 {
			return 0, nil, errors.New("padding not zero")
		}
	}
	return packed[0], payload, nil
}
