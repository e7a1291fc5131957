package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	"github.com/grange-grid/grange/core"
)

// Overhead is how many bytes longer a sealed chunk or state root is than what
// was sealed: the tag of AES-GCM.
const Overhead = 16

// The contexts of derive_key that this package owns (docs/SPEC.md, section 1).
const (
	contextChunk = "grange v1 chunk"
	contextState = "grange v1 state"
)

// nonce is all zero, always: each key seals one string (see the package doc).
var nonce [12]byte

// Random fills b from the system's source of randomness.
func Random(b []byte) {
	_, _ = rand.Read(b) // never fails: it ends the program instead
}

// Chunk seals packed under a key made of the vault secret and packed itself,
// appends the result (Overhead bytes longer) to dst, and returns the score of
// packed and the key with it. Equal secrets and bytes give equal results. The
// room in dst behind its length must not overlap packed.
func Chunk(secret *[32]byte, packed, dst []byte) (sealed []byte, packedScore core.Score, key Key) {
	packedScore = core.ScoreOf(packed)
	key = core.DeriveKey(contextChunk, secret[:], packedScore[:])
	return newAEAD((*[32]byte)(&key)).Seal(dst, nonce[:], packed, nil), packedScore, key
}

// OpenChunk opens what Chunk sealed, checks that it hashes to packed, and
// appends it to dst. The room in dst behind its length must not overlap sealed.
// Errors: core.ErrCorrupt, and then nothing of what was opened is left in dst.
func OpenChunk(key Key, packed core.Score, sealed, dst []byte) ([]byte, error) {
	out, err := newAEAD((*[32]byte)(&key)).Open(dst, nonce[:], sealed, nil)
	if err != nil {
		return nil, fmt.Errorf("open chunk %s: wrong key or changed bytes: %w", packed.Short(), core.ErrCorrupt)
	}
	opened := out[len(dst):]
	if core.ScoreOf(opened) != packed {
		clear(opened)
		return nil, fmt.Errorf("open chunk %s: another chunk's bytes: %w", packed.Short(), core.ErrCorrupt)
	}
	return out, nil
}

// State seals the root of a household's state. The salt must be 32 bytes fresh
// from Random that the head carries; the result is Overhead bytes longer.
func State(secret, salt *[32]byte, text []byte) []byte {
	key := core.DeriveKey(contextState, secret[:], salt[:])
	return newAEAD(&key).Seal(nil, nonce[:], text, nil)
}

// OpenState opens what State sealed. Its bytes are named by the root's score in
// a signed head, which the caller has checked. Errors: core.ErrCorrupt.
func OpenState(secret, salt *[32]byte, box []byte) ([]byte, error) {
	key := core.DeriveKey(contextState, secret[:], salt[:])
	text, err := newAEAD(&key).Open(nil, nonce[:], box, nil)
	if err != nil {
		return nil, fmt.Errorf("open state root: wrong secret or changed bytes: %w", core.ErrCorrupt)
	}
	return text, nil
}

// newAEAD returns AES-256-GCM under key.
func newAEAD(key *[32]byte) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only a key of a wrong length fails, and its length is in its type
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // only a block size other than AES's fails
	}
	return aead
}
