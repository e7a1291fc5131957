package barter

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// Limits of what a machine may tell of our pieces.
const (
	learnPagesMax   = 1 << 13 // pages of leases
	learnUnknownMax = 1 << 20 // pieces that no segment table of ours knows: 1 TiB
)

// Learn asks every machine of a partner, or each other one of our own household, for the leases that our household has
// there, checks them and records where our pieces lie. sizeOf gives the size of a
// piece that our segment tables know; what they do not know is recorded with size
// 0, and renewed. It returns how many pieces of either kind are recorded at the partner
// then. It is how a recovered machine finds its pieces; leases that have
// ended count too, because renewal brings the pieces back, and so does what is set aside until GiveUpFound.
func (b *Barter) Learn(ctx context.Context, grid core.DID, sizeOf func(core.Score) (int64, bool)) (known, unknown int, err error) {
	p, ok := b.c.Partners.Of(grid)
	if !ok {
		return 0, 0, fmt.Errorf("leases of %s: %w", grid, core.ErrNotExist)
	}
	var failures []error
	for _, agent := range b.away(p) {
		if err := b.learnFrom(ctx, p, agent, sizeOf, learnUnknownMax); err != nil {
			failures = append(failures, fmt.Errorf("leases at %s: %w", p.Name, err))
		}
	}
	if len(failures) == 0 {
		if err := b.noteLearned(grid); err != nil {
			failures = append(failures, err)
		}
	}
	known, unknown, err = b.placedAt(grid)
	if err != nil {
		failures = append(failures, err)
	}
	return known, unknown, errors.Join(failures...)
}

// isNews tells whether that a machine has a piece aside is something new: this one has not given it up, nor been told before.
func (b *Barter) isNews(piece core.Score, agent core.DID) (bool, error) {
	var r placedRecord
	known, err := b.read(placedKey(piece, agent), &r)
	return !known || r.Released == 0 && !r.Aside, err
}

// noteLearned writes down that all of a partner's machines have told what they hold of ours.
func (b *Barter) noteLearned(grid core.DID) error {
	c, err := change(join(learnedPrefix, grid[:]), wholeRecord{V: codec.Version})
	if err != nil {
		return err
	}
	return b.c.Books.Apply(c)
}

// Learned tells whether a Learn of a partner has ended well: until then it may hold
// pieces of ours of which these books know nothing.
func (b *Barter) Learned(grid core.DID) (bool, error) {
	return b.has(join(learnedPrefix, grid[:]))
}

// placedAt counts the pieces that are recorded at a household, by whether their size is known.
func (b *Barter) placedAt(grid core.DID) (known, unknown int, err error) {
	for c, err := range b.c.Books.Scan(placedPrefix, nil) {
		if err != nil {
			return 0, 0, fmt.Errorf("read where our pieces lie: %w", err)
		}
		h, r, err := parsePlaced(c)
		switch {
		case err != nil:
			return 0, 0, err
		case h.Grid != grid || r.Released != 0:
		case r.Size > 0:
			known++
		default:
			unknown++
		}
	}
	return known, unknown, nil
}

// learnFrom reads one machine's list to its end. A lease in it that is not good is
// passed over, and told at the end.
func (b *Barter) learnFrom(ctx context.Context, p Partner, agent core.DID, sizeOf func(core.Score) (int64, bool), unknownMax int) error {
	path := "/leases"
	var last core.Score
	var bad error
	unknown := 0
	for range learnPagesMax {
		var out leasesAnswer
		if err := b.c.Wire.CallLimit(ctx, agent, "GET", path, nil, &out, leasesLimit); err != nil {
			return err
		}
		for _, s := range out.Leases {
			score := s.Score()
			if compareScores(score, last) <= 0 { // or it could go on for ever
				return fmt.Errorf("its list does not rise: %w", core.ErrInvalid)
			}
			last = score
			lease, err := b.openLease(s, p, agent)
			if err != nil {
				bad = fmt.Errorf("lease %s: %w", score.Short(), err)
				continue
			}
			pieces, found := make([]takenPiece, len(lease.Pieces)), false
			for i, score := range lease.Pieces {
				size, ok := sizeOf(score)
				if !ok {
					size = 0
					unknown++
				}
				_, aside := slices.BinarySearchFunc(out.Aside, score, compareScores)
				if aside && !found {
					var err error
					if found, err = b.isNews(score, agent); err != nil {
						return err
					}
				}
				pieces[i] = takenPiece{Piece: core.Piece{Score: score, Size: size}, aside: aside}
			}
			if unknown > unknownMax {
				return fmt.Errorf("more than %d pieces that we do not know: %w", unknownMax, core.ErrTooLarge)
			}
			if found { // before, so that nothing is found that nobody looks at
				if err := b.noteFound(); err != nil {
					return err
				}
			}
			if err := b.recordPlaced(taking{signed: s, lease: lease, pieces: pieces}); err != nil {
				return err
			}
		}
		if !out.More || len(out.Leases) == 0 {
			return bad
		}
		path = "/leases?" + url.Values{"after": {last.String()}}.Encode()
	}
	return fmt.Errorf("more than %d pages of leases: %w", learnPagesMax, core.ErrTooLarge)
}
