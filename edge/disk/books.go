package disk

import (
	"errors"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/grange-grid/grange/core"
)

// bookPrefix keeps the records of the services apart from the index of the blobs,
// so that no key of theirs is reserved.
var bookPrefix = []byte("book/")

// books is a core.Books over a table.
type books struct {
	table *table
	gate  *gate
}

var _ core.Books = (*books)(nil)

func bookKey(key []byte) []byte {
	return append(append(make([]byte, 0, len(bookPrefix)+len(key)), bookPrefix...), key...)
}

// Apply makes all changes or none; see core.Books.
func (b *books) Apply(changes ...core.Change) error {
	err := b.gate.enter()
	if err == nil {
		defer b.gate.leave()
		err = b.apply(changes)
	}
	if err != nil {
		return fmt.Errorf("apply %d changes: %w", len(changes), err)
	}
	return nil
}

func (b *books) apply(changes []core.Change) error {
	size, grows := 0, false
	for _, c := range changes {
		size += len(bookPrefix) + len(c.Key) + len(c.Value)
		grows = grows || c.Value != nil
	}
	if grows {
		room, err := b.table.room()
		if err != nil {
			return err
		}
		if room < 2*int64(size) { // the log, then the table
			return core.ErrFull
		}
	}
	batch := b.table.db.NewBatch()
	var err error
	for _, c := range changes {
		if c.Value == nil {
			err = errors.Join(err, batch.Delete(bookKey(c.Key), nil))
		} else {
			err = errors.Join(err, batch.Set(bookKey(c.Key), c.Value, nil))
		}
	}
	if err == nil {
		err = b.table.commit(batch, true)
	}
	if b.table.health() == nil {
		err = errors.Join(err, batch.Close())
	}
	return err
}

// Get returns a copy of the value; see core.Records.
func (b *books) Get(key []byte) ([]byte, error) { return b.reading(b.table.db).Get(key) }

// Scan yields the records in key order; see core.Records.
func (b *books) Scan(prefix, from []byte) iter.Seq2[core.Change, error] {
	return b.reading(b.table.db).Scan(prefix, from)
}

// Visit hands over the records in key order; see core.Records.
func (b *books) Visit(prefix, from []byte, see func(key, value []byte) bool) error {
	return b.reading(b.table.db).Visit(prefix, from, see)
}

func (b *books) reading(from pebble.Reader) *records {
	return &records{table: b.table, from: from, enter: b.gate.enter, leave: b.gate.leave}
}
