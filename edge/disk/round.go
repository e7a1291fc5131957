package disk

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/grange-grid/grange/core"
)

// round is the appending of some ops to the current pack.
type round struct {
	blobs *blobs
	pack  *pack
	out   *bufio.Writer
	start int64 // where this round began
	at    int64 // where the next record goes
	room  int64 // bytes that puts may take
	buf   []byte
	index *indexWrite
	// changed has copies of the packs whose figures change.
	changed map[uint32]*pack
}

const roundBufferSize = 64 << 10

// round appends the ops, syncs, and changes the index; either all of that, or nothing is
// left of it. What becomes of a single op is in its err.
func (b *blobs) round(ops []*op) error {
	p := b.current
	f, err := b.files.Open(b.path(p.number), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) && !b.gone() {
		p.shut = true // somebody has removed it; that must not end all puts
		if err := b.roll(); err != nil {
			return err
		}
		p = b.current
		f, err = b.files.Open(b.path(p.number), os.O_RDWR)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	r := &round{
		blobs: b, pack: p, start: p.end, at: p.end,
		out:     b.out,
		changed: map[uint32]*pack{},
	}
	r.out.Reset(io.NewOffsetWriter(f, p.end))
	defer r.out.Reset(nil)
	if r.room, err = b.room(); err != nil {
		return err
	}
	synced := true
	err = b.index.write(func(w *indexWrite) error {
		r.index = w
		for _, o := range ops {
			if err := r.do(o); err != nil {
				return err
			}
		}
		if r.at == r.start {
			return nil
		}
		if err := r.out.Flush(); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			synced = false
			return err
		}
		r.change(p.number).end = r.at
		for _, c := range r.changed {
			if err := w.setPack(c); err != nil {
				return err
			}
		}
		return nil
	}, false)
	if err == nil {
		for n, c := range r.changed {
			*b.packs[n] = *c
		}
		return nil
	}
	// After a failed sync nobody knows what is on the disk, nor would the next sync say:
	// this pack takes no more. Any other fault but a full disk is no reason for trust either.
	if e := f.Truncate(p.end); e != nil || !synced || !isFull(err) {
		p.shut = true
		_ = b.roll() // where this fails, the next round tries again
		err = errors.Join(err, e)
	}
	return fullOr(err)
}

func (b *blobs) room() (int64, error) {
	free, err := b.files.Free(b.dir)
	if err != nil {
		return 0, err
	}
	books, err := b.index.table.room()
	return min(free-blobSpare, books), err
}

// change returns a pack whose figures the round may change.
func (r *round) change(number uint32) *pack {
	if c := r.changed[number]; c != nil {
		return c
	}
	p := r.blobs.packs[number]
	if p == nil {
		return &pack{} // the index points at a pack that is not there: nothing to keep count of
	}
	c := *p
	r.changed[number] = &c
	return &c
}

// do appends what one op asks for. The error it returns ends the whole round.
func (r *round) do(o *op) error {
	o.err = nil
	if o.kind == opDelete {
		for _, s := range o.scores {
			was, err := r.index.find(s)
			switch {
			case errors.Is(err, core.ErrNotExist):
				continue
			case err != nil:
				o.err = err
				continue
			}
			if err := r.delete(s, was); err != nil {
				return err
			}
		}
		return nil
	}
	var was entry
	if o.head.Gone == nil {
		var err error
		was, err = r.index.find(o.head.Score)
		if err != nil && !errors.Is(err, core.ErrNotExist) {
			o.err = err
			return nil
		}
		if was.Pack == r.pack.number && int64(was.Offset) >= r.start {
			return nil // this very round has written it
		}
		moved := was.place != o.was
		if o.kind == opMove && moved {
			return nil // deleted or replaced since: nothing to move
		}
		if moved && was.Pack != 0 {
			o.err = errMoved
			return nil
		}
	}
	if o.bound() > r.room {
		o.err = core.ErrFull
		return nil
	}
	r.room -= o.bound()
	e, err := r.append(o.head, o.data)
	if err != nil {
		return err
	}
	if o.head.Gone != nil {
		return nil
	}
	if was.Pack != 0 {
		p := r.change(was.Pack)
		p.live -= was.length()
		p.stale = true
	}
	r.change(e.Pack).live += e.length()
	return r.index.set(o.head.Score, e)
}

func (r *round) delete(s core.Score, was entry) error {
	if _, err := r.append(header{Score: s, Gone: &was.place}, nil); err != nil {
		return err
	}
	r.change(was.Pack).live -= was.length()
	return r.index.unset(s)
}

func (r *round) append(h header, data []byte) (entry, error) {
	p := r.change(r.pack.number)
	head, err := appendHead(r.buf[:0], &p.salt, uint64(r.at), h)
	if err != nil {
		return entry{}, err
	}
	r.buf = head
	e := entry{
		place: place{Pack: p.number, Offset: uint64(r.at)},
		head:  uint16(len(head)), size: uint32(len(data)), note: h.Note,
	}
	if _, err := r.out.Write(head); err != nil {
		return entry{}, err
	}
	if _, err := r.out.Write(data); err != nil {
		return entry{}, err
	}
	r.at += e.length()
	if h.Gone != nil {
		p.gone += e.length()
	}
	return e, nil
}
