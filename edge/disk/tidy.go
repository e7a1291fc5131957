package disk

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/grange-grid/grange/core"
)

const (
	// tidyBytes and deleteTidyBytes are how much one Tidy, and one Delete, reads to rewrite packs.
	tidyBytes       = 64 << 20
	deleteTidyBytes = 8 << 20
	// recordCost is what looking at one record counts as, beside its bytes.
	recordCost = 4 << 10
	// movesMax is how many bytes of records are moved under one sync.
	movesMax = 4 << 20
)

// cursor is how far the rewriting of a pack has come. It is not stored: after a
// restart the pack is looked through again, and what was moved is dead there.
type cursor struct {
	number uint32 // 0: none
	at     int64
}

// tidy rewrites packs until it has read about budget bytes; more says that there is more to
// do. Another tidy that is under way does the work for both.
func (b *blobs) tidy(ctx context.Context, budget int64) (more bool, err error) {
	select {
	case b.tidying <- struct{}{}:
		defer func() { <-b.tidying }()
	default:
		return true, nil
	}
	for budget > 0 {
		if err := ctx.Err(); err != nil {
			return true, err
		}
		p, err := b.pick(ctx)
		if err != nil || p == nil {
			return false, b.blame(err)
		}
		used, err := b.rewrite(ctx, p, budget)
		if err != nil {
			b.cursor = cursor{}
			return true, b.blame(err)
		}
		budget -= used
	}
	return true, nil
}

// inTurn calls f when it is this call's turn to change packs.
func (b *blobs) inTurn(ctx context.Context, f func() error) error {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
		return f()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pick returns a copy of the pack to rewrite: the one that was begun, else the oldest that is less
// than half live. It is marked stale before anything is moved out of it.
func (b *blobs) pick(ctx context.Context) (picked *pack, err error) {
	err = b.inTurn(ctx, func() error {
		if b.attached.Load() == nil {
			return core.ErrAway
		}
		if c := b.current; c != nil && halfDead(c) && c.dead() >= b.sizeMax/4 {
			if err := b.roll(); err != nil {
				return err
			}
		}
		p := b.packs[b.cursor.number]
		if p == nil || p.stuck {
			b.cursor = cursor{}
			p = nil
			for n, c := range b.packs {
				// The last pack stays, so that no number is used twice.
				if n != b.highest && c != b.current && !c.stuck && !c.dark && halfDead(c) && (p == nil || n < p.number) {
					p = c
				}
			}
		}
		if p == nil {
			return nil
		}
		c := *p
		picked = &c
		if b.cursor.number == p.number {
			return nil
		}
		b.cursor = cursor{number: p.number, at: packStart}
		p.stale = true
		return b.index.write(func(w *indexWrite) error { return w.setPack(p) }, false)
	})
	return picked, err
}

func halfDead(p *pack) bool { return p.dead() > (p.end-packStart)/2 }

// errPause ends a scan where a part of the work is done.
var errPause = errors.New("pause")

// rewrite moves live records out of p, from the cursor on, and removes it when none are left. It
// returns how much it has read.
func (b *blobs) rewrite(ctx context.Context, p *pack, budget int64) (used int64, err error) {
	f, err := b.files.Open(b.path(p.number), os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var moves []*op
	var size int64
	next := b.cursor.at
	scan := packScan{file: f, salt: &p.salt, from: b.cursor.at, size: p.end, doubt: p.end}
	scan.visit = func(at int64, h header, head int) error {
		if used >= budget || size >= movesMax || len(moves) >= batchOpsMax {
			return errPause
		}
		used += recordCost
		next = at + int64(head) + int64(h.Size)
		o, err := b.move(f, p.number, at, h, head)
		if o != nil {
			moves = append(moves, o)
			size += o.bound()
			used += o.bound()
		}
		return err
	}
	_, err = scan.run()
	paused := errors.Is(err, errPause)
	if err != nil && !paused {
		return used, err
	}
	if err := b.submit(ctx, moves...); err != nil {
		return used, err
	}
	if paused {
		b.cursor.at = next
		return used, nil
	}
	b.cursor = cursor{}
	return used + recordCost, b.inTurn(ctx, func() error { return b.drop(p.number) })
}

// move returns the op that appends a record again, or nil if it is not needed any more.
func (b *blobs) move(f file, number uint32, at int64, h header, head int) (*op, error) {
	here := place{Pack: number, Offset: uint64(at)}
	if h.Gone != nil {
		if !b.needed(*h.Gone, number) {
			return nil, nil
		}
		return &op{kind: opMove, head: h, was: here}, nil
	}
	e, err := b.index.find(h.Score)
	if errors.Is(err, core.ErrNotExist) || err == nil && e.place != here {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	// What has rotted moves as it is: that it is rotten is for Get to say.
	data := make([]byte, h.Size)
	if err := readPatchy(f, data, at+int64(head)); err != nil {
		return nil, err
	}
	return &op{kind: opMove, head: h, data: data, was: here}, nil
}

// needed tells whether a deletion still hides a record, in any pack but the one that is to go.
func (b *blobs) needed(gone place, number uint32) bool {
	b.turn <- struct{}{}
	defer func() { <-b.turn }()
	for n, p := range b.packs {
		if n != number && (n == gone.Pack || n < gone.Pack && p.stale) {
			return true
		}
	}
	return false
}

// drop removes a pack that nothing points at any more. The caller has the turn.
func (b *blobs) drop(number uint32) error {
	p := b.packs[number]
	if p == nil {
		return nil
	}
	if p.live != 0 {
		p.stuck = true // the index points at records that the scan did not meet
		return fmt.Errorf("%s: %w: %d bytes in it cannot be found", packName(number), core.ErrCorrupt, p.live)
	}
	// The index must know where everything went before the file goes.
	if err := b.index.table.sync(); err != nil {
		return err
	}
	if err := b.files.Remove(b.path(number)); err != nil {
		p.stuck = true
		return err
	}
	delete(b.packs, number)
	if err := b.files.SyncDir(b.dir); err != nil {
		return err
	}
	return b.index.write(func(w *indexWrite) error { return w.unsetPack(number) }, false)
}
