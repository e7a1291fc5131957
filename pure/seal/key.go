package seal

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/grange-grid/grange/core"
)

// hidden is what a key prints as.
const hidden = "[key]"

// Key opens one sealed chunk or page. It travels in references, and never
// prints its bytes: not with any verb of fmt, not in a log, not as JSON. (fmt
// cannot know that inside an unexported field: do not print structs of those.)
type Key [32]byte

// String returns "[key]".
func (Key) String() string { return hidden }

// GoString returns "[key]".
func (Key) GoString() string { return hidden }

// Format prints "[key]" for every verb, of which %d would else show the bytes.
func (Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue logs "[key]".
func (Key) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText refuses, so that no encoder of text writes a key.
func (Key) MarshalText() ([]byte, error) { return nil, errors.New("a key is not written as text") }

// MarshalBinary gives CBOR the 32 bytes.
func (k Key) MarshalBinary() ([]byte, error) { return k[:], nil }

// UnmarshalBinary reads the 32 bytes. Errors: core.ErrInvalid.
func (k *Key) UnmarshalBinary(b []byte) error {
	if len(b) != len(k) {
		return fmt.Errorf("key of %d bytes, want %d: %w", len(b), len(k), core.ErrInvalid)
	}
	copy(k[:], b)
	return nil
}
