package table

import (
	"context"
	"time"

	"github.com/grange-grid/grange/core"
)

// sealEvery is how long what has landed waits for more, before a checkpoint is made of it.
const sealEvery = time.Second

// Landed notes that operations of an author have come: they are taken within a second.
func (t *Tables) Landed(id, author core.DID) {
	r, err := t.replica(id)
	if err != nil {
		return
	}
	r.landed(author)
	t.wakeUp()
}

// Forked notes that an author is proven to have forked.
func (t *Tables) Forked(id core.DID) {
	if _, err := t.replica(id); err == nil {
		t.wakeUp()
	}
}

func (t *Tables) wakeUp() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// Settle takes all that has come of a table. Errors: core.ErrNotExist.
func (t *Tables) Settle(ctx context.Context, id core.DID) error {
	r, err := t.replica(id)
	if err != nil {
		return err
	}
	return r.settle(ctx)
}

// Run takes what comes, until ctx ends.
func (t *Tables) Run(ctx context.Context) error {
	t.wakeUp() // for what came before
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		}
		for _, r := range t.replicas() {
			if err := r.settle(ctx); err != nil && ctx.Err() == nil {
				t.c.Log.Warn("a table stands still", "table", r.id, "error", err)
			}
		}
		if t.c.Clock.Sleep(ctx, sealEvery) != nil {
			return nil
		}
	}
}

func (t *Tables) replicas() []*replica {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*replica, 0, len(t.all))
	for _, r := range t.all {
		out = append(out, r)
	}
	return out
}

// Witness exchanges attestations with a machine that has the table; the owner's machines, whichever of the two are, sign their newest checkpoint first.
func (t *Tables) Witness(ctx context.Context, id, with core.DID) error {
	r, err := t.replica(id)
	if err != nil {
		return err
	}
	if r.current() == nil {
		return nil
	}
	in := attestRequest{Table: id}
	if in.testimony, err = r.testimony(); err != nil {
		return err
	}
	var out testimony
	if err := t.c.Wire.CallLimit(ctx, with, "POST", "/table/attest", in, &out, attestLimit); err != nil {
		return err
	}
	return r.hear(out)
}
