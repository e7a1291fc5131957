package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/grange-grid/grange/core"
)

const (
	tableCacheSize = 32 << 20
	memTableSize   = 4 << 20
	openTablesMax  = 256
	bloomBits      = 10

	// tableFormat is pebble's. A newer one needs a new version of the directory.
	tableFormat = pebble.FormatValueSeparation

	// tableSpare is what must be free for a record to be written. Pebble cannot go on after a
	// log write that met a full disk, so it must not meet one; deletes, which make
	// room in the end, may use what is spared.
	tableSpare = 16 << 20
	// tableOpen is what must be free for the table to be opened: pebble writes what its log has to new files
	// then, and where it cannot it tries again for ever, as fast as it can, deaf to whoever waits.
	tableOpen = 2 * memTableSize
)

// table is pebble, made safe for the rest of the package: it returns errors where
// pebble would end the program, and after the first such error nothing but
// errors.
type table struct {
	db    *pebble.DB
	free  func() (int64, error)
	isNew bool // it was made just now

	mu        sync.Mutex
	broken    error
	snapshots map[*pebble.Snapshot]bool // those that are open
}

// bornKey is in every table that this package made.
var bornKey = []byte("disk/born")

// openTable opens the table in dir, or makes it. One that cannot be read is first
// moved aside, to the path that is returned. Errors: core.ErrFull.
func openTable(vfs vfs.FS, dir string, free func() (int64, error)) (t *table, aside string, err error) {
	switch room, err := free(); {
	case err != nil:
		return nil, "", fmt.Errorf("books: %w", err)
	case room < tableOpen:
		return nil, "", fmt.Errorf("books: %w", core.ErrFull)
	}
	t, err = tryTable(vfs, dir, free)
	if err == nil || !unreadable(err) {
		return t, "", err
	}
	bad, err := moveAside(vfs, dir)
	if err != nil {
		return nil, "", err
	}
	t, err = tryTable(vfs, dir, free)
	return t, bad, err
}

func tryTable(vfs vfs.FS, dir string, free func() (int64, error)) (t *table, err error) {
	defer caught(&err)
	if err := vfs.MkdirAll(dir, dirMode); err != nil {
		return nil, err
	}
	o := &pebble.Options{
		FS:                 vfs,
		CacheSize:          tableCacheSize,
		MemTableSize:       memTableSize,
		MaxOpenFiles:       openTablesMax,
		FormatMajorVersion: tableFormat,
		Logger:             silence{},
		// Without a listener of ours, rot in a table would end the program.
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}},
	}
	// The usual one looks ten times a second for work, and so keeps a machine awake that has none. It does so
	// because more compactions may be allowed as time goes by; here it is one at a time, always.
	o.Experimental.CompactionScheduler = pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest()
	o.CompactionConcurrencyRange = func() (least, most int) { return 1, 1 }
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(bloomBits)
	}
	db, err := pebble.Open(dir, o)
	if err != nil {
		if strings.Contains(err.Error(), "format major version") { // pebble has no error value for it
			return nil, fmt.Errorf("books: %w: %w", core.ErrVersion, err)
		}
		return nil, fmt.Errorf("books: %w", err)
	}
	t = &table{db: db, free: free}
	err = t.get(bornKey, func([]byte) error { return nil })
	if errors.Is(err, core.ErrNotExist) {
		t.isNew = true
		err = t.use(func() error { return db.Set(bornKey, []byte{1}, pebble.Sync) })
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// unreadable tells whether err says that the table is damaged, rather than that the
// machine would not let us read it just now.
func unreadable(err error) bool {
	if errors.Is(err, core.ErrVersion) || strings.Contains(err.Error(), "lock held") { // by this process, which could not close it
		return false
	}
	var errno syscall.Errno
	return pebble.IsCorruptionError(err) || !errors.As(err, &errno) || errno == syscall.ENOENT || errno == syscall.ENOTDIR
}

// asideMax bounds how many unreadable tables are kept.
const asideMax = 1000

func moveAside(vfs vfs.FS, dir string) (string, error) {
	for n := 1; n <= asideMax; n++ {
		bad := fmt.Sprintf("%s.bad-%d", dir, n)
		_, err := vfs.Stat(bad)
		if err == nil {
			continue
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		return bad, vfs.Rename(dir, bad)
	}
	return "", fmt.Errorf("books: %w: there are %d unreadable ones already", core.ErrFull, asideMax)
}

// silence keeps pebble from writing to stderr. Its Fatalf must not return: in a call of ours the panic
// is caught, in pebble's own goroutines it ends the program, which is right, for
// the log can no longer be trusted then.
type silence struct{}

func (silence) Infof(string, ...any)  {}
func (silence) Errorf(string, ...any) {}

func (silence) Fatalf(format string, args ...any) { panic(fmt.Errorf(format, args...)) }

func caught(err *error) {
	switch r := recover().(type) {
	case nil:
	case error:
		*err = fmt.Errorf("books: %w", r)
	default:
		*err = fmt.Errorf("books: %v", r)
	}
}

// health returns why the table can no longer be used, or nil.
func (t *table) health() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.broken
}

// use calls f, and turns a panic of pebble into an error that stays.
func (t *table) use(f func() error) (err error) {
	if err := t.health(); err != nil {
		return err
	}
	defer func() {
		var panicked error
		if r := recover(); r != nil {
			panicked = fmt.Errorf("books: the agent must be restarted: %v", r)
			if e, ok := r.(error); ok {
				panicked = fmt.Errorf("books: the agent must be restarted: %w", e)
			}
			t.mu.Lock()
			t.broken = panicked
			t.mu.Unlock()
			err = panicked
		}
	}()
	return rotten(f())
}

// rotten makes pebble's word for rot ours.
func rotten(err error) error {
	if err != nil && pebble.IsCorruptionError(err) && !errors.Is(err, core.ErrCorrupt) {
		return fmt.Errorf("books: %w: %w", core.ErrCorrupt, err)
	}
	return err
}

// room returns how many bytes of records may still be written.
func (t *table) room() (int64, error) {
	free, err := t.free()
	return free - tableSpare, err
}

// get calls f with the value, which is valid within f only. Errors: core.ErrNotExist.
func (t *table) get(key []byte, f func(value []byte) error) error {
	return t.use(func() error { return read(t.db, key, f) })
}

func read(r pebble.Reader, key []byte, f func(value []byte) error) error {
	value, closer, err := r.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return core.ErrNotExist
	}
	if err != nil {
		return rotten(err)
	}
	return errors.Join(f(value), closer.Close())
}

