package table

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/document"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/tree"
)

func keyOf(name string) identity.Key { return identity.KeyOf(core.ScoreOf([]byte(name))) }

var (
	owner = keyOf("table")
	anna  = keyOf("anna")
	bo    = keyOf("bo")
	clara = keyOf("clara")
)

// epoch is the clock of the first operations.
const epoch = 1_767_225_600_000 << 16 // 2026

// writer has a feed.
type writer struct {
	key identity.Key
	ops []feed.Logged
}

// write signs the next operation, so many milliseconds after the beginning.
func (w *writer) write(t testing.TB, kind feed.Kind, after uint64, payload []byte) feed.Logged {
	t.Helper()
	h := feed.Header{Topic: owner.DID(), Seq: uint64(len(w.ops)) + 1, Clock: epoch + after<<16, Kind: kind, Size: uint32(len(payload))}
	if n := len(w.ops); n > 0 {
		h.Prev = w.ops[n-1].ID
	}
	var s feed.Sealed
	binary.BigEndian.PutUint64(s.Salt[:], h.Seq)
	s.Payload = payload
	h.Commitment = feed.Commit(s.Salt, payload)
	o, err := feed.Sign(w.key, h)
	if err != nil {
		t.Fatal(err)
	}
	l := feed.Logged{Operation: o, ID: o.ID(), Sealed: s}
	w.ops = append(w.ops, l)
	return l
}

func (w *writer) put(t testing.TB, after uint64, key, json string, seen ...core.Score) feed.Logged {
	t.Helper()
	slices.SortFunc(seen, func(a, b core.Score) int { return bytes.Compare(a[:], b[:]) })
	payload, err := PutPayload([]byte(key), seen, doc(t, json))
	if err != nil {
		t.Fatal(err)
	}
	return w.write(t, feed.Put, after, payload)
}

