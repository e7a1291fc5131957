package pact

import (
	"bytes"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// Lease is a holder's promise to keep every piece in it until its date.
type Lease struct {
	V uint `json:"v"`
	// Holder is the agent that promises and signs, Grid its household.
	Holder core.DID `json:"holder"`
	Grid   core.DID `json:"grid"`
	// Owner is the household whose pieces they are.
	Owner core.DID `json:"owner"`
	// Pact is Home of the household where Grid and Owner are one, and only there.
	Pact core.Score `json:"pact"`
	// Pieces are 1 to PiecesMax scores that rise strictly.
	Pieces []core.Score `json:"pieces"`
	// Bytes is the size of all the pieces together, at most AmountMax.
	Bytes uint64 `json:"bytes"`
	// From and Until are seconds since 1970.
	From  int64 `json:"from"`
	Until int64 `json:"until"`
}

// Release says that a household needs pieces no longer: they are set aside.
type Release struct {
	V uint `json:"v"`
	// Owner is the household whose pieces they are, Agent its agent that signs.
	Owner core.DID `json:"owner"`
	Agent core.DID `json:"agent"`
	// Pieces are 1 to PiecesMax scores that rise strictly.
	Pieces []core.Score `json:"pieces"`
	// Time is in seconds since 1970.
	Time int64 `json:"time"`
}

// Admission is a grid root's word that a new agent is its household's, told to
// one partner after a recovery, who gave the nonce.
type Admission struct {
	V     uint     `json:"v"`
	Grid  core.DID `json:"grid"`
	Agent core.DID `json:"agent"`
	// Partner is the agent that gave the nonce: another one must not take it.
	Partner core.DID `json:"partner"`
	Nonce   [32]byte `json:"nonce"`
	Time    int64    `json:"time"`
}

// Home is what stands for a pact between the machines of one household, who need none: the score of
// its DID.
func Home(grid core.DID) core.Score { return core.ScoreOf(grid[:]) }

// SignLease signs l with the holder's key. V is set. Errors: core.ErrInvalid.
func SignLease(k identity.Key, l Lease) (identity.Signed, error) {
	l.V = codec.Version
	return sign(k, identity.KindLease, l)
}

// OpenLease verifies a lease. Errors: core.ErrCorrupt for the signature,
// core.ErrInvalid, core.ErrTooLarge, core.ErrVersion.
func OpenLease(s identity.Signed) (Lease, error) {
	return open[Lease](s, identity.KindLease, LeaseSizeMax)
}

// SignRelease signs r with its agent's key. V is set. Errors: core.ErrInvalid.
func SignRelease(k identity.Key, r Release) (identity.Signed, error) {
	r.V = codec.Version
	return sign(k, identity.KindRelease, r)
}

// OpenRelease verifies a release. Errors: as OpenLease.
func OpenRelease(s identity.Signed) (Release, error) {
	return open[Release](s, identity.KindRelease, LeaseSizeMax)
}

// SignAdmission signs a with the grid root. V is set. Errors: core.ErrInvalid.
func SignAdmission(root identity.Key, a Admission) (identity.Signed, error) {
	a.V = codec.Version
	return sign(root, identity.KindAdmission, a)
}

// OpenAdmission verifies an admission: that it is signed by the grid root that it
// names. The caller holds grid, agent, partner and nonce against what it knows.
// Errors: as OpenLease.
func OpenAdmission(s identity.Signed) (Admission, error) {
	return open[Admission](s, identity.KindAdmission, ReceiptSizeMax)
}

func (l Lease) signer() core.DID { return l.Holder }

func (l Lease) check() error {
	switch {
	case l.Holder.IsZero() || l.Grid.IsZero() || l.Owner.IsZero() || l.Pact.IsZero():
		return fmt.Errorf("%w: holder, grid, owner or pact is missing", core.ErrInvalid)
	case (l.Grid == l.Owner) != (l.Pact == Home(l.Owner)):
		return fmt.Errorf("%w: within a household under a pact, or between two without one", core.ErrInvalid)
	case l.Bytes > AmountMax:
		return fmt.Errorf("%w: %d bytes", core.ErrInvalid, l.Bytes)
	case !isTime(l.From) || !isTime(l.Until) || l.Until <= l.From:
		return fmt.Errorf("%w: from %d until %d", core.ErrInvalid, l.From, l.Until)
	}
	return checkPieces(l.Pieces)
}

func (r Release) signer() core.DID { return r.Agent }

func (r Release) check() error {
	switch {
	case r.Owner.IsZero() || r.Agent.IsZero():
		return fmt.Errorf("%w: owner or agent is missing", core.ErrInvalid)
	case !isTime(r.Time):
		return fmt.Errorf("%w: time %d", core.ErrInvalid, r.Time)
	}
	return checkPieces(r.Pieces)
}

func (a Admission) signer() core.DID { return a.Grid }

func (a Admission) check() error {
	switch {
	case a.Grid.IsZero() || a.Agent.IsZero() || a.Partner.IsZero():
		return fmt.Errorf("%w: grid, agent or partner is missing", core.ErrInvalid)
	case a.Agent == a.Partner:
		return fmt.Errorf("%w: agent and partner are one", core.ErrInvalid)
	case !isTime(a.Time):
		return fmt.Errorf("%w: time %d", core.ErrInvalid, a.Time)
	}
	return nil
}

func checkPieces(pieces []core.Score) error {
	if len(pieces) < 1 || len(pieces) > PiecesMax {
		return fmt.Errorf("%w: %d pieces, want 1 to %d", core.ErrInvalid, len(pieces), PiecesMax)
	}
	var last core.Score // the zero score names nothing, so the first must be above it too
	for i := range pieces {
		if bytes.Compare(pieces[i][:], last[:]) <= 0 {
			return fmt.Errorf("%w: piece %d does not rise", core.ErrInvalid, i)
		}
		last = pieces[i]
	}
	return nil
}

// claim is what one agent signs for itself.
type claim interface {
	Lease | Release | Receipt | Admission | Notice
	check() error
	// signer returns who must have signed it.
	signer() core.DID
}

func sign[T claim](k identity.Key, kind string, v T) (identity.Signed, error) {
	if err := v.check(); err != nil {
		return identity.Signed{}, fmt.Errorf("sign %s: %w", kind, err)
	}
	if v.signer() != k.DID() {
		return identity.Signed{}, fmt.Errorf("sign %s: %w: %s is to sign, not %s", kind, core.ErrInvalid, v.signer(), k.DID())
	}
	return identity.Sign(k, kind, v)
}

func open[T claim](s identity.Signed, kind string, sizeMax int) (T, error) {
	var zero T
	v, err := identity.Open[T](s, kind, sizeMax)
	if err != nil {
		return zero, err
	}
	if err := v.check(); err != nil {
		return zero, fmt.Errorf("%s: %w", kind, err)
	}
	if v.signer() != s.By {
		return zero, fmt.Errorf("%s: %w: of %s, but signed by %s", kind, core.ErrInvalid, v.signer(), s.By)
	}
	return v, nil
}
