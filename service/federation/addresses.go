package federation

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/pact"
)

// addressesMax bounds the machines whose addresses are known.
const addressesMax = 4096

// Addresses is what is known of where machines can be dialled. It stands apart
// from a Federation because accepting an invitation, and recovering, call machines
// of whom no record says anything yet. The zero value is ready; all methods may be
// called at once.
type Addresses struct {
	mu sync.Mutex
	of map[core.DID][]string
}

// Of returns the addresses of a machine, none if it is not known.
func (a *Addresses) Of(agent core.DID) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.of[agent])
}

// Learn takes the place of what was known of a machine. None leaves it as it was;
// those that cannot be addresses are left out.
func (a *Addresses) Learn(agent core.DID, addrs []string) {
	addrs = tidyAddrs(addrs)
	if len(addrs) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[core.DID][]string{}
	}
	if len(a.of) >= addressesMax && a.of[agent] == nil {
		return
	}
	a.of[agent] = addrs
}

// tidyAddrs returns those of addrs that can be multiaddrs, at most pact.AddrsMax.
func tidyAddrs(addrs []string) []string {
	var out []string
	for _, a := range addrs {
		if strings.HasPrefix(a, "/") && isPrintable(a, pact.AddrSizeMax) && !slices.Contains(out, a) && len(out) < pact.AddrsMax {
			out = append(out, a)
		}
	}
	return out
}

// CheckName says whether a household can be called so: 1 to 64 printable bytes.
// Errors: core.ErrInvalid.
func CheckName(name string) error {
	if strings.TrimSpace(name) == "" || !isPrintable(name, pact.InvitationNameSizeMax) {
		return fmt.Errorf("household's name %.80q: want 1 to %d printable bytes: %w", name, pact.InvitationNameSizeMax, core.ErrInvalid)
	}
	return nil
}

// isPrintable tells whether others' text can be shown on a terminal. The rule is
// that of invitations.
func isPrintable(s string, sizeMax int) bool {
	const joiner = '\u200d'
	for _, r := range s {
		if !unicode.IsPrint(r) && r != joiner {
			return false
		}
	}
	return len(s) <= sizeMax && utf8.ValidString(s)
}
