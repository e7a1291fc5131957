package barter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
)

const (
	tickMinutes = 10 // between looks at grants and leases that have ended
	renewTicks  = 72 // ticks between looks at our leases, 12 hours
	retryTicks  = 6  // the same after some could not be renewed
	// A lease is renewed when less than 2/3 of its length is left: 120 of 180 days.
	renewShare = 3
	renewParts = 2
)

// tidy ends what has ended.
func (b *Barter) tidy(ctx context.Context) error {
	b.mu.Lock()
	b.endIdle(b.c.Clock.Now())
	b.mu.Unlock()
	return errors.Join(b.expire(ctx), b.expireEnded(ctx), b.reclaim(ctx), b.forgetEnded(), b.forgetTaken(), b.forgetReleased(), b.GiveUpRemoved(ctx), b.drop(ctx))
}

// renewDue asks every holder for a new lease over those of our pieces whose lease
// has run for a third of its length. One holder's failure does not keep it from the others.
func (b *Barter) renewDue(ctx context.Context) error {
	now := b.c.Clock.Now().Unix()
	due := map[core.DID][]held{} // by machine
	var cut []core.Holding
	partners := b.agents()
	for c, err := range b.c.Books.Scan(placedPrefix, nil) {
		if err != nil {
			return fmt.Errorf("read where our pieces lie: %w", err)
		}
		h, r, err := parsePlaced(c)
		if err != nil {
			return err
		}
		p, ok := partners[h.Agent]
		if !ok || r.Released != 0 {
			continue
		}
		until := now + p.leaseSeconds()*renewParts/renewShare
		if p.Ends != 0 {
			until = min(until, p.Ends)
			if h.Until > p.Ends {
				cut = append(cut, h)
			}
		}
		if h.Until < until {
			due[h.Agent] = append(due[h.Agent], held{h, r.Size})
		}
	}
	if err := b.cutShort(cut, func(agent core.DID) int64 { return partners[agent].Ends }); err != nil {
		return err
	}
	var failures []error
	for agent, hs := range due {
		// A holder that does not renew all of it keeps to the latest dates.
		slices.SortStableFunc(hs, func(x, y held) int { return cmp.Compare(y.Until, x.Until) })
		pieces := make([]core.Piece, len(hs))
		for i, h := range hs {
			pieces[i] = core.Piece{Score: h.Score, Size: h.size}
		}
		_, err := b.renewAt(ctx, partners[agent], agent, pieces, false)
		if _, denied := errors.AsType[*core.Denial](err); denied { // to ask again soon changes nothing
			b.c.Log.Warn("a holder does not renew all that it has of ours", "holder", partners[agent].Name, "err", err)
		} else if err != nil {
			failures = append(failures, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return errors.Join(failures...)
}

// renewAt renews the leases over pieces at one machine, the first of them first where it does not want to renew all: then the
// error is its denial. A piece that it says it has not counts as one failed proof. back is takeLease's. It returns which pieces it has not.
func (b *Barter) renewAt(ctx context.Context, p Partner, agent core.DID, pieces []core.Piece, back bool) (lost []core.Score, err error) {
	for batch := range slices.Chunk(pieces, leasePieceMax) {
		missing, err := b.renewBatch(ctx, p, agent, batch, back)
		if ctx.Err() == nil {
			b.heard(agent, err)
		}
		lost = append(lost, missing...)
		if len(missing) > 0 {
			b.c.Log.Warn("pieces are missing at their holder", "holder", p.Name, "pieces", len(missing))
		}
		findings := make([]core.Finding, len(missing))
		for i, piece := range missing {
			findings[i] = core.Finding{Holding: core.Holding{Score: piece, Grid: p.Grid, Agent: agent}, State: core.PieceMissing}
		}
		if err = errors.Join(err, b.recordFindings(findings)); err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// renewBatch renews what fits into one request. Where the holder says how much of it it renews, that much is renewed, and the
// denial is returned.
func (b *Barter) renewBatch(ctx context.Context, p Partner, agent core.DID, batch []core.Piece, back bool) (missing []core.Score, err error) {
	rising := slices.SortedFunc(slices.Values(batch), func(x, y core.Piece) int { return compareScores(x.Score, y.Score) })
	missing, err = b.takeLease(ctx, p, agent, rising, nil, back)
	denial, ok := errors.AsType[*core.Denial](err)
	if !ok || denial.Counter == nil {
		return missing, err
	}
	n, left := 0, denial.Counter.Amount
	for n < len(batch) && batch[n].Size <= left {
		left -= batch[n].Size
		n++
	}
	if n == 0 || n == len(batch) {
		return nil, err
	}
	missing, again := b.renewBatch(ctx, p, agent, batch[:n], back)
	if again != nil {
		return missing, again
	}
	return missing, err
}
