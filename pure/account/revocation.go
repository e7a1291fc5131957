package account

import (
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// EntriesMax is the most entries of one page of revocations.
const EntriesMax = 1000

// revocationsBodyMax bounds the body of a page in bytes.
const revocationsBodyMax = 256 << 10

// Revocations is a page of an account server's list of accounts that were revoked or restored. Each gets
// the next number, and what an entry says counts until a later one of that account. Entries that are
// older than any token may be left out at the beginning of the list: nothing that they end is still good.
type Revocations struct {
	V      uint     `json:"v"`
	Server core.DID `json:"server"`
	// After is what was asked for: Entries are those with the next greater numbers, none left out between.
	After uint64 `json:"after"`
	// Last is the greatest number that there is. The list is whole where the last entry, or After, has it.
	Last    uint64       `json:"last"`
	Time    int64        `json:"time"`
	Entries []Revocation `json:"entries"`
}

// Revocation is one entry.
type Revocation struct {
	N       uint64 `json:"n"`
	Account string `json:"account"`
	Time    int64  `json:"time"`
	// Restored says that the account is good again.
	Restored bool `json:"restored,omitempty"`
}

// SignRevocations signs r with the key of the account server that it names. V is set. Errors: core.ErrInvalid.
func SignRevocations(k identity.Key, r Revocations) (identity.Signed, error) {
	r.V = codec.Version
	if err := r.check(); err != nil {
		return identity.Signed{}, err
	}
	return identity.Sign(k, identity.KindRevocation, r)
}

// OpenRevocations verifies a page's signature and form. Errors: core.ErrCorrupt for the signature,
// core.ErrInvalid, core.ErrTooLarge, core.ErrVersion.
func OpenRevocations(s identity.Signed) (Revocations, error) {
	r, err := identity.Open[Revocations](s, identity.KindRevocation, revocationsBodyMax)
	if err != nil {
		return Revocations{}, err
	}
	if err := checkServer(r.Server, s); err != nil {
		return Revocations{}, err
	}
	if err := r.check(); err != nil {
		return Revocations{}, err
	}
	return r, nil
}

// Next returns what to ask for next, and whether there is more.
func (r Revocations) Next() (after uint64, more bool) {
	if n := len(r.Entries); n > 0 {
		return r.Entries[n-1].N, r.Entries[n-1].N < r.Last
	}
	return min(r.After, r.Last), false
}

func (r Revocations) check() error {
	switch {
	case r.Server.IsZero():
		return invalid("revocations that name no server")
	case len(r.Entries) > EntriesMax:
		return invalid("%d revocations, at most %d", len(r.Entries), EntriesMax)
	case len(r.Entries) == 0 && r.After < r.Last:
		return invalid("no revocations after %d, and the last is %d", r.After, r.Last)
	}
	if err := checkTime(r.Time); err != nil {
		return err
	}
	for i, e := range r.Entries {
		switch {
		case i == 0 && e.N <= r.After, i > 0 && e.N != r.Entries[i-1].N+1, e.N > r.Last:
			return invalid("revocation %d, after %d, of %d", e.N, r.After, r.Last)
		}
		if err := CheckID(e.Account); err != nil {
			return err
		}
		if err := checkTime(e.Time); err != nil {
			return err
		}
	}
	return nil
}
