package vault

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/manifest"
)

// cachedFile says which chunks a file was found to consist of. Where those lie is the dedup
// index's affair, so that a record here is never wrong about it.
type cachedFile struct {
	stamp  Stamp
	plains []byte // the chunks' plain scores, joined
}

func (c cachedFile) chunks() iter.Seq[core.Score] {
	return func(yield func(core.Score) bool) {
		for plain := range slices.Chunk(c.plains, core.ScoreSize) {
			if !yield(core.Score(plain)) {
				return
			}
		}
	}
}

// fileRecord is the record of a file, of its first filePart chunks; those that follow
// have chunks alone.
type fileRecord struct {
	V      uint   `json:"v"`
	Size   uint64 `json:"size"`
	Mtime  int64  `json:"mtime"`
	Nsec   int64  `json:"nsec"`
	Ctime  int64  `json:"ctime"`
	Inode  uint64 `json:"inode"`
	Dev    uint64 `json:"dev"`
	Plains []byte `json:"plains"`
}

const (
	filePart      = 1024 * core.ScoreSize // bytes of scores in one record
	cacheBatch    = 1 << 10               // records that are read, or written, at once
	cacheBatchMax = 1 << 20               // bytes of those
	// settleTime is how many seconds a file must have been left alone for its stamp to be
	// believed: within one tick of a clock a file can change and look the same.
	settleTime = 2
)

// fileCache has the files of one name as they were when they were last read, in the order in
// which they are met. What is passed over is dropped: it is not there any more.
type fileCache struct {
	books  core.Books
	prefix []byte
	begun  int64 // when the put began, in seconds

	ahead   []core.Change // records that were read and not looked at
	from    []byte        // where to read on; nil at the end
	parts   int           // records behind the first one that the file at hand had
	changes []core.Change
	size    int // bytes of those
}

func (v *Vault) newFileCache(name string) *fileCache {
	prefix := filePrefixOf(name)
	return &fileCache{books: v.c.Books, prefix: prefix, from: prefix, begun: v.c.Clock.Now().Unix()}
}

// settled tells whether a file was left alone for long enough that its next change will show.
func (c *fileCache) settled(s Stamp) bool {
	return s != Stamp{} && max(s.Mtime, s.Ctime/1e9) < c.begun-settleTime
}

// peek returns the next record; false at the end.
func (c *fileCache) peek() (core.Change, bool, error) {
	if len(c.ahead) == 0 && c.from != nil {
		from, size := c.from, 0
		c.from = nil
		for r, err := range c.books.Scan(c.prefix, from) {
			if err != nil {
				return r, false, fmt.Errorf("read what files were: %w", err)
			}
			if len(c.ahead) == cacheBatch || size > cacheBatchMax {
				c.from = r.Key
				break
			}
			c.ahead = append(c.ahead, r)
			size += len(r.Key) + len(r.Value)
		}
	}
	if len(c.ahead) == 0 {
		return core.Change{}, false, nil
	}
	return c.ahead[0], true, nil
}

func (c *fileCache) skip() { c.ahead = c.ahead[1:] }

// find returns what is known of a file. Paths come in the order of manifest keys.
func (c *fileCache) find(path []byte) (file cachedFile, known bool, err error) {
	key, err := c.key(path)
	if err != nil {
		return file, false, err
	}
	c.parts = 0
	for {
		r, more, err := c.peek()
		if err != nil || !more {
			return file, false, err
		}
		switch bytes.Compare(r.Key, key) {
		case -1:
			c.skip()
			if err := c.write(core.Change{Key: r.Key}); err != nil {
				return file, false, err
			}
			continue
		case 0:
			file, known = decodeFile(r.Value)
			c.skip()
			err := c.findParts(key, &file)
			return file, known, err
		}
		return file, false, nil
	}
}

// findParts adds what stands in the records behind a file's first.
func (c *fileCache) findParts(key []byte, file *cachedFile) error {
	prefix := append(slices.Clone(key), 0, 0)
	for {
		r, more, err := c.peek()
		if err != nil || !more || !bytes.HasPrefix(r.Key, prefix) {
			return err
		}
		file.plains = append(file.plains, r.Value...)
		c.parts++
		c.skip()
	}
}

// set writes down what the file that was asked for last turned out to be.
func (c *fileCache) set(path []byte, file cachedFile) error {
	if !c.settled(file.stamp) {
		return nil
	}
	key, err := c.key(path)
	if err != nil {
		return err
	}
	first := file.plains[:min(len(file.plains), filePart)]
	value, err := encodeFile(file.stamp, first)
	if err != nil {
		return err
	}
	changes := []core.Change{{Key: key, Value: value}}
	n := 0
	for plains := range slices.Chunk(file.plains[len(first):], filePart) {
		n++
		changes = append(changes, core.Change{Key: partOf(key, n), Value: plains})
	}
	for n < c.parts {
		n++
		changes = append(changes, core.Change{Key: partOf(key, n)})
	}
	return c.write(changes...) // in one, or a crash would leave half of a file
}

func (c *fileCache) write(changes ...core.Change) error {
	for _, change := range changes {
		c.size += len(change.Key) + len(change.Value)
	}
	c.changes = append(c.changes, changes...)
	if len(c.changes) < cacheBatch && c.size < cacheBatchMax {
		return nil
	}
	return c.flush()
}

func (c *fileCache) flush() error {
	if len(c.changes) == 0 {
		return nil
	}
	if err := c.books.Apply(c.changes...); err != nil {
		return fmt.Errorf("write what files are: %w", err)
	}
	c.changes, c.size = c.changes[:0], 0
	return nil
}

// end drops what comes behind the last file, and writes what is not written yet.
func (c *fileCache) end() error {
	for {
		r, more, err := c.peek()
		if err != nil {
			return err
		}
		if !more {
			return c.flush()
		}
		c.skip()
		if err := c.write(core.Change{Key: r.Key}); err != nil {
			return err
		}
	}
}

func (c *fileCache) key(path []byte) ([]byte, error) {
	key, err := manifest.Key(path)
	if err != nil {
		return nil, err
	}
	return append(slices.Clip(c.prefix), key...), nil
}

func partOf(key []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(append(slices.Clip(key), 0, 0), uint32(n))
}

func encodeFile(s Stamp, plains []byte) ([]byte, error) {
	return codec.Marshal(fileRecord{
		V: codec.Version, Size: s.Size, Mtime: s.Mtime, Nsec: s.Nsec, Ctime: s.Ctime, Inode: s.Inode, Dev: s.Dev, Plains: plains,
	})
}

// decodeFile reads what encodeFile returned. Of what it cannot read nothing is known.
func decodeFile(raw []byte) (cachedFile, bool) {
	var r fileRecord
	if err := codec.Unmarshal(raw, &r, recordSizeMax); err != nil || r.V != codec.Version || len(r.Plains)%core.ScoreSize != 0 {
		return cachedFile{}, false
	}
	stamp := Stamp{Size: r.Size, Mtime: r.Mtime, Nsec: r.Nsec, Ctime: r.Ctime, Inode: r.Inode, Dev: r.Dev}
	return cachedFile{stamp: stamp, plains: r.Plains}, true
}
