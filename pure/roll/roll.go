// Package roll is who belongs to a club: the list of its members, with what each may do and what share of the
// members' offers it has, and the vouchers that are good no more. The format is that of docs/SPEC.md §6.4.
//
// A machine of the club signs it, which the club's charter lists: daily life needs no root. The one with the greatest
// number stands. That its signer is so listed, and that the club is the one expected, is for the caller to check.
package roll

import (
	"bytes"
	"fmt"
	"slices"
	"unicode"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// Limits of a Roll; sizes are in bytes.
const (
	SizeMax    = 512 << 10
	MembersMax = 1024
	// RevokedMax is how many vouchers it may revoke.
	RevokedMax = 4096
	// NameSizeMax bounds a member's name.
	NameSizeMax = 64
	// MayMax is how many things a member may do, MaySizeMax bounds the word for one.
	MayMax     = 8
	MaySizeMax = 16
	// TimeMax is the latest time, in seconds since 1970.
	TimeMax = 1 << 48
)

// The kinds of Member.
const (
	KindGrid   = "grid"
	KindPerson = "person"
)

// MayStore is what a member may who draws on what the others give. A word that is not known here says nothing.
const MayStore = "store"

// Roll is the list.
type Roll struct {
	V    uint     `json:"v"`
	Grid core.DID `json:"grid"`
	// N is greater than in any roll before, and at least what Least says, so that a club that was recovered goes on.
	N uint64 `json:"n"`
	// Members are by DID, rising.
	Members []Member `json:"members"`
	// Revoked are by id, rising.
	Revoked []Revoked `json:"revoked,omitempty"`
	Time    int64     `json:"time"` // seconds since 1970
}

// Least is the least number of a roll that is made under a charter of that epoch, at a time in seconds since 1970. A club that was
// recovered has a later epoch.
func Least(epoch uint64, now int64) uint64 {
	const timeBits = 40
	return min(epoch, 1<<(63-timeBits)-1)<<timeBits + uint64(min(max(now, 1), 1<<timeBits-1))
}

// Member is a grid, or the machine of a person.
type Member struct {
	DID  core.DID `json:"did"`
	Kind string   `json:"kind"`
	Name string   `json:"name"`
	// May are words, rising.
	May []string `json:"may,omitempty"`
	// Share is how much of what each member offers it may have, in percent; 0 is an even share of what is left.
	Share uint `json:"share,omitempty"`
}

// Revoked is a voucher's link that is good no more.
type Revoked struct {
	// ID is as in package voucher.
	ID core.Score `json:"id"`
	// Until is when it would have ended, in seconds since 1970: from then on it need not be named.
	Until int64 `json:"until"`
}

// Sign signs r with the key of a machine of the club. It sets V, and refuses what Open would.
func Sign(k identity.Key, r Roll) (identity.Signed, error) {
	r.V = codec.Version
	if err := r.check(); err != nil {
		return identity.Signed{}, fmt.Errorf("sign roll %d: %w", r.N, err)
	}
	return identity.Sign(k, identity.KindRoll, r)
}

// Open verifies a signed roll: the signature and its form. Errors: core.ErrCorrupt, core.ErrInvalid,
// core.ErrTooLarge, core.ErrVersion.
func Open(s identity.Signed) (Roll, error) {
	r, err := identity.Open[Roll](s, identity.KindRoll, SizeMax)
	if err != nil {
		return Roll{}, err
	}
	if err := r.check(); err != nil {
		return Roll{}, fmt.Errorf("roll of %s: %w", r.Grid.Short(), err)
	}
	return r, nil
}

// Stands tells whether r, signed as of a score, stands over another roll of that club: the one with the greater number
// does, of two with one number, which an honest club never signs, that with the lower score.
func (r Roll) Stands(score core.Score, over Roll, other core.Score) bool {
	if r.N != over.N {
		return r.N > over.N
	}
	return bytes.Compare(score[:], other[:]) < 0
}

// Member returns one member.
func (r Roll) Member(did core.DID) (Member, bool) {
	i, ok := slices.BinarySearchFunc(r.Members, did, func(m Member, d core.DID) int { return m.DID.Compare(d) })
	if !ok {
		return Member{}, false
	}
	return r.Members[i], true
}

// Equal tells whether two say the same.
func (m Member) Equal(o Member) bool {
	return m.DID == o.DID && m.Kind == o.Kind && m.Name == o.Name && m.Share == o.Share && slices.Equal(m.May, o.May)
}

// Can tells whether a member may do something.
func (m Member) Can(do string) bool { return slices.Contains(m.May, do) }

// Portion returns what a member may have of what another offers: its share, or as much as each of the others
// that have none and divide the rest evenly. All that may store, but for the one who offers, come to no more than the offer.
func (r Roll) Portion(member, home core.DID, offered int64) int64 {
	var mine uint64
	shares, even := uint64(0), int64(0)
	draws := false
	for _, m := range r.Members {
		if m.DID == home || !m.Can(MayStore) {
			continue
		}
		shares += uint64(m.Share)
		if m.Share == 0 {
			even++
		}
		if m.DID == member {
			draws, mine = true, uint64(m.Share)
		}
	}
	switch {
	case !draws || offered <= 0:
		return 0
	case mine > 0:
		return percent(offered, mine)
	}
	return percent(offered, 100-shares) / even
}

// percent returns p of 100 parts of n, rounded down, without overflow.
func percent(n int64, p uint64) int64 { return n/100*int64(p) + n%100*int64(p)/100 }

func (r Roll) check() error {
	shares := uint(0)
	for i, m := range r.Members {
		if err := m.check(); err != nil {
			return err
		}
		if i > 0 && r.Members[i-1].DID.Compare(m.DID) >= 0 {
			return invalid("members that do not rise")
		}
		if m.DID == r.Grid {
			return invalid("the club is a member of itself")
		}
		shares += m.Share
	}
	for i, x := range r.Revoked {
		if i > 0 && bytes.Compare(r.Revoked[i-1].ID[:], x.ID[:]) >= 0 {
			return invalid("vouchers that do not rise")
		}
		if x.Until < 1 || x.Until > TimeMax {
			return invalid("a voucher that ends at %d", x.Until)
		}
	}
	switch {
	case r.V != codec.Version:
		return fmt.Errorf("%w %d, want %d", core.ErrVersion, r.V, codec.Version)
	case r.Grid.IsZero():
		return invalid("it names no grid")
	case r.N == 0:
		return invalid("rolls are counted from 1")
	case r.Time < 0 || r.Time > TimeMax:
		return invalid("a time of %d", r.Time)
	case len(r.Members) > MembersMax:
		return invalid("%d members, at most %d", len(r.Members), MembersMax)
	case len(r.Revoked) > RevokedMax:
		return invalid("%d vouchers, at most %d", len(r.Revoked), RevokedMax)
	case shares > 100:
		return invalid("shares of %d %% in all", shares)
	}
	return nil
}

func (m Member) check() error {
	switch {
	case m.DID.IsZero():
		return invalid("a member without a DID")
	case m.Kind != KindGrid && m.Kind != KindPerson:
		return invalid("a member of kind %.20q", m.Kind)
	case len(m.Name) > NameSizeMax || !printable(m.Name):
		return invalid("a member's name %.80q", m.Name)
	case m.Share > 100:
		return invalid("a share of %d %%", m.Share)
	case len(m.May) > MayMax:
		return invalid("a member may do %d things, at most %d", len(m.May), MayMax)
	}
	for i, word := range m.May {
		if word == "" || len(word) > MaySizeMax || !printable(word) || i > 0 && m.May[i-1] >= word {
			return invalid("what a member may do, %.20q, is no word or does not rise", word)
		}
	}
	return nil
}

// printable tells whether text can be shown on a terminal.
func printable(s string) bool {
	const joiner = '\u200d' // of emoji
	for _, c := range s {
		if !unicode.IsPrint(c) && c != joiner || c == unicode.ReplacementChar {
			return false
		}
	}
	return true
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}
