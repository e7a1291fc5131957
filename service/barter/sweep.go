package barter

import (
	"context"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
)

// Sweep drops what came before the last stop and was never leased. It runs once,
// before anything is served. Where the books are new it first makes them again from the leases
// among the blobs; if one of these cannot be read, nothing is dropped, because nobody knows what it promised.
// While the disk with the pieces is away it does nothing.
func (b *Barter) Sweep(ctx context.Context) error {
	err := b.sweep(ctx)
	if errors.Is(err, core.ErrAway) {
		b.c.Log.Warn("nothing is swept: the disk is away")
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

func (b *Barter) sweep(ctx context.Context) error {
	whole, err := b.read(wholeKey, &wholeRecord{})
	if err != nil {
		return err
	}
	if !whole {
		unread, err := b.readopt(ctx)
		if err != nil {
			return err
		}
		if unread > 0 {
			b.c.Log.Error("the books are new, and leases cannot be read: nothing is dropped", "leases", unread)
			return nil
		}
		c, err := change(wholeKey, wholeRecord{V: codec.Version})
		if err != nil {
			return err
		}
		if err := b.c.Books.Apply(c); err != nil {
			return err
		}
	}
	for info, err := range b.c.Blobs.All(ctx) {
		if err != nil {
			return err
		}
		about, ok := parseNote(info.Note)
		if !ok {
			continue
		}
		key := heldKey(about.Owner, info.Score)
		if about.Kind == noteLease {
			key = leaseKey(about.Owner, info.Score)
		}
		known, err := b.has(key)
		if err != nil {
			return err
		}
		if known || !b.orphan(info.Score) {
			continue
		}
		if err := b.drop(ctx); err != nil {
			return err
		}
	}
	return b.drop(ctx)
}

// orphan notes that a blob may be needless; true if there are enough of these for a drop.
func (b *Barter) orphan(blob core.Score) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.orphans[blob] = struct{}{}
	return len(b.orphans) >= dropBatch
}

// parseNote reads what a blob says of itself; false if it is not barter's.
func parseNote(raw []byte) (note, bool) {
	var n note
	err := codec.Unmarshal(raw, &n, core.NoteSizeMax)
	return n, err == nil && (n.Kind == notePiece || n.Kind == noteLease)
}

// readopt enters the leases among the blobs into the books. It returns how many
// could not be read.
func (b *Barter) readopt(ctx context.Context) (unread int, err error) {
	for info, err := range b.c.Blobs.All(ctx) {
		if err != nil {
			return unread, err
		}
		about, ok := parseNote(info.Note)
		if !ok || about.Kind != noteLease {
			continue
		}
		known, err := b.has(leaseKey(about.Owner, info.Score))
		if err != nil {
			return unread, err
		}
		if known {
			continue
		}
		raw, err := b.c.Blobs.Get(ctx, info.Score, nil)
		if err != nil && !errors.Is(err, core.ErrCorrupt) {
			return unread, err
		}
		var lease pact.Lease
		if err == nil {
			lease, err = b.openOwn(raw, about.Owner)
		}
		if err != nil {
			b.c.Log.Error("a lease cannot be read", "lease", info.Score.Short(), "owner", about.Owner.Short(), "err", err)
			unread++
			continue
		}
		if err := b.adopt(ctx, lease, raw); err != nil {
			return unread, err
		}
	}
	return unread, nil
}

// openOwn opens a lease that this machine gave to owner.
func (b *Barter) openOwn(raw []byte, owner core.DID) (pact.Lease, error) {
	var s identity.Signed
	if err := codec.Unmarshal(raw, &s, leaseLimit); err != nil {
		return pact.Lease{}, err
	}
	lease, err := pact.OpenLease(s)
	if err != nil {
		return lease, err
	}
	if lease.Holder != b.c.Key.DID() || lease.Owner != owner {
		return lease, fmt.Errorf("a lease of other parties: %w", core.ErrInvalid)
	}
	return lease, nil
}

// adopt enters a lease into the books, with those of its pieces that are here.
func (b *Barter) adopt(ctx context.Context, lease pact.Lease, raw []byte) error {
	b.mu.Lock()
	a := b.account(lease.Owner)
	b.mu.Unlock()
	a.commit.Lock()
	defer a.commit.Unlock()
	l := &leasing{owner: lease.Owner, from: lease.From, until: lease.Until, added: usedRecord{Leases: int64(len(raw))}}
	for _, piece := range lease.Pieces {
		if err := b.cover(ctx, l, core.Piece{Score: piece}, true); err != nil {
			return err
		}
	}
	b.mu.Lock()
	used := a.used.plus(l.added)
	b.mu.Unlock()
	changes, _, err := b.leaseChanges(l, a, raw, used)
	if err != nil {
		return err
	}
	return b.applyLease(a, l, used, changes)
}
