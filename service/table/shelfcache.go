package table

import (
	"sync"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/tree"
)

// shelfCacheSize are the bytes of memory that the nodes of all trees take at most: those above the leaves (all of them, of ten
// million records), and leaves.
const (
	shelfUpperSize  = 48 << 20
	shelfLeavesSize = 48 << 20
)

// shelves is what all trees share: the nodes that were used last.
type shelves struct{ upper, bare, whole nodeCache }

// newShelves makes one that has no node yet.
func newShelves() *shelves {
	return &shelves{upper: nodeCache{most: shelfUpperSize}, bare: nodeCache{most: shelfLeavesSize * 7 / 8}, whole: nodeCache{most: shelfLeavesSize / 8}}
}

// of returns the cache to which a node belongs.
func (s *shelves) of(level int, bare bool) *nodeCache {
	switch {
	case level > 0:
		return &s.upper
	case bare:
		return &s.bare
	}
	return &s.whole
}

// nodeCache has nodes by their hashes, in two halves: what is used goes to the young, and where that is full, the
// old half is forgotten and the young is the old.
type nodeCache struct {
	most int // bytes

	mu         sync.Mutex
	young, old map[core.Score]*tree.Node
	size       int // of young
}

func (c *nodeCache) get(hash core.Score) *tree.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.young[hash]; n != nil {
		return n
	}
	n := c.old[hash]
	if n != nil {
		c.add(n)
	}
	return n
}

func (c *nodeCache) put(n *tree.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(n)
}

func (c *nodeCache) add(n *tree.Node) {
	const overhead = 80 // of the map
	if c.size += n.Size() + overhead; c.young == nil || c.size > c.most/2 {
		c.young, c.old, c.size = map[core.Score]*tree.Node{}, c.young, n.Size()+overhead
	}
	c.young[n.Hash()] = n
}
