package voucher

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/identity"
)

// PassPrefix is what the line of a Pass begins with.
const PassPrefix = "GRANGE-VOUCHER:"

// Limits of a Pass.
const (
	// PassLineSizeMax is the most characters of a line without what is ignored in it, PassTextSizeMax the most bytes of one with that.
	PassLineSizeMax = 128 << 10
	PassTextSizeMax = 192 << 10
	// PassHomesMax is of how many homes it has vouchers, PlacesMax how many machines of one it names, AddrsMax how many addresses of
	// a machine, AddrSizeMax the most bytes of an address and NameSizeMax of a name.
	PassHomesMax = 16
	PlacesMax    = 2
	AddrsMax     = 4
	AddrSizeMax  = 256
	NameSizeMax  = 64
)

// Pass is what somebody's machine is given so that it can use vouchers: them, and where they are good. It is no secret, as they are of use
// to that machine alone. It travels as one line.
type Pass struct {
	V uint `json:"v"`
	// Grid is on whose pacts they draw, Name what that calls itself.
	Grid core.DID `json:"grid"`
	Name string   `json:"name"`
	// From is a machine of that grid which gives newer ones to this machine; nil where nobody does.
	From  *Place `json:"from,omitempty"`
	Homes []Home `json:"homes"`
}

// Place is a machine, and where it was last found.
type Place struct {
	DID   core.DID `json:"did"`
	Addrs []string `json:"addrs"`
}

// Home is a household that keeps something by a voucher.
type Home struct {
	Grid   core.DID `json:"grid"`
	Name   string   `json:"name"`
	Agents []Place  `json:"agents"`
	// Chain is the encoding of a Chain without an invocation.
	Chain []byte `json:"chain"`
}

// Line returns the pass as one line. V is set. Errors: core.ErrInvalid.
func (p Pass) Line() (string, error) {
	p.V = codec.Version
	if _, err := p.Open(); err != nil {
		return "", err
	}
	raw, err := codec.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("pass: %w", err)
	}
	return codec.Line(PassPrefix, raw), nil
}

// ParsePass reads what Line returns, however it was wrapped, hyphenated or put in small letters. Whether its vouchers
// have ended is not looked at. Errors: core.ErrInvalid; core.ErrCorrupt if characters are wrong or missing, or a signature is;
// core.ErrVersion; core.ErrTooLarge.
func ParsePass(line string) (Pass, error) {
	if len(line) > PassTextSizeMax {
		return Pass{}, fmt.Errorf("pass: %w: %d bytes, at most %d", core.ErrTooLarge, len(line), PassTextSizeMax)
	}
	raw, err := codec.ParseLine(PassPrefix, line, PassLineSizeMax)
	if err != nil {
		return Pass{}, fmt.Errorf("pass: %w", err)
	}
	var p Pass
	if err := codec.Unmarshal(raw, &p, codec.LineBytes(PassPrefix, PassLineSizeMax)); err != nil {
		return Pass{}, fmt.Errorf("pass: %w", err)
	}
	_, err = p.Open()
	return p, err
}

// Open verifies what can be seen from a pass alone, and returns the machine for which it is: the zero DID where it has no voucher yet.
func (p Pass) Open() (agent core.DID, err error) {
	bad := func(format string, args ...any) (core.DID, error) {
		return core.DID{}, fmt.Errorf("pass: %w: %s", core.ErrInvalid, fmt.Sprintf(format, args...))
	}
	if err := identity.CheckDID(p.Grid); err != nil {
		return agent, fmt.Errorf("pass: %w", err)
	}
	switch {
	case !printable(p.Name, NameSizeMax):
		return bad("name %.80q", p.Name)
	case len(p.Homes) > PassHomesMax:
		return bad("%d homes, at most %d", len(p.Homes), PassHomesMax)
	case p.From == nil && len(p.Homes) == 0:
		return bad("it has no voucher, and names nobody who gives one")
	case p.From != nil && !p.From.good():
		return bad("the address of who gives newer ones")
	}
	for i, h := range p.Homes {
		c, err := Parse(h.Chain)
		if err != nil {
			return agent, fmt.Errorf("pass: %w", err)
		}
		r, err := Open(c)
		if err != nil {
			return agent, fmt.Errorf("pass: %w", err)
		}
		switch {
		case i > 0 && (p.Homes[i-1].Grid.Compare(h.Grid) >= 0 || r.Agent != agent):
			return bad("homes that do not rise, or vouchers for two machines")
		case r.Subject != p.Grid || len(c.Invocation) > 0:
			return bad("a voucher of %s, or one that was used", r.Subject.Short())
		case h.Grid.IsZero() || !printable(h.Name, NameSizeMax):
			return bad("home %.80q", h.Name)
		case len(h.Agents) < 1 || len(h.Agents) > PlacesMax || slices.ContainsFunc(h.Agents, func(p Place) bool { return !p.good() }):
			return bad("the addresses of %.80q", h.Name)
		}
		agent = r.Agent
	}
	return agent, nil
}

func (p Place) good() bool {
	strange := func(a string) bool { return !strings.HasPrefix(a, "/") || !printable(a, AddrSizeMax) }
	return identity.CheckDID(p.DID) == nil && len(p.Addrs) <= AddrsMax && !slices.ContainsFunc(p.Addrs, strange)
}

// printable tells whether a stranger's text may be shown on a terminal, as in an invitation.
func printable(s string, sizeMax int) bool {
	const joiner = '\u200d'
	return len(s) <= sizeMax && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != joiner })
}
