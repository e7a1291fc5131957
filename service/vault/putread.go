package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

// errChanged says that a file changed each time that it was read.
var errChanged = errors.New("it changed while it was read")

// event is what the reader tells the collector, in the order of the tree.
type event struct {
	kind  eventKind
	path  []byte
	entry manifest.Entry
	same  int64 // of an entry's bytes, those that were stored already
	jobs  []*job
}

type eventKind int

const (
	eventEntry  eventKind = iota // a directory, a symlink, or the end of a file
	eventChunks                  // up to groupChunks chunks of the file at hand
	eventForget                  // what was said of the file at hand does not hold
)

func (p *put) emit(e event) error { return send(p.ctx, p.events, e) }

// read walks the source and cuts its files.
func (p *put) read(src Source) error {
	var without []byte // a directory that is left out, with '/' behind it
	first := true
	for item, err := range src.Items(p.ctx) {
		if err != nil {
			return err
		}
		if isRoot := len(item.Path) == 0 && item.Entry.Kind == manifest.KindDir; first != isRoot {
			return fmt.Errorf("%.80q is the first item, or the root is not: %w", item.Path, core.ErrInvalid)
		}
		first = false
		if without != nil && bytes.HasPrefix(item.Path, without) {
			continue
		}
		if err := checkItem(item); err != nil {
			p.problem(item.Path, err)
			if item.Entry.Kind == manifest.KindDir {
				without = append(bytes.Clone(item.Path), '/')
			}
			continue
		}
		if item.Open != nil {
			err = p.readFile(item)
		} else {
			err = p.emit(event{kind: eventEntry, path: item.Path, entry: item.Entry})
		}
		if err != nil {
			return err
		}
	}
	if first && p.ctx.Err() == nil {
		return fmt.Errorf("a tree without a root: %w", core.ErrInvalid)
	}
	if p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	return p.cache.end()
}

// checkItem tells whether the manifest can hold an item. What it cannot is a
// problem of that item: the others are stored.
func checkItem(item Item) error {
	if _, err := manifest.Key(item.Path); err != nil {
		return err
	}
	if (item.Entry.Kind == manifest.KindFile) != (item.Open != nil) {
		return fmt.Errorf("a %s that can be opened, or a file that cannot: %w", item.Entry.Kind, core.ErrInvalid)
	}
	return checkEntry(item.Entry)
}

// checkEntry checks an entry whose chunks are not known yet.
func checkEntry(e manifest.Entry) error {
	e.Chunks = nil
	if e.Kind == manifest.KindFile {
		e.Size = 0
	}
	return e.Check()
}

// reading is one reading of a file.
type reading struct {
	entry   manifest.Entry // its size is what was read
	same    int64          // of that, what was stored already
	changed bool
	group   []*job
	now     cachedFile // what it turned out to be
}

// readFile reads a file until it holds still, three times at most, unless it is as it
// was when it was last read. A file that cannot be read is a problem, not an error.
func (p *put) readFile(item Item) error {
	if same, err := p.reuse(item); err != nil || same {
		return err
	}
	for try := 1; ; try++ {
		r := &reading{}
		err := p.readOnce(item, r)
		if p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		if err == nil && (!r.changed || try == readTries) {
			if r.changed {
				p.problem(item.Path, errChanged)
			} else if err := p.cache.set(item.Path, r.now); err != nil {
				return err
			}
			p.progress.file()
			return p.emit(event{kind: eventEntry, path: item.Path, entry: r.entry, same: r.same})
		}
		if fault, ok := errors.AsType[*pipeError](err); ok {
			return fault.err
		}
		if err := p.unread(r); err != nil {
			return err
		}
		if err != nil {
			p.problem(item.Path, err)
			return nil
		}
	}
}

