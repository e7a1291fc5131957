package wire

import (
	"fmt"
	"sync"

	"github.com/grange-grid/grange/core"
)

// Limits of what is in hand at once (SPEC §7).
const (
	RequestsPartnerMax = 64       // from one partner's machine, or one of our own
	RequestsOtherMax   = 8        // from another
	InboundSizeMax     = 64 << 20 // bytes of bodies, of all
	InboundAgentMax    = 16 << 20 // bytes of bodies, of one machine
	// busySeconds is the Retry-After of one who is at such a limit.
	busySeconds = 2
)

// budget counts what is in hand.
type budget struct {
	mu     sync.Mutex
	bytes  int64
	agents map[core.DID]*use
}

// use is one agent's part. It is forgotten when it is nothing.
type use struct {
	requests int
	bytes    int64
}

// take reserves one request of an agent with size bytes of body; free gives it back.
func (b *budget) take(agent core.DID, class Class, size int64) error {
	most := RequestsOtherMax
	if class&(Partner|Own) != 0 {
		most = RequestsPartnerMax
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var u use
	if had := b.agents[agent]; had != nil {
		u = *had
	}
	switch {
	case u.requests >= most:
		return &Error{Code: CodeBusy, Message: fmt.Sprintf("%d requests of this machine are under way", u.requests)}
	case size > 0 && u.bytes+size > InboundAgentMax:
		return &Error{Code: CodeBusy, Message: fmt.Sprintf("%d bytes from this machine are in hand", u.bytes)}
	case size > 0 && b.bytes+size > InboundSizeMax:
		return &Error{Code: CodeBusy, Message: fmt.Sprintf("%d bytes from all machines are in hand", b.bytes)}
	}
	u.requests++
	u.bytes += size
	b.bytes += size
	if b.agents == nil {
		b.agents = make(map[core.DID]*use)
	}
	b.agents[agent] = &u
	return nil
}

func (b *budget) free(agent core.DID, size int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bytes -= size
	u := b.agents[agent]
	u.requests--
	u.bytes -= size
	if u.requests == 0 {
		delete(b.agents, agent)
	}
}
