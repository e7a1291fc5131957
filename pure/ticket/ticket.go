// Package ticket is what lets somebody without a pact read one version: the one line that is handed on,
// the right to fetch that is in it, how its bearer proves to have it, and the record that the owner's
// state has of it. Formats are those of docs/SPEC.md §4 and §6.1.
//
// A ticket names a *table*: pages, stored as a manifest's are, with the records of the version and of all
// segments that it uses. Whoever has the line finds the table's bytes at the holders, opens it, and reads
// the version as its owner does. So it has everything that is secret of that version, and nothing of others.
//
// The line comes from anybody, and what it says is checked here as far as one can without asking: by form
// and by signature. Who signed the right, and whether it still counts, is for the holders to judge.
package ticket

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/manifest"
	"github.com/grange-grid/grange/pure/page"
)

// Limits of a Ticket.
const (
	// LineSizeMax is the most characters of a line without what is ignored in it, LineTextSizeMax
	// the most bytes of one with that.
	LineSizeMax     = 16 << 10
	LineTextSizeMax = 64 << 10
	// TableSegmentsMax is how many segments a table's pages may lie in: each holds the records of 14,000.
	TableSegmentsMax = 4
	// HoldersMax is the most machines that a ticket names, AddrsMax the most addresses of one,
	// AddrSizeMax the most bytes of an address.
	HoldersMax  = 64
	AddrsMax    = 8
	AddrSizeMax = 256
)

// Prefix is what a line begins with.
const Prefix = "GRANGE-TICKET:"

// Ticket is all that it takes to read one version: it is a secret.
type Ticket struct {
	V uint `json:"v"`
	// Right is what the owner's machine has signed.
	Right identity.Signed `json:"right"`
	// Seed is that of the key in Right.
	Seed Secret `json:"seed"`
	// Table has the version's records; Segments, by rising ids, hold its pages.
	Table    page.Tree          `json:"table"`
	Segments []manifest.Segment `json:"segments"`
	// Holders are the machines that may have pieces of it.
	Holders []Holder `json:"holders"`
}

// Holder is a machine, and where it was last found.
type Holder struct {
	DID   core.DID `json:"did"`
	Addrs []string `json:"addrs"`
}

const hidden = "[secret]"

// Secret is the seed of a bearer's key. It prints, logs and goes into JSON as "[secret]"; only the
// line shows it.
type Secret [32]byte

// Format prints "[secret]" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// LogValue logs "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText returns "[secret]"; there is no way back.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Key returns the bearer's key.
func (s Secret) Key() identity.Key { return identity.KeyOf(s) }

// Line returns the ticket as the one line that is handed on. V is set. It is the secret.
// Errors: core.ErrInvalid; core.ErrTooLarge if it is longer than LineSizeMax.
func (t Ticket) Line() (string, error) {
	t.V = codec.Version
	if _, err := t.check(); err != nil {
		return "", err
	}
	raw, err := codec.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("ticket: %w", err)
	}
	if len(raw) > lineBytesMax {
		return "", fmt.Errorf("ticket: %w: %d bytes, at most %d; with fewer addresses it is shorter", core.ErrTooLarge, len(raw), lineBytesMax)
	}
	return codec.Line(Prefix, raw), nil
}

var lineBytesMax = codec.LineBytes(Prefix, LineSizeMax)

// Parse reads what Line returns, however it was wrapped, hyphenated or put in small letters, with the right that is
// in it. Whether that has lapsed is not looked at. No error has any of the line in it but a wrong character.
// Errors: core.ErrInvalid if it is no ticket at all, or one of false contents; core.ErrCorrupt if
// characters are wrong or missing, or a signature is; core.ErrVersion; core.ErrTooLarge.
func Parse(line string) (Ticket, Right, error) {
	if len(line) > LineTextSizeMax {
		return Ticket{}, Right{}, fmt.Errorf("ticket: %w: %d bytes, at most %d", core.ErrTooLarge, len(line), LineTextSizeMax)
	}
	raw, err := codec.ParseLine(Prefix, line, LineSizeMax)
	if err != nil {
		return Ticket{}, Right{}, fmt.Errorf("ticket: %w", err)
	}
	var t Ticket
	if err := codec.Unmarshal(raw, &t, lineBytesMax); err != nil {
		return Ticket{}, Right{}, fmt.Errorf("ticket: %w", err)
	}
	r, err := t.check()
	if err != nil {
		return Ticket{}, Right{}, err
	}
	return t, r, nil
}

