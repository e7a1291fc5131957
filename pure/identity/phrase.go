package identity

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tyler-smith/go-bip39"
	"github.com/tyler-smith/go-bip39/wordlists"

	"github.com/grange-grid/grange/core"
)

// PhraseWords is how many words a recovery phrase has: 256 bits and a checksum
// of 8, eleven bits a word. Source: BIP-39.
const PhraseWords = 24

// prefixMin is how many letters tell any two words of the list apart.
const prefixMin = 4

// The contexts of derive_key for what grows from the phrase (docs/SPEC.md, section 1).
const (
	contextRoot     = "grange v1 grid root"
	contextRecovery = "grange v1 recovery key"
)

// Phrase writes 256 bits as 24 English words, parted by spaces.
func Phrase(entropy [32]byte) string {
	words, err := bip39.NewMnemonic(entropy[:])
	if err != nil {
		panic(err) // only another length fails
	}
	return words
}

// ParsePhrase reads what Phrase writes: any white space, either case, and of each
// word its first four letters suffice. The error, a core.ErrInvalid, names the
// first word that is none, and its place; or the number of words; or says that
// the words do not belong together.
func ParsePhrase(words string) ([32]byte, error) {
	var entropy [32]byte
	list := strings.Fields(strings.ToLower(words))
	for i, w := range list {
		if i == PhraseWords {
			break
		}
		full, ok := fullWord(w)
		if !ok {
			return entropy, fmt.Errorf("recovery phrase: %w: word %d, %.20q, is not in the list", core.ErrInvalid, i+1, w)
		}
		list[i] = full
	}
	if len(list) != PhraseWords {
		return entropy, fmt.Errorf("recovery phrase: %w: %d words, want %d", core.ErrInvalid, len(list), PhraseWords)
	}
	raw, err := bip39.EntropyFromMnemonic(strings.Join(list, " "))
	if errors.Is(err, bip39.ErrChecksumIncorrect) {
		return entropy, fmt.Errorf("recovery phrase: %w: every word is in the list, but together they are not a phrase; one is wrong or two have changed places", core.ErrInvalid)
	}
	if err != nil {
		return entropy, fmt.Errorf("recovery phrase: %w: %w", core.ErrInvalid, err)
	}
	copy(entropy[:], raw)
	return entropy, nil
}

// Word returns the word of the list that the lowest 11 bits of n count to, from 0.
func Word(n uint) string { return wordlists.English[n%uint(len(wordlists.English))] }

// fullWord finds the word of the list that w is, or is the beginning of.
func fullWord(w string) (string, bool) {
	i, found := slices.BinarySearch(wordlists.English, w)
	if found {
		return w, true
	}
	if i < len(wordlists.English) && len(w) >= prefixMin && strings.HasPrefix(wordlists.English[i], w) {
		return wordlists.English[i], true
	}
	return "", false
}

// RootOf returns the grid root's key. Its DID is the household's.
func RootOf(entropy [32]byte) Key { return KeyOf(core.DeriveKey(contextRoot, entropy[:])) }

// RecoverySeed returns the seed of the recovery X-Wing key.
func RecoverySeed(entropy [32]byte) [32]byte { return core.DeriveKey(contextRecovery, entropy[:]) }
