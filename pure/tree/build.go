package tree

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/grange-grid/grange/core"
)

// Builder makes a map of all of its records at once, in memory that does not grow with them.
type Builder struct {
	m      Map
	write  func(Change) error
	levels []*buildLevel
	last   []byte
	count  uint64
}

// buildLevel is the end of a level that is not yet cut.
type buildLevel struct {
	level   int
	entries []Entry
	all     []priority
	// begun is where the node in hand begins; whether an entry begins one is known of those before decided. What is before
	// both, but for FanMax entries, is forgotten.
	begun, decided int
	nodes          int // that are done
	only           Ref // the first of them
}

// buildChunk is how many entries are cut at a time.
const buildChunk = 4096

// NewBuilder makes a builder, which hands over what is to be written, of each level by keys.
func NewBuilder(salt [SaltSize]byte, write func(Change) error) *Builder {
	b := &Builder{m: Map{Salt: salt}, write: write}
	b.levels = []*buildLevel{b.newLevel(0)}
	return b
}

func (b *Builder) newLevel(level int) *buildLevel {
	out := &buildLevel{level: level}
	if level == 0 {
		out.add(b.m, Entry{Key: []byte{}})
	}
	return out
}

func (l *buildLevel) add(m Map, e Entry) {
	l.entries = append(l.entries, e)
	l.all = append(l.all, m.priorityOf(l.level, e.Key))
}

// Add adds a record, whose key is above those before. Errors: core.ErrInvalid, those of write.
func (b *Builder) Add(r Record) error {
	if err := checkRecord(r); err != nil {
		return err
	}
	if bytes.Compare(r.Key, b.last) <= 0 {
		return fmt.Errorf("record %d: keys do not rise: %w", b.count, core.ErrInvalid)
	}
	b.count++
	b.last = bytes.Clone(r.Key)
	e := Entry{Key: b.last, Value: append([]byte{}, r.Value...)}
	if err := b.write(Change{Entry: e}); err != nil {
		return err
	}
	return b.add(0, e)
}

func (b *Builder) add(level int, e Entry) error {
	for len(b.levels) <= level {
		b.levels = append(b.levels, b.newLevel(len(b.levels)))
	}
	l := b.levels[level]
	l.add(b.m, e)
	if len(l.entries)-l.decided < buildChunk+FanMax {
		return nil
	}
	return b.cut(l, len(l.entries)-FanMax)
}

// cut finds which entries before to begin nodes, which those around them say, and makes the nodes that are whole.
func (b *Builder) cut(l *buildLevel, to int) error {
	from := max(0, l.decided-FanMax)
	for _, at := range cut(l.all[from:]) {
		if at += from; at < max(1, l.decided) || at >= to {
			continue
		}
		if err := b.node(l, at, l.entries[at].Key); err != nil {
			return err
		}
	}
	l.decided = to
	drop := max(0, min(l.begun, l.decided-FanMax))
	l.entries, l.all = slices.Delete(l.entries, 0, drop), slices.Delete(l.all, 0, drop)
	l.begun, l.decided = l.begun-drop, l.decided-drop
	return nil
}

// node makes the node in hand, which ends before an entry, and tells the level above.
func (b *Builder) node(l *buildLevel, to int, hi []byte) error {
	n, err := NewNode(l.level, l.entries[l.begun:to])
	if err != nil {
		return err
	}
	l.begun = to
	ref := n.ref(hi)
	if l.nodes++; l.nodes == 1 {
		l.only = ref
		if hi == nil {
			return nil // the root
		}
	}
	if l.level == LevelMax {
		return fmt.Errorf("a map that needs more than %d levels: %w", LevelMax, core.ErrInvalid)
	}
	e := Entry{Key: ref.Lo, Hash: ref.Hash, Count: ref.Count}
	if err := b.write(Change{Level: l.level + 1, Entry: e}); err != nil {
		return err
	}
	return b.add(l.level+1, e)
}

// Done ends the map.
func (b *Builder) Done() (Map, error) {
	for i := 0; ; i++ {
		l := b.levels[i]
		if err := b.cut(l, len(l.entries)); err != nil {
			return Map{}, err
		}
		if err := b.node(l, len(l.entries), nil); err != nil {
			return Map{}, err
		}
		if l.nodes == 1 {
			b.m.Root = l.only
			return b.m, nil
		}
	}
}
