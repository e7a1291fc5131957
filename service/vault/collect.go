package vault

import (
	"context"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/manifest"
)

const (
	daySeconds = 24 * 60 * 60
	// orphanAfter is how many seconds a segment that a broken put has left is kept for the next
	// one to find.
	orphanAfter = 14 * daySeconds
	// forgetAfter is how many seconds the records of what was given up are kept, so that it can be
	// brought back for as long as any holder has it: 60 days after an alarm, in which it runs.
	forgetAfter = 90 * daySeconds
	// collectBatch is how many segments are given up, or taken back, in one go: 5,120 pieces.
	collectBatch = 256
	// sweepBatch is how many are compared at once with what is live.
	sweepBatch = 4096
)

// Collected is the outcome of a collection, in segments.
type Collected struct {
	// Live are used by some version. Released were given up now, with pieces of Bytes bytes; Waiting are
	// left for a put that was broken off; Revived were taken back, because something uses
	// them again; Forgotten have no record any more.
	Live, Released, Waiting, Revived, Forgotten int
	Bytes                                       int64
}

// Collect gives up the pieces of segments that no version uses, whoever made it, and takes back what was
// given up and is used again. It gives up only what this machine has placed, or has taken over from a
// machine that was removed, and nothing while it cannot be sure what any version consists of, or while no
// partner knows what was removed. It may be broken off anywhere, and goes on the next time.
func (v *Vault) Collect(ctx context.Context) (*Collected, error) {
	for _, lock := range []chan struct{}{v.writing, v.collecting} {
		unlock, err := take(ctx, lock)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
	m, err := v.mark(ctx)
	if err != nil {
		return nil, fmt.Errorf("nothing is given up: %w", err)
	}
	c := &collecting{v: v, marks: m, gone: segmentSet{}, out: Collected{Live: len(m.live)}}
	if c.carried, err = v.carriedLately(); err != nil {
		return nil, err
	}
	if err := c.sort(); err != nil {
		return nil, err
	}
	if err := c.revive(ctx); err != nil {
		return nil, err
	}
	if c.release, err = c.unfinished(); err != nil {
		return nil, err
	}
	if len(c.release) > 0 {
		if err := v.publish(ctx); err != nil {
			return nil, fmt.Errorf("nothing is given up: %w", err)
		}
	}
	for batch := range slices.Chunk(c.release, sweepBatch) {
		if err := c.giveUp(ctx, batch); err != nil {
			return &c.out, err
		}
	}
	if err := c.abandoned(ctx); err != nil {
		return &c.out, err
	}
	return &c.out, c.forgetStale()
}

// collecting is one collection under way.
type collecting struct {
	v *Vault
	*marks
	back      [][]byte   // segments that are used again
	found     [][]byte   // of which nobody knows who placed them, and only we can have
	release   [][]byte   // ours that are not used any more, also such as were given up before
	strangers [][]byte   // other machines' that nothing is known to use
	forget    [][]byte   // that were given up long ago
	gone      segmentSet // that are given up
	carried   segmentSet // of which a person carries pieces
	out       Collected
}

// sort tells what becomes of each segment.
func (c *collecting) sort() error {
	now, alone := c.v.c.Clock.Now().Unix(), c.v.c.Household.Alone()
	for id := range c.known {
		since, gone, err := c.v.timeOfKey(goneKey(id[:]))
		if err != nil {
			return err
		}
		if gone {
			c.gone[id] = struct{}{}
		}
		used, ours, err := c.v.timeOfKey(mineKey(id[:]))
		if err != nil {
			return err
		}
		_, live := c.live[id]
		_, dead := c.dead[id]
		switch {
		case live && gone:
			c.back = append(c.back, id[:])
		case live:
		case gone && !dead && now-since > forgetAfter:
			c.forget = append(c.forget, id[:])
			if ours {
				c.release = append(c.release, id[:])
			}
		case !ours && alone:
			c.found = append(c.found, id[:])
			c.out.Waiting++
		case !ours && !gone:
			c.strangers = append(c.strangers, id[:])
		case !ours:
		case !dead && now-used <= orphanAfter, !dead && c.carried.has(id[:]):
			c.out.Waiting++
		default: // also what was given up, because that may have been cut short
			c.release = append(c.release, id[:])
		}
	}
	return nil
}

// unfinished returns those segments that are to be given up of which anything is held still, or that
// are not written down as given up.
func (c *collecting) unfinished() ([][]byte, error) {
	var out [][]byte
	for _, id := range c.release {
		more := !c.gone.has(id)
		if !more {
			segments, err := c.records([][]byte{id})
			if err != nil {
				return nil, err
			}
			for _, s := range segments {
				held, err := c.held(s, nil)
				if err != nil {
					return nil, err
				}
				more = more || len(held) > 0
			}
		}
		if more {
			out = append(out, id)
		}
	}
	return out, nil
}

// giveUp gives up a few segments. First it is written down that they are given up, so that no put builds on them.
func (c *collecting) giveUp(ctx context.Context, ids [][]byte) error {
	fresh := slices.DeleteFunc(slices.Clone(ids), c.gone.has) // the others' time stands
	if err := c.v.note(fresh, goneKey); err != nil {
		return err
	}
	for _, id := range fresh {
		c.gone.add(id)
	}
	if err := c.v.dropChunks(ctx, c.gone); err != nil {
		return err
	}
	segments, err := c.records(ids)
	if err != nil {
		return err
	}
	c.out.Released += len(ids)
	return c.free(ctx, segments)
}

// dropChunks takes out of the dedup index what lies in segments that are given up.
func (v *Vault) dropChunks(ctx context.Context, gone segmentSet) error {
	var changes []core.Change
	for c, err := range v.c.Books.Scan(chunkPrefix, nil) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("read the index of chunks: %w", err)
		}
		if ref, err := manifest.ParseRef(c.Value); err == nil && !gone.has(ref.Segment) {
			continue
		}
		if changes = append(changes, core.Change{Key: c.Key}); len(changes) < takeBatch {
			continue
		}
		if err := v.c.Books.Apply(changes...); err != nil {
			return fmt.Errorf("drop chunks that are given up: %w", err)
		}
		changes = changes[:0]
	}
	if len(changes) == 0 {
		return nil
	}
	if err := v.c.Books.Apply(changes...); err != nil {
		return fmt.Errorf("drop chunks that are given up: %w", err)
	}
	return nil
}

