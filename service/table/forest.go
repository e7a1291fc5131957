package table

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/codec"
	"github.com/grange-grid/grange/pure/table"
	"github.com/grange-grid/grange/pure/tree"
)

// Which of a table's trees is which; those of indexes follow.
const (
	feedsAt = iota
	rowsAt
	goneAt
	indexesAt
)

// state is what a table has come to. It does not change.
type state struct {
	// generation says where its trees lie: those that are made anew lie elsewhere, until they are whole.
	generation uint32
	// seq is the definition's, 0 before there is one.
	seq   uint64
	def   *table.Definition
	check table.Checkpoint
	score core.Score
}

// stateRecord is a state as it is written down.
type stateRecord struct {
	V          uint             `json:"v"`
	Generation uint             `json:"generation"`
	Seq        uint64           `json:"seq"`
	Checkpoint table.Checkpoint `json:"checkpoint"`
}

const stateSizeMax = 8 << 10

func (s *state) marshal() ([]byte, error) {
	return codec.Marshal(stateRecord{codec.Version, uint(s.generation), s.seq, s.check})
}

// newState is that of a table without rows.
func newState(id core.DID, generation uint32, seq uint64, def *table.Definition, defID core.Score) *state {
	s := &state{generation: generation, seq: seq, def: def, check: table.Checkpoint{V: codec.Version, Table: id, Definition: defID}}
	empty := func(name string) table.Root { return table.RootOf(tree.Empty(table.Salt(id, name))) }
	s.check.Feeds, s.check.Rows, s.check.Gone = empty(table.FeedsTree), empty(table.RowsTree), empty(table.GoneTree)
	for _, x := range def.Indexes {
		s.check.Indexes = append(s.check.Indexes, table.IndexRoot{Root: empty(table.IndexTree(x))})
	}
	s.score = s.check.Score()
	return s
}

// root points at the root of one of a checkpoint's trees.
func root(c *table.Checkpoint, at int) *table.Root {
	switch at {
	case feedsAt:
		return &c.Feeds
	case rowsAt:
		return &c.Rows
	case goneAt:
		return &c.Gone
	}
	return &c.Indexes[at-indexesAt].Root
}

// treeName is the name of one of a table's trees.
func (s *state) treeName(at int) string {
	switch at {
	case feedsAt:
		return table.FeedsTree
	case rowsAt:
		return table.RowsTree
	case goneAt:
		return table.GoneTree
	}
	return table.IndexTree(s.def.Indexes[at-indexesAt])
}

func (s *state) trees() int { return indexesAt + len(s.def.Indexes) }

// tree is one of a state's trees.
func (s *state) tree(at int) tree.Map {
	return root(&s.check, at).Map(table.Salt(s.check.Table, s.treeName(at)))
}

// Where the records of a table lie, all behind its DID.
const (
	recordState = 's' // the state
	recordKey   = 'k' // the seed of the table key, where it is here
	recordTree  = 't' // ‖ u32 generation ‖ u8 tree: see shelf
	recordWrite = 'h' // ‖ u32 generation ‖ u16 length of key ‖ key ‖ author ‖ u64 seq: each put and delete that stands
	recordDrop  = 'e' // ‖ author ‖ u64 seq: a payload that is to be dropped
	recordSeen  = 'a' // ‖ machine: its newest attestation
	recordPeer  = 'p' // ‖ machine: who has the table
)

func recordAt(id core.DID, kind byte, parts ...[]byte) []byte {
	out := append(append([]byte("t/"), id[:]...), kind)
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

func u64(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// writesOf is where the writes to a key lie.
func writesOf(id core.DID, generation uint32, key []byte) []byte {
	size := binary.BigEndian.AppendUint16(nil, uint16(len(key)))
	return recordAt(id, recordWrite, u32(generation), size, key)
}

func parseTarget(b []byte) (t table.Target, err error) {
	if len(b) != 40 {
		return t, fmt.Errorf("a record of a table: %w", core.ErrCorrupt)
	}
	copy(t.Author[:], b)
	t.Seq = binary.BigEndian.Uint64(b[32:])
	return t, nil
}

// forest reads the trees of a state. It is for one goroutine, but for its shelves.
type forest struct {
	records core.Records
	shelves *shelves
	*state
	open []*shelf // those that were asked for
}

// forest is for whoever holds a replica's writing, or reads single records: others would see half of what is new.
func (t *Tables) forest(s *state) *forest {
	return &forest{records: t.c.Books, shelves: t.shelves, state: s}
}

// shelf has the nodes of one tree.
func (f *forest) shelf(at int) *shelf {
	if f.open == nil {
		f.open = make([]*shelf, f.trees())
	}
	if f.open[at] == nil {
		f.open[at] = &shelf{f.shelves, f.records, recordAt(f.check.Table, recordTree, u32(f.generation), []byte{byte(at)}), f.tree(at)}
	}
	return f.open[at]
}

func (f *forest) view(at int) tree.View { return f.shelf(at).view() }

// get returns a record of a tree, nil if there is none.
func (f *forest) get(at int, key []byte) ([]byte, error) {
	if root(&f.check, at).Count == 0 {
		return nil, nil
	}
	value, err := f.shelf(at).get(key)
	if errors.Is(err, core.ErrNotExist) {
		return nil, nil
	}
	return value, err
}
