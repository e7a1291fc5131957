package tree

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"sort"
	"testing"

	"github.com/grange-grid/grange/core"
)

// naive makes a map of all of its records at once, level by level, each cut by halving it where the priority is least.
func naive(t testing.TB, salt [SaltSize]byte, records map[string]string) (Map, *rows) {
	t.Helper()
	m := Empty(salt)
	entries := []Entry{{}}
	for _, k := range slices.Sorted(maps.Keys(records)) {
		entries = append(entries, Entry{Key: []byte(k), Value: []byte(records[k])})
	}
	out := &rows{}
	for level := 0; ; level++ {
		out.levels = append(out.levels, entries)
		var above []Entry
		var only *Node
		for _, part := range halve(m, level, entries) {
			n, err := NewNode(level, part)
			if err != nil {
				t.Fatal(err)
			}
			only = n
			above = append(above, Entry{Key: part[0].Key, Hash: n.Hash(), Count: n.Count()})
		}
		if len(above) == 1 {
			m.Root = only.ref(nil)
			return m, out
		}
		entries = above
	}
}

func halve(m Map, level int, entries []Entry) [][]Entry {
	if len(entries) <= FanMax {
		return [][]Entry{entries}
	}
	least := 1
	for i := 2; i < len(entries); i++ {
		if m.priorityOf(level, entries[i].Key).less(m.priorityOf(level, entries[least].Key)) {
			least = i
		}
	}
	return append(halve(m, level, entries[:least:least]), halve(m, level, entries[least:])...)
}

// rows keeps the levels of a map as sorted lists, and makes nodes of them on demand.
type rows struct {
	levels [][]Entry
	loads  int
}

func newRows() *rows { return &rows{levels: [][]Entry{{{}}}} }

func (r *rows) at(level int, key []byte) int {
	return sort.Search(len(r.levels[level]), func(i int) bool { return bytes.Compare(r.levels[level][i].Key, key) >= 0 })
}

func (r *rows) Node(ref Ref) (*Node, error) {
	r.loads++
	to := len(r.levels[ref.Level])
	if ref.Hi != nil {
		to = r.at(ref.Level, ref.Hi)
	}
	n, err := NewNode(ref.Level, slices.Clone(r.levels[ref.Level][r.at(ref.Level, ref.Lo):to]))
	if err == nil && n.Hash() != ref.Hash {
		err = fmt.Errorf("node %d from %q to %q is another: %w", ref.Level, ref.Lo, ref.Hi, core.ErrCorrupt)
	}
	return n, err
}

func (r *rows) write(changes []Change) {
	for _, c := range changes {
		for len(r.levels) <= c.Level {
			r.levels = append(r.levels, nil)
		}
		i := r.at(c.Level, c.Key)
		l := r.levels[c.Level]
		there := i < len(l) && bytes.Equal(l[i].Key, c.Key)
		switch {
		case c.Gone && !there:
			panic(fmt.Sprintf("%q of level %d is removed and was not there", c.Key, c.Level))
		case c.Gone:
			r.levels[c.Level] = slices.Delete(l, i, i+1)
		case there:
			l[i] = c.Entry
		default:
			r.levels[c.Level] = slices.Insert(l, i, c.Entry)
		}
	}
	for len(r.levels) > 1 && len(r.levels[len(r.levels)-1]) == 0 {
		r.levels = r.levels[:len(r.levels)-1]
	}
}

func sameRows(a, b *rows) bool {
	return slices.EqualFunc(a.levels, b.levels, func(x, y []Entry) bool { return slices.EqualFunc(x, y, sameEntry) })
}

func sameEntry(e, f Entry) bool {
	return bytes.Equal(e.Key, f.Key) && bytes.Equal(e.Value, f.Value) && e.Hash == f.Hash && e.Count == f.Count
}
