package federation

import (
	"context"
	"slices"
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/internal/wire"
	"github.com/grange-grid/grange/pure/seal"
	"github.com/grange-grid/grange/pure/ticket"
)

// Limits of admission after a recovery, or with a ticket.
const (
	noncesMax     = 64
	nonceTime     = 2 * time.Minute
	admissionsMax = 16
	bearersMax    = 64
	admissionTime = time.Hour
)

// nonce was given to one agent, and is good once.
type nonce struct {
	agent   core.DID
	bytes   [32]byte
	expires int64
}

// admission lets an agent in to what is its household's.
type admission struct {
	agent, grid core.DID
	expires     int64
	// signer is who has signed the ticket of that id; both are zero after a recovery.
	signer core.DID
	ticket ticket.ID
}

// Classify tells who an agent is: another machine of ours, a partner's machine, one
// that was admitted after a recovery, the bearer of a ticket, a guest by a voucher, or a stranger. One that a newer charter of its household no
// longer lists gets a *wire.Error with that charter. It is cheap, and asked anew
// for every request.
func (f *Federation) Classify(_ context.Context, agent core.DID) (wire.Caller, error) {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	caller := wire.Caller{Agent: agent, Class: wire.Stranger}
	p, left := f.belongs(agent)
	switch {
	case f.own.chain.Lists(agent):
		caller.Grid, caller.Class = f.self.Grid, wire.Own
	case p != nil:
		caller.Grid, caller.Class = p.grid, wire.Partner
	case left != nil:
		return caller, revokedError(left)
	default:
		if g, lists := f.guestOf(agent); lists {
			caller.Grid, caller.Class = g.grid, wire.Guest
			return caller, nil
		} else if g != nil {
			return caller, revokedError(&g.household)
		}
		if i := f.admissionOf(agent, now); i >= 0 {
			caller.Grid, caller.Class = f.admissions[i].grid, wire.Admitted
		} else if a, ok := f.bearerOf(agent, now); ok {
			caller.Grid, caller.Class = a.grid, wire.Bearer
		}
	}
	return caller, nil
}

// belongs finds the partner whose machine an agent is; or else the household,
// a partner's or ours, that once listed it and does not now. Anyone can put
// anyone's DID into a charter of their own, so where two households list an agent,
// the one whose pact that very agent signed goes first, and then the older pact:
// a later partner cannot claim an earlier one's machine; and nobody one of ours. The
// caller holds f.mu.
func (f *Federation) belongs(agent core.DID) (in *partner, left *household) {
	if f.own.chain.Lists(agent) {
		return nil, nil
	}
	for _, p := range f.partners {
		if p.lists(agent) && (in == nil || p.claims(agent, in)) {
			in = p
		}
	}
	if in != nil {
		return in, nil
	}
	if f.own.chain.EverListed(agent) {
		return nil, &f.own
	}
	for _, p := range f.partners {
		if p.chain.EverListed(agent) {
			return nil, &p.household
		}
	}
	return nil, nil
}

// claims tells whether p's claim on an agent is better than q's.
func (p *partner) claims(agent core.DID, q *partner) bool {
	if signed := p.signer == agent; signed != (q.signer == agent) {
		return signed
	}
	if p.pact.From != q.pact.From {
		return p.pact.From < q.pact.From
	}
	return p.grid.Compare(q.grid) < 0
}

func revokedError(h *household) error {
	e := &wire.Error{Code: wire.CodeRevoked, Message: "a newer charter of this machine's household does not list it"}
	evidence, err := h.newest().Marshal()
	if err != nil {
		return err
	}
	e.Evidence = evidence
	return e
}

// admissionOf returns the index of an agent's admission, or -1. The caller holds f.mu.
func (f *Federation) admissionOf(agent core.DID, now int64) int {
	return slices.IndexFunc(f.admissions, func(a admission) bool { return a.agent == agent && now < a.expires })
}

// bearerOf returns the admission of a bearer, as long as its ticket's signer is one of the household. The
// caller holds f.mu.
func (f *Federation) bearerOf(agent core.DID, now int64) (admission, bool) {
	i := slices.IndexFunc(f.bearers, func(a admission) bool { return a.agent == agent && now < a.expires })
	if i < 0 {
		return admission{}, false
	}
	return f.bearers[i], f.listsLocked(f.bearers[i].grid, f.bearers[i].signer)
}

// admit lets an agent in for admissionTime.
func (f *Federation) admit(agent, grid core.DID) {
	expires := f.now() + int64(admissionTime/time.Second)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.admissions = enter(f.admissions, admission{agent: agent, grid: grid, expires: expires}, admissionsMax)
}

// enter puts an admission in the place of one that the agent had. Where there are most, the oldest goes.
func enter(list []admission, a admission, most int) []admission {
	list = slices.DeleteFunc(list, func(o admission) bool { return o.agent == a.agent })
	if len(list) == most {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, a)
}

// endBearers shuts those out whom tickets of a household have let in that were stopped. The caller holds f.mu.
func (f *Federation) endBearers(grid core.DID, stopped [][16]byte) {
	f.bearers = slices.DeleteFunc(f.bearers, func(a admission) bool { return a.grid == grid && slices.Contains(stopped, [16]byte(a.ticket)) })
}

// giveNonce makes a nonce for an agent, in the place of one that it had. Where
// there are too many, the oldest goes: whoever is honest needs it for a moment only.
func (f *Federation) giveNonce(agent core.DID) [32]byte {
	n := nonce{agent: agent, expires: f.now() + int64(nonceTime/time.Second)}
	seal.Random(n.bytes[:])
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nonces = slices.DeleteFunc(f.nonces, func(o nonce) bool { return o.agent == agent })
	if len(f.nonces) == noncesMax {
		f.nonces = slices.Delete(f.nonces, 0, 1)
	}
	f.nonces = append(f.nonces, n)
	return n.bytes
}

// takeNonce tells whether the nonce was given to the agent and is still good,
// and makes it so no longer.
func (f *Federation) takeNonce(agent core.DID, bytes [32]byte) bool {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.nonces, func(n nonce) bool { return n.agent == agent && n.bytes == bytes })
	if i < 0 {
		return false
	}
	good := now < f.nonces[i].expires
	f.nonces = slices.Delete(f.nonces, i, i+1)
	return good
}
