package table

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/table"
)

// model is a table as docs/SPEC.md says what it is, made of all operations at once, slowly, and with nothing of what makes tables
// but the readers of payloads.
type model struct {
	id     core.DID
	def    table.Definition
	erased map[table.Target]table.Target
	// trees are records, by the names of the trees.
	trees map[string]map[string]string
}

// modelOp is an operation on a key, neither void nor erased.
type modelOp struct {
	feed.Logged
	key  string
	seen []core.Score
	doc  map[string]any
	put  bool
}

// newModel makes a table of feeds, as far as they count. false: there is no definition.
func newModel(id core.DID, feeds map[core.DID][]feed.Logged) (*model, bool) {
	m := &model{id: id, erased: map[table.Target]table.Target{}, trees: map[string]map[string]string{"feeds": {}, "rows": {}, "gone": {}}}
	found := false
	for _, l := range slices.Backward(feeds[id]) {
		d, err := table.ParseDefinition(l.Payload)
		if found = l.Kind == feed.Define && err == nil; found {
			m.def = d
			break
		}
	}
	if !found {
		return nil, false
	}
	standing := map[core.DID][]feed.Logged{}
	for author, ops := range feeds {
		standing[author] = m.stand(author, ops)
	}
	for author, ops := range standing {
		for _, l := range ops {
			m.erase(author, l)
		}
	}
	for target, by := range m.erased {
		m.trees["gone"]["\x01"+string(target.Author[:])+be(target.Seq)] = string(by.Author[:]) + be(by.Seq)
	}
	keys := map[string][]modelOp{}
	for author, ops := range standing {
		for _, l := range ops {
			_, gone := m.erased[table.Target{Author: author, Seq: l.Seq}]
			if op, ok := m.operation(l); ok && !gone && author != id {
				keys[op.key] = append(keys[op.key], op)
			}
		}
	}
	for _, x := range m.def.Indexes {
		m.trees["index "+x.String()] = map[string]string{}
	}
	for key, ops := range keys {
		m.row(key, ops)
	}
	return m, true
}

