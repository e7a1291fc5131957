package barter

import (
	"context"
	"fmt"
	"iter"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/pact"
)

// askEvery is how long after some releases had to wait their holder is asked again how much it would take.
const askEvery = hourSeconds

// queueLook is how much of a queue is looked at, at most, for what need not wait.
const queueLook = 16 * pact.PiecesMax

// askLeft asks a holder how many bytes of what has been there for a day may be released now without
// being taken for a theft, and hears whether it has been: somebody else may have our key.
func (b *Barter) askLeft(ctx context.Context, p Partner, agent core.DID) (int64, error) {
	var out releaseAnswer
	err := b.c.Wire.Call(ctx, agent, "POST", "/release", releaseRequest{}, &out)
	if ctx.Err() == nil {
		b.heard(agent, err)
	}
	if err != nil {
		return 0, err
	}
	b.noteAlarm(p, agent, out.Alarm)
	return out.Left, nil
}

// due tells whether a holder is to be called, and notes that it is: something is to be told it that does not wait, or
// nothing was asked of it for a day.
func (b *Barter) due(agent core.DID, waiting bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ran, asked := b.running.seconds, b.asked[agent]
	switch {
	case waiting && (!asked.paced || ran >= asked.at+askEvery):
	case asked.at == 0 || ran >= asked.at+daySeconds:
	default:
		return false
	}
	b.asked[agent] = asking{at: ran}
	return true
}

// paced notes that some of what is queued for a holder has to wait.
func (b *Barter) paced(agent core.DID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked[agent] = asking{at: b.running.seconds, paced: true}
}

// asking is when a holder was last asked, in running seconds, and whether something had to wait then.
type asking struct {
	at    int64
	paced bool
}

// next returns what of the queue of a machine is to be released now: what came lately, and of what
// has been there for a day as much as its holder takes for no theft. waits says that there is more of that. What waits until
// its lease ends need not be told.
func (b *Barter) next(agent core.DID, left int64) (pieces []core.Score, waits bool, err error) {
	day := b.c.Clock.Now().Unix() - daySeconds
	looked := 0
	for q, err := range b.queued(agent) {
		if err != nil {
			return nil, false, err
		}
		if looked++; looked > queueLook || len(pieces) == pact.PiecesMax {
			break
		}
		if q.since <= day {
			size := q.Size
			if size == 0 { // nobody knows
				size = erasure.PieceSizeMax
			}
			if size > left {
				waits = true
				continue
			}
			left -= size
		}
		pieces = append(pieces, q.Score)
	}
	return pieces, waits, nil
}

// queuedPiece is a piece of a queue, there since a date.
type queuedPiece struct {
	core.Piece
	since int64
}

// queued tells what is to be given back to a machine, rising.
func (b *Barter) queued(agent core.DID) iter.Seq2[queuedPiece, error] {
	return func(yield func(queuedPiece, error) bool) {
		prefix := join(queuePrefix, agent[:])
		for c, err := range b.c.Books.Scan(prefix, nil) {
			var q queuedPiece
			switch {
			case err != nil:
				err = fmt.Errorf("read what is to be released: %w", err)
			case len(c.Key) != len(prefix)+core.ScoreSize:
				err = fmt.Errorf("record %q is broken: a key of %d bytes", c.Key, len(c.Key))
			default:
				var r placedRecord
				q.Score = core.Score(c.Key[len(prefix):])
				_, err = b.read(placedKey(q.Score, agent), &r)
				q.Size, q.since = r.Size, r.Since
			}
			if !yield(q, err) || err != nil {
				return
			}
		}
	}
}

// returns is how many bytes are queued to be given back to a partner.
func (b *Barter) returns(p Partner) (sum int64, err error) {
	for _, agent := range p.Agents {
		for q, err := range b.queued(agent) {
			if err != nil {
				return 0, err
			}
			sum += q.Size
		}
	}
	return sum, nil
}
