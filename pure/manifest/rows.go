package manifest

import (
	"bytes"
	"fmt"
	"iter"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/page"
)

// Row is a record of a tree that was checked, by itself and with those before it.
type Row struct {
	// Path is relative, its components joined by '/'; the root's is empty.
	Path []byte
	// Part is 0 for the entry itself, else the number of the record that follows it.
	Part uint32
	// Entry is the path's, also where Part is not 0.
	Entry Entry
	// Chunks are those of this record, in order; Entry.Chunks are part 0's.
	Chunks []Ref
	// Offset is where the first of Chunks begins in the file, in bytes.
	Offset uint64
}

// Rows reads the records of a tree as page.Walk yields them, and checks what no record
// shows alone: that each entry stands in a directory that came before it, that a
// file's records follow it without a gap, and that its size is the sum of its
// chunks' (said after the last of them: who stops inside a file does not know).
// A walk may begin at the root or at any other entry, which then is taken to stand
// in directories that were not walked.
// The first error ends it: core.ErrInvalid, core.ErrTooLarge, and those of records.
func Rows(records iter.Seq2[page.Record, error]) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		var c rows
		for r, err := range records {
			if err != nil {
				yield(Row{}, err)
				return
			}
			row, err := c.next(r)
			if err != nil {
				yield(Row{}, fmt.Errorf("record %.80q: %w", r.Key, err))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := c.whole(); err != nil {
			yield(Row{}, fmt.Errorf("record %.80q: %w", c.key, err))
		}
	}
}

// rows is what the next record is checked against.
type rows struct {
	begun bool
	key   []byte // key of the entry before
	dir   []byte // key of the directory that the entry before is, or stands in; of the first one, unseen
	row   Row    // the record before
	sum   uint64 // of the file's chunks so far
}

func (c *rows) next(r page.Record) (Row, error) {
	path, part, err := Path(r.Key)
	if err != nil {
		return Row{}, err
	}
	if part == 0 {
		err = c.entry(r, path)
	} else {
		err = c.more(r.Value, path, part)
	}
	if err != nil {
		return Row{}, err
	}
	return c.row, nil
}

func (c *rows) entry(r page.Record, path []byte) error {
	if err := c.whole(); err != nil {
		return err
	}
	e, err := DecodeEntry(r.Value)
	if err != nil {
		return err
	}
	if c.begun && bytes.Compare(r.Key, c.key) <= 0 {
		return invalid("entry", "it does not come after the one before")
	}
	key := bytes.Clone(r.Key)
	if err := c.place(key, e.Kind); err != nil {
		return err
	}
	c.key = key
	c.row = Row{Path: path, Entry: e, Chunks: e.Chunks}
	c.sum, err = sumOf(e.Chunks)
	return err
}

// place checks that an entry's directory is there. Keys are in such an order that
// all that is in a directory comes straight after it: so it is the one last seen, or above it.
func (c *rows) place(key []byte, kind Kind) error {
	if len(key) == 0 && kind != KindDir {
		return invalid("entry", "the root is a %s", kind)
	}
	if c.begun && !inside(c.dir, parent(key)) {
		return invalid("entry", "its directory is not there, or is none")
	}
	c.begun, c.dir = true, parent(key)
	if kind == KindDir {
		c.dir = key
	}
	return nil
}

// inside tells whether the entry with that key is dir or stands somewhere below it.
func inside(key, dir []byte) bool {
	return len(dir) == 0 || (bytes.HasPrefix(key, dir) && (len(key) == len(dir) || key[len(dir)] == 0))
}

func (c *rows) more(value, path []byte, part uint32) error {
	m, err := DecodeMore(value)
	if err != nil {
		return err
	}
	before := c.row
	switch {
	case !c.begun || !bytes.Equal(path, before.Path) || part != before.Part+1:
		return invalid("chunks", "part %d does not follow what it should", part)
	case len(before.Chunks) < ChunksPerRecord:
		return invalid("chunks", "part %d has %d of them, and another follows", before.Part, len(before.Chunks))
	}
	sum, err := sumOf(m.Chunks)
	if err != nil {
		return err
	}
	if sum > before.Entry.Size-c.sum {
		return invalid("chunks", "more bytes than the file's %d", before.Entry.Size)
	}
	c.row = Row{Path: path, Part: part, Entry: before.Entry, Chunks: m.Chunks, Offset: c.sum}
	c.sum += sum
	return nil
}

// whole tells whether the file that was read last is complete.
func (c *rows) whole() error {
	if c.begun && c.row.Entry.Kind == KindFile && c.sum != c.row.Entry.Size {
		return fmt.Errorf("chunks: %w: %d bytes of a file of %d", core.ErrInvalid, c.sum, c.row.Entry.Size)
	}
	return nil
}
