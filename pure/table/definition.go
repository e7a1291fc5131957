package table

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/query"
)

// Limits of a definition.
const (
	// DefinitionSizeMax bounds its encoding in bytes.
	DefinitionSizeMax = 512 << 10
	// NameSizeMax bounds a table's name and a grant's label, in bytes.
	NameSizeMax = 64
	// IndexesMax and FoldsMax are how many there are.
	IndexesMax = 16
	FoldsMax   = 16
	// GrantsMax is how many machines have leave of one kind, AttestersMax how many attest for the owner.
	GrantsMax    = 1024
	AttestersMax = 64
)

// Definition is what a table's owner says of it.
type Definition struct {
	V       uint            `json:"v"`
	Name    string          `json:"name"`
	Indexes []Index         `json:"indexes"`
	Folds   map[string]Fold `json:"folds"`
	Write   Writing         `json:"write"`
	Read    Reading         `json:"read"`
	// Attest are the machines whose word counts where a reader has chosen none; they may erase what others wrote.
	Attest []core.DID `json:"attest"`

	indexes []query.Index // what Indexes say
}

// Index is one of a table's orders.
type Index struct {
	// Fields are as query.ParseIndex reads them, in the one text that they have.
	Fields string `json:"fields"`
	Unique bool   `json:"unique"`
}

// String is the index's text, by which it is named.
func (x Index) String() string {
	if x.Unique {
		return "unique " + x.Fields
	}
	return x.Fields
}

// Fold is how the values of several writers of one key become one.
type Fold string

// The folds.
const (
	Set     Fold = "set"
	Counter Fold = "counter"
	Multi   Fold = "multi"
)

// Writing says who may write.
type Writing struct {
	All bool `json:"all"`
	// Quota is how many bytes an author without a grant may write; 0 is any number.
	Quota  uint64  `json:"quota"`
	Grants []Grant `json:"grants"`
}

// Grant is a machine's leave to write.
type Grant struct {
	Who   core.DID  `json:"who"`
	House *core.DID `json:"house,omitempty"`
	Label string    `json:"label"`
	// Quota is in bytes; 0 is any number.
	Quota uint64 `json:"quota"`
	// Since is a clock, before which nothing counts.
	Since uint64 `json:"since"`
	// Until is the last operation that stands, once it is Stopped.
	Until   uint64 `json:"until"`
	Stopped bool   `json:"stopped"`
}

// Reading says who may read.
type Reading struct {
	All    bool     `json:"all"`
	Grants []Reader `json:"grants"`
}

// Reader is a machine's leave to read.
type Reader struct {
	Who   core.DID  `json:"who"`
	House *core.DID `json:"house,omitempty"`
	Label string    `json:"label"`
}

// Marshal encodes a definition. Errors: core.ErrInvalid.
func (d Definition) Marshal() ([]byte, error) {
	d.V = codec.Version
	if err := d.check(); err != nil {
		return nil, err
	}
	b, err := codec.Marshal(d)
	if err == nil && len(b) > DefinitionSizeMax {
		err = fmt.Errorf("definition of %d bytes, of %d at most: %w", len(b), DefinitionSizeMax, core.ErrTooLarge)
	}
	return b, err
}

// ParseDefinition reads what Marshal makes. Errors: core.ErrInvalid, core.ErrVersion, core.ErrTooLarge.
func ParseDefinition(b []byte) (Definition, error) {
	var d Definition
	err := codec.Unmarshal(b, &d, DefinitionSizeMax)
	if err == nil {
		err = d.check()
	}
	if err != nil {
		return Definition{}, fmt.Errorf("read definition: %w", err)
	}
	return d, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), core.ErrInvalid)
}

func (d *Definition) check() error {
	switch {
	case !isName(d.Name):
		return invalid("a table's name has 1 to %d bytes of text, without control characters", NameSizeMax)
	case len(d.Indexes) > IndexesMax:
		return invalid("%d indexes, of %d at most", len(d.Indexes), IndexesMax)
	case len(d.Folds) > FoldsMax:
		return invalid("%d folds, of %d at most", len(d.Folds), FoldsMax)
	case len(d.Attest) > AttestersMax:
		return invalid("%d machines that attest, of %d at most", len(d.Attest), AttestersMax)
	case !rising(d.Write.Grants, func(g Grant) core.DID { return g.Who }):
		return invalid("grants to write: more than %d, or not rising", GrantsMax)
	case !rising(d.Read.Grants, func(g Reader) core.DID { return g.Who }):
		return invalid("grants to read: more than %d, or not rising", GrantsMax)
	}
	for _, g := range d.Write.Grants {
		if len(g.Label) > NameSizeMax {
			return invalid("label of %d bytes", len(g.Label))
		}
	}
	for _, g := range d.Read.Grants {
		if len(g.Label) > NameSizeMax {
			return invalid("label of %d bytes", len(g.Label))
		}
	}
	if err := d.checkIndexes(); err != nil {
		return err
	}
	for field, fold := range d.Folds {
		if fold != Set && fold != Counter && fold != Multi {
			return invalid("field %q: no fold is called %q: set, counter or multi", field, string(fold))
		}
		if field == "" || len(field) > NameSizeMax {
			return invalid("a fold is of a field whose name has 1 to %d bytes", NameSizeMax)
		}
	}
	return nil
}