// revive takes back what is used again. What cannot be had now is tried again the next time.
func (c *collecting) revive(ctx context.Context) error {
	for batch := range slices.Chunk(c.back, collectBatch) {
		back, err := c.v.reviveBatch(ctx, batch)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			c.v.c.Log.Warn("what is used again cannot all be taken back", "err", err)
		}
		if err := c.v.erase(back, goneKey); err != nil {
			return err
		}
		c.out.Revived += len(back)
	}
	return nil
}

// forgetStale forgets what was given up, or removed, long ago.
func (c *collecting) forgetStale() error {
	// As after a recovery: what a lost machine's broken put has left.
	if err := c.v.note(c.found, mineKey); err != nil {
		return err
	}
	if err := c.v.note(c.strangers, goneKey); err != nil {
		return err
	}
	recordKey := func(id []byte) []byte { return stateKey(manifest.SegmentKey(id)) }
	if err := c.v.erase(c.forget, recordKey, mineKey, goneKey); err != nil {
		return err
	}
	c.out.Forgotten = len(c.forget)
	return c.v.erase(c.stale, stateKey, usesKey)
}

// note writes the time down under a key of each of ids, some at a time.
func (v *Vault) note(ids [][]byte, key func(id []byte) []byte) error {
	for batch := range slices.Chunk(ids, sweepBatch) {
		changes := make([]core.Change, len(batch))
		for i, id := range batch {
			var err error
			if changes[i], err = v.nowAt(key(id)); err != nil {
				return err
			}
		}
		if err := v.c.Books.Apply(changes...); err != nil {
			return fmt.Errorf("note what is given up: %w", err)
		}
	}
	return nil
}

// erase deletes all records of each of ids, some at a time.
func (v *Vault) erase(ids [][]byte, keys ...func(id []byte) []byte) error {
	for batch := range slices.Chunk(ids, sweepBatch) {
		var changes []core.Change
		for _, id := range batch {
			for _, key := range keys {
				changes = append(changes, core.Change{Key: key(id)})
			}
		}
		if err := v.c.Books.Apply(changes...); err != nil {
			return fmt.Errorf("forget what is given up: %w", err)
		}
	}
	return nil
}
