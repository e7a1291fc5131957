// Package proof shows that a holder has the bytes of a piece without sending
// the piece: a random block of 1 KiB, with the hashes that lead from it to the
// piece's score. A score is a BLAKE3 root, so nothing has to be stored for it.
// It is the sole importer of lukechampine.com/blake3/bao.
//
// The proof is a Bao slice of that one block (combined encoding, chunk groups
// of 1 KiB; https://github.com/oconnor663/bao/blob/master/docs/spec.md) without
// its first 8 bytes, the length: a prover must not say how long the piece is.
// The verifier puts there the size that its own segment table gives. Size and
// block fix the shape of the path, so a slice has one length and one meaning,
// about 1.7 KB for a piece of 1 MiB. Of the size itself a slice shows only what
// its path does: a path into the middle is the same for all sizes with as many
// blocks, and only the last block's shows the last byte.
//
// A proof shows that the bytes could be reached in time, not whose disk they
// are on. This package does not choose blocks and keeps no time.
package proof

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"lukechampine.com/blake3/bao"

	"github.com/grange-grid/grange/core"
)

// BlockSize is how many bytes one proof shows: BLAKE3's chunk of 1 KiB.
const BlockSize = 1024

// headerSize is the length field that is left out on the wire.
const headerSize = 8

// group is Bao's chunk group as a power of two: 1 KiB, as in standard Bao.
const group = 0

// Blocks is how many blocks a piece of size bytes has; the last may be shorter
// than BlockSize. Nothing, or less, has none: there is nothing to prove.
func Blocks(size int64) uint64 {
	if size <= 0 {
		return 0
	}
	return (uint64(size) + BlockSize - 1) / BlockSize
}

// Prove returns the slice that shows the given block of data, counted from 0.
// It hashes all of data, once. Errors: core.ErrInvalid if there is no such block.
func Prove(data []byte, block uint64) ([]byte, error) {
	size := int64(len(data))
	if block >= Blocks(size) {
		return nil, fmt.Errorf("prove block %d of %d: %w", block, Blocks(size), core.ErrInvalid)
	}
	// With an outboard tree (64 KiB for 1 MiB) the piece is not copied.
	tree, _ := bao.EncodeBuf(data, group, true)
	offset, length := span(size, block)
	var slice bytes.Buffer
	slice.Grow(headerSize + sliceSize(size, block))
	shown := bytes.NewReader(data[offset : offset+length])
	if err := bao.ExtractSlice(&slice, shown, bytes.NewReader(tree), group, offset, length); err != nil {
		return nil, fmt.Errorf("prove block %d: %w", block, err)
	}
	return slice.Bytes()[headerSize:], nil
}

// Verify checks a slice against the score and size that the segment table gives
// for the piece, and the block that was asked for. Errors: core.ErrCorrupt if
// the slice does not show exactly that block of exactly that piece, and
// core.ErrInvalid if a piece of that size has no such block.
func Verify(score core.Score, size int64, block uint64, slice []byte) error {
	// An empty piece must not get this far: a Bao slice of no bytes is never
	// compared with the root.
	if block >= Blocks(size) {
		return fmt.Errorf("verify block %d of %d: %w", block, Blocks(size), core.ErrInvalid)
	}
	if want := sliceSize(size, block); len(slice) != want {
		return fmt.Errorf("verify block %d: slice of %d bytes, want %d: %w", block, len(slice), want, core.ErrCorrupt)
	}
	whole := make([]byte, headerSize, headerSize+len(slice))
	binary.LittleEndian.PutUint64(whole, uint64(size))
	whole = append(whole, slice...)
	offset, length := span(size, block)
	if shown, ok := bao.VerifySlice(whole, group, offset, length, score); !ok || uint64(len(shown)) != length {
		return fmt.Errorf("verify block %d of %s: %w", block, score.Short(), core.ErrCorrupt)
	}
	return nil
}

// span returns where a block lies in a piece of size bytes.
func span(size int64, block uint64) (offset, length uint64) {
	offset = block * BlockSize
	return offset, min(BlockSize, uint64(size)-offset)
}

// sliceSize returns the length of a slice without its header: the block, and two
// hashes of 32 bytes for each node between it and the root. BLAKE3's left
// subtree holds the largest power of two of blocks that leaves some to the right.
func sliceSize(size int64, block uint64) int {
	_, length := span(size, block)
	n := int(length)
	for blocks := Blocks(size); blocks > 1; n += 64 {
		left := uint64(1)
		for left*2 < blocks {
			left *= 2
		}
		if block < left {
			blocks = left
		} else {
			blocks, block = blocks-left, block-left
		}
	}
	return n
}
