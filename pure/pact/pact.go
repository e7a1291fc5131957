// Package pact has the agreements between two households, and what grows from
// them: pacts, invitations, leases, releases, receipts and the admission after a
// recovery. It gives each its bytes, its checks and its signature.
//
// A pact is signed by an agent of either side over the same bytes; its id is
// their score. Leases and receipts cite that id. All of them are small, so each
// stands for itself: it can be verified, kept and shown to a third without the others.
//
// What is opened here is well-formed and truly signed by the agent that it names. Whether
// that agent speaks for the household that it names is said by charters; whether a date
// has passed, by a clock; whether the amounts are fair, by people. None of these is asked here.
//
// The formats are those of docs/SPEC.md §6; golden vectors are in
// docs/vectors/pact.json.
package pact

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// Limits of what is decoded here.
const (
	// PactSizeMax is the most bytes of a pact's body.
	PactSizeMax = 4 << 10
	// PiecesMax is the most pieces of a lease or release.
	PiecesMax = 4096
	// LeaseSizeMax is the most bytes of the body of a lease or release: 34 a piece.
	LeaseSizeMax = 144 << 10
	// ReceiptSizeMax is the most bytes of the body of a receipt, admission or notice.
	ReceiptSizeMax = 1 << 10
	// TimeMax is the last second of the year 9999: dates beyond are refused, so that
	// sums of a date and a duration do not overflow.
	TimeMax = 253_402_300_799
)

const day = 24 * 60 * 60 // seconds

// Pact is what two households agreed.
type Pact struct {
	V uint `json:"v"`
	// Inviter and Acceptor are the two households' grids.
	Inviter  core.DID `json:"inviter"`
	Acceptor core.DID `json:"acceptor"`
	// Invitation is the id of the invitation that it came from.
	Invitation [16]byte `json:"invitation"`
	Terms      Terms    `json:"terms"`
	// From and Until are seconds since 1970; an Until of 0 leaves the end open.
	From  int64 `json:"from"`
	Until int64 `json:"until"`
	// Amends is the id of the first pact between the two; N counts its amendments. The first
	// itself has neither.
	Amends *core.Score `json:"amends,omitempty"`
	N      uint64      `json:"n,omitempty"`
}

// Signature is one agent's signature over a pact's body.
type Signature struct {
	By  core.DID `json:"by"`
	Sig []byte   `json:"sig"`
}

// SignedPact is a pact that both sides signed. The zero value is none.
type SignedPact struct {
	// Body is the strict CBOR of a Pact.
	Body     []byte    `json:"body"`
	Inviter  Signature `json:"inviter"`
	Acceptor Signature `json:"acceptor"`
}

// ID returns the pact's id, which leases and receipts cite.
func (s SignedPact) ID() core.Score { return core.ScoreOf(s.Body) }

// Verify returns the pact after checking its form and both signatures, which must be by
// two different agents. That these belong to the two grids is for the caller to
// check, with the charters. Errors: core.ErrCorrupt for a signature,
// core.ErrInvalid, core.ErrTooLarge, core.ErrVersion.
func (s SignedPact) Verify() (Pact, error) {
	if len(s.Body) > PactSizeMax { // before it is hashed
		return Pact{}, fmt.Errorf("pact: %w: %d bytes, at most %d", core.ErrTooLarge, len(s.Body), PactSizeMax)
	}
	if err := s.Inviter.Verify(s.Body); err != nil {
		return Pact{}, fmt.Errorf("inviter: %w", err)
	}
	if err := s.Acceptor.Verify(s.Body); err != nil {
		return Pact{}, fmt.Errorf("acceptor: %w", err)
	}
	if s.Inviter.By == s.Acceptor.By {
		return Pact{}, fmt.Errorf("pact: %w: one agent signed for both sides", core.ErrInvalid)
	}
	return OpenPact(s.Body)
}

// Verify checks the signature over a pact's body. Errors: core.ErrCorrupt.
func (s Signature) Verify(body []byte) error {
	return identity.VerifyBytes(s.By, identity.KindPact, body, s.Sig)
}

