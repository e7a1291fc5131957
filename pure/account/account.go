// Package account is what an account server signs and is told: tokens, with which a household shows a
// storage server that it has a contract; the list of those that were revoked; and the reports of storage
// servers on what an account has with them. Formats are those of docs/SPEC.md §6.3.
//
// A token can be verified by whoever knows the account server's DID, without asking it. That it was not
// revoked since, and how much the account has at all storage servers together, only the account server
// can say: that is service/accounts. What a token's right is worth is for a policy to judge.
package account

import (
	"fmt"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// Limits of what is signed here.
const (
	// IDSizeMax and PlanSizeMax bound the names of accounts and plans, in bytes.
	IDSizeMax   = 64
	PlanSizeMax = 32
	// BytesMax bounds what a plan gives, and what an account has at one storage server.
	BytesMax = 1 << 53
	// LifeMax is for how many seconds a token may be good at most: seven days.
	LifeMax = 7 * daySeconds
	// SkewMax is by how many seconds two clocks may disagree: a day.
	SkewMax = daySeconds
	// TimeMax is the last second of the year 9999.
	TimeMax = 253402300799
	// AddrsMax is the most addresses of an account server that a token names, AddrSizeMax the most bytes of one.
	AddrsMax    = 4
	AddrSizeMax = 256

	daySeconds = 24 * 60 * 60
)

// CheckID refuses what cannot be an account's name: 1 to IDSizeMax letters and digits of ASCII, and ". _ @ + -".
// Errors: core.ErrInvalid.
func CheckID(id string) error { return checkName("account", id, IDSizeMax) }

// CheckPlan refuses what cannot be a plan's name: as CheckID, but for the length.
func CheckPlan(plan string) error { return checkName("plan", plan, PlanSizeMax) }

func checkName(what, name string, sizeMax int) error {
	if len(name) < 1 || len(name) > sizeMax {
		return invalid("the name of a%s %s has 1 to %d letters, not %d", map[bool]string{true: "n"}[what == "account"], what, sizeMax, len(name))
	}
	for _, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._@+-", r):
		default:
			return invalid("%s %.80q: a name has letters and digits of ASCII, and . _ @ + -", what, name)
		}
	}
	return nil
}

func checkServer(server core.DID, s identity.Signed) error {
	if s.By != server {
		return invalid("signed by another than the account server that it names")
	}
	return nil
}

func checkTime(t int64) error {
	if t < 1 || t > TimeMax {
		return invalid("the time %d", t)
	}
	return nil
}

func isAddr(a string) bool {
	strange := func(r rune) bool { return r <= ' ' || r > '~' }
	return strings.HasPrefix(a, "/") && len(a) <= AddrSizeMax && !strings.ContainsFunc(a, strange)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("account: %w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}