// commit makes what is in batch true, all or nothing; with sync it has reached the disk then.
func (t *table) commit(batch *pebble.Batch, sync bool) error {
	o := pebble.NoSync
	if sync {
		o = pebble.Sync
	}
	return t.use(func() error { return batch.Commit(o) })
}

// sync makes what was committed so far reach the disk.
func (t *table) sync() error {
	return t.use(func() error { return t.db.LogData(nil, pebble.Sync) })
}

// scan yields the records from lower to below upper (nil: to the end) as they stand when it
// begins. What it hands to yield is valid within yield only.
func (t *table) scan(lower, upper []byte, yield func(key, value []byte) bool) error {
	return t.scanFrom(t.db, lower, upper, yield)
}

// scanFrom is scan of the table or a snapshot.
func (t *table) scanFrom(from pebble.Reader, lower, upper []byte, yield func(key, value []byte) bool) (err error) {
	var it *pebble.Iterator
	err = t.use(func() (err error) {
		it, err = from.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		return err
	})
	if err != nil {
		return err
	}
	// Only pebble's own calls run under use: a panic of the caller's is not ours to catch.
	var value []byte
	more := false
	step := func(next func() bool) error {
		return t.use(func() (err error) {
			if more = next(); !more {
				return it.Error()
			}
			value, err = it.ValueAndErr()
			return err
		})
	}
	defer func() {
		if t.health() == nil {
			err = errors.Join(err, it.Close())
		}
	}()
	for err = step(it.First); err == nil && more; err = step(it.Next) {
		if !yield(it.Key(), value) {
			break
		}
	}
	return err
}

func (t *table) close() error {
	if err := t.health(); err != nil {
		return err // pebble may hold its own locks for ever: closing would wait for them
	}
	t.mu.Lock()
	left := slices.Collect(maps.Keys(t.snapshots))
	t.mu.Unlock()
	var err error
	for _, s := range left { // pebble calls them leaks
		err = errors.Join(err, t.forget(s))
	}
	return errors.Join(err, t.use(t.db.Close))
}

// above returns the least key that is above all keys with that prefix, nil if there is none.
func above(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := append([]byte{}, prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return nil
}
