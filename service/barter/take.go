package barter

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/erasure"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/seal"
)

const (
	askedIDSize = 16
	// clockSlack is how far a date by the other side's clock may be off by ours and count, in seconds.
	clockSlack = 2 * daySeconds
)

// askedRecord is a request for a lease whose outcome is not known.
type askedRecord struct {
	V  uint   `json:"v"`
	ID []byte `json:"id"`
	// Time is when it was made.
	Time   int64        `json:"time"`
	Pieces []core.Piece `json:"pieces"`
	// Back says that what was released there was wanted again.
	Back bool `json:"back,omitempty"`
}

func askedKey(agent core.DID) []byte { return join(askedPrefix, agent[:]) }

// takeLease asks a holder for a lease over pieces it has, which rise, and to end grants; it checks
// the lease and records it. It returns those that the holder has not. back says that what was
// released there is wanted again; otherwise it is left out.
func (b *Barter) takeLease(ctx context.Context, p Partner, agent core.DID, pieces []core.Piece, closing [][]byte, back bool) (missing []core.Score, err error) {
	missing, err = b.takeInTurn(ctx, p, agent, pieces, closing, back)
	if err == nil && len(pieces) > 0 {
		b.receiptIfFresh(ctx, p, agent)
	}
	return missing, err
}

func (b *Barter) takeInTurn(ctx context.Context, p Partner, agent core.DID, pieces []core.Piece, closing [][]byte, back bool) (missing []core.Score, err error) {
	unlock, err := b.lockLine(ctx, agent)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if len(pieces) > 0 {
		if err := b.settleLine(ctx, p, agent); err != nil {
			return nil, err
		}
	}
	if !back {
		if pieces, err = b.unreleased(agent, pieces); err != nil || len(pieces) == 0 {
			return nil, err
		}
	}
	asked := askedRecord{V: codec.Version, Time: b.c.Clock.Now().Unix(), Pieces: pieces, Back: back}
	if len(pieces) > 0 {
		asked.ID = make([]byte, askedIDSize)
		seal.Random(asked.ID)
		c, err := change(askedKey(agent), asked)
		if err != nil {
			return nil, err
		}
		if err := b.c.Books.Apply(c); err != nil {
			return nil, fmt.Errorf("record what is asked for: %w", err)
		}
	}
	var out leaseAnswer
	in := leaseRequest{Pieces: pieces, Seconds: p.leaseSeconds(), Close: closing, ID: asked.ID}
	if err := b.c.Wire.Call(ctx, agent, "POST", "/leases", in, &out); err != nil {
		if errors.Is(err, core.ErrRefused) || errors.Is(err, core.ErrForbidden) { // so there is none
			err = errors.Join(err, b.c.Books.Apply(core.Change{Key: askedKey(agent)}))
		}
		return nil, fmt.Errorf("lease from %s: %w", p.Name, err)
	}
	if len(pieces) == 0 {
		return nil, nil
	}
	missing, err = b.taken(p, agent, asked, out, b.checkLease, false)
	if err != nil {
		return nil, fmt.Errorf("lease from %s: %w", p.Name, err)
	}
	return missing, nil
}

// taken records what a request for a lease has come to. again says that the answer was lost the first time.
func (b *Barter) taken(p Partner, agent core.DID, asked askedRecord, out leaseAnswer,
	check func(identity.Signed, Partner, core.DID) (pact.Lease, error), again bool,
) (missing []core.Score, err error) {
	if out.Lease == nil {
		return scoresOfPieces(asked.Pieces), b.c.Books.Apply(core.Change{Key: askedKey(agent)})
	}
	lease, err := check(*out.Lease, p, agent)
	if err != nil {
		return nil, err
	}
	leased, missing, err := match(asked.Pieces, lease, out.Sizes)
	if err != nil {
		return nil, err
	}
	t := taking{signed: *out.Lease, lease: lease, pieces: leased, asked: &asked, again: again}
	return missing, b.recordPlaced(t)
}

