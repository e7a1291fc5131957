package tree

import (
	"bytes"
	"fmt"

	"github.com/grange-grid/grange/core"
)

// Node is a node of a map, whole or in part. It does not change once it is made, but for what was looked at.
type Node struct {
	Level int
	size  int // entries, here or not
	// text has the entries one after the other: the key, and the value, or above level 0 hash and count of the node
	// below. at says where each one's key ends, and where the rest; of those that are not here both are empty.
	text []byte
	at   []uint32
	// A node's entries are the leaves of a binary tree that is cut in halves: sums has their hashes, and behind them those of
	// its inner nodes, each at the index at which it is cut. In part of a node those below what was pruned are zero.
	sums []core.Score
	// below is, above level 0, how many entries of level 0 there are below the entries before each, and below all; 0
	// within what was pruned.
	below []uint64
	hash  core.Score
	// bare: a leaf without its values, enough for edits. partial: here has a bit for each entry that is. recorded: looked
	// has one for each that was looked at.
	bare, partial, recorded bool
	here, looked            uint64
}

// childSize is the length of an entry above level 0 behind its key.
const childSize = core.ScoreSize + 8

// Maker makes nodes, each of entries that are added one after the other, which it copies. The zero Maker is ready.
type Maker struct {
	// Bare makes leaves Bare.
	Bare bool

	text []byte
	at   []uint32
	sums []core.Score
	last int // where the last entry begins
	err  error
}

// Add adds an entry of a level. Node tells whether that was right.
func (m *Maker) Add(level int, e Entry) {
	from, size := len(m.text), len(m.sums)
	switch {
	case m.err != nil:
		return
	case size == FanMax:
		m.fail(level, "more than %d entries", FanMax)
	case len(e.Key) > KeySizeMax || len(e.Value) > ValueSizeMax:
		m.fail(level, "an entry of %d and %d bytes", len(e.Key), len(e.Value))
	case size > 0 && bytes.Compare(m.text[m.last:m.at[2*size-2]], e.Key) >= 0:
		m.fail(level, "keys do not rise at entry %d", size)
	}
	m.text, m.last = append(m.text, e.Key...), from
	m.at = append(m.at, uint32(len(m.text)))
	switch {
	case level > 0:
		m.text = appendChild(m.text, e.Hash, e.Count)
		m.sums = append(m.sums, entrySum(e.Key, m.text[m.at[2*size]:]))
	case m.Bare:
		m.sums = append(m.sums, entrySum(e.Key, e.Value))
	default:
		m.text = append(m.text, e.Value...)
		m.sums = append(m.sums, entrySum(e.Key, e.Value))
	}
	m.at = append(m.at, uint32(len(m.text)))
}

func (m *Maker) fail(level int, format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf("node of level %d: %s: %w", level, fmt.Sprintf(format, args...), core.ErrInvalid)
	}
}

// Node makes the node, and is then ready for another. Errors: core.ErrInvalid where the entries are none of a node.
func (m *Maker) Node(level int) (*Node, error) {
	if level < 0 || level > LevelMax || len(m.sums) == 0 {
		m.fail(level, "%d entries", len(m.sums))
	}
	n, err := &Node{Level: level, size: len(m.sums), bare: m.Bare && level == 0}, m.err
	if err == nil {
		n.text, n.at = bytes.Clone(m.text), append([]uint32{}, m.at...)
		n.room()
		copy(n.sums, m.sums)
		n.sum(^uint64(0))
	}
	m.text, m.at, m.sums, m.err = m.text[:0], m.at[:0], m.sums[:0], nil
	if err != nil {
		return nil, err
	}
	return n, nil
}

// NewNode makes a node of all of its entries. Errors: core.ErrInvalid where they are none.
func NewNode(level int, entries []Entry) (*Node, error) {
	var m Maker
	for _, e := range entries {
		m.Add(level, e)
	}
	return m.Node(level)
}

// Len is how many entries it has, here or not.
func (n *Node) Len() int { return n.size }

// Size is about how many bytes of memory it takes.
func (n *Node) Size() int {
	return 192 + len(n.text) + 4*len(n.at) + core.ScoreSize*len(n.sums) + 8*len(n.below)
}

