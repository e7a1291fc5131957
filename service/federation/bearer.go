package federation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/ticket"
)

// A holder that did not answer is left alone for downTime, one that said no for good.
const downTime = time.Minute

// Bearer fetches pieces with a ticket, from the machines that it names: it is a stranger to all of them, and
// has no state. Its methods may be called at once.
type Bearer struct {
	c     Config
	t     ticket.Ticket
	right ticket.Right
	doors []*door
}

// door is a holder as its bearer sees it.
type door struct {
	agent core.DID
	turn  turn // whoever is knocking

	mu     sync.Mutex
	inside int       // how often it has let us in
	err    error     // why it does not, or did not answer
	until  time.Time // before which that stands; zero is for good
}

// errEntered ends the knocking at other doors.
var errEntered = errors.New("one door is open")

// NewBearer returns the bearer of a ticket that was parsed. Of c it needs Key, which nobody knows yet, Clock, Wire
// and Known, where that looks addresses up. It calls nobody.
func NewBearer(c Config, t ticket.Ticket, r ticket.Right) *Bearer {
	b := &Bearer{c: c, t: t, right: r}
	for _, h := range t.Holders {
		c.Known.Learn(h.DID, h.Addrs)
		b.doors = append(b.doors, &door{agent: h.DID, turn: newTurn()})
	}
	return b
}

