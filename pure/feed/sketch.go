package feed

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/grange-grid/grange/core"
)

// ItemSize is the length of an Item's encoding, in bytes.
const ItemSize = 80

// Item is what a peer has of a feed.
type Item struct {
	Author core.DID
	// Seq is that of the last operation that counts, ID its id; 0 and zero if there is none.
	Seq uint64
	ID  core.Score
	// Forked is the seq at which the author is known to have forked, or 0.
	Forked uint64
}

// Bytes returns the encoding.
func (i Item) Bytes() [ItemSize]byte {
	var b [ItemSize]byte
	copy(b[:], i.Author[:])
	binary.BigEndian.PutUint64(b[32:], i.Seq)
	copy(b[40:], i.ID[:])
	binary.BigEndian.PutUint64(b[72:], i.Forked)
	return b
}

// ParseItem reads what Bytes returns. Errors: core.ErrInvalid.
func ParseItem(b []byte) (Item, error) {
	if len(b) != ItemSize {
		return Item{}, fmt.Errorf("item: %w: %d bytes, want %d", core.ErrInvalid, len(b), ItemSize)
	}
	i := Item{core.DID(b), binary.BigEndian.Uint64(b[32:]), core.Score(b[40:]), binary.BigEndian.Uint64(b[72:])}
	if (i.Seq == 0) != i.ID.IsZero() || i.Forked != 0 && i.Seq >= i.Forked {
		return Item{}, fmt.Errorf("item: %w: seq %d, forked at %d", core.ErrInvalid, i.Seq, i.Forked)
	}
	return i, nil
}

// SymbolsMax is how many symbols a sketch may have.
const SymbolsMax = 16 << 10

// Key is drawn anew for each sketch, so that nobody can choose items that spoil it.
type Key [16]byte

// Mark stands for an item in a sketch: the first 8 bytes of its author, and 4 of a hash of the item.
type Mark [12]byte

// Prefix returns the first bytes of the author.
func (m Mark) Prefix() [8]byte { return [8]byte(m[:]) }

// MarkOf returns the mark of an item.
func (k Key) MarkOf(i Item) Mark {
	var b [len(k) + ItemSize]byte
	copy(b[:], k[:])
	item := i.Bytes()
	copy(b[len(k):], item[:])
	h := core.ScoreOf(b[:])
	var m Mark
	copy(m[:8], i.Author[:])
	copy(m[8:], h[:])
	return m
}

// seed returns a mark's check, and where its sequence of symbols begins.
func (k Key) seed(m Mark) (check uint32, seed uint64) {
	var b [len(k) + len(m)]byte
	copy(b[:], k[:])
	copy(b[len(k):], m[:])
	h := core.ScoreOf(b[:])
	return binary.BigEndian.Uint32(h[:]), binary.BigEndian.Uint64(h[4:])
}

type symbol struct {
	mark  Mark
	check uint32
	count int64
}

func (s *symbol) add(m Mark, check uint32, count int64) {
	for i := range m {
		s.mark[i] ^= m[i]
	}
	s.check ^= check
	s.count += count
}

// Sketch is the symbols of a set of items, from one number on.
type Sketch struct {
	key     Key
	from    int
	symbols []symbol
}

// NewSketch returns the symbols from one number to before another of no items.
func NewSketch(key Key, from, to int) *Sketch {
	return &Sketch{key, from, make([]symbol, to-from)}
}

// Add adds an item.
func (s *Sketch) Add(i Item) { s.add(s.key.MarkOf(i), 1) }

func (s *Sketch) add(m Mark, count int64) {
	check, seed := s.key.seed(m)
	for at, end := 0, s.from+len(s.symbols); at < end; at = next(at, &seed, end) {
		if at >= s.from {
			s.symbols[at-s.from].add(m, check, count)
		}
	}
}