// askAgain asks what has become of a request for a lease whose answer was lost, by the network
// or because this machine stopped. A holder that gave no lease then gives none now.
func (b *Barter) askAgain(ctx context.Context, p Partner, agent core.DID) error {
	var asked askedRecord
	known, err := b.readLong(askedKey(agent), &asked)
	if err != nil || !known {
		return err
	}
	var out leaseAnswer
	err = b.c.Wire.Call(ctx, agent, "POST", "/leases", leaseRequest{Pieces: []core.Piece{}, ID: asked.ID, Again: true}, &out)
	if err != nil && !final(err) {
		return err
	}
	if err == nil {
		_, err = b.taken(p, agent, asked, out, b.openLease, true)
	}
	if err == nil || !final(err) && !errors.Is(err, core.ErrCorrupt) {
		return err
	}
	// Whatever that is, it is no lease that was asked for.
	b.c.Log.Warn("what was asked for cannot be learned", "holder", p.Name, "err", err)
	return b.c.Books.Apply(core.Change{Key: askedKey(agent)})
}

func scoresOfPieces(pieces []core.Piece) []core.Score {
	out := make([]core.Score, len(pieces))
	for i, p := range pieces {
		out[i] = p.Score
	}
	return out
}

// match holds a lease against the pieces that it was asked for, and returns those that it covers and
// those that it does not. sizes are what the holder says, where we did not know them all.
func match(pieces []core.Piece, lease pact.Lease, sizes []int64) (leased []takenPiece, missing []core.Score, err error) {
	var size int64
	for _, piece := range pieces {
		i, ok := slices.BinarySearchFunc(lease.Pieces, piece.Score, compareScores)
		if !ok {
			missing = append(missing, piece.Score)
			continue
		}
		t := takenPiece{Piece: piece, counts: piece.Size}
		if piece.Size == 0 {
			if len(sizes) != len(lease.Pieces) || sizes[i] <= 0 || sizes[i] > erasure.PieceSizeMax {
				return nil, nil, fmt.Errorf("it does not say what piece %s comes to: %w", piece.Score.Short(), core.ErrInvalid)
			}
			t.counts = sizes[i]
		}
		size += t.counts
		leased = append(leased, t)
	}
	switch {
	case len(leased) < len(lease.Pieces):
		return nil, nil, fmt.Errorf("it covers pieces that were not named: %w", core.ErrInvalid)
	case uint64(size) != lease.Bytes:
		return nil, nil, fmt.Errorf("it says %d bytes, not %d: %w", lease.Bytes, size, core.ErrInvalid)
	}
	return leased, missing, nil
}

// unreleased leaves out pieces that were released to a machine.
func (b *Barter) unreleased(agent core.DID, pieces []core.Piece) ([]core.Piece, error) {
	out := make([]core.Piece, 0, len(pieces))
	for _, piece := range pieces {
		var r placedRecord
		if _, err := b.read(placedKey(piece.Score, agent), &r); err != nil {
			return nil, err
		}
		if r.Released == 0 {
			out = append(out, piece)
		}
	}
	return out, nil
}

// errShort says that a lease runs for less than the pact says.
var errShort = errors.New("it ends too soon")

// checkLease opens a lease that agent of partner p is said to have given us just now.
func (b *Barter) checkLease(s identity.Signed, p Partner, agent core.DID) (pact.Lease, error) {
	lease, err := b.openLease(s, p, agent)
	if err != nil {
		return lease, err
	}
	if lease.Pact != p.Pact {
		return lease, fmt.Errorf("it is under another pact: %w", core.ErrInvalid)
	}
	// Clocks differ, and a holder may leave a date as it is that is not far: half is plenty.
	now := b.c.Clock.Now().Unix()
	if left, most := lease.Until-now, p.leaseMost(now); left < most/2 {
		return lease, fmt.Errorf("%w, in %d seconds of %d: %w", errShort, left, most, core.ErrInvalid)
	}
	return lease, nil
}

// openLease opens a lease that agent of partner p is said to have given us once.
func (b *Barter) openLease(s identity.Signed, p Partner, agent core.DID) (pact.Lease, error) {
	lease, err := pact.OpenLease(s)
	if err != nil {
		return lease, err
	}
	if lease.Holder != agent || lease.Grid != p.Grid || lease.Owner != b.c.Grid {
		return lease, fmt.Errorf("it is of other parties: %w", core.ErrInvalid)
	}
	return lease, nil
}
