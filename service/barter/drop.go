package barter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/grange-grid/grange/core"
)

// dropBatch is how many blobs are looked at, and deleted, in one go.
const dropBatch = 4096

// pin keeps a blob that is about to be put from being dropped, until unpin. It
// returns false if the blob is just being dropped.
func (b *Barter) pin(blob core.Score) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.dropping[blob]; ok {
		return false
	}
	b.inHand[blob]++
	return true
}

// unpin undoes pin. orphan says that no record was made.
func (b *Barter) unpin(blob core.Score, orphan bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.letGo(blob)
	if orphan {
		b.orphans[blob] = struct{}{}
	}
}

// drop deletes those orphans that nobody needs. One that is in hand again stays an
// orphan until it is not. What could not be done is tried again the next time.
func (b *Barter) drop(ctx context.Context) error {
	for {
		blobs := b.claim()
		if len(blobs) == 0 {
			return nil
		}
		err := b.dropClaimed(ctx, blobs)
		b.disclaim(blobs, err != nil)
		if err != nil {
			return err
		}
	}
}

// claim takes orphans that nobody has in hand, and lets nobody take them in hand
// until disclaim.
func (b *Barter) claim() []core.Score {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []core.Score
	for blob := range b.orphans {
		if len(out) == dropBatch {
			break
		}
		if b.inHand[blob] > 0 {
			continue
		}
		if _, taken := b.dropping[blob]; taken {
			continue
		}
		out = append(out, blob)
		delete(b.orphans, blob)
		b.dropping[blob] = struct{}{}
	}
	return out
}

func (b *Barter) disclaim(blobs []core.Score, orphans bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, blob := range blobs {
		delete(b.dropping, blob)
		if orphans {
			b.orphans[blob] = struct{}{}
		}
	}
}

func (b *Barter) dropClaimed(ctx context.Context, blobs []core.Score) error {
	var needless []core.Score
	for _, blob := range blobs {
		needed, err := b.recorded(blob)
		if err == nil && !needed {
			needed, err = b.c.Needed(blob)
		}
		if err != nil {
			return fmt.Errorf("who needs blob %s: %w", blob.Short(), err)
		}
		if !needed {
			needless = append(needless, blob)
		}
	}
	if len(needless) == 0 {
		return nil
	}
	if err := b.c.Blobs.Delete(ctx, needless...); err != nil {
		return fmt.Errorf("drop %d blobs that nobody needs: %w", len(needless), err)
	}
	return nil
}

// recorded tells whether a household has a blob as a piece under a lease, or as a lease.
func (b *Barter) recorded(blob core.Score) (bool, error) {
	b.mu.Lock()
	owners := slices.Collect(maps.Keys(b.accounts))
	b.mu.Unlock()
	for _, owner := range owners {
		for _, key := range [][]byte{heldKey(owner, blob), leaseKey(owner, blob)} {
			if ok, err := b.has(key); ok || err != nil {
				return ok, err
			}
		}
	}
	return false, nil
}

// has tells whether there is a record.
func (b *Barter) has(key []byte) (bool, error) {
	_, err := b.c.Books.Get(key)
	if errors.Is(err, core.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read record %q: %w", key, err)
	}
	return true, nil
}

// NeedsBlob tells whether barter needs a blob, so that another service must not delete it.
func (b *Barter) NeedsBlob(blob core.Score) (bool, error) {
	b.mu.Lock()
	inHand := b.inHand[blob] > 0
	b.mu.Unlock()
	if inHand {
		return true, nil
	}
	return b.recorded(blob)
}
