package voucher

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	_ "github.com/MetaMask/go-did-it/verifiers/did-key" // go-ucan reads no DID without its method
	"github.com/ucan-wg/go-ucan/token/delegation"
	"github.com/ucan-wg/go-ucan/token/invocation"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
)

// header is the varsig of ed25519 with SHA-512 over DAG-CBOR: the only one that is read.
// Source: https://github.com/ChainAgnostic/varsig.
var header = []byte{0x34, 0x01, 0xed, 0x01, 0xed, 0x01, 0x13, 0x71}

// commandRoot is the command that covers every resource.
const commandRoot = "/grange"

// amountAt is the selector of the one argument that a policy bounds.
const amountAt = ".amount"

// link is what a delegation says, or an invocation.
type link struct {
	issuer, audience, subject core.DID
	resource                  core.Resource
	amount                    int64
	from, until               int64
}

// The structures of UCAN 1.0, as pure/codec orders them. Source: https://github.com/ucan-wg/spec,
// https://github.com/ucan-wg/delegation, https://github.com/ucan-wg/invocation.
type (
	delegated struct {
		_    struct{} `cbor:",toarray"`
		Sig  []byte
		Body delegatedBody
	}
	delegatedBody struct {
		Header  []byte            `json:"h"`
		Payload delegationPayload `json:"ucan/dlg@1.0.0-rc.1"`
	}
	delegationPayload struct {
		Iss   string      `json:"iss"`
		Aud   string      `json:"aud"`
		Sub   *string     `json:"sub,omitempty"`
		Cmd   string      `json:"cmd"`
		Pol   []statement `json:"pol"`
		Nonce []byte      `json:"nonce"`
		Nbf   *int64      `json:"nbf,omitempty"`
		Exp   *int64      `json:"exp"`
	}
	statement struct {
		_     struct{} `cbor:",toarray"`
		Op    string
		At    string
		Value int64
	}
	invoked struct {
		_    struct{} `cbor:",toarray"`
		Sig  []byte
		Body invokedBody
	}
	invokedBody struct {
		Header  []byte            `json:"h"`
		Payload invocationPayload `json:"ucan/inv@1.0.0-rc.1"`
	}
	invocationPayload struct {
		Iss  string    `json:"iss"`
		Aud  *string   `json:"aud,omitempty"`
		Sub  string    `json:"sub"`
		Cmd  string    `json:"cmd"`
		Args arguments `json:"args"`
		// Prf has links, which are tagged: codec reads and writes none, and so it is always empty there.
		Prf   []string `json:"prf"`
		Nonce []byte   `json:"nonce"`
		Exp   *int64   `json:"exp"`
		Iat   *int64   `json:"iat,omitempty"`
	}
	arguments struct {
		Amount int64 `json:"amount"`
	}
)

// decodeLink reads and verifies a delegation.
func decodeLink(raw []byte) (link, error) {
	var d delegated
	if err := codec.Unmarshal(raw, &d, TokenSizeMax); err != nil {
		return link{}, err
	}
	l, err := d.Body.Payload.link()
	if err != nil {
		return link{}, err
	}
	return l, checkSigned(raw, d.Sig, d.Body.Header, delegation.FromSealed)
}

// checkSigned verifies a token, of which read is what go-ucan makes.
func checkSigned[T, C, O any](raw, sig, head []byte, read func([]byte, ...O) (T, C, error)) error {
	if len(sig) != 64 || !bytes.Equal(head, header) {
		return fmt.Errorf("%w: not signed with ed25519 over DAG-CBOR", core.ErrInvalid)
	}
	if _, _, err := read(raw); err != nil {
		return fmt.Errorf("%w: %w", core.ErrCorrupt, err)
	}
	return nil
}

// link checks everything that a delegation says.
func (p delegationPayload) link() (l link, err error) {
	switch {
	case p.Sub == nil || *p.Sub == "":
		return l, fmt.Errorf("%w: it has no subject: a powerline is not taken", core.ErrInvalid)
	case p.Exp == nil:
		return l, fmt.Errorf("%w: it never expires", core.ErrInvalid)
	case p.Nbf == nil:
		return l, fmt.Errorf("%w: it does not say from when it is good", core.ErrInvalid)
	case len(p.Pol) != 1 || p.Pol[0].Op != "<=" || p.Pol[0].At != amountAt:
		return l, fmt.Errorf("%w: its policy does not bound the amount, and that alone", core.ErrInvalid)
	}
	l = link{amount: p.Pol[0].Value, from: *p.Nbf, until: *p.Exp}
	if err := l.parties(p.Iss, p.Aud, *p.Sub, p.Cmd); err != nil {
		return l, err
	}
	return l, checkTerms(l.amount, l.from, l.until, LifeMax, p.Nonce)
}

// parties reads who gives what to whom.
func (l *link) parties(iss, aud, sub, cmd string) (err error) {
	if l.issuer, err = parseDID("issuer", iss); err != nil {
		return err
	}
	if l.audience, err = parseDID("audience", aud); err != nil {
		return err
	}
	if l.subject, err = parseDID("subject", sub); err != nil {
		return err
	}
	l.resource, err = parseCommand(cmd)
	return err
}

