// Package voucher is the right of one grid's members to draw on a pact that the grid has: a chain of UCAN 1.0
// delegations, from the grid down to one machine, and at its end that machine's invocation to one holder. The
// format is that of docs/SPEC.md §6.2.
//
// A chain is checked without asking anybody, and so it is of use while the grid that began it is out of reach.
// What it allows only ever narrows from link to link: whoever widens it is refused by name. It lives for days, and
// can be revoked by the id of any of its links.
//
// Tokens are opaque outside this room. Here each is decoded strictly by pure/codec (DAG-CBOR without floats is core
// deterministic CBOR), so that it has one encoding and one id; only then github.com/ucan-wg/go-ucan, whose only
// importer this is, judges the same bytes: form, signature and CID. Tokens are encoded here and not by that library,
// whose options read the machine's clock.
//
// It knows no charters, no pacts and no time: what it needs of them are Facts. That an amount is really left is for
// barter to say.
package voucher

import (
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// Limits of a Chain.
const (
	// LinksMax is the most delegations of a chain.
	LinksMax = 5
	// TokenSizeMax is the most bytes of a delegation or an invocation, SizeMax of a chain.
	TokenSizeMax = 1 << 10
	SizeMax      = (LinksMax+1)*TokenSizeMax + 128
	// LifeMax is for how many seconds a link is good at most, CallMax for how many an invocation.
	LifeMax = 7 * 24 * 60 * 60
	CallMax = 10 * 60
	// ClockSlack is by how many seconds clocks may disagree: a day.
	ClockSlack = 24 * 60 * 60
	// AmountMax is the greatest amount.
	AmountMax = 1<<53 - 1
	// ResourceSizeMax is the most bytes of a resource's name.
	ResourceSizeMax = 32
	// TimeMax is the last second of the year 9999.
	TimeMax = 253402300799
)

// NonceSize is how many bytes of a nonce are written, of which 12 to 64 are read.
const NonceSize = 16

// Chain is a voucher as it travels and is kept: delegations, the first being the subject's, and, when it is shown to
// a holder, the invocation. Nothing of it is to be believed before Open or Verify.
type Chain struct {
	V          uint     `json:"v"`
	Links      [][]byte `json:"links"`
	Invocation []byte   `json:"invocation,omitempty"`
}

// Parse reads what Marshal returns, without verifying any of it. Errors: core.ErrTooLarge, core.ErrInvalid,
// core.ErrVersion.
func Parse(raw []byte) (Chain, error) {
	var c Chain
	if err := codec.Unmarshal(raw, &c, SizeMax); err != nil {
		return Chain{}, fmt.Errorf("voucher: %w", err)
	}
	return c, c.bounded()
}

// Marshal returns the encoding of c. V is set. Errors: core.ErrInvalid, core.ErrTooLarge.
func (c Chain) Marshal() ([]byte, error) {
	c.V = codec.Version
	if err := c.bounded(); err != nil {
		return nil, err
	}
	return codec.Marshal(c)
}

// bounded tells whether c is within its limits, before anything in it is decoded.
func (c Chain) bounded() error {
	if len(c.Links) < 1 || len(c.Links) > LinksMax {
		return invalid("%d links, want 1 to %d", len(c.Links), LinksMax)
	}
	for i, l := range c.Links {
		if len(l) > TokenSizeMax {
			return fmt.Errorf("voucher: link %d: %w: %d bytes, at most %d", i+1, core.ErrTooLarge, len(l), TokenSizeMax)
		}
	}
	if len(c.Invocation) > TokenSizeMax {
		return fmt.Errorf("voucher: invocation: %w: %d bytes, at most %d", core.ErrTooLarge, len(c.Invocation), TokenSizeMax)
	}
	return nil
}

// ID names the chain, whatever invocation it is shown with: the score of the encoding of its links alone.
func (c Chain) ID() core.Score {
	raw, err := codec.Marshal(Chain{V: codec.Version, Links: c.Links})
	if err != nil {
		panic(err) // byte strings always have an encoding
	}
	return core.ScoreOf(raw)
}

// IDs returns the id of each link, which is what is revoked: the score of its bytes.
func (c Chain) IDs() []core.Score {
	out := make([]core.Score, len(c.Links))
	for i, l := range c.Links {
		out[i] = core.ScoreOf(l)
	}
	return out
}

// Right is what a chain allows.
type Right struct {
	// Subject is the grid on whose pact it draws.
	Subject core.DID
	// Resource is what may be asked for; "" is anything, which only a chain without an invocation allows.
	Resource core.Resource
	// Amount is the most of it, in its unit.
	Amount int64
	// From and Until are when it begins and ends, in seconds since 1970.
	From, Until int64
	// Via are the issuers of the links, the first first; Agent is the last's audience.
	Via   []core.DID
	Agent core.DID
	// ID is the chain's.
	ID core.Score
}

// Facts are what a chain is judged by, besides itself.
type Facts struct {
	// Now is the time in seconds since 1970.
	Now int64
	// Caller is the machine that shows the chain.
	Caller core.DID
	// Holder is the machine to which it is shown, Grid its household: either may be the invocation's audience.
	Holder, Grid core.DID
	// Lists tells whether a grid's newest charter lists a machine; it is asked about the chain's subject.
	Lists func(grid, agent core.DID) bool
	// Revoked are ids of links that are good no more. Nil: none is.
	Revoked map[core.Score]bool
}

// Verify tells what a chain with an invocation allows its caller here and now. Errors say which link is at fault, and
// why: core.ErrTooLarge, core.ErrVersion, core.ErrInvalid of form and of what does not follow; core.ErrCorrupt of a
// signature; core.ErrRefused of what the facts say: not for this caller, this holder, this time, or revoked.
func Verify(c Chain, f Facts) (Right, error) {
	o, err := open(c)
	if err != nil {
		return Right{}, err
	}
	return o.judge(f)
}

// Open tells what a chain allows as far as can be seen from itself alone, whether it has an invocation or not: who
// keeps one, or narrows it, looks at it with this. Errors: as Verify, but for core.ErrRefused.
func Open(c Chain) (Right, error) {
	o, err := open(c)
	return o.right, err
}

// opened is a chain that is right by itself. It is not changed.
type opened struct {
	right Right
	ids   []core.Score
	links []link
	// call is nil of a chain without an invocation.
	call *link
}

// open does what is dear, and the same whoever asks and whenever.
func open(c Chain) (opened, error) {
	if err := c.bounded(); err != nil {
		return opened{}, err
	}
	o := opened{ids: c.IDs(), links: make([]link, len(c.Links))}
	issuers := make([]core.DID, 0, LinksMax+1)
	for i, raw := range c.Links {
		l, err := decodeLink(raw)
		if err == nil && i > 0 {
			err = l.follows(o.links[i-1])
			if before := o.links[i-1]; err == nil && l.until > before.until {
				err = fmt.Errorf("%w: it widens the end %d to %d", core.ErrInvalid, before.until, l.until)
			}
		}
		if err == nil {
			issuers, err = once(issuers, l.issuer)
		}
		if err != nil {
			return opened{}, fmt.Errorf("voucher: link %d: %w", i+1, err)
		}
		o.links[i] = l
	}
	first, last := o.links[0], o.links[len(o.links)-1]
	o.right = Right{
		Subject: first.subject, Resource: last.resource, Amount: last.amount, From: first.from, Until: last.until,
		Via: issuers, Agent: last.audience, ID: c.ID(),
	}
	for _, l := range o.links {
		o.right.From = max(o.right.From, l.from)
	}
	if len(c.Invocation) == 0 {
		return o, nil
	}
	in, err := decodeCall(c.Invocation, c.Links)
	if err == nil {
		err = in.follows(last)
	}
	if err == nil {
		_, err = once(issuers, in.issuer)
	}
	if err != nil {
		return opened{}, fmt.Errorf("voucher: invocation: %w", err)
	}
	o.call, o.right.Resource, o.right.Amount = &in, in.resource, in.amount
	return o, nil
}

// once adds an issuer to those before: nobody gives on what came from itself.
func once(issuers []core.DID, d core.DID) ([]core.DID, error) {
	for i, o := range issuers {
		if o == d {
			return nil, fmt.Errorf("%w: a cycle: %s has issued link %d", core.ErrInvalid, d.Short(), i+1)
		}
	}
	return append(issuers[:len(issuers):len(issuers)], d), nil
}

// judge holds an open chain against the facts.
func (o opened) judge(f Facts) (Right, error) {
	if o.call == nil {
		return Right{}, invalid("it has no invocation")
	}
	for i, l := range o.links {
		switch {
		case f.Revoked[o.ids[i]]:
			return Right{}, refused(i, "it was revoked")
		case f.Now >= l.until:
			return Right{}, refused(i, "it has expired")
		case f.Now < l.from-ClockSlack:
			return Right{}, refused(i, "it is not good yet")
		}
	}
	if first := o.links[0].issuer; first != o.right.Subject && !f.Lists(o.right.Subject, first) {
		return Right{}, refused(0, "issued by %s, which is no machine of %s", first.Short(), o.right.Subject.Short())
	}
	in, why := o.call, ""
	switch {
	case in.issuer != f.Caller:
		why = "it is by another machine than the one that shows it"
	case in.audience != f.Holder && in.audience != f.Grid:
		why = "it is for another holder"
	case f.Now < in.from-ClockSlack:
		why = "its date is to come"
	case f.Now > in.until+ClockSlack:
		why = "it is past its date"
	default:
		r := o.right
		r.Via = slices.Clone(r.Via) // o may be remembered
		return r, nil
	}
	return Right{}, fmt.Errorf("voucher: invocation: %w: %s", core.ErrRefused, why)
}

func refused(i int, format string, args ...any) error {
	return fmt.Errorf("voucher: link %d: %w: %s", i+1, core.ErrRefused, fmt.Sprintf(format, args...))
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("voucher: %w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}

// follows tells whether l asks for, or passes on, no more than p gives.
func (l link) follows(p link) error {
	switch {
	case l.issuer != p.audience:
		return fmt.Errorf("%w: issued by %s; the link before is for %s", core.ErrInvalid, l.issuer.Short(), p.audience.Short())
	case l.subject != p.subject:
		return fmt.Errorf("%w: its subject is another than the link's before", core.ErrInvalid)
	case p.resource != "" && l.resource != p.resource:
		return fmt.Errorf("%w: it widens the command %s to %s", core.ErrInvalid, command(p.resource), command(l.resource))
	case l.amount > p.amount:
		return fmt.Errorf("%w: it widens the amount %d to %d", core.ErrInvalid, p.amount, l.amount)
	}
	return nil
}

// parseDID reads the one text that a key has.
func parseDID(what, text string) (core.DID, error) {
	d, err := core.ParseDID(text)
	if err == nil && d.String() != text {
		err = fmt.Errorf("DID %.80q: not in its one form", text)
	}
	if err == nil {
		err = identity.CheckDID(d)
	}
	if err != nil {
		return d, fmt.Errorf("%w: %s: %w", core.ErrInvalid, what, err)
	}
	return d, nil
}
