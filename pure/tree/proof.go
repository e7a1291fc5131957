package tree

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sort"

	"github.com/grange-grid/grange/core"
)

// ProofSizeMax bounds an encoded proof in bytes.
const ProofSizeMax = 4 << 20

// Recorder is a Source that writes down what is looked at, for a proof of it. It is for one goroutine.
type Recorder struct {
	src   Source
	nodes map[core.Score]*Node
}

// NewRecorder records what is looked at in the nodes of a Source that has whole ones.
func NewRecorder(src Source) *Recorder { return &Recorder{src, map[core.Score]*Node{}} }

// Node returns the node that is named.
func (r *Recorder) Node(ref Ref) (*Node, error) {
	if n, ok := r.nodes[ref.Hash]; ok {
		return n, nil
	}
	n, err := r.src.Node(ref)
	if err != nil {
		return nil, err
	}
	recorded := *n
	recorded.recorded, recorded.looked = true, 0
	r.nodes[ref.Hash] = &recorded
	return &recorded, nil
}

// Proof encodes what was looked at below a root. Records that are given travel beside the proof, which then only points at
// them; their keys rise. Errors: core.ErrInvalid.
func (r *Recorder) Proof(m Map, given []Record) ([]byte, error) {
	root, ok := r.nodes[m.Root.Hash]
	if !ok {
		return nil, fmt.Errorf("the root was not looked at: %w", core.ErrInvalid)
	}
	if err := checkGiven(given); err != nil {
		return nil, err
	}
	return (&encoder{r, given}).node(nil, root), nil
}

// encoder writes a proof.
type encoder struct {
	*Recorder
	given given
}

// given are records that whoever reads a proof has already, by keys that rise.
type given []Record

func checkGiven(all given) error {
	for i, g := range all {
		if err := checkRecord(g); err != nil {
			return fmt.Errorf("given record %d: %w", i, err)
		}
		if i > 0 && bytes.Compare(all[i-1].Key, g.Key) >= 0 {
			return fmt.Errorf("given record %d: keys do not rise: %w", i, core.ErrInvalid)
		}
	}
	return nil
}

// number is that of a record, the first being 1; 0 if it is not given.
func (g given) number(e Entry) uint64 {
	i := sort.Search(len(g), func(i int) bool { return bytes.Compare(g[i].Key, e.Key) >= 0 })
	if i == len(g) || !bytes.Equal(g[i].Key, e.Key) || !bytes.Equal(g[i].Value, e.Value) {
		return 0
	}
	return uint64(i) + 1
}

// An encoded node: its level and its number of entries; the bits of those that are here; those, each followed by the node
// below it if that is here; and of each greatest part of which nothing is here, its sum.
func (c *encoder) node(out []byte, n *Node) []byte {
	out = append(out, byte(n.Level), byte(n.Len()))
	out = binary.AppendUvarint(out, n.looked)
	return c.part(out, n, 0, n.Len(), new([]byte))
}

func (c *encoder) part(out []byte, n *Node, lo, hi int, last *[]byte) []byte {
	if n.looked>>lo&(1<<(hi-lo)-1) == 0 {
		out = append(out, n.part(lo, hi)[:]...)
		if n.Level > 0 {
			out = binary.AppendUvarint(out, n.count(lo, hi))
		}
		return out
	}
	if hi-lo > 1 {
		mid := (lo + hi) / 2
		return c.part(c.part(out, n, lo, mid, last), n, mid, hi, last)
	}
	e := n.Entry(lo)
	if n.Level == 0 {
		number := c.given.number(e)
		if out = binary.AppendUvarint(out, number); number > 0 {
			*last = e.Key
			return out
		}
	}
	same := commonPrefix(*last, e.Key)
	*last = e.Key
	out = binary.AppendUvarint(out, uint64(same))
	out = appendBytes(out, e.Key[same:])
	if n.Level == 0 {
		return appendBytes(out, e.Value)
	}
	if below, ok := c.nodes[e.Hash]; ok {
		return c.node(append(out, 1), below)
	}
	out = append(append(out, 0), e.Hash[:]...)
	return binary.AppendUvarint(out, e.Count)
}

