package seal

import (
	"crypto/hpke"
	"fmt"
	"log/slog"

	"github.com/grange-grid/grange/core"
)

// Sizes of the X-Wing KEM, in bytes. Source: draft-connolly-cfrg-xwing-kem and
// draft-ietf-hpke-pq, KEM 0x647a.
const (
	PublicSize = 1216
	SeedSize   = 32
	// BoxOverhead is how many bytes longer a box is than the text in it: an
	// encapsulated key of 1,120 bytes and the tag of AES-GCM.
	BoxOverhead = 1120 + Overhead
)

// PrivateKey opens boxes. It never prints its bytes.
type PrivateKey struct {
	key hpke.PrivateKey
}

// NewPrivateKey returns the X-Wing key whose seed is given. The seed is 32
// random bytes, or those derived from the recovery phrase.
func NewPrivateKey(seed [SeedSize]byte) (*PrivateKey, error) {
	key, err := hpke.MLKEM768X25519().NewPrivateKey(seed[:])
	if err != nil {
		return nil, fmt.Errorf("make X-Wing key: %w", err)
	}
	return &PrivateKey{key: key}, nil
}

// Public returns the public key, PublicSize bytes.
func (k *PrivateKey) Public() []byte { return k.key.PublicKey().Bytes() }

// Open opens a box that To made for this key with the same info.
// Errors: core.ErrCorrupt.
func (k *PrivateKey) Open(info, box []byte) ([]byte, error) {
	text, err := hpke.Open(k.key, hpke.HKDFSHA256(), hpke.AES256GCM(), info, box)
	if err != nil {
		return nil, fmt.Errorf("open box: not for this key, or changed bytes: %w", core.ErrCorrupt)
	}
	return text, nil
}

// Format prints "[key]" for every verb.
func (PrivateKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue logs "[key]".
func (PrivateKey) LogValue() slog.Value { return slog.StringValue(hidden) }

// To seals text so that only the holder of the private key of public opens it:
// HPKE (RFC 9180) in base mode with X-Wing, HKDF-SHA256 and AES-256-GCM, no
// associated data. The info binds the box to its place; Open must be given the
// same. The result is BoxOverhead bytes longer than text.
// Errors: core.ErrInvalid if public is no X-Wing public key.
func To(public, info, text []byte) ([]byte, error) {
	key, err := hpke.MLKEM768X25519().NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("seal to X-Wing key of %d bytes: %w: %w", len(public), core.ErrInvalid, err)
	}
	box, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info, text)
	if err != nil { // a public key whose X25519 half is of low order
		return nil, fmt.Errorf("seal to X-Wing key: %w: %w", core.ErrInvalid, err)
	}
	return box, nil
}
