// Package steward splits a recovery phrase among n stewards, so that any k of them have it again, and fewer
// learn nothing of it: Shamir's scheme (How to share a secret, 1979), by Cloudflare's circl, over the integers
// modulo the order of ristretto255. Formats are those of docs/SPEC.md §2.1.
//
// It is for a club, whose phrase no single person should have: nothing else is different for it. Combine yields the
// phrase itself, for a moment, on the machine of whoever brings the shares together; a share says nothing of whom it was given to.
//
// The room draws no randomness: all of a splitting follows from a seed.
package steward

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

const (
	// Prefix is what the line of a share begins with.
	Prefix = "GRANGE-SHARE:"
	// LineSizeMax is the most characters of a line without what is ignored in it, TextSizeMax the most bytes of a text with shares.
	LineSizeMax = 512
	TextSizeMax = 64 << 10
	// StewardsMax is the most stewards of one splitting.
	StewardsMax = 32
)

// halfSize is how many bytes of the phrase one polynomial hides: they are a number below the order.
const halfSize = 16

// The contexts of what follows from a splitting's seed.
const (
	contextSet   = "grange v1 share set"
	contextValue = "grange v1 share value"
)

// Share is what one steward has.
type Share struct {
	V uint `json:"v"`
	// Grid is whose phrase it is.
	Grid core.DID `json:"grid"`
	// Set tells one splitting from another, of which shares do not fit.
	Set [8]byte `json:"set"`
	// K of N shares suffice; Index, from 1, is which this is.
	K     uint `json:"k"`
	N     uint `json:"n"`
	Index uint `json:"index"`
	// Halves are the values for the first and the last 16 bytes of the phrase.
	Halves [2]Value `json:"halves"`
}

const hidden = "[secret]"

// Value is a number below the order, in 32 bytes, little-endian. It prints and logs as "[secret]".
type Value [32]byte

// Format prints "[secret]" for every verb.
func (Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue logs "[secret]".
func (Value) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText returns "[secret]"; there is no way back.
func (Value) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// CheckNumbers tells whether a phrase can be split so. Errors: core.ErrInvalid.
func CheckNumbers(k, n uint) error {
	if k < 2 || k > n || n > StewardsMax {
		return fmt.Errorf("%w: %d of %d stewards; it is 2 of 2 to %d of %d, and any between", core.ErrInvalid, k, n, StewardsMax, StewardsMax)
	}
	return nil
}

// Split makes n shares of a phrase's 256 bits, of which any k suffice; seed is 32 random bytes that nobody sees again. Errors:
// core.ErrInvalid.
func Split(entropy [32]byte, k, n uint, seed [32]byte) ([]Share, error) {
	if err := CheckNumbers(k, n); err != nil {
		return nil, err
	}
	set := core.DeriveKey(contextSet, seed[:])
	out := make([]Share, n)
	for i := range out {
		out[i] = Share{V: codec.Version, Grid: identity.RootOf(entropy).DID(), Set: [8]byte(set[:8]), K: k, N: n, Index: uint(i + 1)}
	}
	for half := range 2 {
		var secret Value
		copy(secret[:], entropy[half*halfSize:(half+1)*halfSize])
		// k points make the polynomial: the secret at 0 and values at 1 to k-1 that are drawn, which says the same as coefficients that are
		// drawn. The values at k to n follow.
		points := []secretsharing.Share{{ID: scalar(0), Value: secret.scalar()}}
		for i := range n {
			at := scalar(i + 1)
			if i+1 < k {
				points = append(points, secretsharing.Share{ID: at, Value: group.Ristretto255.HashToScalar(append(seed[:], byte(half), byte(i)), []byte(contextValue))})
			}
			value, err := valueAt(at, points, k)
			if err != nil {
				return nil, err
			}
			out[i].Halves[half] = value
		}
	}
	return out, nil
}

// valueAt is the value of the polynomial at a place; of one of points it is that point's.
func valueAt(at group.Scalar, points []secretsharing.Share, k uint) (Value, error) {
	var moved []secretsharing.Share
	for _, p := range points {
		if p.ID.IsEqual(at) {
			return valueOf(p.Value)
		}
		// What the library finds is the value at 0: so the place is moved there.
		moved = append(moved, secretsharing.Share{ID: group.Ristretto255.NewScalar().Sub(p.ID, at), Value: p.Value})
	}
	value, err := secretsharing.Recover(k-1, moved)
	if err != nil {
		return Value{}, err
	}
	return valueOf(value)
}

// Combine returns the phrase's 256 bits from shares. One that stands there twice counts once. Errors: core.ErrInvalid where they are too
// few, or do not belong together, which it says; core.ErrCorrupt where they do not give the phrase of their grid.
func Combine(shares []Share) ([32]byte, error) {
	entropy, err := combine(shares)
	if err != nil {
		return [32]byte{}, fmt.Errorf("shares: %w", err)
	}
	return entropy, nil
}

func combine(shares []Share) (entropy [32]byte, err error) {
	shares = slices.Clone(shares)
	slices.SortFunc(shares, func(a, b Share) int { return int(a.Index) - int(b.Index) })
	shares = slices.Compact(shares)
	if len(shares) == 0 {
		return entropy, invalid("there is none")
	}
	first := shares[0]
	for i, s := range shares {
		if err := s.check(); err != nil {
			return entropy, err
		}
		switch {
		case s.Grid != first.Grid:
			return entropy, invalid("one is of %s, another of %s", first.Grid.Short(), s.Grid.Short())
		case s.Set != first.Set || s.K != first.K || s.N != first.N:
			return entropy, invalid("they are of two splittings of the same phrase")
		case i > 0 && s.Index == shares[i-1].Index:
			return entropy, invalid("there are two with number %d, which differ", s.Index)
		}
	}
	if uint(len(shares)) < first.K {
		return entropy, invalid("%d of %d that are needed; any %d of the %d stewards have them", len(shares), first.K, first.K, first.N)
	}
	for half := range 2 {
		var points []secretsharing.Share
		for _, s := range shares[:first.K] {
			points = append(points, secretsharing.Share{ID: scalar(s.Index), Value: s.Halves[half].scalar()})
		}
		value, err := valueAt(scalar(0), points, first.K)
		if err != nil {
			return entropy, err
		}
		copy(entropy[half*halfSize:], value[:halfSize])
		if [halfSize]byte(value[halfSize:]) != [halfSize]byte{} {
			return entropy, errFalse
		}
	}
	if identity.RootOf(entropy).DID() != first.Grid {
		return entropy, errFalse
	}
	return entropy, nil
}

var errFalse = fmt.Errorf("%w: together they are not the words of their grid; one of them is false", core.ErrCorrupt)

// Line returns a share as the one line that a steward keeps. V is set. It is a secret. Errors: core.ErrInvalid.
func (s Share) Line() (string, error) {
	s.V = codec.Version
	if err := s.check(); err != nil {
		return "", fmt.Errorf("share: %w", err)
	}
	raw, err := codec.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("share: %w", err)
	}
	return codec.Line(Prefix, raw), nil
}

