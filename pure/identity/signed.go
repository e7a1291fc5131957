package identity

import (
	"crypto/ed25519"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// The kinds of thing that are signed.
const (
	KindCharter   = "charter"
	KindHead      = "head"
	KindAdmission = "admission"
	KindPact      = "pact"
	KindLease     = "lease"
	KindRelease   = "release"
	KindReceipt   = "receipt"
	KindNotice    = "notice"
	KindTicket    = "ticket"
	KindBearer    = "bearer"
	KindSeed      = "seed"
	// What an account server signs: a token, and its list of revocations; and what a storage server tells it.
	KindAccount    = "account"
	KindRevocation = "revocation"
	KindUsage      = "usage"
	KindRoll       = "roll"
	// KindOp is an operation's header, which has no Signed around it.
	KindOp = "op"
)

// signaturePrefix is what every signed string starts with, before kind and zero byte.
const signaturePrefix = "grange/v1/"

// SignedOverhead is how many bytes longer the encoding of a Signed is than its
// body, at most.
const SignedOverhead = 128

// Signed is a body with its signature, as it travels and is kept. Nothing of it
// is to be believed before Open.
type Signed struct {
	By   core.DID `json:"by"`
	Body []byte   `json:"body"`
	Sig  []byte   `json:"sig"`
}

// Score returns the score of the encoding of s: its name.
func (s Signed) Score() core.Score {
	b, err := s.Marshal()
	if err != nil {
		panic(err) // three byte strings always have an encoding
	}
	return core.ScoreOf(b)
}

// Marshal returns the encoding of s.
func (s Signed) Marshal() ([]byte, error) { return codec.Marshal(s) }

// ParseSigned reads what Marshal returns, of at most sizeMax bytes, without
// verifying it. Errors: core.ErrInvalid, core.ErrTooLarge.
func ParseSigned(data []byte, sizeMax int) (Signed, error) {
	var s Signed
	if err := codec.Unmarshal(data, &s, sizeMax); err != nil {
		return Signed{}, fmt.Errorf("read signed: %w", err)
	}
	return s, nil
}

// Sign encodes v and signs it as a thing of the given kind.
func Sign(k Key, kind string, v any) (Signed, error) {
	body, err := codec.Marshal(v)
	if err != nil {
		return Signed{}, fmt.Errorf("sign %s: %w", kind, err)
	}
	if k.IsZero() {
		return Signed{}, fmt.Errorf("sign %s: no key", kind)
	}
	return Signed{By: k.DID(), Body: body, Sig: SignBytes(k, kind, body)}, nil
}

// Open verifies s as a thing of the given kind and then decodes its body
// strictly, of at most sizeMax bytes. That s.By may sign such a thing is for the
// caller to check. Errors: core.ErrTooLarge, core.ErrCorrupt of a wrong signature,
// core.ErrVersion and core.ErrInvalid of a body that was so signed.
func Open[T any](s Signed, kind string, sizeMax int) (T, error) {
	var v, none T
	if len(s.Body) > sizeMax { // before it is hashed
		return none, fmt.Errorf("open %s: %w: %d bytes, at most %d", kind, core.ErrTooLarge, len(s.Body), sizeMax)
	}
	if err := VerifyBytes(s.By, kind, s.Body, s.Sig); err != nil {
		return none, fmt.Errorf("open %w", err)
	}
	if err := codec.Unmarshal(s.Body, &v, sizeMax); err != nil {
		return none, fmt.Errorf("open %s: %w", kind, err)
	}
	return v, nil
}

// SignBytes returns the 64 bytes of k's signature over body as a thing of the
// given kind. k must not be the zero Key.
func SignBytes(k Key, kind string, body []byte) []byte {
	return ed25519.Sign(k.private, message(kind, body))
}

// VerifyBytes checks what SignBytes made. Errors: core.ErrCorrupt, and then either
// the bytes, the kind or the signer are not what was signed.
func VerifyBytes(by core.DID, kind string, body, sig []byte) error {
	if err := CheckDID(by); err != nil {
		return fmt.Errorf("%s: %w: signed by %v", kind, core.ErrCorrupt, err)
	}
	if len(sig) != ed25519.SignatureSize || !ed25519.Verify(by[:], message(kind, body), sig) {
		return fmt.Errorf("%s: signature of %s: %w", kind, by.Short(), core.ErrCorrupt)
	}
	return nil
}

// message is what is signed. No kind has a zero byte, so no two pairs give one message.
func message(kind string, body []byte) []byte {
	m := make([]byte, 0, len(signaturePrefix)+len(kind)+1+len(body))
	m = append(m, signaturePrefix...)
	m = append(m, kind...)
	m = append(m, 0)
	return append(m, body...)
}
