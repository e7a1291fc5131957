package core

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/mr-tron/base58"
)

// DID is the did:key of an ed25519 public key: it names an agent, a person or
// a grid. The value is the key itself; the zero DID names nobody.
type DID [32]byte

// didPrefix is the multicodec of an ed25519 public key. Source: the did:key
// method, https://w3c-ccg.github.io/did-key-spec/.
var didPrefix = []byte{0xed, 0x01}

const didScheme = "did:key:z"

// String returns "did:key:z6Mk…".
func (d DID) String() string {
	return didScheme + base58.Encode(append(bytes.Clone(didPrefix), d[:]...))
}

// Short returns eight characters of the key that differ between DIDs, for logs.
func (d DID) Short() string {
	s := strings.TrimPrefix(d.String(), didScheme)
	return s[4:12]
}

// IsZero tells whether d names nobody.
func (d DID) IsZero() bool { return d == DID{} }

// Compare orders DIDs by the bytes of their keys.
func (d DID) Compare(e DID) int { return bytes.Compare(d[:], e[:]) }

// ParseDID reads what String returns. It checks the form, not that the 32 bytes
// are a point of the curve: a signature or a handshake by that key does.
func ParseDID(text string) (DID, error) {
	var d DID
	if len(text) > 64 || !strings.HasPrefix(text, didScheme) {
		return d, fmt.Errorf("DID %.80q: not a did:key of base58", text)
	}
	raw, err := base58.Decode(text[len(didScheme):])
	if err != nil {
		return d, fmt.Errorf("DID %.80q: %w", text, err)
	}
	if len(raw) != len(didPrefix)+len(d) || !bytes.HasPrefix(raw, didPrefix) {
		return d, fmt.Errorf("DID %.80q: not an ed25519 key", text)
	}
	copy(d[:], raw[len(didPrefix):])
	return d, nil
}

// MarshalText gives JSON the did:key.
func (d DID) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the did:key.
func (d *DID) UnmarshalText(text []byte) error {
	parsed, err := ParseDID(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// MarshalBinary gives CBOR the 32 bytes of the key.
func (d DID) MarshalBinary() ([]byte, error) { return d[:], nil }

// UnmarshalBinary reads the 32 bytes of the key.
func (d *DID) UnmarshalBinary(b []byte) error {
	if len(b) != len(d) {
		return fmt.Errorf("DID of %d bytes, want %d", len(b), len(d))
	}
	copy(d[:], b)
	return nil
}
