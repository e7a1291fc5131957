package core

import (
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/zeebo/blake3"
)

// ScoreSize is the length of a Score in bytes.
const ScoreSize = 32

// Score is the BLAKE3-256 of a block of bytes, and its name everywhere.
// The zero Score names nothing.
type Score [ScoreSize]byte

// cidPrefix makes a score a CIDv1: version 1, codec raw (0x55), multihash
// blake3 (0x1e) of 32 bytes. Source: https://github.com/multiformats/cid and
// the multicodec table.
var cidPrefix = []byte{0x01, 0x55, 0x1e, 0x20}

var cidEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// ScoreOf returns the score of b.
func ScoreOf(b []byte) Score { return blake3.Sum256(b) }

// DeriveKey returns the 32 bytes that BLAKE3's derive_key mode makes of
// material, in a context that is a constant of one format and of no other.
func DeriveKey(context string, material ...[]byte) [32]byte {
	h := blake3.NewDeriveKey(context)
	for _, m := range material {
		_, _ = h.Write(m) // a hash never fails
	}
	var key [32]byte
	h.Sum(key[:0])
	return key
}

// String returns the score as a CIDv1 in base32, 59 characters that start with
// "bafkr4i".
func (s Score) String() string {
	raw := append(append(make([]byte, 0, len(cidPrefix)+ScoreSize), cidPrefix...), s[:]...)
	return "b" + strings.ToLower(cidEncoding.EncodeToString(raw))
}

// Short returns the first eight hexadecimal digits, for logs.
func (s Score) Short() string { return hex.EncodeToString(s[:4]) }

// IsZero tells whether s names nothing.
func (s Score) IsZero() bool { return s == Score{} }

// ParseScore reads what String returns.
func ParseScore(text string) (Score, error) {
	var s Score
	if !strings.HasPrefix(text, "b") || text != strings.ToLower(text) {
		return s, fmt.Errorf("score %.80q: not a CIDv1 in base32", text)
	}
	raw, err := cidEncoding.DecodeString(strings.ToUpper(text[1:]))
	if err != nil {
		return s, fmt.Errorf("score %.80q: %w", text, err)
	}
	if len(raw) != len(cidPrefix)+ScoreSize || string(raw[:len(cidPrefix)]) != string(cidPrefix) {
		return s, fmt.Errorf("score %.80q: not the CID of a BLAKE3-256 of raw bytes", text)
	}
	copy(s[:], raw[len(cidPrefix):])
	if s.String() != text { // base32 has spare bits: one score, one text
		return Score{}, fmt.Errorf("score %.80q: not in canonical form", text)
	}
	return s, nil
}

// MarshalText gives JSON the CID.
func (s Score) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the CID.
func (s *Score) UnmarshalText(text []byte) error {
	parsed, err := ParseScore(string(text))
	if err != nil {
		return err
	}
	*s = parsed
	return nil
}

// MarshalBinary gives CBOR the 32 bytes.
func (s Score) MarshalBinary() ([]byte, error) { return s[:], nil }

// UnmarshalBinary reads the 32 bytes.
func (s *Score) UnmarshalBinary(b []byte) error {
	if len(b) != ScoreSize {
		return fmt.Errorf("score of %d bytes, want %d", len(b), ScoreSize)
	}
	copy(s[:], b)
	return nil
}
