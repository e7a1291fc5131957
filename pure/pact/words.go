package pact

import (
	"encoding/binary"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// contextWords is the context of what check words are derived from.
const contextWords = "grange v1 check words"

// CheckWordsCount is how many words two people read to each other, 11 bits each.
const CheckWordsCount = 4

// CheckWords returns the words, of the recovery phrase's list, that both sides show of
// the pact with this id. People who read the same to each other have the same pact, and
// nobody stands between them: whoever did would have to make two pacts with the same
// 44 bits while one of them waits for the answer.
func CheckWords(id core.Score) [CheckWordsCount]string {
	key := core.DeriveKey(contextWords, id[:])
	bits := binary.BigEndian.Uint64(key[:])
	var words [CheckWordsCount]string
	for i := range words {
		words[i] = identity.Word(uint(bits >> (64 - 11*(i+1))))
	}
	return words
}