// SignPact returns the body of p and k's signature over it: the acceptor's part. V is
// set. Errors: core.ErrInvalid if p breaks the format.
func SignPact(k identity.Key, p Pact) (body []byte, sig Signature, err error) {
	p.V = codec.Version
	if k.IsZero() {
		return nil, Signature{}, fmt.Errorf("sign pact: %w: no key", core.ErrInvalid)
	}
	if err := p.check(); err != nil {
		return nil, Signature{}, fmt.Errorf("sign pact: %w", err)
	}
	body, err = codec.Marshal(p)
	if err != nil {
		return nil, Signature{}, fmt.Errorf("sign pact: %w", err)
	}
	return body, Signature{By: k.DID(), Sig: identity.SignBytes(k, identity.KindPact, body)}, nil
}

// Countersign adds k's signature, the inviter's, to what the acceptor signed, and
// returns it only if both then hold. The inviter holds the pact against its
// invitation before (Invitation.Match).
// Errors: as SignedPact.Verify.
func Countersign(k identity.Key, body []byte, acceptor Signature) (SignedPact, error) {
	if k.IsZero() {
		return SignedPact{}, fmt.Errorf("countersign: %w: no key", core.ErrInvalid)
	}
	s := SignedPact{
		Body:     body,
		Inviter:  Signature{By: k.DID(), Sig: identity.SignBytes(k, identity.KindPact, body)},
		Acceptor: acceptor,
	}
	if _, err := s.Verify(); err != nil {
		return SignedPact{}, fmt.Errorf("countersign: %w", err)
	}
	return s, nil
}

// OpenPact decodes a pact's body and checks its form; no signature is looked at.
// Errors: core.ErrInvalid, core.ErrTooLarge, core.ErrVersion.
func OpenPact(body []byte) (Pact, error) {
	var p Pact
	if err := codec.Unmarshal(body, &p, PactSizeMax); err != nil {
		return Pact{}, fmt.Errorf("pact: %w", err)
	}
	if err := p.check(); err != nil {
		return Pact{}, fmt.Errorf("pact: %w", err)
	}
	return p, nil
}

func (p Pact) check() error {
	switch {
	case p.Inviter.IsZero() || p.Acceptor.IsZero():
		return fmt.Errorf("%w: a side is nobody", core.ErrInvalid)
	case p.Inviter == p.Acceptor:
		return fmt.Errorf("%w: both sides are one household", core.ErrInvalid)
	case !isTime(p.From):
		return fmt.Errorf("%w: from %d", core.ErrInvalid, p.From)
	case p.Until != 0 && (!isTime(p.Until) || p.Until <= p.From):
		return fmt.Errorf("%w: from %d until %d", core.ErrInvalid, p.From, p.Until)
	case (p.Amends == nil) != (p.N == 0) || p.Amends != nil && p.Amends.IsZero():
		return fmt.Errorf("%w: amendment %d of no pact", core.ErrInvalid, p.N)
	}
	return p.Terms.Check()
}

// Other returns the household on the other side from grid, and whether grid is
// a side of the pact at all.
func (p Pact) Other(grid core.DID) (core.DID, bool) {
	switch grid {
	case p.Inviter:
		return p.Acceptor, true
	case p.Acceptor:
		return p.Inviter, true
	}
	return core.DID{}, false
}

// Gives returns how much of a resource the household gives to the other, in the
// resource's unit; 0 if it is no side of the pact.
func (p Pact) Gives(grid core.DID, r core.Resource) int64 {
	switch grid {
	case p.Inviter:
		return p.Terms.InviterGives[r]
	case p.Acceptor:
		return p.Terms.AcceptorGives[r]
	}
	return 0
}

// Policy returns the name of the policy by which the household answers the
// other; "" if it is no side of the pact.
func (p Pact) Policy(grid core.DID) string {
	switch grid {
	case p.Inviter:
		return p.Terms.InviterPolicy
	case p.Acceptor:
		return p.Terms.AcceptorPolicy
	}
	return ""
}

// RunsOut returns from when on the pact runs out: it is then as if notice had been given, so that there is
// time to have pieces made again elsewhere. That is NoticeDays before its end, at most the last quarter of its
// time; 0 where the end is open.
func (p Pact) RunsOut() int64 {
	if p.Until == 0 {
		return 0
	}
	return p.Until - min(int64(p.Terms.NoticeDays)*day, (p.Until-p.From)/4)
}

// isTime tells whether t is a date that the formats admit.
func isTime(t int64) bool { return t > 0 && t <= TimeMax }
