// Package identity holds keys and what they sign: ed25519 keys and their DIDs,
// signatures that are bound to a kind, the recovery phrase and what is derived
// from it, and the file with a machine's own keys. The formats are in
// docs/SPEC.md, sections 1 and 2.
//
// Every signature is over "grange/v1/<kind>" ‖ 0x00 ‖ body, so that what was signed
// as one thing is never taken for another. Open is the only way from a Signed to a
// value: it verifies first and decodes strictly after.
//
// It draws no randomness and keeps no file: seeds and entropy arrive as arguments.
// It does not know who may sign what; a signature says who, and the room whose
// format it is decides.
package identity

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"

	"github.com/grange-grid/grange/core"
)

// hidden is what a key prints as.
const hidden = "[key]"

var errAsText = errors.New("a key is not written as text")

// Key is a private ed25519 key. The zero Key is none, and signs nothing. It
// never prints its bytes.
type Key struct {
	private ed25519.PrivateKey
}

// KeyOf returns the key that grows from a seed (RFC 8032 §5.1.5).
func KeyOf(seed [32]byte) Key { return Key{private: ed25519.NewKeyFromSeed(seed[:])} }

// DID returns the public half. Of the zero Key it is the zero DID.
func (k Key) DID() core.DID {
	var d core.DID
	if !k.IsZero() {
		copy(d[:], k.private.Public().(ed25519.PublicKey))
	}
	return d
}

// Private returns the key itself, for the libraries that need it; nil of the zero Key.
func (k Key) Private() ed25519.PrivateKey { return k.private }

// IsZero tells whether there is no key in k.
func (k Key) IsZero() bool { return len(k.private) == 0 }

// Format prints "[key]" for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue logs "[key]".
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON refuses, so that no answer or log carries a key.
func (Key) MarshalJSON() ([]byte, error) { return nil, errAsText }

// weakY are the y coordinates of the points of order 1, 2, 4 and 8, little-endian,
// of those below the field's prime. For such a "public key" anyone can make
// signatures. The zero DID, which names nobody, is one of them.
var weakY = [...]core.DID{
	{},
	{0: 1},
	{
		0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
	},
	{
		0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
		0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
	},
	{
		0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
		0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
	},
}

// CheckDID refuses the DIDs that no honest key has: the zero one, those of
// points of small order, for which anyone can sign, and those whose y is not
// reduced, which are second names of one point. It does not check that d is a
// point of the curve: nothing verifies for one that is not. Errors: core.ErrInvalid.
func CheckDID(d core.DID) error {
	y := d
	y[31] &= 0x7f // the top bit is the sign of x
	weak := false
	for i := range weakY {
		weak = weak || y == weakY[i]
	}
	if weak || unreduced(y) {
		return fmt.Errorf("DID %s: %w: not the key of anyone", d, core.ErrInvalid)
	}
	return nil
}

// unreduced tells whether y ≥ 2²⁵⁵ − 19.
func unreduced(y core.DID) bool {
	for _, b := range y[1:31] {
		if b != 0xff {
			return false
		}
	}
	return y[31] == 0x7f && y[0] >= 0xed
}
