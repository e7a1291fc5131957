package disk

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/grange-grid/grange/core"
)

// attach looks at the packs that are there, and makes the index agree with them. The caller has
// the turn.
//
// Packs are one log, cut into files: what the index does not know yet lies behind the
// end of the last pack that it knows, and in later packs. Should anything not fit that, then
// packs were lost, swapped or brought back, and the whole index is made again.
func (b *blobs) attach() error {
	b.found = Recovery{}
	sizes, highest, err := b.listPacks()
	if err != nil {
		return err
	}
	packs, err := b.index.packs()
	if err != nil {
		return err
	}
	last := uint32(0)
	for n := range packs {
		last = max(last, n)
	}
	fits, err := b.fits(packs, sizes, last)
	if err != nil {
		return err
	}
	if !fits {
		if err := b.index.reset(); err != nil {
			return err
		}
		clear(packs)
		last = 0
	}
	b.packs, b.current, b.highest = packs, nil, max(highest, last)
	for _, n := range sorted(sizes) {
		if n < last {
			continue
		}
		if err := b.adopt(n, sizes[n]); err != nil {
			return fmt.Errorf("%s: %w", packName(n), err)
		}
	}
	if p := b.packs[highest]; p != nil && !p.shut && !p.dark {
		b.current = p
	}
	return nil
}

func sorted(sizes map[uint32]int64) []uint32 {
	numbers := make([]uint32, 0, len(sizes))
	for n := range sizes {
		numbers = append(numbers, n)
	}
	slices.SortFunc(numbers, cmp.Compare)
	return numbers
}

func (b *blobs) listPacks() (sizes map[uint32]int64, highest uint32, err error) {
	infos, err := b.files.List(b.dir)
	if err != nil {
		return nil, 0, err
	}
	sizes = map[uint32]int64{}
	for _, info := range infos {
		if n, ok := parsePackName(info.Name()); ok && info.Mode().IsRegular() {
			sizes[n] = info.Size()
			highest = max(highest, n)
		}
	}
	return sizes, highest, nil
}

// fits tells whether the packs are those that the index knows, and mends what a crash explains.
func (b *blobs) fits(packs map[uint32]*pack, sizes map[uint32]int64, last uint32) (bool, error) {
	for n, size := range sizes {
		if n < last && packs[n] == nil {
			if size > packStart {
				return false, nil
			}
			if err := b.files.Remove(b.path(n)); err != nil { // it could not be made whole
				return false, err
			}
		}
	}
	for n, p := range packs {
		size, there := sizes[n]
		switch {
		case !there && p.live > 0 || there && size < p.end:
			return false, nil
		case !there && n != last: // rewritten, and removed just before the crash
			if err := b.index.write(func(w *indexWrite) error { return w.unsetPack(n) }, false); err != nil {
				return false, err
			}
			delete(packs, n)
		case !there:
			return false, nil
		case n == last || size > p.end:
			same, err := b.same(p)
			if !same || err != nil {
				return false, err
			}
			if n != last { // what was never acknowledged, and could not be cut off at once
				if err := b.cut(n, p.end); err != nil {
					return false, err
				}
			}
		}
	}
	return true, nil
}

