package pact

import (
	"fmt"
	"maps"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// Amend returns the n-th amendment of the first pact between the two, which has that id: p, the first or an
// amendment, but for what each side gives. Its Until and Units may then be changed too.
func (p Pact) Amend(id core.Score, n uint64, inviterGives, acceptorGives map[core.Resource]int64) Pact {
	p.Amends, p.N = &id, n
	p.Terms.InviterGives, p.Terms.AcceptorGives = inviterGives, acceptorGives
	return p
}

// CheckAmends tells whether p is an amendment of the first pact, which has that id: in
// nothing but in what each side gives, in which units, and until when, it may differ. Errors: core.ErrInvalid.
func (p Pact) CheckAmends(first Pact, id core.Score) error {
	if p.Amends == nil || *p.Amends != id {
		return fmt.Errorf("amendment: %w: of another pact", core.ErrInvalid)
	}
	terms := first.Terms
	terms.InviterGives, terms.AcceptorGives, terms.Units = p.Terms.InviterGives, p.Terms.AcceptorGives, p.Terms.Units
	if p.Inviter != first.Inviter || p.Acceptor != first.Acceptor || p.Invitation != first.Invitation ||
		p.From != first.From || !p.Terms.Equal(terms) {
		return fmt.Errorf("amendment: %w: it changes more than what each gives, and until when", core.ErrInvalid)
	}
	return nil
}

// Generous tells whether the household loses nothing when q takes the place of p: it gives
// no more of anything, and gets no less, in the same units, until the same date.
func (p Pact) Generous(grid core.DID, q Pact) bool {
	if p.Until != q.Until {
		return false
	}
	other, _ := p.Other(grid)
	all := map[core.Resource]int64{}
	for _, gives := range []map[core.Resource]int64{p.Terms.InviterGives, p.Terms.AcceptorGives, q.Terms.InviterGives, q.Terms.AcceptorGives} {
		maps.Copy(all, gives)
	}
	for r := range all {
		if p.promises(r) && q.promises(r) && p.Terms.Units[r] != q.Terms.Units[r] {
			return false
		}
		if q.Gives(grid, r) > p.Gives(grid, r) || q.Gives(other, r) < p.Gives(other, r) {
			return false
		}
	}
	return true
}

func (p Pact) promises(r core.Resource) bool {
	return p.Terms.InviterGives[r] != 0 || p.Terms.AcceptorGives[r] != 0
}

// Notice ends a pact: one household says so to the other.
type Notice struct {
	V    uint       `json:"v"`
	Pact core.Score `json:"pact"` // the first one's id
	// By is the household that ends it, Agent its agent that signs.
	By    core.DID `json:"by"`
	Agent core.DID `json:"agent"`
	// Time is when it was given, Until when the pact ends, in seconds since 1970.
	Time  int64 `json:"time"`
	Until int64 `json:"until"`
}

// SignNotice signs n with its agent's key. V is set. Errors: core.ErrInvalid.
func SignNotice(k identity.Key, n Notice) (identity.Signed, error) {
	n.V = codec.Version
	return sign(k, identity.KindNotice, n)
}

// OpenNotice verifies a notice. Whether the time between its dates is what the pact asks
// for, CheckNotice tells. Errors: as OpenLease.
func OpenNotice(s identity.Signed) (Notice, error) {
	return open[Notice](s, identity.KindNotice, ReceiptSizeMax)
}

// CheckNotice tells whether n ends the pact, which is the first between the two and has that
// id, and gives the other side the time that its terms ask for. Errors: core.ErrInvalid.
func (p Pact) CheckNotice(n Notice, id core.Score) error {
	_, side := p.Other(n.By)
	switch {
	case n.Pact != id:
		return fmt.Errorf("notice: %w: of another pact", core.ErrInvalid)
	case !side:
		return fmt.Errorf("notice: %w: by who is no side of the pact", core.ErrInvalid)
	case n.Until < n.Time+int64(p.Terms.NoticeDays)*day:
		return fmt.Errorf("notice: %w: the pact asks for %d days", core.ErrInvalid, p.Terms.NoticeDays)
	}
	return nil
}

func (n Notice) signer() core.DID { return n.Agent }

func (n Notice) check() error {
	switch {
	case n.Pact.IsZero() || n.By.IsZero() || n.Agent.IsZero():
		return fmt.Errorf("%w: pact, household or agent is missing", core.ErrInvalid)
	case !isTime(n.Time) || !isTime(n.Until) || n.Until <= n.Time:
		return fmt.Errorf("%w: from %d until %d", core.ErrInvalid, n.Time, n.Until)
	}
	return nil
}