func appendBytes(out, b []byte) []byte {
	return append(binary.AppendUvarint(out, uint64(len(b))), b...)
}

func commonPrefix(a, b []byte) int {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	return i
}

// Proof is a Source of the nodes that an answer brought. Each has the hash by which it is named.
type Proof struct {
	root  *Node
	nodes map[core.Score]*Node
}

// Node returns the node that is named.
func (p *Proof) Node(ref Ref) (*Node, error) {
	n, ok := p.nodes[ref.Hash]
	if !ok {
		return nil, fmt.Errorf("a node of level %d is not in the proof: %w", ref.Level, ErrNotProven)
	}
	return n, nil
}

// Root names the root that the proof is of. Whether it is the right one is for the caller to say.
func (p *Proof) Root() Ref { return p.root.ref(nil) }

// ParseProof reads an encoded proof, to which records were given. There is one encoding of each. Errors: core.ErrInvalid, core.ErrTooLarge.
func ParseProof(b []byte, given []Record) (*Proof, error) {
	if err := checkGiven(given); err != nil {
		return nil, err
	}
	if len(b) > ProofSizeMax {
		return nil, fmt.Errorf("proof of %d bytes, of %d at most: %w", len(b), ProofSizeMax, core.ErrTooLarge)
	}
	d := &decoder{rest: b, size: len(b), given: given, nodes: map[core.Score]*Node{}}
	root, _ := d.node(-1, nil)
	if d.err == nil && len(d.rest) > 0 {
		d.fail("%d bytes after the end", len(d.rest))
	}
	if d.err != nil {
		return nil, d.err
	}
	return &Proof{root, d.nodes}, nil
}

// decoder reads a proof. After the first error it reads nothing.
type decoder struct {
	rest  []byte
	size  int
	given given
	err   error
	nodes map[core.Score]*Node
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("proof, byte %d: %s: %w", d.size-len(d.rest), fmt.Sprintf(format, args...), core.ErrInvalid)
		d.rest = nil
	}
}