func (w *writer) delete(t testing.TB, after uint64, key string) feed.Logged {
	t.Helper()
	payload, err := DeletePayload([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return w.write(t, feed.Delete, after, payload)
}

func doc(t testing.TB, json string) document.Doc {
	t.Helper()
	d, err := document.FromJSON([]byte(json))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// nodes are those of trees, in memory.
type nodes map[core.Score]*tree.Node

func (n nodes) Node(ref tree.Ref) (*tree.Node, error) {
	if found := n[ref.Hash]; found != nil {
		return found, nil
	}
	return nil, tree.ErrNotProven
}

// build makes a tree of records.
func (n nodes) build(t testing.TB, salt [tree.SaltSize]byte, records map[string][]byte) Root {
	t.Helper()
	levels := map[int][]tree.Entry{0: {{Key: []byte{}, Count: 1}}}
	b := tree.NewBuilder(salt, func(c tree.Change) error {
		levels[c.Level] = append(levels[c.Level], tree.Entry{Key: c.Key, Value: c.Value, Hash: c.Hash, Count: c.Count})
		return nil
	})
	for _, key := range slices.Sorted(maps.Keys(records)) {
		if err := b.Add(tree.Record{Key: []byte(key), Value: records[key]}); err != nil {
			t.Fatal(err)
		}
	}
	m, err := b.Done()
	if err != nil {
		t.Fatal(err)
	}
	for level := range m.Root.Level + 1 {
		entries := levels[level]
		for i := 0; i < len(entries); {
			end := i + 1
			for end < len(entries) && !slices.ContainsFunc(levels[level+1], func(e tree.Entry) bool { return bytes.Equal(e.Key, entries[end].Key) }) {
				end++
			}
			made, err := tree.NewNode(level, entries[i:end])
			if err != nil {
				t.Fatal(err)
			}
			n[made.Hash()] = made
			i = end
		}
	}
	return RootOf(m)
}

// made is a table that was made of operations, all of which stand and none of which is erased.
type made struct {
	nodes
	def   *Definition
	sent  Sent
	defID core.Score
	check Checkpoint
	rows  map[string]Row
	trees map[string]map[string][]byte
}

// make makes a table of what was written.
func makeTable(t testing.TB, d Definition, writers ...*writer) *made {
	t.Helper()
	payload, err := d.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	own := &writer{key: owner}
	define := own.write(t, feed.Define, 0, payload)
	m := &made{nodes: nodes{}, sent: SentOf(&define), rows: map[string]Row{}, trees: map[string]map[string][]byte{}}
	if m.def, m.defID, err = m.sent.Definition(owner.DID()); err != nil {
		t.Fatal(err)
	}
	feeds, gone := map[string][]byte{}, map[string][]byte{}
	byKey := map[string][]Op{}
	for _, w := range append([]*writer{own}, writers...) {
		size := uint64(0)
		for _, l := range w.ops {
			size += feed.OperationSize + uint64(l.Header.Size)
			author := w.key.DID()
			feeds[string(author[:])] = FeedValue(l.Seq, l.ID, size)
			if op, err := m.def.Operation(l); err == nil {
				byKey[string(op.Key)] = append(byKey[string(op.Key)], op)
			}
		}
	}
	rows, indexes := map[string][]byte{}, make([]map[string][]byte, len(d.Indexes))
	counts := make([]uint64, len(d.Indexes))
	for i := range indexes {
		indexes[i] = map[string][]byte{}
	}
	for key, ops := range byKey {
		sources, deleted := m.def.Sources(ops)
		if deleted != nil {
			gone[string(DeletedKey([]byte(key)))] = DeletedValue(deleted)
			continue
		}
		row, err := m.def.NewRow(sources)
		if err != nil {
			t.Fatal(err)
		}
		m.rows[key], rows[key] = row, RowValue(&row)
		for i := range indexes {
			entries := m.def.Entries(i, &row, ops)
			counts[i] += uint64(min(1, len(entries)))
			for _, e := range entries {
				indexes[i][string(e.Key)] = e.Value
			}
		}
	}
	m.check = Checkpoint{V: 1, Table: owner.DID(), Definition: m.defID}
	tree := func(name string, records map[string][]byte) Root {
		m.trees[name] = records
		return m.build(t, Salt(owner.DID(), name), records)
	}
	m.check.Feeds, m.check.Rows, m.check.Gone = tree(FeedsTree, feeds), tree(RowsTree, rows), tree(GoneTree, gone)
	for i, x := range d.Indexes {
		m.check.Indexes = append(m.check.Indexes, IndexRoot{tree(IndexTree(x), indexes[i]), counts[i]})
	}
	return m
}

// ask makes a whole answer.
func (m *made) ask(t testing.TB, text string) (Answer, Result) {
	t.Helper()
	q, err := ParseQuestion(text)
	if err != nil {
		t.Fatal(err)
	}
	a, result, err := Ask(m.def, &m.check, q, func(int) tree.Source { return m.nodes }, func(key []byte) (Row, error) {
		row, ok := m.rows[string(key)]
		if !ok {
			return row, core.ErrNotExist
		}
		return row, nil
	})
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	check := m.check
	a.Checkpoint, a.Definition = &check, m.sent
	return a, result
}

// definition is that of a table in which some write.
func definition(who ...identity.Key) Definition {
	d := Definition{Name: "posts"}
	for _, k := range who {
		d.GrantWrite(Grant{Who: k.DID()})
	}
	return d
}

func index(fields string) Index { return Index{Fields: fields} }

// keysOf are those of rows, in their order.
func keysOf(rows []Row) (out []string) {
	for _, r := range rows {
		out = append(out, string(r.Key))
	}
	return out
}

// opsOf are operations on keys, as the definition reads them.
func opsOf(t testing.TB, d *Definition, all ...feed.Logged) (out []Op) {
	t.Helper()
	for _, l := range all {
		o, err := d.Operation(l)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

// newestFirst are operations in the order in which a row names them.
func newestFirst(ops []Op) []Op {
	slices.SortFunc(ops, func(a, b Op) int { return cmp.Or(cmp.Compare(b.Clock, a.Clock), bytes.Compare(b.ID[:], a.ID[:])) })
	return ops
}
