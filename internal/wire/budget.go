package wire

import (
	"fmt"
	"sync"

	"github.com/grange-grid/grange/core"
)

// Limits of what is in hand at once (SPEC §7).
const (
	RequestsPartnerMax   = 64       // from one machine of a partner, a guest, or our own
	RequestsOtherMax     = 8        // from another
	RequestsHouseholdMax = 128      // from all machines of one household, which says itself how many it has
	InboundSizeMax       = 64 << 20 // bytes of bodies, of all
	InboundHouseholdMax  = 32 << 20 // bytes of bodies, of one household
	InboundAgentMax      = 16 << 20 // bytes of bodies, of one machine
	// busySeconds is the Retry-After of one who is at such a limit.
	busySeconds = 2
)

// budget counts what is in hand.
type budget struct {
	mu    sync.Mutex
	bytes int64
	// agents and households have their parts. One that is nothing is forgotten.
	agents, households map[core.DID]use
}

type use struct {
	requests int
	bytes    int64
}

// take reserves one request of a caller with size bytes of body; free gives it back.
func (b *budget) take(c Caller, size int64) error {
	most := RequestsOtherMax
	if c.Class&(Partner|Own|Guest) != 0 {
		most = RequestsPartnerMax
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	u, h := b.agents[c.Agent], b.households[c.household()]
	switch {
	case u.requests >= most:
		return &Error{Code: CodeBusy, Message: fmt.Sprintf("%d requests of this machine are under way", u.requests)}
	case h.requests >= RequestsHouseholdMax:
		return &Error{Code: CodeBusy, Message: fmt.Sprintf("%d requests of this household are under way", h.requests)}
	case size > 0 && u.bytes+size > InboundAgentMax:
		return &Error{Code: CodeBusy, Message: fmt.Sprintf("%d bytes from this machine are in hand", u.bytes)}
	case size > 0 && h.bytes+size > InboundHouseholdMax:
		return &Error{Code: CodeBusy, Message: fmt.Sprintf("%d bytes from this household are in hand", h.bytes)}
	case size > 0 && b.bytes+size > InboundSizeMax:
		return &Error{Code: CodeBusy, Message: fmt.Sprintf("%d bytes from all machines are in hand", b.bytes)}
	}
	b.add(c, 1, size)
	return nil
}

func (b *budget) free(c Caller, size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(c, -1, -size)
}

// add counts for the caller's machine and household. The caller holds mu.
func (b *budget) add(c Caller, requests int, bytes int64) {
	if b.agents == nil {
		b.agents, b.households = map[core.DID]use{}, map[core.DID]use{}
	}
	b.bytes += bytes
	count(b.agents, c.Agent, requests, bytes)
	if grid := c.household(); !grid.IsZero() {
		count(b.households, grid, requests, bytes)
	}
}

// household returns the zero DID for strangers, and for bearers: they are not to take their host's part.
func (c Caller) household() core.DID {
	if c.Class == Bearer {
		return core.DID{}
	}
	return c.Grid
}

func count(of map[core.DID]use, who core.DID, requests int, bytes int64) {
	u := of[who]
	u.requests += requests
	u.bytes += bytes
	if of[who] = u; u.requests == 0 {
		delete(of, who)
	}
}
