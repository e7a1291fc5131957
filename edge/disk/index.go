package disk

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/grange-grid/grange/core"
)

// The index is in the table under "blob/": "s" ‖ score says where a blob lies, "p" ‖ u32
// what is known of a pack. It is never synced by itself: what a crash takes from it
// is the newest, in order, and is read again from the packs.
var (
	indexPrefix = []byte("blob/")
	scorePrefix = []byte("blob/s")
	statePrefix = []byte("blob/p")
)

// entry is what the index says of a blob.
type entry struct {
	place
	head uint16 // bytes of the record before the data
	size uint32 // of the data
	note []byte
}

// length is that of the whole record.
func (e entry) length() int64 { return int64(e.head) + int64(e.size) }

const entrySize = 4 + 8 + 2 + 4

func (e entry) encode() []byte {
	b := make([]byte, 0, entrySize+len(e.note))
	b = binary.BigEndian.AppendUint32(b, e.Pack)
	b = binary.BigEndian.AppendUint64(b, e.Offset)
	b = binary.BigEndian.AppendUint16(b, e.head)
	b = binary.BigEndian.AppendUint32(b, e.size)
	return append(b, e.note...)
}

// parseEntry returns an entry whose note is a part of b.
func parseEntry(b []byte) (entry, error) {
	if len(b) < entrySize || len(b) > entrySize+core.NoteSizeMax {
		return entry{}, fmt.Errorf("index: %w: entry of %d bytes", core.ErrCorrupt, len(b))
	}
	e := entry{
		place: place{Pack: binary.BigEndian.Uint32(b), Offset: binary.BigEndian.Uint64(b[4:])},
		head:  binary.BigEndian.Uint16(b[12:]),
		size:  binary.BigEndian.Uint32(b[14:]),
		note:  b[entrySize:],
	}
	if e.Pack == 0 || e.Offset < packStart || e.Offset > 1<<62 || e.head < frameSize || e.head > headSizeMax || e.size > core.BlobSizeMax {
		return entry{}, fmt.Errorf("index: %w: entry %+v", core.ErrCorrupt, e.place)
	}
	return e, nil
}

// pack is what is known of a pack. It changes only in the hands of who has the turn.
type pack struct {
	number uint32
	salt   salt
	// end is up to where the pack is synced and indexed.
	end int64
	// live is the length of the records that the index points at, gone that of
	// the deletions.
	live, gone int64
	// stale says that it may hold records that stand again, with no deletion between, in a later
	// pack. While it is there, deletions in later ones must be kept.
	stale bool
	// dark says that its header is lost, and with it everything in it.
	dark bool
	// shut says that nothing may be appended any more, stuck that it cannot be rewritten. Neither is stored.
	shut, stuck bool
}

// dead is how many bytes rewriting the pack would give back.
func (p *pack) dead() int64 { return p.end - packStart - p.live - p.gone }

const (
	flagStale = 1 << iota
	flagDark
)

const stateSize = 8 + 8 + 8 + 1 + saltSize

func (p *pack) encode() []byte {
	b := make([]byte, 0, stateSize)
	b = binary.BigEndian.AppendUint64(b, uint64(p.end))
	b = binary.BigEndian.AppendUint64(b, uint64(p.live))
	b = binary.BigEndian.AppendUint64(b, uint64(p.gone))
	flags := byte(0)
	if p.stale {
		flags |= flagStale
	}
	if p.dark {
		flags |= flagDark
	}
	return append(append(b, flags), p.salt[:]...)
}

func parseState(key, b []byte) (*pack, error) {
	if len(key) != len(statePrefix)+4 || len(b) != stateSize || b[24] > flagStale|flagDark {
		return nil, fmt.Errorf("index: %w: state of a pack", core.ErrCorrupt)
	}
	p := &pack{
		number: binary.BigEndian.Uint32(key[len(statePrefix):]),
		end:    int64(binary.BigEndian.Uint64(b)),
		live:   int64(binary.BigEndian.Uint64(b[8:])),
		gone:   int64(binary.BigEndian.Uint64(b[16:])),
		stale:  b[24]&flagStale != 0,
		dark:   b[24]&flagDark != 0,
		salt:   salt(b[25:]),
	}
	if p.number == 0 || p.number > packNumberMax || p.end < packStart || p.live < 0 || p.gone < 0 {
		return nil, fmt.Errorf("index: %w: state of pack %d", core.ErrCorrupt, p.number)
	}
	return p, nil
}

func scoreKey(s core.Score) []byte {
	return append(append(make([]byte, 0, len(scorePrefix)+len(s)), scorePrefix...), s[:]...)
}

func stateKey(number uint32) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, len(statePrefix)+4), statePrefix...), number)
}

// index reads and changes the part of the table that says where blobs lie.
type index struct{ table *table }

// find returns where a blob lies, with a note of its own. Errors: core.ErrNotExist, core.ErrCorrupt.
func (x index) find(s core.Score) (e entry, err error) {
	err = x.table.get(scoreKey(s), func(value []byte) error {
		e, err = parseEntry(append([]byte{}, value...))
		return err
	})
	return e, err
}

// packs returns what is known of every pack.
func (x index) packs() (map[uint32]*pack, error) {
	packs := map[uint32]*pack{}
	var bad error
	err := x.table.scan(statePrefix, above(statePrefix), func(key, value []byte) bool {
		var p *pack
		if p, bad = parseState(key, value); bad == nil {
			packs[p.number] = p
		}
		return bad == nil
	})
	return packs, errors.Join(err, bad)
}

// reset forgets everything.
func (x index) reset() error {
	return x.write(func(w *indexWrite) error {
		return w.batch.DeleteRange(indexPrefix, above(indexPrefix), nil)
	}, true)
}

// indexWrite gathers changes that become true at once. It sees its own.
type indexWrite struct{ batch *pebble.Batch }

// write makes what f does to its argument true, if f returns nil.
func (x index) write(f func(w *indexWrite) error, sync bool) error {
	if err := x.table.health(); err != nil {
		return err
	}
	w := &indexWrite{batch: x.table.db.NewIndexedBatch()}
	err := f(w)
	if err == nil {
		err = x.table.commit(w.batch, sync)
	}
	if x.table.health() == nil {
		err = errors.Join(err, w.batch.Close())
	}
	return err
}

func (w *indexWrite) find(s core.Score) (e entry, err error) {
	err = read(w.batch, scoreKey(s), func(value []byte) error {
		e, err = parseEntry(append([]byte{}, value...))
		return err
	})
	return e, err
}

func (w *indexWrite) set(s core.Score, e entry) error {
	return w.batch.Set(scoreKey(s), e.encode(), nil)
}
func (w *indexWrite) unset(s core.Score) error      { return w.batch.Delete(scoreKey(s), nil) }
func (w *indexWrite) setPack(p *pack) error         { return w.batch.Set(stateKey(p.number), p.encode(), nil) }
func (w *indexWrite) unsetPack(number uint32) error { return w.batch.Delete(stateKey(number), nil) }