// Enter makes sure that any of the holders lets the bearer in. Errors: core.ErrRefused with a holder's reason;
// core.ErrForbidden where none knows the ticket's household; core.ErrUnreachable.
func (b *Bearer) Enter(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	errs := make([]error, len(b.doors))
	for i, d := range b.doors {
		group.Go(func() error {
			if _, errs[i] = b.enter(inner, d, 0, false); errs[i] == nil {
				return errEntered
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil || ctx.Err() != nil {
		return ctx.Err()
	}
	return worst(errs)
}

// worst returns what a person is to hear of why no holder has let us in: those who said no know more than
// those who did not answer.
func worst(errs []error) error {
	for _, kind := range []error{core.ErrRefused, core.ErrForbidden, core.ErrUnreachable} {
		if i := slices.IndexFunc(errs, func(err error) bool { return errors.Is(err, kind) }); i >= 0 {
			return errs[i]
		}
	}
	return errors.Join(errs...)
}

// enter makes sure that a holder has let us in more often than seen, and returns how often it has. again tries one
// that did not answer a moment ago.
func (b *Bearer) enter(ctx context.Context, d *door, seen int, again bool) (int, error) {
	if err := d.turn.take(ctx); err != nil {
		return 0, err
	}
	defer d.turn.give()
	inside, err := d.standing(b.c.Clock.Now(), again)
	if err != nil || inside > seen {
		return inside, err
	}
	err = b.prove(ctx, d.agent)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	b.note(d, err)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.inside++
	}
	return d.inside, err
}

// standing tells how often a holder has let us in, or why it is not to be asked now.
func (d *door) standing(now time.Time, again bool) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil && (d.until.IsZero() || !again && now.Before(d.until)) {
		return 0, d.err
	}
	return d.inside, nil
}

// note remembers how a call went. A refusal is for good; what a holder has not, or is too busy for, says nothing of the next.
func (b *Bearer) note(d *door, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case errors.Is(err, core.ErrUnreachable):
		d.err, d.until = err, b.c.Clock.Now().Add(downTime)
	case errors.Is(err, core.ErrRefused), errors.Is(err, core.ErrForbidden), errors.Is(err, core.ErrInvalid), errors.Is(err, core.ErrVersion):
		d.err, d.until = err, time.Time{}
	default:
		d.err = nil
	}
}

// prove shows a holder the ticket. A request that comes late can take the nonce away: so it tries twice.
func (b *Bearer) prove(ctx context.Context, agent core.DID) error {
	err := b.proveOnce(ctx, agent)
	if errors.Is(err, core.ErrForbidden) {
		err = b.proveOnce(ctx, agent)
	}
	return err
}

func (b *Bearer) proveOnce(ctx context.Context, agent core.DID) error {
	begun, err := callTicket(ctx, b.c, agent, ticketRequest{})
	if err != nil {
		return err
	}
	if len(begun.Nonce) != 32 {
		return fmt.Errorf("%s: a nonce of %d bytes: %w", agent.Short(), len(begun.Nonce), core.ErrInvalid)
	}
	proof, err := ticket.SignProof(b.t.Seed.Key(), ticket.Proof{
		ID: b.right.ID, Holder: agent, Agent: b.c.Key.DID(), Nonce: [32]byte(begun.Nonce),
	})
	if err != nil {
		return err
	}
	_, err = callTicket(ctx, b.c, agent, ticketRequest{Right: &b.t.Right, Proof: &proof})
	return err
}

// Fetch returns a piece, verified, from any holder that has it; again says to try also those that did not answer a
// moment ago. Errors: core.ErrUnreachable if anybody who may have it did not answer, or else why those who
// may have it do not let us in; core.ErrNotExist if nobody has it; core.ErrCorrupt if what came is not the piece.
func (b *Bearer) Fetch(ctx context.Context, p core.Piece, buf []byte, again bool) ([]byte, error) {
	var errs []error
	for _, d := range b.order(p.Score) {
		data, err := b.fetchFrom(ctx, d, p, buf, again)
		if err == nil || ctx.Err() != nil {
			return data, ctx.Err()
		}
		errs = append(errs, err)
	}
	if away, shut := b.shut(); len(away) > 0 || len(shut) > 0 {
		return nil, fmt.Errorf("piece %s: %w", p.Score.Short(), slices.Concat(away, shut)[0].err)
	}
	return nil, fmt.Errorf("piece %s: %w", p.Score.Short(), errors.Join(errs...))
}

// order returns the holders in the order in which to ask for a piece: first those that have let us in, each
// piece beginning with another.
func (b *Bearer) order(piece core.Score) []*door {
	at := int(piece[0]) % len(b.doors)
	var in, out []*door
	for i := range b.doors {
		d := b.doors[(at+i)%len(b.doors)]
		d.mu.Lock()
		if d.inside > 0 && d.err == nil {
			in = append(in, d)
		} else {
			out = append(out, d)
		}
		d.mu.Unlock()
	}
	return append(in, out...)
}

func (b *Bearer) fetchFrom(ctx context.Context, d *door, p core.Piece, buf []byte, again bool) ([]byte, error) {
	seen := 0
	for try := 0; ; try++ {
		inside, err := b.enter(ctx, d, seen, again)
		if err != nil {
			return nil, err
		}
		data, err := b.c.Wire.Fetch(ctx, d.agent, "/pieces/"+p.Score.String(), buf, p.Size)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if try == 0 && errors.Is(err, core.ErrForbidden) { // an hour has passed, or it was started anew
			seen = inside
			continue
		}
		b.note(d, err)
		if err == nil && (int64(len(data)) != p.Size || core.ScoreOf(data) != p.Score) {
			return nil, fmt.Errorf("%s: %d bytes came that are not the piece: %w", d.agent.Short(), len(data), core.ErrCorrupt)
		}
		return data, err
	}
}

// closed is a holder that cannot be asked, and why.
type closed struct {
	agent core.DID
	err   error
}

// shut returns the holders that did not answer, and those that do not let us in.
func (b *Bearer) shut() (away, shut []closed) {
	for _, d := range b.doors {
		d.mu.Lock()
		err := d.err
		d.mu.Unlock()
		switch {
		case errors.Is(err, core.ErrUnreachable):
			away = append(away, closed{d.agent, err})
		case err != nil:
			shut = append(shut, closed{d.agent, err})
		}
	}
	return away, shut
}

// Held returns who may have a piece that Fetch could not get: who did not answer, or else who does not let us in. A
// ticket does not say more.
func (b *Bearer) Held(piece core.Score) ([]core.Holding, error) {
	away, shut := b.shut()
	if len(away) == 0 {
		away = shut
	}
	var out []core.Holding
	for _, c := range away {
		out = append(out, core.Holding{Score: piece, Grid: c.agent, Agent: c.agent, Until: b.right.Until})
	}
	return out, nil
}