// check bounds everything in t and verifies its right.
func (t Ticket) check() (Right, error) {
	r, err := OpenRight(t.Right)
	if err != nil {
		return Right{}, err
	}
	if t.Seed == (Secret{}) || t.Seed.Key().DID() != r.Key {
		return Right{}, invalid("its seed is not that of its right")
	}
	if err := checkTable(t.Table); err != nil {
		return Right{}, err
	}
	ids := make([][]byte, 0, TableSegmentsMax)
	if len(t.Segments) > TableSegmentsMax {
		return Right{}, invalid("its table lies in %d segments, at most %d", len(t.Segments), TableSegmentsMax)
	}
	for _, s := range t.Segments {
		if err := s.Check(); err != nil {
			return Right{}, fmt.Errorf("ticket: %w", err)
		}
		ids = append(ids, s.ID)
	}
	if err := checkSegments(t.Table, ids); err != nil {
		return Right{}, err
	}
	if len(t.Holders) < 1 || len(t.Holders) > HoldersMax {
		return Right{}, invalid("%d holders, want 1 to %d", len(t.Holders), HoldersMax)
	}
	for i, h := range t.Holders {
		if err := h.check(); err != nil {
			return Right{}, err
		}
		if slices.ContainsFunc(t.Holders[:i], func(o Holder) bool { return o.DID == h.DID }) {
			return Right{}, invalid("holder %s stands twice", h.DID.Short())
		}
	}
	return r, nil
}

// NewHolder returns a holder with the first most of those addresses that can stand in a ticket.
func NewHolder(agent core.DID, addrs []string, most int) Holder {
	addrs = slices.DeleteFunc(slices.Clone(addrs), func(a string) bool { return !isAddr(a) })
	return Holder{DID: agent, Addrs: addrs[:min(len(addrs), most, AddrsMax)]}
}

func (h Holder) check() error {
	if err := identity.CheckDID(h.DID); err != nil {
		return fmt.Errorf("ticket: %w", err)
	}
	if len(h.Addrs) > AddrsMax {
		return invalid("%d addresses of a holder, at most %d", len(h.Addrs), AddrsMax)
	}
	for _, a := range h.Addrs {
		if !isAddr(a) {
			return invalid("address %.80q", a)
		}
	}
	return nil
}

func isAddr(a string) bool {
	strange := func(r rune) bool { return r <= ' ' || r > '~' }
	return strings.HasPrefix(a, "/") && len(a) <= AddrSizeMax && !strings.ContainsFunc(a, strange)
}

// checkTable tells whether t can be a table: it has a version and a segment.
func checkTable(t page.Tree) error {
	if err := t.Check(); err != nil {
		return fmt.Errorf("ticket: %w", err)
	}
	if t.Count < 2 {
		return invalid("a table of %d records", t.Count)
	}
	return nil
}

// checkSegments tells whether ids can be those of the segments that hold a table's pages.
func checkSegments(t page.Tree, ids [][]byte) error {
	root, err := manifest.ParseRef(t.Root)
	if err != nil {
		return fmt.Errorf("ticket: %w", err)
	}
	if len(ids) > TableSegmentsMax {
		return invalid("its table lies in %d segments, at most %d", len(ids), TableSegmentsMax)
	}
	for i, id := range ids {
		if len(id) != manifest.SegmentIDSize || i > 0 && bytes.Compare(ids[i-1], id) >= 0 {
			return invalid("segments that do not rise")
		}
	}
	if _, found := slices.BinarySearchFunc(ids, root.Segment, bytes.Compare); !found {
		return invalid("the root of its table is in none of its segments")
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("ticket: %w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
}