// same tells whether a pack's file is the one that the index knows.
func (b *blobs) same(p *pack) (bool, error) {
	f, err := b.files.Open(b.path(p.number), os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer f.Close()
	s, err := readPackHeader(f)
	if errors.Is(err, core.ErrCorrupt) {
		return true, nil // rot: the index knows the salt
	}
	return s == p.salt, err
}

func (b *blobs) cut(number uint32, size int64) error {
	f, err := b.files.Open(b.path(number), os.O_RDWR)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// adopt reads what the index does not know of a pack, and cuts off a tail that is not whole.
func (b *blobs) adopt(number uint32, size int64) error {
	p := b.packs[number]
	if p != nil && p.end == size {
		return nil
	}
	f, err := b.files.Open(b.path(number), os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	if p == nil {
		p = &pack{number: number, end: packStart}
		p.salt, err = readPackHeader(f)
		if errors.Is(err, core.ErrCorrupt) {
			if size <= packStart { // a crash, before anything was in it
				return b.files.Remove(b.path(number))
			}
			// Left alone: without the salt nothing in it can be told from a forgery.
			b.found.Damaged++
			p.end, p.dark = size, true
			b.packs[number] = p
			return b.index.write(func(w *indexWrite) error { return w.setPack(p) }, false)
		}
		if err != nil {
			return err
		}
		b.packs[number] = p
	}
	a := &adoption{blobs: b, pack: p}
	found, err := a.run(f, size)
	if err != nil {
		return err
	}
	b.found.Indexed += a.records
	if found.garbage > 0 {
		b.found.Damaged++
	}
	end := found.end
	switch tail := size - found.end; {
	case tail > b.doubt: // more than a crash can leave
		b.found.Damaged++
		end, p.shut = size, true
	case tail > 0:
		b.found.Cut += tail
		if err := f.Truncate(end); err != nil {
			return err
		}
	}
	// A killed process leaves whole records that were never synced.
	if err := f.Sync(); err != nil {
		return err
	}
	p.end = end
	return b.index.write(func(w *indexWrite) error { return w.setPack(p) }, false)
}

// adoption indexes the records of one pack, a batch of changes at a time.
type adoption struct {
	blobs   *blobs
	pack    *pack
	write   *indexWrite
	records int64
}

// adoptMax is how many records are indexed by one change of the table.
const adoptMax = 1000

var errBatchFull = errors.New("batch is full")

func (a *adoption) run(f file, size int64) (scanned, error) {
	var sum scanned
	scan := packScan{file: f, salt: &a.pack.salt, from: a.pack.end, size: size, doubt: size - a.blobs.doubt}
	for {
		n := 0
		var part scanned
		err := a.blobs.index.write(func(w *indexWrite) (err error) {
			a.write = w
			touched := map[uint32]bool{a.pack.number: true}
			scan.visit = func(at int64, h header, head int) error {
				if n++; n > adoptMax {
					return errBatchFull
				}
				return a.apply(at, h, head, touched)
			}
			part, err = scan.run()
			if err != nil && !errors.Is(err, errBatchFull) {
				return err
			}
			a.pack.end = part.end
			for number := range touched {
				if p := a.blobs.packs[number]; p != nil {
					err = errors.Join(err, w.setPack(p))
				}
			}
			if errors.Is(err, errBatchFull) {
				return nil
			}
			return err
		}, false)
		sum.end, sum.garbage = part.end, sum.garbage+part.garbage
		if n <= adoptMax || err != nil {
			return sum, err
		}
		scan.from = part.end
	}
}

// apply makes the index know one record, as the call that appended it did or would have.
func (a *adoption) apply(at int64, h header, head int, touched map[uint32]bool) error {
	a.records++
	length := int64(head) + int64(h.Size)
	was, err := a.write.find(h.Score)
	if err != nil && !errors.Is(err, core.ErrNotExist) {
		return err
	}
	if h.Gone != nil {
		a.pack.gone += length
		if was.Pack == 0 || was.compare(*h.Gone) > 0 {
			return nil
		}
		a.forget(was, touched)
		return a.write.unset(h.Score)
	}
	if was.Pack != 0 {
		a.forget(was, touched)
		if p := a.blobs.packs[was.Pack]; p != nil {
			p.stale = true
		}
	}
	a.pack.live += length
	return a.write.set(h.Score, entry{
		place: place{Pack: a.pack.number, Offset: uint64(at)},
		head:  uint16(head), size: uint32(h.Size), note: h.Note,
	})
}

func (a *adoption) forget(was entry, touched map[uint32]bool) {
	if p := a.blobs.packs[was.Pack]; p != nil {
		p.live -= was.length()
		touched[was.Pack] = true
	}
}
