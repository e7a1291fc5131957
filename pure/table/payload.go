package table

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
	"github.com/grange-grid/grange/pure/feed"
)

// Limits of payloads.
const (
	// KeySizeMax bounds a row's key in bytes.
	KeySizeMax = 256
	// SeenMax is how many writes of others a put names.
	SeenMax = 64
	// ErasedMax is how many operations an erase names.
	ErasedMax = 4096
)

const (
	targetSize = 32 + 8
	seenAt     = 2 // where a put's key begins
)

// Target names an operation of a table.
type Target struct {
	Author core.DID
	Seq    uint64
}

// Less orders targets by author, and then by seq.
func (t Target) Less(u Target) bool {
	c := t.Author.Compare(u.Author)
	return c < 0 || c == 0 && t.Seq < u.Seq
}

func (t Target) append(out []byte) []byte {
	return binary.BigEndian.AppendUint64(append(out, t.Author[:]...), t.Seq)
}

// PutPayload encodes a put. Errors: core.ErrInvalid.
func PutPayload(key []byte, seen []core.Score, doc document.Doc) ([]byte, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	if len(seen) > SeenMax {
		return nil, invalid("%d writes of others, of %d at most", len(seen), SeenMax)
	}
	out := make([]byte, 0, seenAt+len(key)+1+len(seen)*core.ScoreSize+doc.Size())
	out = append(appendKey(out, key), byte(len(seen)))
	for _, id := range seen {
		out = append(out, id[:]...)
	}
	return append(out, doc.Bytes()...), nil
}

// DeletePayload encodes a delete. Errors: core.ErrInvalid.
func DeletePayload(key []byte) ([]byte, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	return appendKey(nil, key), nil
}

// ErasePayload encodes an erase, whose targets rise. Errors: core.ErrInvalid.
func ErasePayload(targets []Target) ([]byte, error) {
	var out []byte
	for _, t := range targets {
		out = t.append(out)
	}
	_, err := parseErase(out)
	return out, err
}

func appendKey(out, key []byte) []byte {
	return append(binary.BigEndian.AppendUint16(out, uint16(len(key))), key...)
}

// CheckKey tells whether bytes can be a row's key.
func CheckKey(key []byte) error {
	if len(key) == 0 || len(key) > KeySizeMax {
		return invalid("a key of %d bytes: 1 to %d", len(key), KeySizeMax)
	}
	return nil
}

// Write is what a put or a delete says.
type Write struct {
	Kind feed.Kind
	Key  []byte
	// Seen are the writes of others that a put names.
	Seen []core.Score
	Doc  document.Doc
}

// ParseWrite reads the payload of a put or a delete. Errors: ErrVoid, core.ErrInvalid with it where the payload breaks its format.
func ParseWrite(kind feed.Kind, payload []byte) (Write, error) {
	w := Write{Kind: kind}
	if kind != feed.Put && kind != feed.Delete {
		return w, fmt.Errorf("%w: kind %d", ErrVoid, kind)
	}
	if err := w.parse(payload); err != nil {
		return w, fmt.Errorf("%w: %w", ErrVoid, err)
	}
	return w, nil
}

func (w *Write) parse(b []byte) error {
	if len(b) < seenAt {
		return invalid("a payload of %d bytes", len(b))
	}
	size := int(binary.BigEndian.Uint16(b))
	if b = b[seenAt:]; size > len(b) {
		return invalid("a key that ends too soon")
	}
	w.Key, b = b[:size:size], b[size:]
	if err := CheckKey(w.Key); err != nil {
		return err
	}
	if w.Kind == feed.Delete {
		if len(b) > 0 {
			return invalid("a delete with %d bytes after its key", len(b))
		}
		return nil
	}
	if len(b) == 0 || int(b[0]) > SeenMax || len(b) < 1+int(b[0])*core.ScoreSize {
		return invalid("a put that ends too soon")
	}
	n := int(b[0])
	b = b[1:]
	for i := range n {
		var id core.Score
		copy(id[:], b)
		b = b[core.ScoreSize:]
		if i > 0 && bytes.Compare(w.Seen[i-1][:], id[:]) >= 0 {
			return invalid("writes of others that do not rise")
		}
		w.Seen = append(w.Seen, id)
	}
	var err error
	w.Doc, err = document.FromCBOR(b)
	return err
}

// ParseErase reads the payload of an erase. Errors: ErrVoid.
func ParseErase(payload []byte) ([]Target, error) {
	out, err := parseErase(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrVoid, err)
	}
	return out, nil
}

func parseErase(b []byte) ([]Target, error) {
	if len(b) == 0 || len(b)%targetSize != 0 || len(b)/targetSize > ErasedMax {
		return nil, invalid("an erase of %d bytes", len(b))
	}
	out := make([]Target, 0, len(b)/targetSize)
	for at := 0; at < len(b); at += targetSize {
		if at > 0 && bytes.Compare(b[at-targetSize:at], b[at:at+targetSize]) >= 0 {
			return nil, invalid("an erase whose targets do not rise")
		}
		t := Target{Seq: binary.BigEndian.Uint64(b[at+32:])}
		copy(t.Author[:], b[at:])
		out = append(out, t)
	}
	return out, nil
}