func (d *Definition) checkIndexes() error {
	d.indexes = make([]query.Index, len(d.Indexes))
	for i, x := range d.Indexes {
		parsed, err := query.ParseIndex(x.Fields)
		switch {
		case err != nil:
			return fmt.Errorf("index %s: %w", x, err)
		case parsed.String() != x.Fields:
			return invalid("index %s is written %s", x, parsed)
		case slices.Contains(d.Indexes[:i], x):
			return invalid("index %s twice", x)
		}
		parsed.Unique = x.Unique
		d.indexes[i] = parsed
	}
	return nil
}

// isName tells whether a text can be a table's name.
func isName(s string) bool {
	return s != "" && len(s) <= NameSizeMax && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func rising[T any](list []T, who func(T) core.DID) bool {
	for i := 1; i < len(list); i++ {
		if who(list[i-1]).Compare(who(list[i])) >= 0 {
			return false
		}
	}
	return len(list) <= GrantsMax
}

// MayRead tells whether a machine may ask and keep the table.
func (d Definition) MayRead(who core.DID) bool {
	if g := d.granted(who); d.Read.All || slices.Contains(d.Attest, who) || g != nil && !g.Stopped {
		return true
	}
	_, ok := slices.BinarySearchFunc(d.Read.Grants, who, func(r Reader, who core.DID) int { return r.Who.Compare(who) })
	return ok
}

// granted returns a machine's own grant to write.
func (d Definition) granted(who core.DID) *Grant {
	i, ok := slices.BinarySearchFunc(d.Write.Grants, who, func(g Grant, who core.DID) int { return g.Who.Compare(who) })
	if !ok {
		return nil
	}
	return &d.Write.Grants[i]
}

// Leave is what a machine may write: nothing where it is not Given.
type Leave struct {
	Given bool
	// Quota is in bytes, 0 any number; Since a clock; Until the last seq that stands, where it is Stopped.
	Quota, Since, Until uint64
	Stopped             bool
}

// LeaveOf returns what a machine may write.
func (d Definition) LeaveOf(who core.DID) Leave {
	if g := d.granted(who); g != nil {
		return Leave{true, g.Quota, g.Since, g.Until, g.Stopped}
	}
	return Leave{Given: d.Write.All, Quota: d.Write.Quota}
}

// Stands tells whether an operation stands with which its author's feed comes to so many bytes, forks not looked at.
// The error is why not: ErrLeave, ErrQuota.
func (l Leave) Stands(seq, bytes uint64) error {
	switch {
	case !l.Given:
		return ErrLeave
	case l.Stopped && seq > l.Until:
		return fmt.Errorf("%w: what stands ends with operation %d", ErrLeave, l.Until)
	case l.Quota > 0 && bytes > l.Quota:
		return fmt.Errorf("%w: %d bytes of %d", ErrQuota, bytes, l.Quota)
	}
	return nil
}

// GrantWrite gives or changes a machine's leave to write, in place of the one that it had.
func (d *Definition) GrantWrite(g Grant) {
	d.Write.Grants = put(d.Write.Grants, g, func(a, b Grant) int { return a.Who.Compare(b.Who) })
}

// GrantRead gives a machine leave to read.
func (d *Definition) GrantRead(r Reader) {
	d.Read.Grants = put(d.Read.Grants, r, func(a, b Reader) int { return a.Who.Compare(b.Who) })
}

// put sets one element of a sorted list, whose array others may share.
func put[T any](list []T, one T, order func(a, b T) int) []T {
	out := slices.Clone(list)
	i, ok := slices.BinarySearchFunc(out, one, order)
	if ok {
		out[i] = one
		return out
	}
	return slices.Insert(out, i, one)
}

// Plain tells that a row is its newest operation alone, whatever else was written to its key.
func (d *Definition) Plain() bool {
	return len(d.Folds) == 0 && !slices.ContainsFunc(d.Indexes, func(x Index) bool { return x.Unique })
}

// SameRows tells whether two definitions make the same rows and indexes of the same operations that stand.
func (d Definition) SameRows(e Definition) bool {
	if !slices.Equal(d.Indexes, e.Indexes) || len(d.Folds) != len(e.Folds) {
		return false
	}
	for field, fold := range d.Folds {
		if e.Folds[field] != fold {
			return false
		}
	}
	return slices.Equal(d.Attest, e.Attest)
}
