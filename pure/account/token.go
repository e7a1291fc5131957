package account

import (
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// NonceSize is the length of a token's nonce in bytes. It is random, so that no two tokens are one.
const NonceSize = 16

// TokenSizeMax bounds the encoding of a signed token in bytes.
const TokenSizeMax = tokenBodyMax + identity.SignedOverhead

const tokenBodyMax = 2 << 10

// Token is an account server's word that a household has a contract, until a date.
type Token struct {
	V uint `json:"v"`
	// Server is the account server's agent, which signs.
	Server  core.DID `json:"server"`
	Account string   `json:"account"`
	Plan    string   `json:"plan"`
	// Grid is the household that may use it: nobody else.
	Grid core.DID `json:"grid"`
	// Bytes is what the plan gives at all storage servers together.
	Bytes int64 `json:"bytes"`
	// From and Until are in seconds since 1970, by the account server's clock, at most LifeMax apart.
	From  int64           `json:"from"`
	Until int64           `json:"until"`
	Nonce [NonceSize]byte `json:"nonce"`
	// Addrs is where the account server can be asked: multiaddrs.
	Addrs []string `json:"addrs,omitempty"`
}

// Right is a token that was verified.
type Right struct {
	// ID is the token's score.
	ID core.Score
	Token
}

// SignToken signs t with the key of the account server that it names. V is set. Errors: core.ErrInvalid.
func SignToken(k identity.Key, t Token) (identity.Signed, error) {
	t.V = codec.Version
	if err := t.check(); err != nil {
		return identity.Signed{}, err
	}
	return identity.Sign(k, identity.KindAccount, t)
}

// OpenToken verifies a token's signature and form. That its server is trusted, and its dates, are for the
// caller to check, as Verify does. Errors: core.ErrCorrupt for the signature, core.ErrInvalid,
// core.ErrTooLarge, core.ErrVersion.
func OpenToken(s identity.Signed) (Token, error) {
	t, err := identity.Open[Token](s, identity.KindAccount, tokenBodyMax)
	if err != nil {
		return Token{}, err
	}
	if err := checkServer(t.Server, s); err != nil {
		return Token{}, err
	}
	if err := t.check(); err != nil {
		return Token{}, err
	}
	return t, nil
}

// Verify returns the right of a token that a machine of grid shows, at now, without asking anybody. Only
// servers that are trusted may have signed it. One of a clock that is ahead by up to SkewMax is good already.
// Errors: core.ErrForbidden for a server that is not trusted, or a token of another household; a *core.Denial
// for one that has lapsed; and those of OpenToken.
func Verify(s identity.Signed, trusted func(server core.DID) bool, grid core.DID, now int64) (Right, error) {
	if !trusted(s.By) { // before its signature is verified, which is dear
		return Right{}, fmt.Errorf("account: a token by %s, who is not trusted here: %w", s.By.Short(), core.ErrForbidden)
	}
	t, err := OpenToken(s)
	switch {
	case err != nil:
		return Right{}, err
	case t.Grid != grid:
		return Right{}, fmt.Errorf("account: a token for another household: %w", core.ErrForbidden)
	case t.From-now > SkewMax:
		return Right{}, &core.Denial{Reason: fmt.Sprintf("the token of account %s is not good yet", t.Account)}
	case t.Until <= now:
		return Right{}, &core.Denial{Reason: fmt.Sprintf("the token of account %s has lapsed", t.Account)}
	}
	return Right{s.Score(), t}, nil
}

func (t Token) check() error {
	if err := CheckID(t.Account); err != nil {
		return err
	}
	if err := CheckPlan(t.Plan); err != nil {
		return err
	}
	switch {
	case t.Server.IsZero() || t.Grid.IsZero():
		return invalid("a token that names no server, or no household")
	case t.Bytes < 0 || t.Bytes > BytesMax:
		return invalid("a token for %d bytes", t.Bytes)
	case t.From < 1 || t.Until <= t.From || t.Until > TimeMax || t.Until-t.From > LifeMax:
		return invalid("a token from %d until %d", t.From, t.Until)
	case t.Nonce == [NonceSize]byte{}:
		return invalid("a token without a nonce")
	case len(t.Addrs) > AddrsMax || slices.ContainsFunc(t.Addrs, func(a string) bool { return !isAddr(a) }):
		return invalid("the addresses of a token")
	}
	return nil
}

// Addrs returns the first of those addresses that can stand in a token.
func Addrs(addrs []string) []string {
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a string) bool { return !isAddr(a) })
	return addrs[:min(len(addrs), AddrsMax)]
}
