package tree

import (
	"encoding/binary"
	"math/bits"

	"github.com/grange-grid/grange/core"
)

// appendChild appends what an entry above level 0 has behind its key.
func appendChild(out []byte, hash core.Score, count uint64) []byte {
	return binary.BigEndian.AppendUint64(append(out, hash[:]...), count)
}

// room makes what sum fills in.
func (n *Node) room() {
	inner := n.size
	if n.bare {
		inner = len(n.kept())
	}
	n.sums = make([]core.Score, n.size+inner)
	if n.Level > 0 {
		n.below = make([]uint64, n.size+1)
	}
}

// kept are the parts whose hashes a bare leaf keeps, behind those of its entries: halves and quarters. It stays in memory, and what
// is within a quarter is soon made.
func (n *Node) kept() [6][2]int {
	mid := n.size / 2
	first, last := mid/2, (mid+n.size)/2
	return [6][2]int{{0, mid}, {mid, n.size}, {0, first}, {first, mid}, {mid, last}, {last, n.size}}
}

// sum fills in counts, hashes and name of a whole node whose entries' hashes are there; only those inner hashes, of which an
// entry has its bit in changed.
func (n *Node) sum(changed uint64) {
	if n.Level > 0 {
		for i := range n.size {
			n.below[i+1] = n.below[i] + binary.BigEndian.Uint64(n.rest(i)[core.ScoreSize:])
		}
	}
	if n.bare {
		n.sumBare(changed)
		return
	}
	n.fold(0, n.size, changed)
	n.hash = n.name()
}

func (n *Node) sumBare(changed uint64) {
	var all [2 * FanMax]core.Score
	full := Node{size: n.size, sums: append(all[:0], n.sums[:n.size]...)[:2*n.size]}
	kept := n.kept()
	for i, part := range kept {
		if lo, hi := part[0], part[1]; hi-lo > 1 {
			*full.part(lo, hi) = n.sums[n.size+i]
		}
		if mask := bitsOf(part[0], part[1]); i >= 2 && changed&mask != 0 {
			changed |= mask // nothing is kept within it
		}
	}
	full.fold(0, n.size, changed)
	for i, part := range kept {
		if part[1] > part[0] {
			n.sums[n.size+i] = *full.part(part[0], part[1])
		}
	}
	n.hash = full.name()
}

// bitsOf has the bits of the entries of a part.
func bitsOf(lo, hi int) uint64 { return (1<<(hi-lo) - 1) << lo }

func (n *Node) fold(lo, hi int, changed uint64) {
	if hi-lo == 1 || changed&bitsOf(lo, hi) == 0 {
		return
	}
	mid := (lo + hi) / 2
	n.fold(lo, mid, changed)
	n.fold(mid, hi, changed)
	n.sums[n.size+mid] = n.innerSum(lo, hi)
}

// part is the hash of one part of the binary tree.
func (n *Node) part(lo, hi int) *core.Score {
	if hi-lo == 1 {
		return &n.sums[lo]
	}
	return &n.sums[n.size+(lo+hi)/2]
}

// name hashes what the node is.
func (n *Node) name() core.Score {
	var buf [1 + 1 + 8 + core.ScoreSize]byte
	buf[0], buf[1] = byte(n.Level), byte(n.size)
	binary.BigEndian.PutUint64(buf[2:], n.Count())
	copy(buf[10:], n.part(0, n.size)[:])
	return core.ScoreOf(buf[:])
}

// leafSum hashes an entry: the text of an entry is what is hashed but for the length of its key.
func (n *Node) leafSum(i int) core.Score {
	return entrySum(n.key(i), n.rest(i))
}

func entrySum(key, rest []byte) core.Score {
	var buf [254]byte
	text := binary.BigEndian.AppendUint16(buf[:0], uint16(len(key)))
	return core.ScoreOf(append(append(text, key...), rest...))
}

// innerSum hashes a part of more entries than one.
func (n *Node) innerSum(lo, hi int) core.Score {
	var buf [2*core.ScoreSize + 16]byte
	mid := (lo + hi) / 2
	copy(buf[:], n.part(lo, mid)[:])
	copy(buf[core.ScoreSize:], n.part(mid, hi)[:])
	if n.Level == 0 {
		return core.ScoreOf(buf[:2*core.ScoreSize])
	}
	binary.BigEndian.PutUint64(buf[2*core.ScoreSize:], n.count(lo, mid))
	binary.BigEndian.PutUint64(buf[2*core.ScoreSize+8:], n.count(mid, hi))
	return core.ScoreOf(buf[:])
}

// replaced returns the node with other entries of the same keys, those with a bit in changed; it is bare if it is a leaf.
func (n *Node) replaced(changed uint64, items []item) *Node {
	out := *n.Bare()
	out.sums = append([]core.Score{}, out.sums...)
	if n.Level > 0 {
		out.text, out.below = append([]byte{}, n.text...), make([]uint64, n.size+1)
	}
	for rest := changed; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros64(rest)
		if n.Level > 0 {
			copy(out.rest(i), items[0].rest)
		}
		out.sums[i], items = items[0].sum, items[1:]
	}
	out.sum(changed)
	return &out
}

// item is an entry on its way into a node: of a leaf, which will be bare, without its value.
type item struct {
	key, rest []byte
	sum       core.Score
}

// newNode makes a node of items.
func newNode(level int, items []item) *Node {
	n := &Node{Level: level, size: len(items), bare: level == 0}
	size := 0
	for i := range items {
		size += len(items[i].key) + len(items[i].rest)
	}
	n.text, n.at = make([]byte, 0, size), make([]uint32, 0, 2*len(items))
	n.room()
	for i := range items {
		n.text = append(n.text, items[i].key...)
		n.at = append(n.at, uint32(len(n.text)))
		n.text = append(n.text, items[i].rest...)
		n.at = append(n.at, uint32(len(n.text)))
		n.sums[i] = items[i].sum
	}
	n.sum(^uint64(0))
	return n
}
