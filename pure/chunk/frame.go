package chunk

import (
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// checkFrame checks, without decoding, that payload is exactly one zstd frame
// that says it holds size bytes, needs no dictionary and no window over SizeMax,
// and saves as much as a packer asks for. The library's decoder alone would also
// take several frames, skippable ones and none. Format: RFC 8878, section 3.1.1.
func checkFrame(payload []byte, size int) error {
	if len(payload) > payloadMax(size) {
		return fmt.Errorf("zstd frame of %d bytes for %d", len(payload), size)
	}
	var header zstd.Header
	blocks, err := header.DecodeAndStrip(payload)
	if err != nil {
		return fmt.Errorf("zstd header: %w", err)
	}
	switch {
	case header.Skippable:
		return errors.New("zstd frame is skippable")
	case header.DictionaryID != 0:
		return errors.New("zstd frame needs a dictionary")
	case !header.HasFCS || header.FrameContentSize != uint64(size):
		return fmt.Errorf("zstd frame does not say that it holds %d bytes", size)
	case !header.SingleSegment && header.WindowSize > SizeMax:
		return fmt.Errorf("zstd window of %d bytes", header.WindowSize)
	}
	rest, err := skipBlocks(blocks, size)
	if err != nil {
		return err
	}
	checksum := 0
	if header.HasCheckSum {
		checksum = 4
	}
	if len(rest) != checksum {
		return fmt.Errorf("zstd frame ends %d bytes before the payload, want %d", len(rest), checksum)
	}
	return nil
}

// The types of blocks that are told apart here.
const (
	blockRaw    = 0 // length bytes as they are
	blockRepeat = 1 // one byte, repeated length times
)

// skipBlocks returns what follows the last block. Raw and repeating blocks say
// how long they become, so that a bomb made of them is refused undecoded; the
// decoder stops one made of compressed blocks where it passes size.
func skipBlocks(b []byte, size int) ([]byte, error) {
	for {
		if len(b) < 3 {
			return nil, errors.New("zstd block header cut short")
		}
		header := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		last, kind, length := header&1 == 1, header>>1&3, header>>3
		if kind == blockRaw || kind == blockRepeat {
			size -= length
		}
		if size < 0 {
			return nil, errors.New("zstd blocks hold more than the frame says")
		}
		if kind == blockRepeat {
			length = 1
		}
		b = b[3:]
		if length > len(b) {
			return nil, errors.New("zstd block cut short")
		}
		b = b[length:]
		if last {
			return b, nil
		}
	}
}