// checkTerms bounds what both kinds of token say.
func checkTerms(amount, from, until, lifeMax int64, nonce []byte) error {
	switch {
	case amount < 1 || amount > AmountMax:
		return fmt.Errorf("%w: an amount of %d, want 1 to %d", core.ErrInvalid, amount, AmountMax)
	case from < 1 || until > TimeMax || until <= from:
		return fmt.Errorf("%w: good from %d until %d", core.ErrInvalid, from, until)
	case until-from > lifeMax:
		return fmt.Errorf("%w: good for %d seconds, at most %d", core.ErrInvalid, until-from, lifeMax)
	case len(nonce) < 12 || len(nonce) > 64:
		return fmt.Errorf("%w: a nonce of %d bytes, want 12 to 64", core.ErrInvalid, len(nonce))
	}
	return nil
}

// decodeCall reads and verifies an invocation whose proofs are those links.
func decodeCall(raw []byte, links [][]byte) (link, error) {
	proofs := proofsOf(links)
	bare := bytes.Replace(raw, append(codecKey("prf"), proofs...), append(codecKey("prf"), 0x80), 1)
	if len(bare) == len(raw) {
		return link{}, fmt.Errorf("%w: its proofs are not the links", core.ErrInvalid)
	}
	var d invoked
	if err := codec.Unmarshal(bare, &d, TokenSizeMax); err != nil {
		return link{}, err
	}
	again, err := d.encode(proofs)
	if err != nil {
		return link{}, err
	}
	if !bytes.Equal(again, raw) {
		return link{}, fmt.Errorf("%w: not the one encoding of its value", core.ErrInvalid)
	}
	c, err := d.Body.Payload.call()
	if err != nil {
		return link{}, err
	}
	return c, checkSigned(raw, d.Sig, d.Body.Header, invocation.FromSealed)
}

// call checks everything that an invocation says.
func (p invocationPayload) call() (c link, err error) {
	switch {
	case p.Aud == nil:
		return c, fmt.Errorf("%w: it names no holder", core.ErrInvalid)
	case p.Exp == nil || p.Iat == nil:
		return c, fmt.Errorf("%w: it does not say when it was made and until when it is good", core.ErrInvalid)
	}
	c = link{amount: p.Args.Amount, from: *p.Iat, until: *p.Exp}
	if err := c.parties(p.Iss, *p.Aud, p.Sub, p.Cmd); err != nil {
		return c, err
	}
	if c.resource == "" {
		return c, fmt.Errorf("%w: it names no resource", core.ErrInvalid)
	}
	return c, checkTerms(c.amount, c.from, c.until, CallMax, p.Nonce)
}

// encode returns an invocation with its proofs.
func (d invoked) encode(proofs []byte) ([]byte, error) {
	raw, err := codec.Marshal(d)
	if err != nil {
		return nil, err
	}
	return withProofs(raw, proofs), nil
}

// withProofs puts proofs in the place of the empty list. What stands before it is no longer than three DIDs, a
// command and a signature, none of which holds the key; were it otherwise, nothing that was so written would be read.
func withProofs(raw, proofs []byte) []byte {
	return bytes.Replace(raw, append(codecKey("prf"), 0x80), append(codecKey("prf"), proofs...), 1)
}

// codecKey is the encoding of a map's key of less than 24 bytes.
func codecKey(name string) []byte { return append([]byte{0x60 + byte(len(name))}, name...) }

// proofsOf returns the encoding of the list of the links' CIDs, the last first, as UCAN has it. A CID is version 1, DAG-CBOR (0x71), SHA-256 (0x12) of 32
// bytes; a link to it is tag 42 over 0x00 ‖ CID. Source: https://ipld.io/specs/codecs/dag-cbor/spec/.
func proofsOf(links [][]byte) []byte {
	out := []byte{0x80 + byte(len(links))}
	for _, l := range slices.Backward(links) {
		sum := sha256.Sum256(l)
		out = append(out, 0xd8, 42, 0x58, 37, 0x00, 0x01, 0x71, 0x12, 32)
		out = append(out, sum[:]...)
	}
	return out
}

// command returns the command of a resource; that of "" covers all.
func command(r core.Resource) string {
	if r == "" {
		return commandRoot
	}
	return commandRoot + "/" + string(r)
}

// parseCommand reads what command returns.
func parseCommand(text string) (core.Resource, error) {
	rest, ok := strings.CutPrefix(text, commandRoot)
	if !ok || rest != "" && (rest[0] != '/' || !isResource(rest[1:])) {
		return "", fmt.Errorf("%w: command %.40q, want %s or one resource below it", core.ErrInvalid, text, commandRoot)
	}
	return core.Resource(strings.TrimPrefix(rest, "/")), nil
}

// isResource tells whether a name can be a resource's, as in a pact.
func isResource(name string) bool {
	strange := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	}
	return name != "" && len(name) <= ResourceSizeMax && !strings.ContainsFunc(name, strange)
}
