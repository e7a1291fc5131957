package voucher

import (
	"crypto/ed25519"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// Terms are what an issuer gives to an audience.
type Terms struct {
	// Audience is the machine that may use it, or give it on.
	Audience core.DID
	// Resource is what may be asked for; "" is anything.
	Resource core.Resource
	// Amount is the most of it, in its unit.
	Amount int64
	// From and Until are when it begins and ends, in seconds since 1970: at most LifeMax apart.
	From, Until int64
	// Nonce is random.
	Nonce [NonceSize]byte
}

// Issue begins a chain on the pact of a grid, of which k is a machine's key, or the grid's own. Errors: core.ErrInvalid.
func Issue(k identity.Key, subject core.DID, t Terms) (Chain, error) {
	return Chain{V: codec.Version}.add(k, subject, t)
}

// Narrow gives c, or less of it, on to another machine; k is the key of the last link's audience. An end beyond that of
// c is cut to it. Errors: those of Open; core.ErrInvalid of what is wider than c.
func (c Chain) Narrow(k identity.Key, t Terms) (Chain, error) {
	r, err := Open(c)
	if err != nil {
		return Chain{}, err
	}
	t.Until = min(t.Until, r.Until)
	return c.add(k, r.Subject, t)
}

func (c Chain) add(k identity.Key, subject core.DID, t Terms) (Chain, error) {
	sub := subject.String()
	body := delegatedBody{Header: header, Payload: delegationPayload{
		Iss: k.DID().String(), Aud: t.Audience.String(), Sub: &sub, Cmd: command(t.Resource),
		Pol: []statement{{Op: "<=", At: amountAt, Value: t.Amount}}, Nonce: t.Nonce[:], Nbf: &t.From, Exp: &t.Until,
	}}
	signed, err := codec.Marshal(body)
	if err != nil {
		return Chain{}, fmt.Errorf("voucher: %w", err)
	}
	raw, err := codec.Marshal(delegated{Sig: sign(k, signed), Body: body})
	if err != nil {
		return Chain{}, fmt.Errorf("voucher: %w", err)
	}
	out := Chain{V: codec.Version, Links: append(c.Links[:len(c.Links):len(c.Links)], raw)}
	_, err = Open(out)
	return out, err
}

// Call is what a machine asks of one holder by its voucher.
type Call struct {
	// Holder is the machine, or the household, that is asked.
	Holder   core.DID
	Resource core.Resource
	Amount   int64
	// At is the time in seconds since 1970. The invocation is good for CallMax.
	At int64
	// Nonce is random.
	Nonce [NonceSize]byte
}

// Invoke returns c with an invocation; k is the key of the last link's audience. Errors: those of Open; core.ErrInvalid
// of what is wider than c.
func (c Chain) Invoke(k identity.Key, in Call) (Chain, error) {
	r, err := Open(Chain{V: codec.Version, Links: c.Links})
	if err != nil {
		return Chain{}, err
	}
	aud, until := in.Holder.String(), in.At+CallMax
	proofs := proofsOf(c.Links)
	body := invokedBody{Header: header, Payload: invocationPayload{
		Iss: k.DID().String(), Aud: &aud, Sub: r.Subject.String(), Cmd: command(in.Resource),
		Args: arguments{Amount: in.Amount}, Nonce: in.Nonce[:], Exp: &until, Iat: &in.At,
	}}
	bare, err := codec.Marshal(body)
	if err != nil {
		return Chain{}, fmt.Errorf("voucher: %w", err)
	}
	raw, err := invoked{Sig: sign(k, withProofs(bare, proofs)), Body: body}.encode(proofs)
	if err != nil {
		return Chain{}, fmt.Errorf("voucher: %w", err)
	}
	out := Chain{V: codec.Version, Links: c.Links, Invocation: raw}
	_, err = Open(out)
	return out, err
}

// sign makes a UCAN's signature, which is over the bytes alone. No k has signed anything else that begins with them: what
// grange signs begins with its own prefix.
func sign(k identity.Key, body []byte) []byte {
	if k.IsZero() {
		return nil
	}
	return ed25519.Sign(k.Private(), body)
}