// Entry returns one, of a node that is whole. The slices are not to be written to.
func (n *Node) Entry(i int) Entry {
	e := Entry{Key: n.key(i)}
	if n.Level == 0 {
		e.Value = n.rest(i)
	} else {
		e.Hash, e.Count = core.Score(n.rest(i)), n.count(i, i+1)
	}
	return e
}

// Entries returns all of them, of a node that is whole.
func (n *Node) Entries() []Entry {
	out := make([]Entry, n.size)
	for i := range out {
		out[i] = n.Entry(i)
	}
	return out
}

// Hash names the node.
func (n *Node) Hash() core.Score { return n.hash }

// Count is how many entries of level 0 there are below, or of it.
func (n *Node) Count() uint64 { return n.count(0, n.size) }

// Bare returns the node without its values, if it is a leaf: enough for Apply, and no more.
func (n *Node) Bare() *Node {
	if n.Level > 0 || n.bare {
		return n
	}
	out := *n
	out.bare, out.text, out.at = true, nil, make([]uint32, len(n.at))
	out.room()
	copy(out.sums, n.sums[:n.size])
	for i, part := range n.kept() {
		if part[1] > part[0] {
			out.sums[n.size+i] = *n.part(part[0], part[1])
		}
	}
	size := 0
	for i := range n.size {
		size += len(n.key(i))
	}
	out.text = make([]byte, 0, size)
	for i := range n.size {
		out.text = append(out.text, n.key(i)...)
		out.at[2*i], out.at[2*i+1] = uint32(len(out.text)), uint32(len(out.text))
	}
	return &out
}

func (n *Node) begin(i int) uint32 {
	if i == 0 {
		return 0
	}
	return n.at[2*i-1]
}

func (n *Node) key(i int) []byte { return n.text[n.begin(i):n.at[2*i]:n.at[2*i]] }

// rest is what an entry has besides its key.
func (n *Node) rest(i int) []byte { return n.text[n.at[2*i]:n.at[2*i+1]:n.at[2*i+1]] }

// count is how many entries of level 0 there are in a part or below it.
func (n *Node) count(lo, hi int) uint64 {
	if n.Level == 0 {
		return uint64(hi - lo)
	}
	return n.below[hi] - n.below[lo]
}

// ref names the node.
func (n *Node) ref(hi []byte) Ref {
	return Ref{Level: n.Level, Hash: n.hash, Count: n.Count(), Lo: n.key(0), Hi: hi}
}

// has tells whether an entry is here.
func (n *Node) has(i int) bool { return !n.partial || n.here>>i&1 == 1 }

// entry returns one, and writes down that it was looked at.
func (n *Node) entry(i int) (Entry, error) {
	switch {
	case !n.has(i):
		return Entry{}, fmt.Errorf("entry %d of a node of level %d: %w", i, n.Level, ErrNotProven)
	case n.bare:
		return Entry{}, fmt.Errorf("entry %d of a leaf without its values: %w", i, core.ErrInvalid)
	}
	if n.recorded {
		n.looked |= 1 << i
	}
	return n.Entry(i), nil
}

// find returns the last entry that is here whose key is not above key; -1 if there is none.
func (n *Node) find(key []byte) int {
	if !n.partial {
		lo, hi := 0, n.size // sort.Search, which would take a tenth of all
		for lo < hi {
			if mid := (lo + hi) / 2; bytes.Compare(n.key(mid), key) > 0 {
				hi = mid
			} else {
				lo = mid + 1
			}
		}
		return lo - 1
	}
	out := -1
	for i := range n.size {
		if n.has(i) && bytes.Compare(n.key(i), key) <= 0 {
			out = i
		}
	}
	return out
}

// before returns how many entries of level 0 there are below the entries before one that is here.
func (n *Node) before(i int) uint64 { return n.count(0, i) }

// nth returns the entry below which there is the entry of level 0 with an index, or the first of a part that was pruned and
// in which that is; and how many there are before it.
func (n *Node) nth(index uint64) (i int, before uint64) {
	if n.Level == 0 {
		return int(min(index, FanMax)), index
	}
	for i := n.size - 1; i > 0; i-- {
		if before := n.below[i]; before > 0 && before <= index {
			return i, before
		}
	}
	return 0, 0
}
