package grange

import (
	"time"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/service/barter"
)

// Contradiction is two different receipts that a partner's machine has signed with one number: by its own signatures,
// which were verified, they prove to anybody that it did.
type Contradiction struct {
	Machine  DID           `json:"machine"`
	Resource core.Resource `json:"resource"`
	Seq      uint64        `json:"seq"`
	// Kept is the one that was taken first, Other the one that came later, at Found.
	Kept  SignedReceipt `json:"kept"`
	Other SignedReceipt `json:"other"`
	Found time.Time     `json:"found"`
	// Lost is for how much it stood as lost on that day; Counts says that some of that still counts against the partner.
	Lost   int64 `json:"lost"`
	Counts bool  `json:"counts"`
}

// SignedReceipt is a receipt, and the bytes by which others can verify it.
type SignedReceipt struct {
	// Total is of storage in byte-hours.
	Total uint64    `json:"total"`
	Until time.Time `json:"until"`
	// Signed is the CBOR of the Signed, docs/SPEC.md §1 and §6.
	Signed []byte `json:"signed"`
}

// UncountedLease is a lease of ours by which Pieces, in Bytes, lie at a partner's Machine that are not counted here: this
// machine's books were lost since, or its clock was far off then. A renewal has them counted again.
type UncountedLease struct {
	Machine DID `json:"machine"`
	// Lease is the score of the signed lease.
	Lease  string    `json:"lease"`
	From   time.Time `json:"from"`
	Until  time.Time `json:"until"`
	Pieces int64     `json:"pieces"`
	Bytes  int64     `json:"bytes"`
}

func contradictionsOf(all []barter.Contradiction) ([]Contradiction, error) {
	out := []Contradiction{}
	for _, c := range all {
		kept, err := receiptOf(c.Kept, c.Proof[0])
		if err != nil {
			return nil, err
		}
		other, err := receiptOf(c.Other, c.Proof[1])
		if err != nil {
			return nil, err
		}
		out = append(out, Contradiction{
			Machine: c.Agent, Resource: c.Resource, Seq: c.Seq, Kept: kept, Other: other, Found: time.Unix(c.Time, 0), Lost: c.Lost, Counts: c.Counts,
		})
	}
	return out, nil
}

func receiptOf(r pact.Receipt, s identity.Signed) (SignedReceipt, error) {
	raw, err := s.Marshal()
	return SignedReceipt{Total: r.Total, Until: time.Unix(r.Until, 0), Signed: raw}, err
}

func uncountedOf(all []barter.UncountedLease) []UncountedLease {
	out := []UncountedLease{}
	for _, u := range all {
		out = append(out, UncountedLease{
			Machine: u.Agent, Lease: u.Lease.String(), From: time.Unix(u.From, 0), Until: time.Unix(u.Until, 0), Pieces: u.Pieces, Bytes: u.Bytes,
		})
	}
	return out
}
