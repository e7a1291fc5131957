package vault

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/grange-grid/grange/core"
)

// tailBatch is how many records of a tail wait in memory, of 16 KiB each.
const tailBatch = 128

// tail holds the records that follow a long file's first until its last byte has been read:
// only then are they known to go into the manifest. All but the newest wait in the books.
type tail struct {
	books   core.Books
	written uint32   // records in the books, numbered from 0
	fresh   [][]byte // those that follow them
}

func tailKey(n uint32) []byte { return binary.BigEndian.AppendUint32(bytes.Clone(tailPrefix), n) }

func (t *tail) add(record []byte) error {
	t.fresh = append(t.fresh, record)
	if len(t.fresh) < tailBatch {
		return nil
	}
	changes := make([]core.Change, len(t.fresh))
	for i, raw := range t.fresh {
		changes[i] = core.Change{Key: tailKey(t.written + uint32(i)), Value: raw}
	}
	if err := t.books.Apply(changes...); err != nil {
		return fmt.Errorf("write down what a long file consists of: %w", err)
	}
	t.written += uint32(len(changes))
	t.fresh = t.fresh[:0]
	return nil
}

// all yields the records in order.
func (t *tail) all() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for n := range t.written {
			raw, err := t.books.Get(tailKey(n))
			if err != nil {
				yield(nil, fmt.Errorf("read what a long file consists of, record %d: %w", n, err))
				return
			}
			if !yield(raw, nil) {
				return
			}
		}
		for _, raw := range t.fresh {
			if !yield(raw, nil) {
				return
			}
		}
	}
}

// clear makes it one of another file.
func (t *tail) clear() error {
	t.fresh = t.fresh[:0]
	if t.written == 0 {
		return nil
	}
	t.written = 0
	return t.drop()
}

// drop removes all that lies in the books, whoever wrote it.
func (t *tail) drop() error {
	var changes []core.Change
	for c, err := range t.books.Scan(tailPrefix, nil) {
		if err != nil {
			return fmt.Errorf("read what a long file consisted of: %w", err)
		}
		changes = append(changes, core.Change{Key: c.Key})
	}
	if len(changes) == 0 {
		return nil
	}
	if err := t.books.Apply(changes...); err != nil {
		return fmt.Errorf("drop what a long file consisted of: %w", err)
	}
	return nil
}
