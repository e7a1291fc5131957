package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/grange-grid/grange/core"
)

// records are core.Records of what pebble reads from: a table as it is, or a snapshot.
type records struct {
	table *table
	from  pebble.Reader
	enter func() error
	leave func()
}

// Get returns a copy of the value; see core.Records.
func (r *records) Get(key []byte) ([]byte, error) {
	var value []byte
	err := r.enter()
	if err == nil {
		defer r.leave()
		err = r.table.use(func() error {
			return read(r.from, bookKey(key), func(v []byte) error {
				value = append([]byte{}, v...)
				return nil
			})
		})
	}
	if err != nil {
		return nil, fmt.Errorf("get record %q: %w", key, err)
	}
	return value, nil
}

// Visit hands over the records in key order; see core.Records.
func (r *records) Visit(prefix, from []byte, see func(key, value []byte) bool) error {
	err := r.enter()
	if err == nil {
		defer r.leave()
		lower := prefix
		if bytes.Compare(from, prefix) > 0 {
			lower = from
		}
		err = r.table.scanFrom(r.from, bookKey(lower), above(bookKey(prefix)), func(key, value []byte) bool {
			return see(key[len(bookPrefix):], value)
		})
	}
	if err != nil {
		return fmt.Errorf("scan records: %w", err)
	}
	return nil
}

// Scan yields the records in key order; see core.Records.
func (r *records) Scan(prefix, from []byte) iter.Seq2[core.Change, error] {
	return func(yield func(core.Change, error) bool) {
		err := r.Visit(prefix, from, func(key, value []byte) bool {
			return yield(core.Change{Key: append([]byte{}, key...), Value: append([]byte{}, value...)}, nil)
		})
		if err != nil {
			yield(core.Change{}, err)
		}
	}
}

// snapshot is a core.Snapshot.
type snapshot struct {
	records
	own   gate
	store *gate
	snap  *pebble.Snapshot
}

// Snapshot returns the records as they stand now; see core.Books.
func (b *books) Snapshot() (core.Snapshot, error) {
	s := &snapshot{store: b.gate}
	err := b.gate.enter()
	if err == nil {
		defer b.gate.leave()
		s.snap, err = b.table.snapshot()
	}
	if err != nil {
		return nil, fmt.Errorf("snapshot of the records: %w", err)
	}
	s.records = records{b.table, s.snap, s.enter, s.leave}
	return s, nil
}

func (s *snapshot) enter() error {
	if err := s.store.enter(); err != nil {
		return err
	}
	if err := s.own.enter(); err != nil {
		s.store.leave()
		return err
	}
	return nil
}

func (s *snapshot) leave() {
	s.own.leave()
	s.store.leave()
}

// Close lets go of the records; see core.Snapshot.
func (s *snapshot) Close() error {
	if !s.own.close() {
		return nil
	}
	switch err := s.store.enter(); {
	case errors.Is(err, fs.ErrClosed): // the store closes them
		return nil
	case err != nil:
		return fmt.Errorf("close snapshot: %w", err)
	}
	defer s.store.leave()
	if err := s.table.forget(s.snap); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	return nil
}

// snapshot makes one that lasts until it is forgotten or the table is closed, whichever comes first.
func (t *table) snapshot() (s *pebble.Snapshot, err error) {
	err = t.use(func() error {
		s = t.db.NewSnapshot()
		return nil
	})
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.snapshots == nil {
		t.snapshots = map[*pebble.Snapshot]bool{}
	}
	t.snapshots[s] = true
	return s, nil
}

func (t *table) forget(s *pebble.Snapshot) error {
	t.mu.Lock()
	there := t.snapshots[s]
	delete(t.snapshots, s)
	t.mu.Unlock()
	if !there {
		return nil
	}
	return t.use(s.Close)
}
