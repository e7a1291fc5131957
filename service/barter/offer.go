package barter

import (
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
	"github.com/grange-grid/grange/pure/policy"
)

// The default offer: the lesser of a tenth of the free room and 50 GB. The
// reserve that nobody gets is the greater of a twentieth of the disk and 1 GiB.
const (
	OfferMax   = 50_000_000_000
	offerShare = 10
	reserveMin = 1 << 30
	reservePer = 20
)

// DefaultOffer returns what a machine gives unless told otherwise, in bytes, on a
// disk with that many bytes free and in all.
func DefaultOffer(free, total int64) int64 {
	return max(0, min(free/offerShare, OfferMax, free-Reserve(total)))
}

// Reserve returns the bytes of a disk that are never given.
func Reserve(total int64) int64 { return max(total/reservePer, reserveMin) }

func (b *Barter) loadOffer() error {
	var r offerRecord
	ok, err := b.read(offerKey, &r)
	if err != nil {
		return err
	}
	if ok {
		b.offer = r.Bytes
		return nil
	}
	free, total, err := b.c.Free()
	if err != nil {
		return fmt.Errorf("ask the disk for its free room: %w", err)
	}
	return b.SetOffer(DefaultOffer(free, total))
}

// SetOffer sets what this machine gives in total, in bytes. Giving less than is
// already used drops nothing; it only grants no more. Errors: core.ErrInvalid, core.ErrFull.
func (b *Barter) SetOffer(total int64) error {
	if total < 0 {
		return fmt.Errorf("offer of %d bytes: %w", total, core.ErrInvalid)
	}
	c, err := change(offerKey, offerRecord{V: 1, Bytes: total})
	if err != nil {
		return err
	}
	b.settling.Lock() // so that what is told is what was written last
	defer b.settling.Unlock()
	if err := b.c.Books.Apply(c); err != nil {
		return fmt.Errorf("record the offer: %w", err)
	}
	b.mu.Lock()
	b.offer = total
	b.mu.Unlock()
	return nil
}

// Offer returns what this machine gives in total, and how much of that is used
// or promised by grants, in bytes.
func (b *Barter) Offer() (total, used int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.endIdle(b.c.Clock.Now())
	return b.offer, b.sums.used + b.sums.promised
}

// Used returns the bytes and pieces that a household has here under leases.
func (b *Barter) Used(owner core.DID) (size, pieces int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.accounts[owner]; a != nil {
		return a.used.Bytes, a.used.Pieces
	}
	return 0, 0
}

// facts gathers what a policy may know. free and total were measured when landed
// was what it is told to have been: what has reached the disk since counts against
// what was free then. The caller holds b.mu.
func (b *Barter) facts(p Partner, free, total, landed int64) policy.Facts {
	used := b.sums.used + b.sums.promised
	promised := b.coming + b.landed - landed + b.sums.unsent // bytes that will be, or have been, taken of free
	mine := b.account(p.Grid)
	offered := p.Given
	if b.isHome(p) {
		offered = pact.AmountMax // the room alone bounds it
	}
	out := policy.Facts{
		Now:     b.c.Clock.Now().Unix(),
		Grid:    p.Grid,
		Home:    b.isHome(p),
		Pact:    p.Pact,
		Room:    max(0, min(b.offer-used, free-Reserve(total)-promised)),
		Offered: offered,
		Used:    mine.withGuests(),
		Partner: p.Name,
		Total:   b.offer,
	}
	if p.Leaving { // a date that is still far away refuses nothing
		out.Ends = p.Ends
	}
	if p.Via == nil {
		s := b.standing(mine)
		out.Gives, out.Missing, out.Age = s.Gives, s.Missing, s.Age
	}
	b.factsVia(p.Via, &out)
	return out
}