func be(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// stand returns the operations of a feed that stand, and notes where it ends.
func (m *model) stand(author core.DID, ops []feed.Logged) (out []feed.Logged) {
	size := uint64(0)
	for _, l := range ops {
		size += 214 + uint64(l.Header.Size)
		if author != m.id && !m.may(author, l.Seq, size) {
			break
		}
		out = append(out, l)
		m.trees["feeds"][string(author[:])] = be(l.Seq) + string(l.ID[:]) + be(size)
	}
	return out
}

// grant is the author's own, or what all have.
func (m *model) grant(author core.DID) (g table.Grant, ok bool) {
	for _, g := range m.def.Write.Grants {
		if g.Who == author {
			return g, true
		}
	}
	return table.Grant{Quota: m.def.Write.Quota}, m.def.Write.All
}

func (m *model) may(author core.DID, seq, size uint64) bool {
	g, ok := m.grant(author)
	return ok && (!g.Stopped || seq <= g.Until) && (g.Quota == 0 || size <= g.Quota)
}

func (m *model) erase(author core.DID, l feed.Logged) {
	g, _ := m.grant(author)
	if l.Kind != feed.Erase || l.Clock < g.Since || author == m.id {
		return
	}
	targets, err := table.ParseErase(l.Payload)
	if err != nil {
		return
	}
	for _, at := range targets {
		if at.Author != author && !slices.Contains(m.def.Attest, author) {
			continue
		}
		by := table.Target{Author: author, Seq: l.Seq}
		if before, ok := m.erased[at]; !ok || by.Less(before) {
			m.erased[at] = by
		}
	}
}

func (m *model) operation(l feed.Logged) (op modelOp, ok bool) {
	w, err := table.ParseWrite(l.Kind, l.Payload)
	if g, _ := m.grant(l.Author); err != nil || l.Clock < g.Since || len(w.Seen) > 0 && len(m.def.Folds) == 0 {
		return op, false
	}
	op = modelOp{Logged: l, key: string(w.Key), seen: w.Seen, put: l.Kind == feed.Put}
	if op.put && json.Unmarshal(w.Doc.JSON(), &op.doc) != nil {
		return op, false
	}
	for _, x := range m.def.Indexes {
		if op.put && len(values(x, op.doc)) > 1024 {
			return op, false
		}
	}
	return op, true
}

// row makes the records that come of all operations on a key.
func (m *model) row(key string, ops []modelOp) {
	slices.SortFunc(ops, func(a, b modelOp) int {
		if a.Clock != b.Clock {
			return int(int64(b.Clock - a.Clock))
		}
		return bytes.Compare(b.ID[:], a.ID[:])
	})
	place := func(o modelOp) string { return be(o.Clock) + string(o.ID[:]) + string(o.Author[:]) + be(o.Seq) }
	if !ops[0].put {
		m.trees["gone"]["\x00"+key] = place(ops[0])
		return
	}
	deleted := slices.IndexFunc(ops, func(o modelOp) bool { return !o.put })
	if deleted < 0 {
		deleted = len(ops)
	}
	alive := ops[:deleted]
	sources := alive[:1]
	if len(m.def.Folds) > 0 {
		sources = nil
		for i, o := range alive {
			if !slices.ContainsFunc(alive[:i], func(p modelOp) bool { return p.Author == o.Author }) {
				sources = append(sources, o)
			}
		}
	}
	doc := maps.Clone(ops[0].doc)
	for field, fold := range m.def.Folds {
		delete(doc, field)
		if v, ok := folded(fold, field, sources); ok {
			doc[field] = v
		}
	}
	origin := string(ops[0].ID[:])
	m.trees["rows"][key] = "\x01" + place(ops[0])
	if len(sources) > 1 {
		all := ""
		for _, s := range sources {
			all += string(s.ID[:])
		}
		score := core.ScoreOf([]byte(all))
		origin = string(score[:])
		m.trees["rows"][key] = "\x02" + be(ops[0].Clock) + origin
	}
	for _, x := range m.def.Indexes {
		entries := values(x, doc)
		if len(entries) > 1024 {
			continue
		}
		for _, v := range entries {
			claim := ""
			if x.Unique {
				since := ops[0].Clock
				for _, o := range alive {
					if o.Author == ops[0].Author && slices.Contains(values(x, o.doc), v) {
						since = min(since, o.Clock)
					}
				}
				claim = be(since)
			}
			m.trees["index "+x.String()][v+claim+key] = origin
		}
	}
}

// folded is the value of a field that is made of all sources'.
func folded(fold table.Fold, field string, sources []modelOp) (any, bool) {
	var all []any
	sum := 0.0
	numbers := false
	for i := len(sources) - 1; i >= 0; i-- {
		v, ok := sources[i].doc[field]
		if !ok {
			continue
		}
		list, is := v.([]any)
		if !is {
			list = []any{v}
		}
		if fold == table.Multi {
			list = []any{v}
			if slices.ContainsFunc(sources, func(o modelOp) bool { return slices.Contains(o.seen, sources[i].ID) }) {
				continue
			}
		}
		all = append(all, list...)
		for _, v := range list {
			if n, ok := v.(float64); ok {
				sum, numbers = sum+n, true
			}
		}
	}
	if fold == table.Counter {
		return sum, numbers
	}
	return distinctValues(all), len(all) > 0
}

// distinctValues are values in the order of the keys of what is indexed, lists after them; the tests have no others.
func distinctValues(all []any) []any {
	byKey := map[string]any{}
	for _, v := range all {
		key := valueKey(v)
		if list, ok := v.([]any); ok {
			key = fmt.Sprint("\x07", list)
		}
		byKey[key] = v
	}
	var out []any
	for _, k := range slices.Sorted(maps.Keys(byKey)) {
		out = append(out, byKey[k])
	}
	return out
}

// valueKey is the key of a value; "" of a list.
func valueKey(v any) string {
	switch v := v.(type) {
	case nil:
		return "\x01"
	case bool:
		if v {
			return "\x03"
		}
		return "\x02"
	case float64:
		bits := math.Float64bits(v)
		if bits>>63 == 1 {
			return "\x04" + be(^bits)
		}
		return "\x04" + be(bits|1<<63)
	case string:
		return "\x05" + v + "\x00\x00"
	}
	return ""
}

// values are the keys of the values that a document has in an index, without its own key.
func values(x table.Index, doc map[string]any) []string {
	out := map[string]bool{"": true}
	for i, field := range strings.Split(x.Fields, ",") {
		v, ok := doc[field]
		list, is := v.([]any)
		if ok && !is {
			list = []any{v}
		}
		keys := map[string]bool{}
		for _, v := range list {
			if k := valueKey(v); k != "" {
				keys[k] = true
			}
		}
		if len(keys) == 0 {
			if i == 0 {
				return nil
			}
			keys["\x00"] = true
		}
		next := map[string]bool{}
		for a := range out {
			for b := range keys {
				next[a+b] = true
			}
		}
		out = next
	}
	return slices.Sorted(maps.Keys(out))
}
