package pact

import (
	"fmt"

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
