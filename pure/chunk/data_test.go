package chunk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"

	"github.com/grange-grid/grange/core"
)

// stream returns size bytes that look random and depend on name alone: the
// scores of name ‖ u64 0, name ‖ u64 1, … joined. Vectors are made of it.
func stream(name string, size int) []byte {
	out := make([]byte, 0, size+core.ScoreSize)
	for i := uint64(0); len(out) < size; i++ {
		score := core.ScoreOf(binary.BigEndian.AppendUint64([]byte(name), i))
		out = append(out, score[:]...)
	}
	return out[:size]
}

// prose returns size bytes that compress about fourfold.
func prose(size int) []byte {
	words := [...]string{"barn", "wheat", "a mill by the river", "and", "oats", "the granary", "rye", "or", "a stile"}
	var out bytes.Buffer
	for _, b := range stream("prose", size) {
		out.WriteString(words[int(b)%len(words)])
		out.WriteByte(' ')
		if out.Len() >= size {
			break
		}
	}
	return out.Bytes()[:size]
}

func keyOf(name string) [32]byte { return core.ScoreOf([]byte(name)) }

// hexBytes is written as hexadecimal digits.
type hexBytes []byte

func (b hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(b)), nil }

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}