// Parse reads what Line returns, however it was wrapped, hyphenated or put in small letters. Errors: core.ErrInvalid if it is
// no share at all, or one of false contents; core.ErrCorrupt if characters are wrong or missing; core.ErrVersion; core.ErrTooLarge.
func Parse(line string) (Share, error) {
	s, err := parse(line)
	if err != nil {
		return Share{}, fmt.Errorf("share: %w", err)
	}
	return s, nil
}

func parse(line string) (s Share, err error) {
	if len(line) > TextSizeMax {
		return s, fmt.Errorf("%w: %d bytes, at most %d", core.ErrTooLarge, len(line), TextSizeMax)
	}
	raw, err := codec.ParseLine(Prefix, line, LineSizeMax)
	if err != nil {
		return s, err
	}
	if err := codec.Unmarshal(raw, &s, codec.LineBytes(Prefix, LineSizeMax)); err != nil {
		return Share{}, err
	}
	return s, s.check()
}

func (s Share) check() error {
	if err := errors.Join(CheckNumbers(s.K, s.N), identity.CheckDID(s.Grid)); err != nil {
		return err
	}
	if s.Index < 1 || s.Index > s.N {
		return invalid("number %d of %d", s.Index, s.N)
	}
	for _, v := range s.Halves {
		if group.Ristretto255.NewScalar().UnmarshalBinary(v[:]) != nil {
			return invalid("a value that is not below the order")
		}
	}
	return nil
}

// Is tells whether a text is to be shares, and not the words of a phrase.
func Is(text string) bool { return strings.HasPrefix(codec.Squeeze(text), codec.Squeeze(Prefix)) }

// Secret reads a phrase's 256 bits from what somebody typed, or a file has: the words, or the shares of enough stewards,
// one after another. Errors: those of identity.ParsePhrase, Parse and Combine.
func Secret(text string) ([32]byte, error) {
	if !Is(text) {
		return identity.ParsePhrase(text)
	}
	shares, err := ParseAll(text)
	if err != nil {
		return [32]byte{}, err
	}
	return Combine(shares)
}

// ParseAll reads shares that stand one after another. Errors: those of Parse, with the place of the share.
func ParseAll(text string) ([]Share, error) {
	if len(text) > TextSizeMax {
		return nil, fmt.Errorf("shares: %w: %d bytes, at most %d", core.ErrTooLarge, len(text), TextSizeMax)
	}
	var out []Share
	for i, part := range strings.Split(codec.Squeeze(text), codec.Squeeze(Prefix))[1:] {
		s, err := parse(Prefix + part)
		if err != nil {
			return nil, fmt.Errorf("share %d of the text: %w", i+1, err)
		}
		out = append(out, s)
	}
	return out, nil
}

func scalar(n uint) group.Scalar { return group.Ristretto255.NewScalar().SetUint64(uint64(n)) }

// scalar is the number; 0 of one that is not below the order, which check refuses.
func (v Value) scalar() group.Scalar {
	out := group.Ristretto255.NewScalar()
	if out.UnmarshalBinary(v[:]) != nil {
		return scalar(0)
	}
	return out
}

func valueOf(s group.Scalar) (Value, error) {
	raw, err := s.MarshalBinary()
	if err != nil || len(raw) != len(Value{}) {
		return Value{}, fmt.Errorf("a scalar of %d bytes: %w", len(raw), errors.Join(err, core.ErrInvalid))
	}
	return Value(raw), nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}