func (d *decoder) bytes(n uint64) []byte {
	if n > uint64(len(d.rest)) {
		d.fail("it ends too soon")
	}
	if d.err != nil {
		return nil
	}
	out := d.rest[:n:n]
	d.rest = d.rest[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); d.err == nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || n != max(1, (bits.Len64(v)+6)/7) {
		d.fail("no shortest number")
	}
	if d.err != nil {
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) score() (s core.Score) {
	copy(s[:], d.bytes(core.ScoreSize))
	return s
}

// countMax bounds counts, so that no sum of those of a node overflows.
const countMax = 1 << 53

func (d *decoder) count() uint64 {
	v := d.uvarint()
	if v == 0 || v > countMax {
		d.fail("a count of %d", v)
	}
	return v
}

// node reads a node that begins with the key lo, and returns the last key that is here in it and below; its level is level, unless that is below 0.
func (d *decoder) node(level int, lo []byte) (*Node, []byte) {
	n := &Node{Level: int(d.byte()), partial: true}
	size := int(d.byte())
	n.here = d.uvarint()
	switch {
	case d.err != nil:
	case n.Level > LevelMax || level >= 0 && n.Level != level:
		d.fail("a node of level %d", n.Level)
	case size == 0 || size > FanMax:
		d.fail("a node of %d entries", size)
	case size < 64 && n.here>>size != 0:
		d.fail("bits of entries that are not there")
	case n.here == 0 && level >= 0:
		d.fail("a node of which nothing is here")
	}
	if d.err != nil {
		return nil, nil
	}
	n.size = size
	n.room()
	keys := keyState{last: lo}
	d.part(n, 0, size, &keys)
	if d.err != nil {
		return nil, nil
	}
	n.hash = n.name()
	if _, double := d.nodes[n.hash]; double {
		d.fail("a node twice")
	}
	d.nodes[n.hash] = n
	return n, keys.last
}

// keyState is what is known of the keys that are to come in a node: they rise from last, and may have a part of prefix.
type keyState struct{ prefix, last []byte }

func (d *decoder) part(n *Node, lo, hi int, keys *keyState) {
	switch {
	case d.err != nil:
	case n.here>>lo&(1<<(hi-lo)-1) == 0:
		*n.part(lo, hi) = d.score()
		for range hi - lo {
			n.at = append(n.at, uint32(len(n.text)), uint32(len(n.text)))
		}
		if n.Level > 0 {
			d.counted(n, lo, hi, d.count())
		}
	case hi-lo == 1:
		d.entry(n, lo, keys)
	default:
		mid := (lo + hi) / 2
		d.part(n, lo, mid, keys)
		if d.part(n, mid, hi, keys); d.err == nil {
			n.sums[n.size+mid] = n.innerSum(lo, hi)
		}
	}
}

// counted notes how many entries of level 0 there are below a part.
func (d *decoder) counted(n *Node, lo, hi int, count uint64) {
	if n.below[hi] = n.below[lo] + count; n.below[hi] > countMax {
		d.fail("a count of %d", n.below[hi])
	}
}

// entry reads one that is here.
func (d *decoder) entry(n *Node, i int, keys *keyState) {
	var e Entry
	if n.Level == 0 {
		e = d.record(keys)
	} else {
		e.Key = d.key(keys)
	}
	switch {
	case d.err != nil:
	case i == 0 && !bytes.Equal(e.Key, keys.last):
		d.fail("a node that begins with another key than it should")
	case i > 0 && bytes.Compare(e.Key, keys.last) <= 0:
		d.fail("keys that do not rise")
	}
	keys.prefix, keys.last = e.Key, e.Key
	rest := e.Value
	if n.Level > 0 && d.err == nil {
		rest = d.child(n, i, e.Key, keys)
	}
	if d.err != nil {
		return
	}
	n.text = append(n.text, e.Key...)
	n.at = append(n.at, uint32(len(n.text)))
	n.text = append(n.text, rest...)
	n.at = append(n.at, uint32(len(n.text)))
	n.sums[i] = n.leafSum(i)
}

// key reads one that has as much of the one before it as can be.
func (d *decoder) key(keys *keyState) []byte {
	same := d.uvarint()
	if same > uint64(len(keys.prefix)) {
		d.fail("more of a key than there is")
		return nil
	}
	rest := d.bytes(d.uvarint())
	key := append(bytes.Clone(keys.prefix[:same]), rest...)
	switch {
	case d.err != nil:
	case len(key) > KeySizeMax:
		d.fail("a key of %d bytes", len(key))
	case commonPrefix(keys.prefix, key) != int(same):
		d.fail("a key in two parts")
	}
	return key
}

// record reads an entry of level 0, which is among the given records or else in full.
func (d *decoder) record(keys *keyState) Entry {
	number := d.uvarint()
	if number > uint64(len(d.given)) {
		d.fail("record %d of %d that are given", number, len(d.given))
		return Entry{}
	}
	if number > 0 {
		g := d.given[number-1]
		return Entry{Key: g.Key, Value: g.Value}
	}
	e := Entry{Key: d.key(keys)}
	e.Value = d.bytes(d.uvarint())
	switch {
	case d.err != nil:
	case len(e.Value) > ValueSizeMax:
		d.fail("a value of %d bytes", len(e.Value))
	case d.given.number(e) > 0:
		d.fail("a record in full that is given")
	}
	return e
}

// child reads what an entry leads to, the node itself or its hash, and returns the text of it.
func (d *decoder) child(n *Node, i int, key []byte, keys *keyState) []byte {
	var hash core.Score
	var count uint64
	switch d.byte() {
	case 0:
		hash, count = d.score(), d.count()
	case 1:
		if below, last := d.node(n.Level-1, key); d.err == nil {
			hash, count, keys.last = below.hash, below.Count(), last
		}
	default:
		d.fail("neither a node nor a hash")
	}
	if d.err != nil {
		return nil
	}
	d.counted(n, i, i+1, count)
	return appendChild(make([]byte, 0, childSize), hash, count)
}