// reuse stores a file by what it was when it was last read, if it is the same still and
// all its chunks are stored.
func (p *put) reuse(item Item) (same bool, err error) {
	cached, known, err := p.cache.find(item.Path)
	if err != nil || !known || cached.stamp != item.Stamp || !p.cache.settled(item.Stamp) {
		return false, err
	}
	r := &reading{entry: item.Entry}
	r.entry.Size, r.entry.Chunks = 0, nil
	for plain := range cached.chunks() {
		j, err := p.jobOf(plain, false)
		if err != nil {
			return false, err
		}
		if j == nil {
			return false, p.unread(r)
		}
		if err := p.addChunk(j, true, r); err != nil {
			return false, err
		}
	}
	if r.entry.Size != item.Entry.Size {
		return false, p.unread(r)
	}
	if err := p.endChunks(r); err != nil {
		return false, err
	}
	p.progress.file()
	return true, p.emit(event{kind: eventEntry, path: item.Path, entry: r.entry, same: r.same})
}

// unread takes back what was said of the file at hand.
func (p *put) unread(r *reading) error {
	p.progress.bytes(-int64(r.entry.Size))
	return p.emit(event{kind: eventForget})
}

// pipeError is a failure of the pipe itself, not of the file that is read.
type pipeError struct{ err error }

func (e *pipeError) Error() string { return e.err.Error() }

// readOnce cuts one file and emits its chunks.
func (p *put) readOnce(item Item, r *reading) error {
	f, err := item.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	r.entry, r.now.stamp = f.Entry(), f.Stamp()
	declared := r.entry.Size
	r.entry.Size, r.entry.Chunks = 0, nil
	if r.entry.Kind != manifest.KindFile {
		return fmt.Errorf("it is a %s now: %w", r.entry.Kind, core.ErrInvalid)
	}
	if err := checkEntry(r.entry); err != nil {
		return err
	}
	p.cutter.Reset(io.LimitReader(f, int64(declared)+1)) // one byte more shows that it grew
	for {
		plain, err := p.cutter.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for part := range slices.Chunk(plain, p.chunkMax) {
			if err := p.readChunk(part, r); err != nil {
				return &pipeError{err}
			}
		}
	}
	if err := p.endChunks(r); err != nil {
		return &pipeError{err}
	}
	changed, err := f.Changed()
	if err == nil && !changed && r.entry.Size > oneWrite {
		if err := p.letWrites(r.now.stamp); err != nil {
			return &pipeError{err}
		}
		changed, err = f.Changed()
	}
	r.changed = changed || r.entry.Size != declared
	return err
}

// A system notes the time of a write when that begins, so that a file read while one long write is
// under way looks as if nothing had changed. What was changed that lately is looked at once more, when
// the write will have ended and the next have begun.
const (
	oneWrite = 64 << 10 // bytes that are written as good as at once
	writeMax = time.Second
)

// letWrites waits until a file was last changed writeMax ago, if that was less.
func (p *put) letWrites(s Stamp) error {
	age := p.v.c.Clock.Now().Sub(time.Unix(0, s.Ctime))
	if s.Ctime == 0 || age < 0 || age >= writeMax {
		return nil
	}
	return p.v.c.Clock.Sleep(p.ctx, writeMax-age)
}

// readChunk sends one chunk of the file at hand on its way.
func (p *put) readChunk(plain []byte, r *reading) error {
	j, known, err := p.chunk(plain, false)
	if err != nil {
		return err
	}
	r.now.plains = append(r.now.plains, j.ref.Plain[:]...)
	return p.addChunk(j, known, r)
}

// addChunk tells the collector of the next chunk of the file at hand.
func (p *put) addChunk(j *job, known bool, r *reading) error {
	n := int64(j.ref.Size)
	r.entry.Size += uint64(n)
	if known {
		r.same += n
	}
	p.progress.bytes(n)
	if r.group = append(r.group, j); len(r.group) < groupChunks {
		return nil
	}
	return p.endChunks(r)
}

// endChunks tells the collector of the chunks that it has not heard of yet.
func (p *put) endChunks(r *reading) error {
	if len(r.group) == 0 {
		return nil
	}
	group := r.group
	r.group = nil
	return p.emit(event{kind: eventChunks, jobs: group})
}
