package pact

import (
	"fmt"
	"iter"
	"math/bits"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// Receipt is the receiver's signature under how much one of its agents has had of one of
// the provider's, since the pact began. Of one Line the newest counts.
type Receipt struct {
	V    uint       `json:"v"`
	Pact core.Score `json:"pact"`
	// Provider and Receiver are agents; the receiver signs.
	Provider core.DID      `json:"provider"`
	Receiver core.DID      `json:"receiver"`
	Resource core.Resource `json:"resource"`
	// Seq rises by at least one from a line's receipt to the next.
	Seq uint64 `json:"seq"`
	// Total is in the unit that docs/SPEC.md gives for receipts of the resource.
	Total uint64 `json:"total"`
	// Until is up to when Total counts, in seconds since 1970.
	Until int64 `json:"until"`
}

// Line is one line of the books: one agent's provision of one resource to
// another under one pact.
type Line struct {
	Pact               core.Score
	Provider, Receiver core.DID
	Resource           core.Resource
}

// Balance is what a household has given under a pact and what it has had, each
// as the receiving side signed it, in the resource's unit for receipts.
type Balance struct {
	Given, Had uint64
}

// SignReceipt signs r with the receiver's key. V is set. Errors: core.ErrInvalid.
func SignReceipt(k identity.Key, r Receipt) (identity.Signed, error) {
	r.V = codec.Version
	return sign(k, identity.KindReceipt, r)
}

// OpenReceipt verifies a receipt. Errors: as OpenLease.
func OpenReceipt(s identity.Signed) (Receipt, error) {
	return open[Receipt](s, identity.KindReceipt, ReceiptSizeMax)
}

// Line returns the line that r belongs to.
func (r Receipt) Line() Line { return Line{r.Pact, r.Provider, r.Receiver, r.Resource} }

// Follows checks that r may come after last on the same line: a greater seq, and
// neither total nor date below. Errors: core.ErrStale if seq is not greater,
// core.ErrInvalid for the rest.
func (r Receipt) Follows(last Receipt) error {
	switch {
	case r.Line() != last.Line():
		return fmt.Errorf("receipt: %w: of another line", core.ErrInvalid)
	case r.Seq <= last.Seq:
		return fmt.Errorf("receipt %d: %w: %d is known", r.Seq, core.ErrStale, last.Seq)
	case r.Total < last.Total:
		return fmt.Errorf("receipt %d: %w: total %d fell from %d", r.Seq, core.ErrInvalid, r.Total, last.Total)
	case r.Until < last.Until:
		return fmt.Errorf("receipt %d: %w: until %d, before %d", r.Seq, core.ErrInvalid, r.Until, last.Until)
	}
	return nil
}

// Newest returns the receipt that counts of each line: the one with the greatest
// seq. Where a receiver signed two with one seq, the greater total counts, for it
// did sign that; so the order in which receipts come does not matter.
func Newest(receipts iter.Seq[Receipt]) map[Line]Receipt {
	newest := make(map[Line]Receipt)
	for r := range receipts {
		last, known := newest[r.Line()]
		if !known || r.Seq > last.Seq || r.Seq == last.Seq && r.Total > last.Total {
			newest[r.Line()] = r
		}
	}
	return newest
}

// Balances sums the newest receipts of all lines of a pact, by resource; those of
// other pacts are left out. Ours tells whether an agent is or was of the household
// whose books these are. Errors: core.ErrInvalid when a receipt is not between an
// agent of ours and one that is not, core.ErrTooLarge when a sum overflows.
func Balances(pact core.Score, receipts iter.Seq[Receipt], ours func(agent core.DID) bool) (map[core.Resource]Balance, error) {
	balances := make(map[core.Resource]Balance)
	for line, r := range Newest(receipts) {
		if line.Pact != pact {
			continue
		}
		b := balances[line.Resource]
		sum := &b.Given
		if ours(line.Receiver) {
			sum = &b.Had
		}
		if ours(line.Provider) == ours(line.Receiver) {
			return nil, fmt.Errorf("balance: %w: receipt of %s for %s is not between the two households", core.ErrInvalid, line.Receiver, line.Provider)
		}
		total, carry := bits.Add64(*sum, r.Total, 0)
		if carry != 0 {
			return nil, fmt.Errorf("balance of %s: %w", line.Resource, core.ErrTooLarge)
		}
		*sum = total
		balances[line.Resource] = b
	}
	return balances, nil
}

func (r Receipt) signer() core.DID { return r.Receiver }

func (r Receipt) check() error {
	switch {
	case r.Pact.IsZero() || r.Provider.IsZero() || r.Receiver.IsZero():
		return fmt.Errorf("%w: pact, provider or receiver is missing", core.ErrInvalid)
	case r.Provider == r.Receiver:
		return fmt.Errorf("%w: provider and receiver are one", core.ErrInvalid)
	case !isName(string(r.Resource)):
		return fmt.Errorf("%w: resource %.40q", core.ErrInvalid, r.Resource)
	case r.Seq < 1:
		return fmt.Errorf("%w: seq 0", core.ErrInvalid)
	case !isTime(r.Until):
		return fmt.Errorf("%w: until %d", core.ErrInvalid, r.Until)
	}
	return nil
}
