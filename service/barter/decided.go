package barter

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// writeEvery is how long a decision may wait to be written down, with others.
const writeEvery = time.Second

// take returns the next number. The caller holds Barter.deciding.
func (k *decisions) take() uint64 {
	k.next++
	return k.next - 1
}

// recordDecision numbers a decision, and returns the change that writes it down; logDecision counts it when that is made. A number
// that is lost with what it was for has been seen by nobody: who reads decisions has them written down first.
func (b *Barter) recordDecision(d *Decision) (core.Change, error) {
	b.deciding.Lock()
	d.ID = b.decided.take()
	b.deciding.Unlock()
	return d.change()
}

func (d *Decision) change() (core.Change, error) {
	return change(decisionKey(d.Grid, d.ID), decisionRecord{
		V: codec.Version, Time: d.Time, Agent: d.Agent, Ask: d.Ask,
		Grant: d.Grant, Reason: d.Reason, Counter: d.Counter, Retry: d.Retry, Policy: d.Policy, Rules: d.Rules, Facts: d.Facts,
	})
}

// logDecision has a decision written down, unless it has a number and so is: within a second as long as Run runs, else at once. That
// this fails changes nothing about the decision.
func (b *Barter) logDecision(d Decision) {
	b.deciding.Lock()
	k := &b.decided
	last, known := k.last[d.Grid]
	if known && !d.Grant && !last.Grant && d.Reason == last.Reason && d.Ask.Amount == last.Ask.Amount && d.Agent == last.Agent &&
		d.Time >= last.Time && d.Time-last.Time < sameDenial {
		b.deciding.Unlock()
		return
	}
	written := d.ID != 0
	if !written {
		d.ID = k.take()
	}
	k.last[d.Grid] = d
	k.waiting = append(k.waiting, waiting{d, written})
	later := k.wake != nil
	if later {
		select {
		case k.wake <- struct{}{}:
		default: // it is awake
		}
	}
	b.deciding.Unlock()
	if !later {
		b.writeDecisions()
	}
}

// keepDecisions writes decisions down, those of a second at once, until ctx ends; from then on each is written when it is made.
func (b *Barter) keepDecisions(ctx context.Context) {
	wake := make(chan struct{}, 1)
	b.deciding.Lock()
	b.decided.wake = wake
	b.deciding.Unlock()
	for ctx.Err() == nil {
		select {
		case <-wake:
			_ = b.c.Clock.Sleep(ctx, writeEvery) // that it is cut short ends the loop
			b.writeDecisions()
		case <-ctx.Done():
		}
	}
	b.deciding.Lock()
	b.decided.wake = nil
	b.deciding.Unlock()
	b.writeDecisions()
}

// writeDecisions writes down what waits for it.
func (b *Barter) writeDecisions() {
	b.writing.Lock()
	defer b.writing.Unlock()
	b.deciding.Lock()
	batch := b.decided.waiting
	b.decided.waiting = nil
	b.deciding.Unlock()
	if len(batch) == 0 {
		return
	}
	if err := b.writeBatch(batch); err != nil {
		b.c.Log.Warn("decisions cannot be written down", "decisions", len(batch), "err", err)
	}
}

// writeBatch writes decisions down, and strikes out the oldest of those who have most where there are too many. The caller holds b.writing.
func (b *Barter) writeBatch(batch []waiting) error {
	k := &b.decided
	counts := maps.Clone(k.counts)
	for _, d := range batch {
		counts[d.Grid]++
	}
	over := tooMany(counts, k.total+len(batch)-decisionsMax)
	var changes []core.Change
	for grid := range over {
		for c, err := range b.c.Books.Scan(join(whyPrefix, grid[:]), nil) {
			if err != nil {
				return fmt.Errorf("read decisions: %w", err)
			}
			if over[grid] == 0 {
				break
			}
			over[grid]--
			changes = append(changes, core.Change{Key: c.Key})
		}
	}
	for i := range batch {
		d := &batch[i]
		if d.written {
			continue
		}
		if over[d.Grid] > 0 {
			over[d.Grid]--
			continue
		}
		c, err := d.change()
		if err != nil {
			return err
		}
		changes = append(changes, c)
	}
	if len(changes) > 0 {
		if err := b.c.Books.Apply(changes...); err != nil {
			return err
		}
	}
	k.counts, k.total = counts, min(k.total+len(batch), decisionsMax)
	return nil
}

// tooMany takes n off the highest of counts, one at a time, and returns how many of each household that is.
func tooMany(counts map[core.DID]int, n int) map[core.DID]int {
	out := map[core.DID]int{}
	if n <= 0 {
		return out
	}
	grids := slices.SortedFunc(maps.Keys(counts), func(x, y core.DID) int { return cmp.Or(cmp.Compare(counts[y], counts[x]), x.Compare(y)) })
	for level := 1; n > 0 && level <= len(grids); level++ { // the first so many have as many as each other
		next := 0
		if level < len(grids) {
			next = counts[grids[level]]
		}
		for n > 0 && counts[grids[0]] > next {
			for i := level - 1; i >= 0 && n > 0; i-- {
				counts[grids[i]]--
				out[grids[i]]++
				n--
			}
		}
	}
	return out
}
