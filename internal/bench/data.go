package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Data is made from one seed, so that two runs measure the same.

func seeded(n uint64) (*rand.Rand, *rand.ChaCha8) {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], n)
	src := rand.NewChaCha8(key)
	return rand.New(src), src
}

// bigFile writes a file of size bytes that nothing compresses, as photos and films are.
func bigFile(path string, size int64) (err error) {
	_, src := seeded(1)
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err := io.CopyN(w, src, size); err != nil {
		return err
	}
	return w.Flush()
}

// smallFiles writes n files of 1 to 4 KiB of text that compresses to about a third, 200 in
// a folder. It returns their bytes.
func smallFiles(root string, n int) (total int64, err error) {
	rng, _ := seeded(2)
	line := make([]byte, 0, 4096)
	for i := range n {
		dir := filepath.Join(root, fmt.Sprintf("folder %04d", i/200))
		if i%200 == 0 {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return total, err
			}
		}
		line = line[:0]
		for want := 1024 + rng.IntN(3072); len(line) < want; {
			line = fmt.Appendf(line, "%x lies in field %d, row %d\n", rng.Uint32(), rng.IntN(1000), i)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("note %06d.txt", i)), line, 0o644); err != nil {
			return total, err
		}
		total += int64(len(line))
	}
	return total, nil
}
