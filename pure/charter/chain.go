package charter

import (
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/identity"
)

// ChainSizeMax bounds the bodies of a chain's charters together, in bytes: some 800
// charters of one machine, or 250 of five. A full chain forgets its lowest
// charters: what counts is the newest, which says itself who was removed and when.
const ChainSizeMax = 4 << 20

// ChainMax bounds the number of a chain's charters: X-Wing keys and boxes make each
// larger than 4 KiB.
const ChainMax = ChainSizeMax / (4 << 10)

// rivalsMax is how many charters of one place are kept: the one that stands, and
// one as evidence.
const rivalsMax = 2

// Chain is the verified charters of one grid that have been seen. What it holds depends
// on the charters that it was given, not on their order, until it is full. Not
// safe for concurrent use.
type Chain struct {
	grid core.DID
	// links rise: the last one stands.
	links  []link
	size   int
	newest Charter
}

// link is one charter, without what only the newest is asked for.
type link struct {
	rank
	signed identity.Signed
	agents []core.DID
}

// Rivals are two charters that the root signed for one place. That they are two
// is evidence of a fork; the agents of the Lesser stop, and say so.
type Rivals struct {
	Standing, Lesser identity.Signed
}

// NewChain returns the empty chain of a grid.
func NewChain(grid core.DID) *Chain { return &Chain{grid: grid} }

// Add verifies a charter and puts it in its place, wherever that is. It reports
// whether the chain has changed; Newest says whether the one that stands has. A
// charter that is there already changes nothing; nor does a third for one place that
// ranks below the two, nor one that ranks below all of a full chain.
// Errors: as Open's, and core.ErrInvalid for another grid's; then nothing has changed.
func (c *Chain) Add(s identity.Signed) (changed bool, err error) {
	if s.By != c.grid { // before the dear work
		return false, fmt.Errorf("charter of grid %s: %w: it is signed by %s", c.grid.Short(), core.ErrInvalid, s.By.Short())
	}
	if len(s.Body) > BodySizeMax {
		return false, fmt.Errorf("charter of grid %s: %w: %d bytes, at most %d", c.grid.Short(), core.ErrTooLarge, len(s.Body), BodySizeMax)
	}
	score := s.Score()
	if slices.ContainsFunc(c.links, func(l link) bool { return l.score == score }) {
		return false, nil
	}
	charter, err := Open(s)
	if err != nil {
		return false, err
	}
	s.Body, s.Sig = slices.Clone(s.Body), slices.Clone(s.Sig)
	added := link{rank: rankOf(charter, score), signed: s}
	for _, a := range charter.Agents {
		added.agents = append(added.agents, a.DID)
	}
	at, _ := slices.BinarySearchFunc(c.links, added, func(l, m link) int { return l.compare(m.rank) })
	c.links = slices.Insert(c.links, at, added)
	c.size += len(s.Body)
	if at == len(c.links)-1 {
		c.newest = charter
	}
	c.dropRival(added.rank)
	for c.size > ChainSizeMax {
		c.drop(0)
	}
	return slices.ContainsFunc(c.links, func(l link) bool { return l.score == score }), nil
}

// dropRival forgets the lowest charter of r's place if there are more than rivalsMax.
func (c *Chain) dropRival(r rank) {
	first := slices.IndexFunc(c.links, func(l link) bool { return l.rivals(r) })
	if last := first + rivalsMax; last < len(c.links) && c.links[last].rivals(r) {
		c.drop(first)
	}
}

func (c *Chain) drop(i int) {
	c.size -= len(c.links[i].signed.Body)
	c.links = slices.Delete(c.links, i, i+1)
}

// Newest returns the charter that stands, and its score; of an empty chain both are
// zero. The charter's lists are the chain's: they are not to be changed.
func (c *Chain) Newest() (Charter, core.Score) {
	if len(c.links) == 0 {
		return Charter{}, core.Score{}
	}
	return c.newest, c.links[len(c.links)-1].score
}

// All returns the charters, oldest first; the last is the one that stands. Their
// bytes are the chain's: they are not to be changed.
func (c *Chain) All() []identity.Signed {
	all := make([]identity.Signed, len(c.links))
	for i, l := range c.links {
		all[i] = l.signed
	}
	return all
}

// Lists tells whether the charter that stands lists agent.
func (c *Chain) Lists(agent core.DID) bool { return c.newest.Lists(agent) }

// EverListed tells whether any charter of the chain lists agent, or the one that
// stands names it as removed: whether what it signed can be the household's at all.
func (c *Chain) EverListed(agent core.DID) bool {
	if _, removed := c.newest.RemovedAgent(agent); removed {
		return true
	}
	return slices.ContainsFunc(c.links, func(l link) bool { return slices.Contains(l.agents, agent) })
}

// Rivals returns the places for which there are two charters, oldest first.
func (c *Chain) Rivals() []Rivals {
	var all []Rivals
	for i := 1; i < len(c.links); i++ {
		if lesser, standing := c.links[i-1], c.links[i]; lesser.rivals(standing.rank) {
			all = append(all, Rivals{Standing: standing.signed, Lesser: lesser.signed})
		}
	}
	return all
}
