package federation

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/charter"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/ticket"
)

type ticketRequest struct {
	Right *identity.Signed `json:"right,omitempty"`
	Proof *identity.Signed `json:"proof,omitempty"`
}

type ticketAnswer struct {
	Nonce []byte `json:"nonce,omitempty"`
	// Until is when the admission ends.
	Until int64 `json:"until,omitempty"`
}

// SignRight signs a ticket's right as this machine. Grid is set. Errors: core.ErrInvalid, core.ErrRevoked.
func (f *Federation) SignRight(r ticket.Right) (identity.Signed, error) {
	if err := f.Revoked(); err != nil {
		return identity.Signed{}, err
	}
	r.Grid = f.self.Grid
	return ticket.SignRight(f.c.Key, r)
}

// stoppedTickets returns the rising ids of our tickets that were stopped and have not lapsed for a day: a holder's clock
// may be behind. Where there are too many it leaves out those that lapse first.
func (f *Federation) stoppedTickets() ([][16]byte, error) {
	type stopped struct {
		id    [16]byte
		until int64
	}
	var all []stopped
	now := f.now()
	for c, err := range f.c.Books.Scan([]byte(keyState+ticket.RecordPrefix), nil) {
		if err != nil {
			return nil, fmt.Errorf("read tickets: %w", err)
		}
		id, err := ticket.ParseRecordKey(c.Key[len(keyState):])
		if err != nil {
			continue // whoever writes them says so
		}
		if r, err := ticket.DecodeRecord(c.Value); err == nil && r.Stopped && r.Until+daySeconds > now {
			all = append(all, stopped{id, r.Until})
		}
	}
	slices.SortFunc(all, func(a, b stopped) int { return cmp.Compare(b.until, a.until) })
	var out [][16]byte
	for _, s := range all[:min(len(all), charter.StoppedMax)] {
		out = append(out, s.id)
	}
	slices.SortFunc(out, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	return out, nil
}

// handleTicket begins (empty request), or proves, that the caller has a ticket of a partner's, and lets it in
// to that one's pieces.
func (f *Federation) handleTicket(ctx context.Context, in ticketRequest) (ticketAnswer, error) {
	caller := wire.CallerOf(ctx)
	if caller.Class&(wire.Stranger|wire.Bearer) == 0 {
		return ticketAnswer{}, &wire.Error{Code: wire.CodeInvalid, Message: "a ticket is shown by a key that was made for it; this one is of a household that is known here"}
	}
	if in.Right == nil && in.Proof == nil {
		nonce := f.giveNonce(caller.Agent)
		return ticketAnswer{Nonce: nonce[:]}, nil
	}
	if in.Right == nil || in.Proof == nil {
		return ticketAnswer{}, &wire.Error{Code: wire.CodeInvalid, Message: "a ticket is shown with its right and a proof"}
	}
	unknown := &wire.Error{Code: wire.CodeUnknown, Message: "that ticket is of no partner of this household"}
	r, err := ticket.OpenRight(*in.Right)
	if err != nil || !f.lists(r.Grid, in.Right.By) {
		return ticketAnswer{}, unknown
	}
	p, err := ticket.OpenProof(r, *in.Proof)
	if err != nil || p.Agent != caller.Agent || p.Holder != f.self.Agent || !f.takeNonce(caller.Agent, p.Nonce) {
		return ticketAnswer{}, unknown
	}
	now := f.now()
	stopped, err := f.isStopped(r.Grid, r.ID)
	switch {
	case err != nil:
		return ticketAnswer{}, err
	case now >= r.Until:
		return ticketAnswer{}, &core.Denial{Reason: "the ticket has lapsed"}
	case r.Until-now > ticket.LifeMax+daySeconds: // who made it may have a clock that is ahead
		return ticketAnswer{}, &core.Denial{Reason: "the ticket is for more than a year"}
	case stopped:
		return ticketAnswer{}, &core.Denial{Reason: "the ticket was stopped"}
	}
	a := admission{agent: caller.Agent, grid: r.Grid, expires: min(r.Until, now+int64(admissionTime/time.Second)), signer: in.Right.By, ticket: r.ID}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bearers = enter(f.bearers, a, bearersMax)
	return ticketAnswer{Until: a.expires}, nil
}

// lists tells whether an agent is one of a partner's, a guest's, or of ours.
func (f *Federation) lists(grid, agent core.DID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.listsLocked(grid, agent)
}

func (f *Federation) listsLocked(grid, agent core.DID) bool {
	if grid == f.self.Grid {
		return f.own.chain.Lists(agent)
	}
	if g := f.guests[grid]; g != nil && f.partners[grid] == nil {
		return g.chain.Lists(agent)
	}
	p := f.partners[grid]
	return p != nil && p.lists(agent)
}

// isStopped tells whether any head that is kept of a household says that a ticket is good no more, or our own state.
func (f *Federation) isStopped(grid core.DID, id ticket.ID) (bool, error) {
	if grid == f.self.Grid {
		stopped, err := f.stoppedTickets()
		if err != nil || slices.Contains(stopped, [16]byte(id)) {
			return err == nil, err
		}
	}
	for e, err := range scan[heldRecord](f.c.Books, key(keyHeld, grid[:]), didSize, headSizeMax) {
		if err != nil {
			return false, err
		}
		h, err := charter.OpenHead(e.value.Head)
		if err != nil { // it was verified when it came
			return false, err
		}
		if slices.Contains(h.Stopped, [16]byte(id)) {
			return true, nil
		}
	}
	return false, nil
}

func callTicket(ctx context.Context, c Config, to core.DID, in ticketRequest) (ticketAnswer, error) {
	return post[ticketAnswer](ctx, c, shortTime, to, "/ticket", in)
}
