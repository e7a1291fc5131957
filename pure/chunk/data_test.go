package chunk

import (
	"bytes"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/golden"
)

// prose returns size bytes that compress about fourfold.
func prose(size int) []byte {
	words := [...]string{"barn", "wheat", "a mill by the river", "and", "oats", "the granary", "rye", "or", "a stile"}
	var out bytes.Buffer
	for _, b := range golden.Stream("prose", size) {
		out.WriteString(words[int(b)%len(words)])
		out.WriteByte(' ')
		if out.Len() >= size {
			break
		}
	}
	return out.Bytes()[:size]
}

func keyOf(name string) [32]byte { return core.ScoreOf([]byte(name)) }
