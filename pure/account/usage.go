package account

import (
	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// UsageSizeMax bounds the encoding of a signed report in bytes.
const UsageSizeMax = usageBodyMax + identity.SignedOverhead

const usageBodyMax = 512

// Usage is a storage server's report on an account: of several by one storage server the one with the
// greatest Seq counts. It signs no two with one Seq.
type Usage struct {
	V uint `json:"v"`
	// Server is the account server that it is for. The storage server's agent signs.
	Server  core.DID `json:"server"`
	Account string   `json:"account"`
	// Bytes is what lies there for the account now.
	Bytes int64 `json:"bytes"`
	// Total is the byte-hours that it has had since the storage server began to count, rounded down.
	Total uint64 `json:"total"`
	Seq   uint64 `json:"seq"`
	Time  int64  `json:"time"`
}

// SignUsage signs u with the key of the storage server. V is set. Errors: core.ErrInvalid.
func SignUsage(k identity.Key, u Usage) (identity.Signed, error) {
	u.V = codec.Version
	if err := u.check(); err != nil {
		return identity.Signed{}, err
	}
	return identity.Sign(k, identity.KindUsage, u)
}

// OpenUsage verifies a report's signature and form. Errors: core.ErrCorrupt for the signature,
// core.ErrInvalid, core.ErrTooLarge, core.ErrVersion.
func OpenUsage(s identity.Signed) (Usage, error) {
	u, err := identity.Open[Usage](s, identity.KindUsage, usageBodyMax)
	if err != nil {
		return Usage{}, err
	}
	if err := u.check(); err != nil {
		return Usage{}, err
	}
	return u, nil
}

func (u Usage) check() error {
	if err := CheckID(u.Account); err != nil {
		return err
	}
	switch {
	case u.Server.IsZero():
		return invalid("a report that names no account server")
	case u.Bytes < 0 || u.Bytes > BytesMax:
		return invalid("a report of %d bytes", u.Bytes)
	case u.Seq == 0:
		return invalid("a report without a number")
	}
	return checkTime(u.Time)
}

// Follows says what is wrong with u as the report that comes after old of one storage server and account; nil is
// nothing. A clock may be put right between the two, so that time may fall. Errors: core.ErrStale if old is
// as new; core.ErrInvalid if the running total falls.
func (u Usage) Follows(old Usage) error {
	switch {
	case u.Seq <= old.Seq:
		return core.ErrStale
	case u.Total < old.Total:
		return invalid("report %d has a total below that of report %d", u.Seq, old.Seq)
	}
	return nil
}
