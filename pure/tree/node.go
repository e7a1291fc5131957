package tree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/zeebo/blake3"

	"github.com/grange-grid/grange/core"
)

// Node is a node of a map, whole or in part. It does not change once it is made, but for what was looked at.
type Node struct {
	Level   int
	entries []Entry // those that are not here are zero
	// partial: here has a bit for each entry that is. recorded: looked has one for each that was looked at.
	partial, recorded bool
	here, looked      uint64
	// A node's entries are the leaves of a binary tree that is cut in halves: leaf has their sums, inner those of its
	// inner nodes, each at the index at which it is cut. In part of a node those below what was pruned are zero.
	leaf, inner []sum
	hash        core.Score
}

// sum is the hash of a part of a node, and how many entries of level 0 there are below it.
type sum struct {
	hash  core.Score
	count uint64
}

// NewNode makes a node of all of its entries. Errors: core.ErrInvalid where they are none.
func NewNode(level int, entries []Entry) (*Node, error) {
	if level < 0 || level > LevelMax || len(entries) == 0 || len(entries) > FanMax {
		return nil, fmt.Errorf("node of %d entries at level %d: %w", len(entries), level, core.ErrInvalid)
	}
	for i := 1; i < len(entries); i++ {
		if bytes.Compare(entries[i-1].Key, entries[i].Key) >= 0 {
			return nil, fmt.Errorf("node of level %d: keys do not rise at entry %d: %w", level, i, core.ErrInvalid)
		}
	}
	return &Node{Level: level, entries: entries}, nil
}

// Len is how many entries it has, here or not.
func (n *Node) Len() int { return len(n.entries) }

// Entries returns all of them, of a node that is whole.
func (n *Node) Entries() []Entry { return n.entries }

// Hash names the node.
func (n *Node) Hash() core.Score {
	n.compute()
	return n.hash
}

// Count is how many entries of level 0 there are below, or of it.
func (n *Node) Count() uint64 {
	if n.Level == 0 {
		return uint64(len(n.entries))
	}
	n.compute()
	return n.top().count
}

// ref names the node.
func (n *Node) ref(hi []byte) Ref {
	return Ref{Level: n.Level, Hash: n.Hash(), Count: n.Count(), Lo: n.entries[0].Key, Hi: hi}
}

// compute fills in the sums.
func (n *Node) compute() {
	if n.leaf == nil {
		*n = *newNode(n.Level, n.entries, make([]sum, len(n.entries)))
	}
}

// newNode makes a node of entries whose sums are known, but for those that are zero.
func newNode(level int, entries []Entry, leaf []sum) *Node {
	n := &Node{Level: level, entries: entries, leaf: leaf, inner: make([]sum, len(entries))}
	for i, e := range entries {
		if leaf[i].count == 0 {
			leaf[i] = leafSum(level, e)
		}
	}
	n.fold(0, len(entries))
	n.hash = n.name()
	return n
}

func (e Entry) same(level int, f Entry) bool {
	if level > 0 {
		return e.Hash == f.Hash && e.Count == f.Count && bytes.Equal(e.Key, f.Key)
	}
	return bytes.Equal(e.Key, f.Key) && bytes.Equal(e.Value, f.Value)
}

// fold fills in the inner sums of a part.
func (n *Node) fold(lo, hi int) sum {
	if hi-lo == 1 {
		return n.leaf[lo]
	}
	mid := (lo + hi) / 2
	n.inner[mid] = innerSum(n.Level, n.fold(lo, mid), n.fold(mid, hi))
	return n.inner[mid]
}

// part is the sum of one part of the binary tree.
func (n *Node) part(lo, hi int) sum {
	if hi-lo == 1 {
		return n.leaf[lo]
	}
	return n.inner[(lo+hi)/2]
}

func (n *Node) top() sum { return n.part(0, len(n.entries)) }

// name hashes what the node is.
func (n *Node) name() core.Score {
	var buf [1 + 1 + 8 + core.ScoreSize]byte
	buf[0], buf[1] = byte(n.Level), byte(len(n.entries))
	top := n.top()
	binary.BigEndian.PutUint64(buf[2:], top.count)
	copy(buf[10:], top.hash[:])
	return blake3.Sum256(buf[:])
}

func leafSum(level int, e Entry) sum {
	var buf [2 + 192]byte
	text := append(binary.BigEndian.AppendUint16(buf[:0], uint16(len(e.Key))), e.Key...)
	if level == 0 {
		return sum{blake3.Sum256(append(text, e.Value...)), 1}
	}
	text = binary.BigEndian.AppendUint64(append(text, e.Hash[:]...), e.Count)
	return sum{blake3.Sum256(text), e.Count}
}

func innerSum(level int, left, right sum) sum {
	var buf [2*core.ScoreSize + 16]byte
	text := append(append(buf[:0], left.hash[:]...), right.hash[:]...)
	if level > 0 {
		text = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(text, left.count), right.count)
	}
	return sum{blake3.Sum256(text), left.count + right.count}
}

// has tells whether an entry is here.
func (n *Node) has(i int) bool { return !n.partial || n.here>>i&1 == 1 }

// entry returns one, and writes down that it was looked at.
func (n *Node) entry(i int) (Entry, error) {
	if !n.has(i) {
		return Entry{}, fmt.Errorf("entry %d of a node of level %d: %w", i, n.Level, ErrNotProven)
	}
	if n.recorded {
		n.looked |= 1 << i
	}
	return n.entries[i], nil
}

// find returns the last entry that is here whose key is not above key; -1 if there is none.
func (n *Node) find(key []byte) int {
	if !n.partial {
		return sort.Search(len(n.entries), func(i int) bool { return bytes.Compare(n.entries[i].Key, key) > 0 }) - 1
	}
	out := -1
	for i := range n.entries {
		if n.has(i) && bytes.Compare(n.entries[i].Key, key) <= 0 {
			out = i
		}
	}
	return out
}

// before returns how many entries of level 0 there are below the entries before one that is here.
func (n *Node) before(i int) uint64 {
	if n.Level == 0 {
		return uint64(i)
	}
	n.compute()
	var count uint64
	lo, hi := 0, len(n.entries)
	for hi-lo > 1 { // the sums beside the way to an entry that is here are known
		mid := (lo + hi) / 2
		if i < mid {
			hi = mid
		} else {
			count += n.part(lo, mid).count
			lo = mid
		}
	}
	return count
}

// nth returns the entry below which there is the entry of level 0 with an index, and how many there are before it.
func (n *Node) nth(index uint64) (i int, before uint64) {
	if n.Level == 0 {
		return int(index), index
	}
	n.compute()
	lo, hi := 0, len(n.entries)
	for hi-lo > 1 {
		mid := (lo + hi) / 2
		left := n.part(lo, mid)
		if left.hash.IsZero() {
			return lo, before // pruned above this: the entry is not here
		}
		if index < before+left.count {
			hi = mid
		} else {
			before += left.count
			lo = mid
		}
	}
	return lo, before
}
