// Package chunk cuts a stream into chunks where its content says so, packs each
// chunk for sealing (compressed where that helps, padded always), and unpacks
// it again. It is the sole importer of go-cdc-chunkers and of klauspost's zstd.
// The format of packed bytes is in docs/SPEC.md, section 5.
//
// Cuts depend on the bytes near them and on the household's chunker key, so an
// edit changes the chunks around it and no others, and a stranger cannot tell
// from lengths alone which public file was cut. Published attacks recover such
// a key from many lengths; padding, and mixing chunks into segments, are what
// hide lengths, and the key is only a second fence.
//
// It does not read files, seal, hash or keep chunks.
package chunk

import (
	"fmt"
	"io"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // registers the algorithm
)

// Sizes of chunks, in bytes. Only the last chunk of a stream may be shorter than
// SizeMin. Chunks of data without structure are about 300 KiB in the mean.
const (
	SizeMin  = 64 << 10
	SizeMean = 256 << 10
	SizeMax  = 1 << 20
)

// algorithm is a versioned name: another version would cut elsewhere, and store
// everything a second time.
const algorithm = "fastcdc-v1.0.0"

// Cutter cuts one stream after another. It may not be used at once by several
// goroutines; it holds a buffer of twice SizeMax.
type Cutter struct {
	chunker *chunkers.Chunker
	done    error
}

// NewCutter returns a cutter whose cuts depend on key, for the life of a
// household. It has no stream yet: Next says io.EOF until Reset. The library
// keeps the table that it makes of a key for the life of the process.
func NewCutter(key [32]byte) (*Cutter, error) {
	chunker, err := chunkers.NewChunker(algorithm, eof{}, &chunkers.ChunkerOpts{
		MinSize:    SizeMin,
		NormalSize: SizeMean,
		MaxSize:    SizeMax,
		Key:        key[:],
	})
	if err != nil {
		return nil, fmt.Errorf("make cutter %s: %w", algorithm, err)
	}
	return &Cutter{chunker: chunker, done: io.EOF}, nil
}

// Reset begins a new stream and forgets the old one.
func (c *Cutter) Reset(r io.Reader) {
	c.chunker.Reset(r)
	c.done = nil
}

// Next returns the stream's next chunk, which is valid until the next call. It
// is never empty. At the end of the stream the error is io.EOF, and where the
// reader fails it is that error; the same error is returned from then on.
func (c *Cutter) Next() ([]byte, error) {
	if c.done != nil {
		return nil, c.done
	}
	data, err := c.chunker.Next()
	// The library says io.EOF together with a last chunk that is below SizeMin.
	c.done = err
	if err == nil || err == io.EOF && len(data) > 0 {
		return data, nil
	}
	if err != io.EOF {
		c.done = fmt.Errorf("cut stream: %w", err)
	}
	return nil, c.done
}

type eof struct{}

func (eof) Read([]byte) (int, error) { return 0, io.EOF }
