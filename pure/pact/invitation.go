package pact

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// Limits of an Invitation.
const (
	// CodeSizeMax is the most characters of a code, without what is ignored in it.
	CodeSizeMax = 4 << 10
	// CodeTextSizeMax is the most bytes of a code with all that is ignored in it.
	CodeTextSizeMax = 16 << 10
	// InvitationNameSizeMax is the most bytes of a name.
	InvitationNameSizeMax = 64
	// AddrsMax is the most addresses, AddrSizeMax the most bytes of one.
	AddrsMax    = 8
	AddrSizeMax = 256
)

const codePrefix = "GRANGE:"

// invitationSizeMax is what fits into a code.
var invitationSizeMax = codec.LineBytes(codePrefix, CodeSizeMax)

// The contexts of what is derived from an invitation's secret.
const (
	contextID    = "grange v1 invitation id"
	contextProof = "grange v1 invitation proof"
)

const hidden = "[secret]"

// Secret is an invitation's secret: who knows it is invited. It prints, logs and
// goes into JSON as "[secret]"; only the code shows it.
type Secret [16]byte

// Format prints "[secret]" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue logs "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText returns "[secret]"; there is no way back.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Invitation is what one household sends to another by whatever means people
// have, to make a pact.
type Invitation struct {
	V uint `json:"v"`
	// Agent is the inviting agent, Grid its household.
	Agent core.DID `json:"agent"`
	Grid  core.DID `json:"grid"`
	// Name is what the household calls itself: printable, at most
	// InvitationNameSizeMax bytes, and not to be believed.
	Name string `json:"name"`
	// Addrs are the agent's multiaddrs, at most AddrsMax.
	Addrs  []string `json:"addrs"`
	Secret Secret   `json:"secret"`
	// Expires is in seconds since 1970.
	Expires int64 `json:"expires"`
	Terms   Terms `json:"terms"`
}

// ID returns the name by which the inviter knows the invitation; it tells
// nothing of the secret.
func (i Invitation) ID() [16]byte {
	key := core.DeriveKey(contextID, i.Secret[:])
	return [16]byte(key[:16])
}

// InvitationProof returns the proof by which the accepting agent shows the
// inviting agent that it knows the secret. It is of use to nobody else.
func InvitationProof(secret Secret, inviter, acceptor core.DID) [32]byte {
	return core.DeriveKey(contextProof, secret[:], inviter[:], acceptor[:])
}

// Proves tells whether proof is the acceptor's for this invitation, in a time that does not
// depend on how nearly it is.
func (i Invitation) Proves(acceptor core.DID, proof []byte) bool {
	want := InvitationProof(i.Secret, i.Agent, acceptor)
	return subtle.ConstantTimeCompare(want[:], proof) == 1
}

// Pact returns the pact that a household makes by accepting, from a date on, for as long as the terms say.
func (i Invitation) Pact(acceptor core.DID, from int64) Pact {
	p := Pact{V: codec.Version, Inviter: i.Grid, Acceptor: acceptor, Invitation: i.ID(), Terms: i.Terms, From: from}
	if i.Terms.Days > 0 {
		p.Until = from + int64(i.Terms.Days)*day
	}
	return p
}

// Match checks that p is a pact that the invitation offers. Errors: core.ErrInvalid.
func (i Invitation) Match(p Pact) error {
	switch {
	case p.Amends != nil:
		return fmt.Errorf("pact: %w: it is an amendment", core.ErrInvalid)
	case p.Invitation != i.ID():
		return fmt.Errorf("pact: %w: of another invitation", core.ErrInvalid)
	case p.Inviter != i.Grid:
		return fmt.Errorf("pact: %w: with %s, not with who invited, %s", core.ErrInvalid, p.Inviter, i.Grid)
	case !p.Terms.Equal(i.Terms):
		return fmt.Errorf("pact: %w: its terms are not the invitation's", core.ErrInvalid)
	case p.Until != i.Pact(p.Acceptor, p.From).Until:
		return fmt.Errorf("pact: %w: from %d until %d, and the terms are for %d days", core.ErrInvalid, p.From, p.Until, i.Terms.Days)
	}
	return nil
}

// Code returns the invitation as the one line that people send. V is set.
// It contains the secret. Errors: core.ErrInvalid; core.ErrTooLarge if it is
// longer than CodeSizeMax.
func (i Invitation) Code() (string, error) {
	i.V = codec.Version
	if err := i.check(); err != nil {
		return "", fmt.Errorf("invitation: %w", err)
	}
	raw, err := codec.Marshal(i)
	if err != nil {
		return "", fmt.Errorf("invitation: %w", err)
	}
	if len(raw) > invitationSizeMax {
		return "", fmt.Errorf("invitation: %w: %d bytes, at most %d; with fewer addresses it is shorter", core.ErrTooLarge, len(raw), invitationSizeMax)
	}
	return codec.Line(codePrefix, raw), nil
}

// ParseInvitation reads what Code returns, however it was wrapped, hyphenated or put
// in small letters. Whether it has expired is not looked at.
// Errors: core.ErrInvalid if it is no code at all, or one of false contents;
// core.ErrCorrupt if characters are wrong or missing; core.ErrVersion if it is
// of a version not spoken here; core.ErrTooLarge.
func ParseInvitation(code string) (Invitation, error) {
	if len(code) > CodeTextSizeMax {
		return Invitation{}, fmt.Errorf("invitation: %w: %d bytes, at most %d", core.ErrTooLarge, len(code), CodeTextSizeMax)
	}
	raw, err := codec.ParseLine(codePrefix, code, CodeSizeMax)
	if errors.Is(err, core.ErrInvalid) {
		err = fmt.Errorf("%w: not an invitation code; one begins with %s", core.ErrInvalid, codePrefix)
	}
	if err != nil {
		return Invitation{}, fmt.Errorf("invitation: %w", err)
	}
	var i Invitation
	if err := codec.Unmarshal(raw, &i, invitationSizeMax); err != nil {
		return Invitation{}, fmt.Errorf("invitation: %w", err)
	}
	if err := i.check(); err != nil {
		return Invitation{}, fmt.Errorf("invitation: %w", err)
	}
	return i, nil
}

func (i Invitation) check() error {
	switch {
	case i.Agent.IsZero() || i.Grid.IsZero():
		return fmt.Errorf("%w: agent or grid is missing", core.ErrInvalid)
	case i.Secret == Secret{}:
		return fmt.Errorf("%w: the secret is missing", core.ErrInvalid)
	case !isPrintable(i.Name, InvitationNameSizeMax):
		return fmt.Errorf("%w: name %.80q", core.ErrInvalid, i.Name)
	case len(i.Addrs) > AddrsMax:
		return fmt.Errorf("%w: %d addresses, at most %d", core.ErrInvalid, len(i.Addrs), AddrsMax)
	case !isTime(i.Expires):
		return fmt.Errorf("%w: expires %d", core.ErrInvalid, i.Expires)
	}
	for _, a := range i.Addrs {
		if !strings.HasPrefix(a, "/") || !isPrintable(a, AddrSizeMax) {
			return fmt.Errorf("%w: address %.80q", core.ErrInvalid, a)
		}
	}
	return i.Terms.Check()
}

// isPrintable tells whether a stranger's text may be shown on a terminal: no
// control characters, nothing that turns the direction of writing.
func isPrintable(s string, sizeMax int) bool {
	const joiner = '\u200d' // holds a family of emoji together
	for _, r := range s {
		if !unicode.IsPrint(r) && r != joiner {
			return false
		}
	}
	return len(s) <= sizeMax && utf8.ValidString(s)
}
