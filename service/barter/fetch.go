package barter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
)

// A machine that did not answer is not tried again for downFirst, then twice as
// long each time, up to downMax; any word from it ends that.
const (
	downFirst = 5 * time.Second
	downMax   = 2 * time.Minute
)

type backoff struct {
	until time.Time
	wait  time.Duration
	err   error
}

// isDown tells why a machine is not worth trying just now, or nil.
func (b *Barter) isDown(agent core.DID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d, ok := b.down[agent]; ok && b.c.Clock.Now().Before(d.until) {
		return d.err
	}
	return nil
}

// heard notes how a call to a machine went. Where our own context ended the call, that says nothing.
func (b *Barter) heard(agent core.DID, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !errors.Is(err, core.ErrUnreachable) {
		delete(b.down, agent)
		return
	}
	d := b.down[agent]
	d.wait = min(max(2*d.wait, downFirst), downMax)
	d.until, d.err = b.c.Clock.Now().Add(d.wait), err
	b.down[agent] = d
}

// Saw says that a machine has shown itself, so that it is tried at once.
func (b *Barter) Saw(agent core.DID) { b.heard(agent, nil) }

// reach makes sure that a machine answers, by the smallest call there is.
func (b *Barter) reach(ctx context.Context, agent core.DID) error {
	err := b.c.Wire.Call(ctx, agent, "POST", "/prove", proveRequest{Challenges: []challenge{}}, &proveAnswer{})
	b.heard(agent, err)
	return err
}

// Fetch returns a piece of ours, verified, from this machine or any other holder of it; buf is where
// it goes if it is large enough. Errors: ErrNotExist if nobody is known to hold it,
// ErrUnreachable if none of those can be reached, ErrCorrupt if what came is not
// the piece. Now says to try also machines that failed to answer a moment ago, and to wait
// for those that are busy.
func (b *Barter) Fetch(ctx context.Context, p core.Piece, buf []byte, now bool) ([]byte, error) {
	data, err := b.fetchHere(ctx, p, buf)
	if err == nil {
		return data, nil
	}
	var failures []error
	if !errors.Is(err, core.ErrNotExist) {
		b.c.Log.Warn("a piece of our own cannot be read", "err", err)
		failures = append(failures, err)
	}
	held, err := b.Held(p.Score)
	if err != nil {
		return nil, err
	}
	held = slices.DeleteFunc(held, func(h core.Holding) bool { return h.Agent == b.c.Key.DID() })
	if len(held)+len(failures) == 0 {
		return nil, fmt.Errorf("piece %s: no holder known: %w", p.Score.Short(), core.ErrNotExist)
	}
	var down []core.Holding
	for _, h := range held {
		if err := b.isDown(h.Agent); err != nil {
			down = append(down, h)
			if !now {
				failures = append(failures, err)
			}
		}
	}
	held = slices.DeleteFunc(held, func(h core.Holding) bool { return slices.Contains(down, h) })
	patience := time.Duration(0)
	if now {
		held, patience = append(held, down...), busyPatience
	}
	for _, h := range held {
		var data []byte
		err := b.patient(ctx, patience, func() (err error) {
			data, err = b.fetchFrom(ctx, h, p, buf)
			return err
		})
		if err == nil {
			return data, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		failures = append(failures, fmt.Errorf("from %s: %w", b.nameOf(h.Grid), err))
	}
	return nil, fmt.Errorf("piece %s: %w", p.Score.Short(), errors.Join(failures...))
}

func (b *Barter) fetchFrom(ctx context.Context, h core.Holding, p core.Piece, buf []byte) ([]byte, error) {
	data, err := b.c.Wire.Fetch(ctx, h.Agent, "/pieces/"+p.Score.String(), buf, p.Size)
	b.heard(h.Agent, err)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != p.Size || core.ScoreOf(data) != p.Score {
		return nil, fmt.Errorf("%d bytes came that are not the piece: %w", len(data), core.ErrCorrupt)
	}
	return data, nil
}

// nameOf returns what a person calls a household.
func (b *Barter) nameOf(grid core.DID) string {
	if p, ok := b.c.Partners.Of(grid); ok {
		return p.Name
	}
	if p, ok := b.c.Partners.Guest(grid); ok {
		return p.Name
	}
	return grid.String()
}
