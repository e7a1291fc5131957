package seal

import (
	"fmt"

	"github.com/grange-grid/grange/core"
)

// ContextName is the context under which names are sealed small.
const ContextName = "grange v1 name"

const saltSize = 32

// SmallOverhead is how many bytes longer Small's result is than the text: a
// salt and the tag of AES-GCM.
const SmallOverhead = saltSize + Overhead

// Small seals a text under a key of its own: salt (32 random bytes) ‖
// AES-256-GCM under derive_key(context, secret ‖ salt). The context is a
// constant of one format and of no other, as ContextName is.
func Small(context string, secret *[32]byte, text []byte) []byte {
	var salt [saltSize]byte
	Random(salt[:])
	return small(context, secret, &salt, text)
}

func small(context string, secret, salt *[saltSize]byte, text []byte) []byte {
	key := core.DeriveKey(context, secret[:], salt[:])
	box := append(make([]byte, 0, SmallOverhead+len(text)), salt[:]...)
	return newAEAD(&key).Seal(box, nonce[:], text, nil)
}

// OpenSmall opens what Small sealed. Errors: core.ErrCorrupt.
func OpenSmall(context string, secret *[32]byte, box []byte) ([]byte, error) {
	if len(box) < SmallOverhead {
		return nil, fmt.Errorf("open %q: %d bytes, want at least %d: %w", context, len(box), SmallOverhead, core.ErrCorrupt)
	}
	key := core.DeriveKey(context, secret[:], box[:saltSize])
	text, err := newAEAD(&key).Open(nil, nonce[:], box[saltSize:], nil)
	if err != nil {
		return nil, fmt.Errorf("open %q: wrong secret or changed bytes: %w", context, core.ErrCorrupt)
	}
	return text, nil
}
