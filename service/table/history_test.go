package table

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/grange-grid/grange/core"
	"github.com/grange-grid/grange/pure/feed"
	"github.com/grange-grid/grange/pure/identity"
	"github.com/grange-grid/grange/pure/table"
)

// history is what has been written to a table, by whoever.
type history struct {
	*rand.Rand
	id    core.DID
	names []core.DID // who writes, the table's key first
	// feeds are whole; others are what those who have forked have written besides, from forks on.
	feeds, others map[core.DID][]feed.Logged
	forks         map[core.DID]uint64
	clocks        map[core.DID]uint64
	dropped       map[core.Score]bool // whose payloads a peer has dropped: another may get them without
}

var simNames = func() (out []core.DID) {
	for i := range 4 {
		out = append(out, identity.KeyOf([32]byte{100 + byte(i)}).DID())
	}
	return out
}()

// newHistory draws one.
func newHistory(seed uint64) *history {
	h := &history{
		Rand: rand.New(rand.NewPCG(seed, 7)), names: simNames, id: simNames[0], feeds: map[core.DID][]feed.Logged{}, others: map[core.DID][]feed.Logged{},
		forks: map[core.DID]uint64{}, clocks: map[core.DID]uint64{}, dropped: map[core.Score]bool{},
	}
	h.write(h.id, feed.Define, h.definition())
	for range 3 + h.IntN(40) {
		switch author := h.names[h.IntN(len(h.names))]; {
		case author != h.id:
			h.anything(author)
		case h.IntN(3) == 0:
			h.write(h.id, feed.Define, h.definition())
		case h.IntN(6) == 0:
			h.anything(h.id)
		}
	}
	for _, author := range h.names {
		if n := len(h.feeds[author]); h.IntN(6) == 0 && n > 0 && (author != h.id || n > 1) {
			at := uint64(1 + h.IntN(n))
			if author == h.id {
				at = max(at, 2) // else there is no table
			}
			h.fork(author, at)
		}
	}
	return h
}

// fork has an author write something else from a seq on.
func (h *history) fork(author core.DID, at uint64) {
	whole, clock := h.feeds[author], h.clocks[author]
	h.feeds[author] = slices.Clone(whole[:at-1])
	for range 1 + h.IntN(3) {
		h.anything(author)
	}
	h.others[author], h.feeds[author], h.forks[author] = h.feeds[author], whole, at
	h.clocks[author] = max(clock, h.clocks[author])
}

// write appends an operation, which nobody signs.
func (h *history) write(author core.DID, kind feed.Kind, payload []byte) {
	all := h.feeds[author]
	h.clocks[author] += 1 + h.Uint64N(4)
	l := feed.Logged{Sealed: feed.Sealed{Payload: payload}}
	l.Header = feed.Header{Topic: h.id, Author: author, Seq: uint64(len(all)) + 1, Clock: h.clocks[author], Kind: kind, Size: uint32(len(payload))}
	if n := len(all); n > 0 {
		l.Prev = all[n-1].ID
	}
	l.Commitment = feed.Commit(l.Salt, payload)
	l.ID = l.Header.ID()
	h.feeds[author] = append(all, l)
}

func some[T any](h *history, all ...T) (out []T) {
	for _, one := range all {
		if h.IntN(2) == 0 {
			out = append(out, one)
		}
	}
	return out
}

// definition draws one; some are none.
func (h *history) definition() []byte {
	if len(h.feeds[h.id]) > 0 && h.IntN(10) == 0 {
		return []byte("none")
	}
	d := table.Definition{Name: "t", Indexes: some(h, index("a"), index("b"), index("a,b"), table.Index{Fields: "a", Unique: true}, table.Index{Fields: "b,a", Unique: true})}
	if h.IntN(2) == 0 {
		d.Folds = map[string]table.Fold{}
		for field, fold := range map[string]table.Fold{"a": table.Set, "n": table.Counter, "m": table.Multi} {
			if field == "n" || len(d.Folds) < 3 {
				d.Folds[field] = fold
			}
		}
	}
	d.Write.All = h.IntN(3) == 0
	d.Write.Quota = []uint64{0, 0, 900, 2500}[h.IntN(4)]
	for _, who := range h.names[1:] {
		if h.IntN(4) == 0 {
			continue
		}
		g := table.Grant{Who: who}
		switch h.IntN(6) {
		case 0:
			g.Quota = 300 + h.Uint64N(3000)
		case 1:
			g.Stopped, g.Until = true, h.Uint64N(12)
		case 2:
			g.Since = h.Uint64N(30)
		}
		d.GrantWrite(g)
	}
	d.Attest = some(h, h.names[1:]...)
	b, err := d.Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

func (h *history) value() any {
	return []any{nil, true, 1, -2.5, "x", "y", []any{}, []any{1, "x"}, []any{"x", "y", "x", 3}}[h.IntN(9)]
}

// anything writes something.
func (h *history) anything(author core.DID) {
	key := []byte{'k', byte('0' + h.IntN(4))}
	switch n := h.IntN(20); {
	case n < 11:
		fields := map[string]any{}
		for _, f := range some(h, "a", "b", "m", "n") {
			fields[f] = h.value()
		}
		var seen []core.Score
		if h.IntN(4) == 0 {
			if all := h.feeds[h.names[1+h.IntN(3)]]; len(all) > 0 {
				seen = append(seen, all[h.IntN(len(all))].ID)
			}
		}
		payload, err := table.PutPayload(key, seen, doc(panics{}, fields))
		if err != nil {
			panic(err)
		}
		h.write(author, feed.Put, payload)
	case n < 14:
		payload, _ := table.DeletePayload(key)
		h.write(author, feed.Delete, payload)
	case n < 18:
		of := author
		if h.IntN(2) == 0 {
			of = h.names[h.IntN(len(h.names))]
		}
		var targets []table.Target
		for seq := range len(h.feeds[of]) + 2 {
			if h.IntN(3) == 0 {
				targets = append(targets, table.Target{Author: of, Seq: uint64(seq) + 1})
			}
		}
		payload, _ := table.ErasePayload(targets) // of none it is void
		h.write(author, feed.Erase, payload)
	default:
		h.write(author, feed.Kind(1+h.IntN(7)), []byte{0, 2, 'k', '1', 0xff}[:h.IntN(6)])
	}
}

// panics is what doc needs of a test.
type panics struct{ testing.TB }

func (panics) Helper()           {}
func (panics) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// counting are the feeds as far as they count.
func (h *history) counting() map[core.DID][]feed.Logged {
	out := maps.Clone(h.feeds)
	for a, at := range h.forks {
		out[a] = out[a][:at-1]
	}
	return out
}
