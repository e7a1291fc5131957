package vault

import (
	"sync"
	"time"

	"github.com/grange-grid/grange/core"
)

// worthAge is for how long what a version was found to be worth is believed while
// nothing changes but the date: promises end, after months.
const worthAge = 10 * time.Minute

// worths has what versions were found to be worth. A look at each piece of terabytes takes
// seconds, and people ask often.
type worths struct {
	mu    sync.Mutex
	known map[string]knownWorth
}

type knownWorth struct {
	worth   Worth
	changes uint64 // of where pieces lie, when it was computed
	at      time.Time
	away    map[core.DID]bool // of each household, or machine of ours, that holds some of it: whether it was away
}

// get returns what is known of a version, if it is as it was.
func (c *worths) get(key string, changes uint64, now time.Time, away func(core.DID) bool) (Worth, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.known[key]
	if !ok || k.changes != changes || now.Before(k.at) || now.Sub(k.at) >= worthAge {
		return Worth{}, false
	}
	for grid, was := range k.away {
		if was != (away != nil && away(grid)) {
			return Worth{}, false
		}
	}
	return k.worth, true
}

func (c *worths) set(key string, k knownWorth) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]knownWorth{}
	}
	c.known[key] = k
}

// forget forgets all: other versions, or segments, are known now.
func (c *worths) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.known)
}
