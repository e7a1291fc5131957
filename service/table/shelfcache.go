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
	shelfLeavesSize = 60 << 20
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

// nodeCache has nodes by their hashes. Where there are too many, that goes which was used longest ago.
type nodeCache struct {
	most int // bytes

	mu    sync.Mutex
	nodes map[core.Score]*cachedNode
	ring  cachedNode // its next is the one that was used last
	size  int
}

// cachedNode is in a ring.
type cachedNode struct {
	node         *tree.Node
	prior, after *cachedNode
}

// cachedOverhead is about how many bytes a node takes in the cache besides its own.
const cachedOverhead = 96

func (c *nodeCache) get(hash core.Score) *tree.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[hash]
	if n == nil {
		return nil
	}
	n.out()
	c.first(n)
	return n.node
}

func (c *nodeCache) put(node *tree.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes == nil {
		c.nodes = map[core.Score]*cachedNode{}
		c.ring.prior, c.ring.after = &c.ring, &c.ring
	}
	if c.nodes[node.Hash()] != nil {
		return
	}
	n := &cachedNode{node: node}
	c.nodes[node.Hash()] = n
	c.first(n)
	for c.size += node.Size() + cachedOverhead; c.size > c.most && c.ring.prior != n; {
		c.drop(c.ring.prior)
	}
}

// forget is for a node that a new one replaces.
func (c *nodeCache) forget(hash core.Score) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.nodes[hash]; n != nil {
		c.drop(n)
	}
}

func (c *nodeCache) drop(n *cachedNode) {
	n.out()
	delete(c.nodes, n.node.Hash())
	c.size -= n.node.Size() + cachedOverhead
}

func (c *nodeCache) first(n *cachedNode) {
	n.prior, n.after = &c.ring, c.ring.after
	n.prior.after, n.after.prior = n, n
}

func (n *cachedNode) out() { n.prior.after, n.after.prior = n.after, n.prior }