// next returns the symbol after one that an item is part of, or end. An item is part of symbol n with chance
// 2 / (n + 2); this is the inverse of the chance to be part of none up to n.
func next(at int, seed *uint64, end int) int {
	*seed += 0x9e3779b97f4a7c15 // SplitMix64
	z := *seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	r := (z^z>>31)>>34 + 1
	i := uint64(at)
	x := (i + 1) * (i + 2) << 30 / r // below 2^59: at is below SymbolsMax
	if x >= uint64(end+1)*uint64(end+2) {
		return end
	}
	n := uint64(math.Sqrt(float64(x))) // an estimate, which is made exact
	for n > 0 && n*(n+1) > x {
		n--
	}
	for (n+1)*(n+2) <= x {
		n++
	}
	return int(n)
}

// Bytes returns the encoding.
func (s *Sketch) Bytes() []byte {
	b := make([]byte, 0, len(s.symbols)*20)
	for _, y := range s.symbols {
		b = append(b, y.mark[:]...)
		b = binary.BigEndian.AppendUint32(b, y.check)
		b = binary.AppendUvarint(b, uint64(y.count<<1^y.count>>63))
	}
	return b
}

// ParseSketch reads what Bytes returns, the symbols from a number on. Errors: core.ErrInvalid.
func ParseSketch(key Key, from int, b []byte) (*Sketch, error) {
	s := &Sketch{key: key, from: from}
	r := reader{b}
	for len(r.b) > 0 {
		if from < 0 || from+len(s.symbols) >= SymbolsMax {
			return nil, fmt.Errorf("sketch: %w: more than %d symbols", core.ErrInvalid, SymbolsMax)
		}
		fixed := r.take(16)
		count, err := r.number()
		if fixed == nil || err != nil {
			return nil, fmt.Errorf("sketch: %w", errShort)
		}
		s.symbols = append(s.symbols, symbol{Mark(fixed), binary.BigEndian.Uint32(fixed[12:]), int64(count>>1) ^ -int64(count&1)})
	}
	return s, nil
}

// Len returns the number of symbols.
func (s *Sketch) Len() int { return len(s.symbols) }

// Subtract leaves in s the difference to a sketch of the same symbols, which it reports.
func (s *Sketch) Subtract(o *Sketch) bool {
	if s.key != o.key || s.from != o.from || len(s.symbols) != len(o.symbols) {
		return false
	}
	for i, y := range o.symbols {
		s.symbols[i].add(y.mark, y.check, -y.count)
	}
	return true
}

// Join appends the symbols of a sketch that goes on where s ends, which it reports.
func (s *Sketch) Join(o *Sketch) bool {
	if s.key != o.key || s.from+len(s.symbols) != o.from {
		return false
	}
	s.symbols = append(s.symbols, o.symbols...)
	return true
}

// ErrSketch says that a sketch is of no two sets.
var ErrSketch = fmt.Errorf("false sketch: %w", core.ErrInvalid)

// Peel takes a difference apart: the marks of items in the first set alone, and in the second alone. It is not
// whole if there are too few symbols; more of them may help. s must begin with symbol 0, and is used up.
// Errors: ErrSketch, of one that is of no two sets; a peer sent it.
func (s *Sketch) Peel() (first, second []Mark, whole bool, err error) {
	out := map[Mark]bool{}
	queue := make([]int, len(s.symbols))
	for i := range queue {
		queue[i] = i
	}
	for ; len(queue) > 0; queue = queue[1:] {
		y := s.symbols[queue[0]]
		check, seed := s.key.seed(y.mark)
		if y.count != 1 && y.count != -1 || check != y.check {
			continue
		}
		if out[y.mark] || len(out) == len(s.symbols) {
			return nil, nil, false, ErrSketch
		}
		out[y.mark] = true
		if y.count == 1 {
			first = append(first, y.mark)
		} else {
			second = append(second, y.mark)
		}
		for at := 0; at < len(s.symbols); at = next(at, &seed, len(s.symbols)) {
			s.symbols[at].add(y.mark, y.check, -y.count)
			queue = append(queue, at)
		}
	}
	for _, y := range s.symbols {
		if y != (symbol{}) {
			return first, second, false, nil
		}
	}
	return first, second, true, nil
}
