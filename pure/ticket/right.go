package ticket

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

const (
	// IDSize is the length of a ticket's id in bytes. It is random.
	IDSize = 16
	// LifeMax is for how many seconds a right may be good at most: a leap year.
	LifeMax = 366 * 24 * 60 * 60
	// TimeMax is the last second of the year 9999.
	TimeMax = 253402300799
	// bodySizeMax bounds the body of either signed thing here.
	bodySizeMax = 1 << 10
)

// ID names a ticket.
type ID [IDSize]byte

// Right is an owner's machine's word to all holders of its household's pieces: who has the key may fetch
// those until a date. Its id is how it is stopped before.
type Right struct {
	V    uint     `json:"v"`
	Grid core.DID `json:"grid"`
	ID   ID       `json:"id"`
	// Key is the public half of the bearer's.
	Key core.DID `json:"key"`
	// Until is in seconds since 1970.
	Until int64 `json:"until"`
}

// Proof is a bearer's word that it has a right's key, to one holder, which gave the nonce.
type Proof struct {
	V  uint `json:"v"`
	ID ID   `json:"id"`
	// Holder gave the nonce: another one must not take it. Agent is who calls: nobody else may.
	Holder core.DID `json:"holder"`
	Agent  core.DID `json:"agent"`
	Nonce  [32]byte `json:"nonce"`
}

// SignRight signs r with the key of a machine of the grid. V is set. Errors: core.ErrInvalid.
func SignRight(k identity.Key, r Right) (identity.Signed, error) {
	r.V = codec.Version
	if err := r.check(); err != nil {
		return identity.Signed{}, err
	}
	return identity.Sign(k, identity.KindTicket, r)
}

// OpenRight verifies a right's signature and form. That who signed it is a machine of the grid, and that it
// has not lapsed, is for the caller to check. Errors: core.ErrCorrupt for the signature, core.ErrInvalid,
// core.ErrTooLarge, core.ErrVersion.
func OpenRight(s identity.Signed) (Right, error) {
	r, err := identity.Open[Right](s, identity.KindTicket, bodySizeMax)
	if err != nil {
		return Right{}, err
	}
	if err := r.check(); err != nil {
		return Right{}, err
	}
	return r, nil
}

func (r Right) check() error {
	switch {
	case r.Grid.IsZero() || r.ID == ID{}:
		return invalid("it names no grid, or has no id")
	case r.Until < 1 || r.Until > TimeMax:
		return invalid("until %d", r.Until)
	}
	if err := identity.CheckDID(r.Key); err != nil {
		return fmt.Errorf("ticket: %w", err)
	}
	return nil
}

// SignProof signs p with the bearer's key. V is set. Errors: core.ErrInvalid.
func SignProof(k identity.Key, p Proof) (identity.Signed, error) {
	p.V = codec.Version
	if err := p.check(); err != nil {
		return identity.Signed{}, err
	}
	return identity.Sign(k, identity.KindBearer, p)
}

// OpenProof verifies a proof of the one who has that right: the caller holds holder, agent and nonce against
// what it knows. Errors: as OpenRight.
func OpenProof(r Right, s identity.Signed) (Proof, error) {
	if s.By != r.Key {
		return Proof{}, invalid("a proof by another key than the right's")
	}
	p, err := identity.Open[Proof](s, identity.KindBearer, bodySizeMax)
	if err != nil {
		return Proof{}, err
	}
	if p.ID != r.ID {
		return Proof{}, invalid("a proof of another ticket")
	}
	if err := p.check(); err != nil {
		return Proof{}, err
	}
	return p, nil
}

func (p Proof) check() error {
	switch {
	case p.ID == ID{}:
		return invalid("a proof without an id")
	case p.Holder.IsZero() || p.Agent.IsZero() || p.Holder == p.Agent:
		return invalid("holder or agent is missing, or they are one")
	}
	return nil
}
